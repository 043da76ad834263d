import { Pool, type PoolConfig } from 'pg';

/**
 * Every way of the worker to the database begins here. A connection that breaks (a restart of the database) is replaced when it is
 * next used; if nobody heard its error, it would end the process. A pool tells only of its idle connections, and one that is in use
 * tells its statement and then nobody, so each connection is listened to as well.
 */
export function openPool(
  options: Pick<PoolConfig, 'connectionString' | 'max' | 'connectionTimeoutMillis' | 'idleTimeoutMillis'> & {
    /** How the connections are called in pg_stat_activity. */
    name: string;
    onError: (error: Error) => void;
  },
): Pool {
  const { name, onError, ...config } = options;
  const pool = new Pool({ connectionTimeoutMillis: 10_000, ...config, application_name: name });
  pool.on('connect', (client) => client.on('error', onError));
  pool.on('error', () => {});
  return pool;
}

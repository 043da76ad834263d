import type { PoolClient } from 'pg';
import type { Db } from 'pg-boss';
import { openPool } from './pool.ts';

export interface QueueConnections extends Db {
  close(): Promise<void>;
}

/**
 * PostgreSQL keeps a plan until the table's statistics change. One made while the queue was empty needs 200 ms a fetch when
 * 100,000 jobs have come, so none gets older than this.
 */
const maxPlanAgeMs = 1000;

/**
 * pg-boss's way to the database instead of the pool that it would open itself: what comes with every batch is prepared. Planning
 * a fetch and a completion takes as long as running them.
 */
export function openQueueConnections(options: {
  connectionString: string;
  onError: (error: Error) => void;
}): QueueConnections {
  const pool = openPool({
    connectionString: options.connectionString,
    name: 'fieldtrack-worker-queue',
    onError: options.onError,
  });
  /** What is prepared, by its text: few, as pg-boss writes a text for each queue and way to settle. */
  const names = new Map<string, string>();
  const plannedAt = new WeakMap<PoolClient, number>();

  async function prepared(client: PoolClient, text: string, values: unknown[]) {
    const age = performance.now() - (plannedAt.get(client) ?? Number.NEGATIVE_INFINITY);
    if (age > maxPlanAgeMs) {
      await client.query('discard plans');
      plannedAt.set(client, performance.now());
    }
    const name = names.get(text) ?? `queue/${names.size}`;
    names.set(text, name);
    return client.query({ name, text, values });
  }

  return {
    async executeSql(text, values = []) {
      const client = await pool.connect();
      let hasFailed = true;
      try {
        // Each fetch and each way to settle is one statement; what begins with BEGIN is several and cannot be prepared.
        const result = await (/^\s*WITH\b/.test(text) ? prepared(client, text, values) : client.query(text, values));
        hasFailed = false;
        return result;
      } finally {
        // A connection that failed may be inside a transaction: it is closed, not given back.
        client.release(hasFailed);
      }
    },
    close: () => pool.end(),
  };
}

import { openPool } from './pool.ts';

/** One figure that the database answers for /metrics. */
export type Sample = { name: string; labels: Record<string, string>; value: number };

/** What the operators' pages ask of the database. */
export interface Operators {
  samples(): Promise<Sample[]>;
  /** The newest applied migration, and which queues exist. */
  installation(): Promise<{ migration: string | null; queues: string[]; scheduleRanAt: Date | null }>;
  queues(): Promise<Row[]>;
  schedules(): Promise<Row[]>;
  snapshots(): Promise<unknown>;
  close(): Promise<void>;
}

export type Row = Record<string, unknown>;

/** A scrape that takes longer than this tells less than its absence. */
const statementTimeoutMs = 5000;

/** A pool of its own, so that the pages answer while jobs hold every connection of theirs. */
export function openOperators(options: { connectionString: string; onError: (error: Error) => void }): Operators {
  const pool = openPool({
    connectionString: options.connectionString,
    max: 2,
    name: 'fieldtrack-worker-http',
    connectionTimeoutMillis: 3000,
    idleTimeoutMillis: 60_000,
    onError: options.onError,
  });

  async function read<R extends Row>(text: string): Promise<R[]> {
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      await client.query('begin read only');
      await client.query(`set local statement_timeout = ${statementTimeoutMs}`);
      const { rows } = await client.query<R>(text);
      await client.query('commit');
      return rows;
    } catch (error) {
      broken = error instanceof Error ? error : new Error('query failed');
      throw error;
    } finally {
      // A connection that failed may be inside a transaction: it is closed, not given back.
      client.release(broken);
    }
  }

  return {
    samples: () => read<Sample>('select name, labels, value from private.metric_samples()'),
    async installation() {
      const [row] = await read<{ migration: string | null; queues: string[]; ran_at: Date | null }>(`
        select
          private.migration_version() as migration,
          (select coalesce(array_agg(q.name), '{}') from pgboss.queue as q) as queues,
          (select max(s.last_started_at) from private.schedule_states as s) as ran_at
      `);
      return { migration: row?.migration ?? null, queues: row?.queues ?? [], scheduleRanAt: row?.ran_at ?? null };
    },
    queues: () => read('select * from private.queue_report()'),
    schedules: () => read('select * from private.schedule_report()'),
    async snapshots() {
      const [row] = await read<{ report: unknown }>('select private.snapshot_report() as report');
      return row?.report;
    },
    close: () => pool.end(),
  };
}

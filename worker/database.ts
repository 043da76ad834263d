import { type ColumnType, Kysely, PostgresDialect, sql, type Transaction } from 'kysely';
import { Pool } from 'pg';
import type { Database as Generated } from '../types/database.ts';

type Table = { Row: object; Insert: object; Update: object };

/** A table as the Supabase CLI describes it, as Kysely wants it: each column with what is read, inserted and updated. */
type KyselyTable<T extends Table> = {
  [C in keyof T['Row']]: ColumnType<
    T['Row'][C],
    C extends keyof T['Insert'] ? T['Insert'][C] : never,
    C extends keyof T['Update'] ? T['Update'][C] : never
  >;
};

type Tables = Generated['public']['Tables'];

/** The tables of `public`, named with their schema. */
export type WorkerTables = { [T in keyof Tables & string as `public.${T}`]: KyselyTable<Tables[T]> };

export type OrganizationTransaction = Transaction<WorkerTables>;

export interface Database {
  /**
   * Runs the callback in one transaction that row level security holds to this organization. There is no other way to the
   * tables: without the setting the worker's policies show nothing.
   */
  withOrganization<T>(organizationId: string, callback: (trx: OrganizationTransaction) => Promise<T>): Promise<T>;
  /** The schedules, and whether this worker has to run them (where pg_cron does not). */
  schedules(): Promise<{ name: string; cron: string }[]>;
  runSchedule(name: string): Promise<string>;
  close(): Promise<void>;
}

export function openDatabase(options: {
  connectionString: string;
  poolSize: number;
  onError: (error: Error) => void;
}): Database {
  const pool = new Pool({
    connectionString: options.connectionString,
    max: options.poolSize,
    application_name: 'fieldtrack-worker',
    connectionTimeoutMillis: 10_000,
  });
  // An idle connection that breaks (a restart of the database) is replaced on next use; unheard it would end the process.
  pool.on('error', options.onError);
  const kysely = new Kysely<WorkerTables>({ dialect: new PostgresDialect({ pool }) });

  return {
    withOrganization: (organizationId, callback) =>
      kysely.transaction().execute(async (trx) => {
        await sql`select set_config('fieldtrack.organization_id', ${organizationId}, true)`.execute(trx);
        return callback(trx);
      }),
    async schedules() {
      const { rows } = await sql<{ name: string; cron: string }>`
        select name, cron from private.schedules where not private.is_cron_usable() order by name
      `.execute(kysely);
      return rows;
    },
    async runSchedule(name) {
      const { rows } = await sql<{ outcome: string }>`select private.run_schedule(${name}) as outcome`.execute(kysely);
      return rows[0]?.outcome ?? 'done';
    },
    close: () => kysely.destroy(),
  };
}

import { Kysely, PostgresDialect, sql } from 'kysely';
import pg, { Pool } from 'pg';
import type { RequestSpan } from './tracing.ts';
import type { RecordedOutcome } from './webhooks/dispatcher.ts';
import type { ClaimedDelivery } from './webhooks/send.ts';

export interface Database {
  /**
   * Calls a function of `private` that takes the organization first and answers a word, in a transaction that row level
   * security holds to this organization.
   * There is no other way to the tables: without the setting the worker's policies show nothing. One statement, because a
   * job's cost is its round trips: begin, setting, call and commit as four of them halved the jobs a second.
   */
  callForOrganization(name: string, organizationId: string, ...others: unknown[]): Promise<string>;
  /**
   * The same database for one job: each of its transactions runs within this, which makes a span of it, and the events and jobs
   * that the transaction writes carry that span's context.
   */
  continuing(
    within: <T>(name: string, transaction: (traceparent: string | null) => Promise<T>) => Promise<T>,
  ): Database;
  /** The role that DATABASE_URL logs in as. */
  role(): Promise<string>;
  /** The schedules that this worker has to run: those of the table where pg_cron does not, else none. */
  schedules(): Promise<{ name: string; cron: string; time_zone: string; is_overdue: boolean }[]>;
  /** One run, cancelled by the database when it takes longer than the schedule allows. */
  runSchedule(name: string): Promise<string>;
  /** Connections of the pool that jobs use. */
  poolUse(): { idle: number; busy: number; waiting: number };
  /** Refreshes dashboards with new events, unless another worker does; answers how many it looked at. */
  refreshDashboards(): Promise<number>;
  /** Webhook deliveries that are due, of all organizations in fair turns, under a lease. */
  claimWebhookDeliveries(atMost: number, leaseSeconds: number): Promise<ClaimedDelivery[]>;
  /** Records what came of claimed deliveries; answers how many still held their lease. */
  recordWebhookAttempts(outcomes: readonly RecordedOutcome[]): Promise<number>;
  /** Spans that requests wrote down, each handed out once. */
  takeRequestSpans(atMost: number): Promise<RequestSpan[]>;
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
  // A connection that breaks (a restart of the database) is replaced on next use; unheard it would end the process. The pool
  // hears its idle ones only, and one in use tells its statement and then also nobody in particular.
  pool.on('connect', (client) => client.on('error', options.onError));
  pool.on('error', () => {});
  const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });

  const callForOrganization =
    (traceparent: string | null): Database['callForOrganization'] =>
    async (name, organizationId, ...others) => {
      const parameters = others.map((_, index) => `, $${index + 4}`).join('');
      // Prepared once a connection: parsing and planning it would cost as much as a small job.
      const { rows } = await pool.query<{ outcome: string }>({
        name: `${name}/${others.length}`,
        // Materialized: the settings are made before the call, and for its transaction only.
        text: `
          with settings as materialized (
            select set_config('fieldtrack.organization_id', $1, true), set_config('fieldtrack.traceparent', $2, true)
          )
          select private.${pg.escapeIdentifier(name)}($3${parameters}) as outcome from settings`,
        values: [organizationId, traceparent ?? '', organizationId, ...others],
      });
      return rows[0]?.outcome ?? 'gone';
    };

  const database: Database = {
    callForOrganization: callForOrganization(null),
    continuing: (within) => ({
      ...database,
      callForOrganization: (name, ...all) =>
        within(`private.${name}`, (traceparent) => callForOrganization(traceparent)(name, ...all)),
      runSchedule: (name) => within('private.run_schedule', () => database.runSchedule(name)),
    }),
    async role() {
      const { rows } = await sql<{ role: string }>`select current_user as role`.execute(kysely);
      return rows[0]?.role ?? '';
    },
    async schedules() {
      const { rows } = await sql<{ name: string; cron: string; time_zone: string; is_overdue: boolean }>`
        select name, cron, time_zone, is_overdue from private.schedule_report() where not private.is_cron_usable()
      `.execute(kysely);
      return rows;
    },
    runSchedule: (name) =>
      kysely.transaction().execute(async (trx) => {
        // A statement of its own: a timeout set within a statement does not count for it.
        await sql`
          select set_config('statement_timeout', (extract(epoch from max_duration) * 1000)::integer::text, true)
          from private.schedules where name = ${name}
        `.execute(trx);
        const { rows } = await sql<{ outcome: string }>`select private.run_schedule(${name}) as outcome`.execute(trx);
        return rows[0]?.outcome ?? 'done';
      }),
    poolUse: () => ({
      idle: pool.idleCount,
      busy: pool.totalCount - pool.idleCount,
      waiting: pool.waitingCount,
    }),
    async refreshDashboards() {
      const { rows } = await sql<{ refreshed: string }>`select private.refresh_dashboards() as refreshed`.execute(
        kysely,
      );
      return Number(rows[0]?.refreshed ?? 0);
    },
    async claimWebhookDeliveries(atMost, leaseSeconds) {
      const { rows } = await sql<ClaimedDelivery>`
        select * from private.claim_webhook_deliveries(${atMost}, ${leaseSeconds})
      `.execute(kysely);
      return rows;
    },
    async recordWebhookAttempts(outcomes) {
      const { rows } = await sql<{ recorded: number }>`
        select private.record_webhook_attempts(${JSON.stringify(outcomes)}) as recorded
      `.execute(kysely);
      return rows[0]?.recorded ?? 0;
    },
    async takeRequestSpans(atMost) {
      const { rows } = await sql<RequestSpan & { started_us: string; ended_us: string }>`
        select * from private.take_request_spans(${atMost})
      `.execute(kysely);
      // node-postgres gives a bigint as text; microseconds since 1970 are exact in a number until the year 2255.
      return rows.map((row) => ({ ...row, started_us: Number(row.started_us), ended_us: Number(row.ended_us) }));
    },
    async close() {
      await kysely.destroy();
      // Kysely ends a pool only if it has used it.
      if (!pool.ending) await pool.end();
    },
  };
  return database;
}

import { escapeIdentifier } from 'pg';
import { openPool } from './pool.ts';
import type { RequestSpan } from './tracing.ts';
import type { ClaimedDelivery, RecordedOutcome } from './webhooks/delivery.ts';

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
  const pool = openPool({
    connectionString: options.connectionString,
    max: options.poolSize,
    name: 'fieldtrack-worker',
    onError: options.onError,
  });

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
          select private.${escapeIdentifier(name)}($3${parameters}) as outcome from settings`,
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
      const { rows } = await pool.query<{ role: string }>('select current_user as role');
      return rows[0]?.role ?? '';
    },
    async schedules() {
      const { rows } = await pool.query<{ name: string; cron: string; time_zone: string; is_overdue: boolean }>(
        'select name, cron, time_zone, is_overdue from private.schedule_report() where not private.is_cron_usable()',
      );
      return rows;
    },
    async runSchedule(name) {
      const client = await pool.connect();
      let hasFailed = true;
      try {
        await client.query('begin');
        // A statement of its own: a timeout that is set within a statement does not count for that statement.
        await client.query(
          `select set_config('statement_timeout', (extract(epoch from max_duration) * 1000)::integer::text, true)
           from private.schedules where name = $1`,
          [name],
        );
        const { rows } = await client.query<{ outcome: string }>('select private.run_schedule($1) as outcome', [name]);
        await client.query('commit');
        hasFailed = false;
        return rows[0]?.outcome ?? 'done';
      } finally {
        // A connection that failed may be inside a transaction, so it is closed and not given back.
        client.release(hasFailed);
      }
    },
    poolUse: () => ({
      idle: pool.idleCount,
      busy: pool.totalCount - pool.idleCount,
      waiting: pool.waitingCount,
    }),
    async refreshDashboards() {
      const { rows } = await pool.query<{ refreshed: string }>('select private.refresh_dashboards() as refreshed');
      return Number(rows[0]?.refreshed ?? 0);
    },
    async claimWebhookDeliveries(atMost, leaseSeconds) {
      const { rows } = await pool.query<ClaimedDelivery>('select * from private.claim_webhook_deliveries($1, $2)', [
        atMost,
        leaseSeconds,
      ]);
      return rows;
    },
    async recordWebhookAttempts(outcomes) {
      const { rows } = await pool.query<{ recorded: number }>(
        'select private.record_webhook_attempts($1) as recorded',
        [JSON.stringify(outcomes)],
      );
      return rows[0]?.recorded ?? 0;
    },
    async takeRequestSpans(atMost) {
      const { rows } = await pool.query<RequestSpan & { started_us: string; ended_us: string }>(
        'select * from private.take_request_spans($1)',
        [atMost],
      );
      // node-postgres gives a bigint as text; microseconds since 1970 are exact in a number until the year 2255.
      return rows.map((row) => ({ ...row, started_us: Number(row.started_us), ended_us: Number(row.ended_us) }));
    },
    close: () => pool.end(),
  };
  return database;
}

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Sample } from './operators.ts';
import type { WebhookCounters } from './webhooks/dispatcher.ts';

const prefix = 'fieldtrack_';

type Family = { type: 'gauge' | 'counter'; help: string; labels: readonly string[] };

/** What private.metric_samples() answers. A test holds this list and the function together. */
export const databaseFamilies = {
  queue_jobs: { type: 'gauge', help: 'Jobs by queue and state.', labels: ['queue', 'state'] },
  queue_oldest_job_seconds: { type: 'gauge', help: 'How long the first due job has waited.', labels: ['queue'] },
  event_consumer_lag_rows: {
    type: 'gauge',
    help: 'Events that a reader of the log has not read.',
    labels: ['consumer'],
  },
  event_consumer_lag_seconds: { type: 'gauge', help: 'Age of the oldest event not read.', labels: ['consumer'] },
  horizon_age_seconds: {
    type: 'gauge',
    help: 'Age of the oldest transaction, prepared transaction and snapshot of the cluster. Event readers wait for the first two.',
    labels: ['kind', 'role'],
  },
  horizon_age_transactions: { type: 'gauge', help: 'The same in transactions.', labels: ['kind', 'role'] },
  schedule_runs_total: { type: 'counter', help: 'Runs of schedules.', labels: ['schedule', 'outcome'] },
  schedule_items_total: {
    type: 'counter',
    help: 'Things that a schedule did: sessions closed by forgotten-sessions, partitions made, rows purged.',
    labels: ['schedule'],
  },
  schedule_overdue: {
    type: 'gauge',
    help: '1: no success for two intervals and the longest run.',
    labels: ['schedule'],
  },
  schedule_last_success_timestamp_seconds: { type: 'gauge', help: 'When it last succeeded.', labels: ['schedule'] },
  schedule_last_duration_seconds: { type: 'gauge', help: 'How long its last run took.', labels: ['schedule'] },
  schedule_max_duration_seconds: { type: 'gauge', help: 'How long a run may take.', labels: ['schedule'] },
  loop_organizations_due: {
    type: 'gauge',
    help: 'Organizations with something due in a loop that serves all of them in turns.',
    labels: ['loop'],
  },
  loop_organizations_failing: {
    type: 'gauge',
    help: 'Organizations whose data stops their own turn.',
    labels: ['loop'],
  },
  loop_oldest_due_seconds: {
    type: 'gauge',
    help: 'How long the first of those that are due has waited.',
    labels: ['loop'],
  },
  location_partitions_missing: {
    type: 'gauge',
    help: 'Monthly partitions of gps_locations that should be there and are not.',
    labels: [],
  },
  locations_ingested_total: {
    type: 'counter',
    help: 'Points inserted, by partition, from the statistics of PostgreSQL.',
    labels: ['partition'],
  },
  locations_rejected_total: { type: 'counter', help: 'Points refused, by reason.', labels: ['reason'] },
  sessions_open: { type: 'gauge', help: 'Sessions that are open.', labels: [] },
  webhook_circuits: { type: 'gauge', help: 'Endpoints by the state of their circuit breaker.', labels: ['state'] },
  webhooks_disabled: { type: 'gauge', help: 'Webhooks that were disabled because they failed for days.', labels: [] },
  webhook_deliveries_pending: {
    type: 'gauge',
    help: 'Deliveries that are not settled, of webhooks that are on.',
    labels: [],
  },
  webhook_deliveries_late: { type: 'gauge', help: 'Those of them that are older than an hour.', labels: [] },
  webhook_oldest_delivery_seconds: {
    type: 'gauge',
    help: 'Age of the oldest delivery that is not settled.',
    labels: [],
  },
  retry_intents: { type: 'gauge', help: 'Dead jobs by what became of them.', labels: ['state'] },
  erasures_unfinished: { type: 'gauge', help: 'Erasures of people that are not done.', labels: [] },
  database_connections: { type: 'gauge', help: 'Client connections of the cluster by state.', labels: ['state'] },
  database_max_connections: { type: 'gauge', help: 'How many there may be.', labels: [] },
} as const satisfies Record<string, Family>;

/** Scrapers of one worker share an answer this old. */
const cacheMs = 2000;

export interface Metrics {
  jobDone(queue: string, outcome: string, durationSeconds: number): void;
  /** The page, in the format that the scraper asked for. */
  render(accept: string | undefined): Promise<{ contentType: string; body: string }>;
}

export function createMetrics(options: {
  samples: () => Promise<Sample[]>;
  poolUse: () => { idle: number; busy: number; waiting: number };
  webhooks: () => WebhookCounters;
  revision: string;
  /** Every queue that this worker serves, so that its series exist before its first job. */
  queues: readonly string[];
  onError: (error: unknown) => void;
}): Metrics {
  const registry = new Registry();
  const registers = [registry];

  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: `${prefix}build_info`,
    help: 'What is running; always 1.',
    labelNames: ['revision', 'node'],
    registers,
  }).set({ revision: options.revision, node: process.version }, 1);

  const jobs = new Counter({
    name: `${prefix}jobs_total`,
    help: 'Jobs by queue and outcome: failed, invalid (payload), or the word that the handler answered.',
    labelNames: ['queue', 'outcome'],
    registers,
  });
  const durations = new Histogram({
    name: `${prefix}job_duration_seconds`,
    help: 'How long jobs ran.',
    labelNames: ['queue'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers,
  });
  for (const queue of options.queues) {
    jobs.inc({ queue, outcome: 'failed' }, 0);
    durations.zero({ queue });
  }

  new Gauge({
    name: `${prefix}worker_pool_connections`,
    help: 'Connections of the pool that jobs use; waiting: jobs that wait for one.',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, value] of Object.entries(options.poolUse())) this.set({ state }, value);
    },
  });
  new Counter({
    name: `${prefix}webhook_attempts_total`,
    help: 'Attempts to deliver by outcome; late: recorded after their lease was taken over.',
    labelNames: ['outcome'],
    registers,
    collect() {
      const { inFlight: _, ...totals } = options.webhooks();
      this.reset();
      for (const [outcome, value] of Object.entries(totals)) this.inc({ outcome }, value);
    },
  });
  new Gauge({
    name: `${prefix}webhook_attempts_in_flight`,
    help: 'Attempts under way.',
    registers,
    collect() {
      this.set(options.webhooks().inFlight);
    },
  });
  const databaseUp = new Gauge({
    name: `${prefix}database_up`,
    help: '1 if the database answered this scrape; the families that come from it are absent otherwise.',
    registers,
  });

  const families = new Map<string, Gauge | Counter>();
  for (const [name, family] of Object.entries(databaseFamilies)) {
    const settings = { name: prefix + name, help: family.help, labelNames: family.labels, registers };
    families.set(name, family.type === 'counter' ? new Counter(settings) : new Gauge(settings));
  }

  let refreshedAt = Number.NEGATIVE_INFINITY;
  let refreshing: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    let samples: Sample[] = [];
    try {
      samples = await options.samples();
      databaseUp.set(1);
    } catch (error) {
      options.onError(error);
      databaseUp.set(0);
    }
    for (const family of families.values()) {
      family.reset();
      // A family without labels would be left with a 0 that nobody measured.
      family.remove({});
    }
    for (const { name, labels, value } of samples) {
      const family = families.get(name);
      // Counters of the database are totals; after a reset they begin at what the total is now.
      if (family instanceof Counter) family.inc(labels, value);
      else family?.set(labels, value);
    }
    refreshedAt = performance.now();
  }

  return {
    jobDone(queue, outcome, durationSeconds) {
      // A handler's word comes from its code; anything else would make series without end.
      jobs.inc({ queue, outcome: /^[a-z_]{1,30}$/.test(outcome) ? outcome : 'other' });
      durations.observe({ queue }, durationSeconds);
    },
    async render(accept) {
      if (performance.now() - refreshedAt > cacheMs) {
        refreshing ??= refresh().finally(() => {
          refreshing = undefined;
        });
        await refreshing;
      }
      const text = await registry.metrics();
      return accept?.includes('application/openmetrics-text')
        ? { contentType: Registry.OPENMETRICS_CONTENT_TYPE, body: openMetrics(text) }
        : { contentType: Registry.PROMETHEUS_CONTENT_TYPE, body: text };
    },
  };
}

/**
 * The same page as OpenMetrics: a counter's family is named without its _total, blank lines are not allowed, and the end is
 * marked. prom-client's own way renames the counters for good, so it cannot serve both formats.
 */
function openMetrics(text: string): string {
  const counters = new Set([...text.matchAll(/^# TYPE (\S+)_total counter$/gm)].map(([, name]) => name));
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) =>
      line.replace(/^(# (?:HELP|TYPE) )(\S+)_total /, (whole, start: string, name: string) =>
        counters.has(name) ? `${start}${name} ` : whole,
      ),
    );
  return `${lines.join('\n')}\n# EOF\n`;
}

import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { QueueName } from '../types/jobs.ts';
import type { Database } from './database.ts';
import { jobs } from './jobs/index.ts';
import type { JobDefinition } from './jobs/job.ts';
import { runJob } from './jobs/run.ts';
import { describeError } from './log.ts';
import type { Metrics } from './metrics.ts';
import { openQueueConnections } from './queue-connections.ts';
import type { Tracing } from './tracing.ts';

/** Long enough for the longest job in hand; what is not finished by then goes back to the queue. */
const stopTimeoutMs = 10_000;

export interface Queue {
  start(): Promise<void>;
  /** The queues that this worker works. */
  worked(): string[];
  stop(): Promise<void>;
}

export function createQueue(options: {
  connectionString: string;
  database: Database;
  log: Logger;
  metrics: Pick<Metrics, 'jobDone'>;
  tracing: Tracing;
}): Queue {
  const { database, log, metrics, tracing } = options;
  const connections = openQueueConnections({
    connectionString: options.connectionString,
    onError: (error) => log.warn({ err: describeError(error) }, 'database connection lost'),
  });
  const boss = new PgBoss({
    db: connections,
    // The schema is a migration of ours, and this role owns none of it: no migrating, no index rebuilding.
    migrate: false,
    createSchema: false,
    reindex: false,
    // Its table of statistics is partitioned by day, which takes the owner; and nothing here notifies.
    persistQueueStats: false,
    useListenNotify: false,
    // Its spans are of polls and batches; ours are of jobs, each in the trace of the request that asked for it.
    openTelemetry: { enabled: false },
    // A dead worker's jobs are found by their missing heartbeat when the queues are looked at.
    superviseIntervalSeconds: 10,
    monitorIntervalSeconds: 10,
  });
  boss.on('error', (error) => log.error({ err: describeError(error) }, 'queue error'));
  boss.on('warning', (warning) => log.warn({ warning: warning.message }, 'queue warning'));

  /** The queues that are worked, which readiness compares with the registry. */
  const worked = new Set<string>();

  async function work<Q extends QueueName>(job: JobDefinition<Q>): Promise<void> {
    await boss.work(
      job.queue,
      { ...job.options, burstWhenBatchFull: job.options.batchSize > 1, perJobResults: true },
      (batch) => Promise.all(batch.map((one) => runJob(job, one, { database, log, metrics, tracing }))),
    );
    worked.add(job.queue);
  }

  /** Schedules are the worker's where pg_cron does not serve the database; where it does, none may be left here. */
  async function keepSchedules(): Promise<void> {
    const wanted = await database.schedules();
    for (const { key } of await boss.getSchedules(jobs.schedule.queue)) {
      if (!wanted.some(({ name }) => name === key)) await boss.unschedule(jobs.schedule.queue, key);
    }
    for (const { name, cron, time_zone, is_overdue } of wanted) {
      await boss.schedule(jobs.schedule.queue, cron, { name }, { key: name, tz: time_zone, singletonKey: name });
      // While no worker ran, its times went by: it does not wait for the next one.
      if (is_overdue) await boss.send(jobs.schedule.queue, { name }, { singletonKey: name });
    }
    log.info({ schedules: wanted.length }, 'schedules run by this worker');
  }

  return {
    async start() {
      await boss.start();
      await keepSchedules();
      // The registry is the list. The compiler cannot know that a queue fits its own definition when it comes from an index.
      for (const job of Object.values(jobs) as JobDefinition<QueueName>[]) await work(job);
    },
    worked: () => [...worked],
    async stop() {
      await boss.stop({ graceful: true, timeout: stopTimeoutMs });
      await connections.close();
    },
  };
}

import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import { jobPayloads, type QueueName } from '../types/jobs.ts';
import type { Database } from './database.ts';
import { jobs } from './jobs/index.ts';
import type { JobDefinition } from './jobs/job.ts';
import { describeError } from './log.ts';
import type { Metrics } from './metrics.ts';
import { openQueueConnections } from './queue-connections.ts';
import { databaseCall, type Tracing } from './tracing.ts';

/** Long enough for the longest job in hand; what is not finished by then goes back to the queue. */
const stopTimeoutMs = 10_000;

export interface Queue {
  start(): Promise<void>;
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

  async function work<Q extends QueueName>(job: JobDefinition<Q>): Promise<void> {
    await boss.work(
      job.queue,
      { ...job.options, burstWhenBatchFull: job.options.batchSize > 1, perJobResults: true },
      (batch) =>
        Promise.all(
          batch.map(async ({ id, data, signal }) => {
            const began = performance.now();
            const seconds = () => (performance.now() - began) / 1000;
            // Said in each of its lines. A logger of its own would cost more than the line, and most jobs write one.
            let about: Record<string, string> = { queue: job.queue, job_id: id };
            const payload = jobPayloads[job.queue].safeParse(data);
            if (!payload.success) {
              // No retry mends it. Its content is not logged.
              log.error(about, 'payload is not valid');
              metrics.jobDone(job.queue, 'invalid', seconds());
              return { id, status: 'deadletter' as const, output: { error: 'payload is not valid' } };
            }
            try {
              // The registry pairs each queue with its own payload; the compiler cannot follow the pair through an index.
              const input = payload.data as Parameters<typeof job.handle>[0];
              const outcome = await tracing.span(
                {
                  name: `process ${job.queue}`,
                  kind: 'consumer',
                  parent: input.traceparent ?? null,
                  attributes: {
                    'messaging.system': 'pg-boss',
                    'messaging.destination.name': job.queue,
                    'messaging.operation.type': 'process',
                    'messaging.message.id': id,
                  },
                },
                (trace) => {
                  const organization = 'organization_id' in input ? { organization_id: input.organization_id } : {};
                  about = { ...about, ...organization, ...trace.ids };
                  return job.handle(input, {
                    id,
                    database: database.continuing((name, transaction) =>
                      tracing.span(databaseCall(name, trace.traceparent), (call) => transaction(call.traceparent)),
                    ),
                    get log() {
                      return log.child(about);
                    },
                    signal,
                  });
                },
              );
              metrics.jobDone(job.queue, outcome, seconds());
              log.info({ ...about, outcome, duration_ms: Math.round(seconds() * 1000) }, 'job done');
              return { id, status: 'completed' as const, output: { outcome } };
            } catch (error) {
              metrics.jobDone(job.queue, 'failed', seconds());
              const duration_ms = Math.round(seconds() * 1000);
              log.warn({ ...about, err: describeError(error), duration_ms }, 'job failed');
              return { id, status: 'failed' as const, output: { error: describeError(error) } };
            }
          }),
        ),
    );
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
      await work(jobs.distance);
      await work(jobs['distance-dead']);
      await work(jobs.analytics);
      await work(jobs['analytics-dead']);
      await work(jobs.schedule);
    },
    async stop() {
      await boss.stop({ graceful: true, timeout: stopTimeoutMs });
      await connections.close();
    },
  };
}

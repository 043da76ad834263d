import type { Logger } from 'pino';
import { jobPayloads, type QueueName } from '../../types/jobs.ts';
import type { Database } from '../database.ts';
import { describeError } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { databaseCall, type Tracing } from '../tracing.ts';
import type { JobDefinition } from './job.ts';

export interface RunDependencies {
  database: Database;
  log: Logger;
  metrics: Pick<Metrics, 'jobDone'>;
  tracing: Tracing;
}

/** A job as pg-boss hands it out. */
export interface ReceivedJob {
  id: string;
  data: unknown;
  signal: AbortSignal;
}

/** What pg-boss does with the job afterwards. */
export type Verdict = { id: string; status: 'completed' | 'failed' | 'deadletter'; output: object };

/** Runs one job within a span, says so in one line of the log and in the metrics, and answers what becomes of it. */
export async function runJob<Q extends QueueName>(
  job: JobDefinition<Q>,
  { id, data, signal }: ReceivedJob,
  { database, log, metrics, tracing }: RunDependencies,
): Promise<Verdict> {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  // Said in each of its lines. A logger of its own would cost more than the line, and most jobs write one.
  let about: Record<string, string> = { queue: job.queue, job_id: id };

  const payload = jobPayloads[job.queue].safeParse(data);
  if (!payload.success) {
    // No retry repairs it. Its content is not logged.
    log.error(about, 'payload is not valid');
    metrics.jobDone(job.queue, 'invalid', seconds());
    return { id, status: 'deadletter', output: { error: 'payload is not valid' } };
  }
  // The registry pairs each queue with its own payload; the compiler cannot follow the pair through an index.
  const input = payload.data as Parameters<typeof job.handle>[0];

  try {
    const outcome = await tracing.span(spanOf(job.queue, id, input.traceparent ?? null), (trace) => {
      const organization = 'organization_id' in input ? { organization_id: input.organization_id } : {};
      about = { ...about, ...organization, ...trace.ids };
      const traced = database.continuing((name, transaction) =>
        tracing.span(databaseCall(name, trace.traceparent), (call) => transaction(call.traceparent)),
      );
      return job.handle(input, {
        id,
        database: traced,
        get log() {
          return log.child(about);
        },
        signal,
      });
    });
    metrics.jobDone(job.queue, outcome, seconds());
    log.info({ ...about, outcome, duration_ms: Math.round(seconds() * 1000) }, 'job done');
    return { id, status: 'completed', output: { outcome } };
  } catch (error) {
    metrics.jobDone(job.queue, 'failed', seconds());
    log.warn({ ...about, err: describeError(error), duration_ms: Math.round(seconds() * 1000) }, 'job failed');
    return { id, status: 'failed', output: { error: describeError(error) } };
  }
}

const spanOf = (queue: string, id: string, parent: string | null) => ({
  name: `process ${queue}`,
  kind: 'consumer' as const,
  parent,
  attributes: {
    'messaging.system': 'pg-boss',
    'messaging.destination.name': queue,
    'messaging.operation.type': 'process',
    'messaging.message.id': id,
  },
});

import type { Logger } from 'pino';
import type { JobPayload, QueueName } from '../../types/jobs.ts';
import type { Database } from '../database.ts';

export interface JobContext {
  /** The job's id in pg-boss. */
  id: string;
  database: Database;
  log: Logger;
  /** Aborted when the job's time is over or the worker stops: nothing new should begin. */
  signal: AbortSignal;
}

/** How a queue is worked. Retries, expiry and dead letter belong to the queue itself and stand in its migration. */
export interface JobOptions {
  batchSize: number;
  localConcurrency: number;
  pollingIntervalSeconds: number;
}

export interface JobDefinition<Q extends QueueName> {
  queue: Q;
  options: JobOptions;
  /** Returns a word for the log. Returns when there is nothing to do; throws to be retried. */
  handle(payload: JobPayload<Q>, context: JobContext): Promise<string>;
}

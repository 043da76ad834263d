import type { QueueName } from '../../types/jobs.ts';
import type { JobDefinition } from './job.ts';

type DeadQueue = Extract<QueueName, `${string}-dead`>;

/** The handler of a dead-letter queue: each job becomes its organization's retry intent, which a schedule replays. */
export function deadLetters<Q extends DeadQueue>(queue: Q): JobDefinition<Q> {
  return {
    queue,
    options: {
      batchSize: 1,
      localConcurrency: 1,
      // Nobody waits for it.
      pollingIntervalSeconds: 5,
    },
    async handle(payload, { id, database, log }) {
      const outcome = await database.callForOrganization('keep_dead_job', payload.organization_id, queue, id);
      const { traceparent: _, ...ids }: Record<string, unknown> = payload;
      log.error({ ...ids, outcome }, 'job gave up');
      return outcome;
    },
  };
}

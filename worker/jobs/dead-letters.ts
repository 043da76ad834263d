import { sql } from 'kysely';
import type { JobPayload, QueueName } from '../../types/jobs.ts';
import type { OrganizationTransaction } from '../database.ts';
import type { JobDefinition } from './job.ts';

type DeadQueue = Extract<QueueName, `${string}-dead`>;

/**
 * The handler of a dead-letter queue: each job becomes its organization's retry intent, which an administrator sees and a
 * schedule replays. What else a death means is said by `also`, in the same transaction.
 */
export function deadLetters<Q extends DeadQueue>(
  queue: Q,
  also: (trx: OrganizationTransaction, payload: JobPayload<Q>) => Promise<unknown> = async () => {},
): JobDefinition<Q> {
  return {
    queue,
    options: {
      batchSize: 1,
      localConcurrency: 1,
      // Nobody waits for it.
      pollingIntervalSeconds: 5,
    },
    calls: () => 'private.keep_dead_job',
    async handle(payload, { id, database, log }) {
      const { organization_id } = payload;
      const outcome = await database.withOrganization(organization_id, async (trx) => {
        await also(trx, payload);
        const { rows } = await sql<{ outcome: string }>`
          select private.keep_dead_job(${organization_id}, ${queue}, ${id}) as outcome
        `.execute(trx);
        return rows[0]?.outcome ?? 'gone';
      });
      // Payloads are ids.
      const ids: Record<string, unknown> = payload;
      log.error({ ...ids, outcome }, 'job gave up');
      return outcome;
    },
  };
}

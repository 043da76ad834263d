import { sql } from 'kysely';
import type { JobDefinition } from './job.ts';

/** A distance job used up its retries: the session says so, and an administrator sees it. */
export const distanceDead: JobDefinition<'distance-dead'> = {
  queue: 'distance-dead',
  options: {
    batchSize: 1,
    localConcurrency: 1,
    // Nobody waits for it.
    pollingIntervalSeconds: 5,
  },
  async handle({ organization_id, session_id }, { database, log }) {
    await database.withOrganization(organization_id, (trx) =>
      sql`select private.fail_session_distance(${organization_id}, ${session_id})`.execute(trx),
    );
    log.error({ organization_id, session_id }, 'distance gave up');
    return 'marked';
  },
};

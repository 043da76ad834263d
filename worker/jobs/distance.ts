import type { JobDefinition } from './job.ts';

/** Computes the distance of a closed session and its days; private.compute_session_distance says how. */
export const distance: JobDefinition<'distance'> = {
  queue: 'distance',
  options: {
    // A job takes milliseconds and its cost is the round trips: five a fetch, and fetching goes on while batches are full.
    // With pg-boss's default of one job a poll, 200 jobs waited 2.4 s at the median.
    batchSize: 5,
    // One per core is enough: the work is done by the database.
    localConcurrency: 2,
    // The smallest pg-boss takes; an administrator looks a second after a check-out.
    pollingIntervalSeconds: 0.5,
  },
  async handle({ organization_id, session_id }, { database, signal }) {
    signal.throwIfAborted();
    return database.callForOrganization('compute_session_distance', organization_id, session_id);
  },
};

import type { JobDefinition } from './job.ts';

/** Recomputes a person's day, or the organization's; the chapter of analytics says how the one follows the other. */
export const analytics: JobDefinition<'analytics'> = {
  queue: 'analytics',
  options: {
    // As for the distance: milliseconds each, so round trips are the cost.
    batchSize: 5,
    localConcurrency: 2,
    pollingIntervalSeconds: 0.5,
  },
  async handle({ organization_id, employee_id, day }, { database, signal }) {
    signal.throwIfAborted();
    return employee_id === null
      ? database.callForOrganization('compute_organization_day', organization_id, day)
      : database.callForOrganization('compute_employee_day', organization_id, employee_id, day);
  },
};

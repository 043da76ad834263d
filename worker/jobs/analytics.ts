import { sql } from 'kysely';
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
  calls: ({ employee_id }) => (employee_id ? 'private.compute_employee_day' : 'private.compute_organization_day'),
  handle: ({ organization_id, employee_id, day }, { database, signal }) =>
    database.withOrganization(organization_id, async (trx) => {
      signal.throwIfAborted();
      const { rows } = await sql<{ outcome: string }>`
        select case when ${employee_id}::uuid is null
          then private.compute_organization_day(${organization_id}, ${day})
          else private.compute_employee_day(${organization_id}, ${employee_id}, ${day}) end as outcome
      `.execute(trx);
      return rows[0]?.outcome ?? 'gone';
    }),
};

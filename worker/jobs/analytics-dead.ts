import type { JobDefinition } from './job.ts';

/** A day's figures used up their retries. The next change of the day computes them anew; until then they are old. */
export const analyticsDead: JobDefinition<'analytics-dead'> = {
  queue: 'analytics-dead',
  options: {
    batchSize: 1,
    localConcurrency: 1,
    // Nobody waits for it.
    pollingIntervalSeconds: 5,
  },
  async handle({ organization_id, employee_id, day }, { log }) {
    log.error({ organization_id, employee_id, day }, 'analytics gave up');
    return 'logged';
  },
};

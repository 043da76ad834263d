import type { JobDefinition } from './job.ts';

/** Runs a schedule of private.schedules by its name; jobs come here only where pg_cron does not serve the database. */
export const schedule: JobDefinition<'schedule'> = {
  queue: 'schedule',
  options: {
    batchSize: 1,
    localConcurrency: 1,
    // Cron has the precision of a minute.
    pollingIntervalSeconds: 5,
  },
  handle: ({ name }, { database }) => database.runSchedule(name),
};

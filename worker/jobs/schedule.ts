import type { JobDefinition } from './job.ts';

/** Runs a schedule of private.schedules by its name; jobs come here only where pg_cron does not serve the database. */
export const schedule: JobDefinition<'schedule'> = {
  queue: 'schedule',
  options: {
    // After a start all of them may be due at once; one a poll would take minutes to come round.
    batchSize: 4,
    localConcurrency: 1,
    // Cron has the precision of a minute.
    pollingIntervalSeconds: 5,
  },
  async handle({ name }, { database }) {
    const outcome = await database.runSchedule(name);
    // Its history says why; the job fails too, so that the log and the metrics of jobs tell.
    if (outcome === 'failed') throw new Error('the schedule failed');
    return outcome;
  },
};

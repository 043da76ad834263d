import type { Logger } from 'pino';
import type { Database } from './database.ts';
import { createLoop, type Loop } from './loop.ts';

/** How long a dashboard may be behind its events, besides the refresh itself. */
const intervalMs = 250;
const pauseMs = 2000;

/**
 * Refreshes the dashboards of organizations with new events. Not a queue: the log itself says what is to do, and its consumer's
 * position says how far it is done. Of several workers one does it at a time; the others' tries answer at once.
 */
export function createSnapshotLoop(options: { database: Pick<Database, 'refreshDashboards'>; log: Logger }): Loop {
  const { database, log } = options;
  return createLoop({
    async step() {
      await database.refreshDashboards();
      return intervalMs;
    },
    pauseMs,
    log,
    failure: 'dashboards were not refreshed',
  });
}

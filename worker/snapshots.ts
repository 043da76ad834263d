import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Database } from './database.ts';
import { describeError } from './log.ts';

/** How long a dashboard may be behind its events, besides the refresh itself. */
const intervalMs = 250;
/** After a failure (the database restarts): no hurry. */
const pauseMs = 2000;

export interface SnapshotLoop {
  start(): void;
  stop(): Promise<void>;
}

/**
 * Refreshes the dashboards of organizations with new events. Not a queue: the log itself says what is to do, and its consumer's
 * position says how far it is done. Of several workers one does it at a time; the others' tries answer at once.
 */
export function createSnapshotLoop(options: {
  database: Pick<Database, 'refreshDashboards'>;
  log: Logger;
}): SnapshotLoop {
  const { database, log } = options;
  const stopped = new AbortController();
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      let waitMs = intervalMs;
      try {
        await database.refreshDashboards();
      } catch (error) {
        log.warn({ err: describeError(error) }, 'dashboards were not refreshed');
        waitMs = pauseMs;
      }
      // Aborted by stop(): the loop then ends by its condition.
      await setTimeout(waitMs, undefined, { signal: stopped.signal }).catch(() => {});
    }
  }

  return {
    start() {
      running ??= run();
    },
    async stop() {
      stopped.abort();
      await running;
    },
  };
}

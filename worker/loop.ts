import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import { describeError } from './log.ts';

export interface Loop {
  start(): void;
  /** Lets the step in hand end. */
  stop(): Promise<void>;
}

/** Does a step again and again; each answers how long to wait for the next. After one that failed (the database restarts) no hurry. */
export function createLoop(options: {
  step: () => Promise<number>;
  pauseMs: number;
  log: Logger;
  /** What the log says of a step that failed. */
  failure: string;
}): Loop {
  const { step, pauseMs, log, failure } = options;
  const stopped = new AbortController();
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      const waitMs = await step().catch((error: unknown) => {
        log.warn({ err: describeError(error) }, failure);
        return pauseMs;
      });
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

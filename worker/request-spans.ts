import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Database } from './database.ts';
import { describeError } from './log.ts';
import type { Tracing } from './tracing.ts';

/** How long a span waits at most; also how often the database hears that somebody wants them. */
const intervalMs = 1000;
/** Spans a fetch; fewer than what the exporter lets wait, which drops the rest. */
const batchSize = 500;
const pauseMs = 5000;

export interface RequestSpanLoop {
  start(): void;
  stop(): Promise<void>;
}

/**
 * Sends the spans that requests left in the database to the collector. Deleted before they are sent: one that is lost on the
 * way is no loss that anybody should wait for.
 */
export function createRequestSpanLoop(options: {
  database: Pick<Database, 'takeRequestSpans'>;
  tracing: Pick<Tracing, 'requests'>;
  log: Logger;
}): RequestSpanLoop {
  const { database, tracing, log } = options;
  const stopped = new AbortController();
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      let waitMs = intervalMs;
      try {
        const spans = await database.takeRequestSpans(batchSize);
        tracing.requests(spans);
        // More wait: what the exporter cannot take it drops, and the table does not grow.
        if (spans.length === batchSize) waitMs = 0;
      } catch (error) {
        log.warn({ err: describeError(error) }, 'spans of requests were not fetched');
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

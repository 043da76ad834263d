import type { Logger } from 'pino';
import type { Database } from './database.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Tracing } from './tracing.ts';

/** How long a span waits at most; also how often the database hears that somebody wants them. */
const intervalMs = 1000;
/** Spans a fetch; fewer than what the exporter lets wait, which drops the rest. */
const batchSize = 500;
const pauseMs = 5000;

/**
 * Sends the spans that requests left in the database to the collector. Deleted before they are sent: one that is lost on the
 * way is no loss that anybody should wait for.
 */
export function createRequestSpanLoop(options: {
  database: Pick<Database, 'takeRequestSpans'>;
  tracing: Pick<Tracing, 'requests'>;
  log: Logger;
}): Loop {
  const { database, tracing, log } = options;
  return createLoop({
    async step() {
      const spans = await database.takeRequestSpans(batchSize);
      tracing.requests(spans);
      // More wait: what the exporter cannot take it drops, and the table does not grow.
      return spans.length === batchSize ? 0 : intervalMs;
    },
    pauseMs,
    log,
    failure: 'spans of requests were not fetched',
  });
}

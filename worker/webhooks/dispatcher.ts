import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Database } from '../database.ts';
import { describeError } from '../log.ts';
import { noTracing, type Tracing } from '../tracing.ts';
import { realNetwork } from './connect.ts';
import type { ClaimedDelivery, RecordedOutcome } from './delivery.ts';
import { createSender, type Sender } from './send.ts';

/** Longer than the longest attempt and its recording; a delivery whose sender died is tried again after it. */
const leaseSeconds = 30;
/** Sockets of one worker. Who may have how many of them is decided in private.claim_webhook_deliveries. */
const maxInFlight = 256;
/** A quarter at a time, so that under load one is claimed while others are sent and recorded. */
const maxPerClaim = maxInFlight / 4;
/** How long a new event waits at most for an idle worker. */
const pollMs = 100;
/** Where very many endpoints wait for later, looking for what is due takes time: it must not take more than this share. */
const pollShare = 0.1;
/** After a claim that brought less than it might have, the sender rests as long as it took, at most so long. */
const longestRestMs = 20;
const retryDatabaseMs = 1000;
/** Attempts in hand get so long to end when the worker stops; the others' leases run out. */
const stopGraceMs = 8000;

export interface WebhookCounters {
  delivered: number;
  failed: number;
  /** Outcomes that came after their lease was taken over, or whose webhook was deleted meanwhile. */
  late: number;
  inFlight: number;
}

export interface WebhookDispatcher {
  start(): void;
  stop(): Promise<void>;
  counters(): WebhookCounters;
}

/**
 * Claims due deliveries, sends them, records what came of them. The rows are the queue: there is no job for a delivery, so none
 * can be lost or left over. Claiming and recording are short transactions, sending is in neither.
 */
export function createWebhookDispatcher(options: {
  database: Database;
  log: Logger;
  tracing?: Tracing;
  sender?: Sender;
}): WebhookDispatcher {
  const { database, log } = options;
  const tracing = options.tracing ?? noTracing;
  const sender = options.sender ?? createSender(realNetwork);
  const attempts = new Set<Promise<void>>();
  /** Claimed and not yet recorded. */
  let inFlight = 0;
  const counters = { delivered: 0, failed: 0, late: 0 };
  let outcomes: RecordedOutcome[] = [];
  let stopping = false;
  let isAbandoned = false;
  let claiming: Promise<void> = Promise.resolve();
  let recording: Promise<void> | undefined;
  /** Something was recorded since the last claim began: an endpoint may have room again. */
  let isNews = false;
  let endPause = () => {};

  const wake = () => {
    isNews = true;
    endPause();
  };

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  async function claimLoop(): Promise<void> {
    while (!stopping) {
      isNews = false;
      if (maxInFlight - inFlight < maxPerClaim) {
        await pause(pollMs);
        // News: more come free in a moment. None: those under way hang, and what is left is used.
        if (isNews || inFlight === maxInFlight) continue;
      }
      try {
        const atMost = Math.min(maxPerClaim, maxInFlight - inFlight);
        const began = performance.now();
        const claimed = await database.claimWebhookDeliveries(atMost, leaseSeconds);
        const tookMs = performance.now() - began;
        inFlight += claimed.length;
        for (const delivery of claimed) begin(delivery);
        if (claimed.length === atMost) continue;
        // Whatever the news, so that the next one brings many: each looks at every endpoint.
        await sleep(Math.min(tookMs, longestRestMs));
        if (!stopping && !isNews) await pause(Math.max(pollMs, tookMs / pollShare));
      } catch (error) {
        log.warn({ err: describeError(error) }, 'webhook deliveries cannot be claimed');
        if (!stopping) await pause(retryDatabaseMs);
      }
    }
  }

  function begin(delivery: ClaimedDelivery): void {
    const attempt = attemptDelivery(delivery).finally(() => attempts.delete(attempt));
    attempts.add(attempt);
  }

  async function attemptDelivery(delivery: ClaimedDelivery): Promise<void> {
    const { organization_id, delivery_id, webhook_id, lease } = delivery;
    // What the endpoint gets is the attempt's own span, in the trace of the request that caused the event.
    const { outcome, ids } = await tracing.span(
      {
        name: 'deliver webhook',
        kind: 'client',
        parent: delivery.traceparent,
        attributes: { 'http.request.method': 'POST', 'http.request.resend_count': delivery.attempt - 1 },
      },
      async (trace) => ({
        outcome: await sender.send({ ...delivery, traceparent: trace.traceparent }),
        ids: trace.ids,
      }),
    );
    // Nobody knows whether it arrived; it is tried again when the lease has run out.
    if (isAbandoned) return;
    counters[outcome.error === null ? 'delivered' : 'failed'] += 1;
    const { response: _, ...facts } = outcome;
    log[outcome.error === null ? 'debug' : 'info'](
      { organization_id, webhook_id, delivery_id, attempt: delivery.attempt, ...facts, ...ids },
      'webhook attempt',
    );
    outcomes.push({ organization_id, webhook_id, delivery_id, lease, ...outcome });
    recording ??= recordAll();
  }

  /** What ends while a batch is recorded makes up the next one, so batches grow with the load. */
  async function recordAll(): Promise<void> {
    while (outcomes.length > 0) {
      const batch = outcomes;
      outcomes = [];
      try {
        counters.late += batch.length - (await database.recordWebhookAttempts(batch));
      } catch (error) {
        log.warn({ err: describeError(error), outcomes: batch.length }, 'webhook attempts cannot be recorded');
        await recordOneByOne(batch);
      }
      inFlight -= batch.length;
      wake();
    }
    // In the same tick as the last look: an outcome that comes now starts a recording of its own.
    recording = undefined;
  }

  /** A database that is away comes back within a lease, mostly; and one bad outcome must not take its batch with it. */
  async function recordOneByOne(batch: readonly RecordedOutcome[]): Promise<void> {
    const deadline = performance.now() + leaseSeconds * 1000;
    for (const outcome of batch) {
      for (let recorded = false; !recorded && performance.now() < deadline; ) {
        try {
          counters.late += 1 - (await database.recordWebhookAttempts([outcome]));
          recorded = true;
        } catch (error) {
          const { delivery_id } = outcome;
          log.warn({ err: describeError(error), delivery_id }, 'webhook attempt cannot be recorded');
          // Class 22: the value itself is at fault, and another try would find it so again.
          if (describeError(error).code?.startsWith('22')) break;
          await new Promise((resolve) => setTimeout(resolve, retryDatabaseMs));
        }
      }
    }
  }

  return {
    start() {
      claiming = claimLoop();
    },
    async stop() {
      stopping = true;
      wake();
      const grace = setTimeout(() => {
        isAbandoned = true;
        void sender.close();
      }, stopGraceMs);
      await claiming;
      await Promise.allSettled(attempts);
      await recording;
      clearTimeout(grace);
      await sender.close();
    },
    counters: () => ({ ...counters, inFlight }),
  };
}

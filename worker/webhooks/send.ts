import { createHmac, createSecretKey } from 'node:crypto';
import { Agent, type Dispatcher } from 'undici';
import { AddressRefusedError, guardedConnector, type Network } from './connect.ts';
import type { ClaimedDelivery, SendError, SendOutcome } from './delivery.ts';

export interface Sender {
  send(delivery: ClaimedDelivery): Promise<SendOutcome>;
  /** Ends what is under way: those attempts settle as failures of their connection. */
  close(): Promise<void>;
}

/** In all: name, connection, answer, however slowly it drips. */
const timeoutMs = 10_000;
const readAtMostBytes = 64 * 1024;
const keepAtMostBytes = 4 * 1024;

/** Hosts that may be this machine where the installation allows it (private.webhook_settings). */
const localHosts = new Set(['localhost', '127.0.0.1', '[::1]']);

export function signatures(id: string, timestamp: string, body: string, secrets: readonly string[]): string {
  return secrets
    .map((secret) => {
      // A key object: of bytes createHmac first asks whether they are one, which takes longer than the rest (22 us, so 6 us).
      const key = createSecretKey(secret.slice('whsec_'.length), 'base64');
      return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
    })
    .join(' ');
}

export function createSender(network: Network, limits: { timeoutMs: number } = { timeoutMs }): Sender {
  const agentFor = (reach: 'public' | 'loopback') =>
    new Agent({
      connect: guardedConnector(network, reach),
      // As many as are under way: webhooks of several organizations may share a host, and one that hangs must not hold the
      // connections of another. How many are under way is limited where they are claimed.
      connections: null,
      pipelining: 1,
      allowH2: false,
      // One clock for all of it, below.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  const publicAgent = agentFor('public');
  const localAgent = agentFor('loopback');

  return {
    async send(delivery) {
      const began = performance.now();
      const url = new URL(delivery.url);
      const isLocal = delivery.allow_localhost && localHosts.has(url.hostname);
      const answer = await post(url, delivery, isLocal ? localAgent : publicAgent, limits.timeoutMs);
      return {
        status: answer.status,
        error: answer.error,
        response: textOf(answer.kept),
        retry_after_s: answer.error === null ? null : retryAfterSeconds(answer.retryAfter, Date.now()),
        duration_ms: Math.round(performance.now() - began),
      };
    },
    async close() {
      await Promise.all([publicAgent.destroy(), localAgent.destroy()]);
    },
  };
}

interface Answer {
  status: number | null;
  error: SendError | null;
  kept: Buffer[];
  retryAfter: string | undefined;
}

/** undici's own events rather than its streams: half the cost of an attempt, and the clock can end it at any stage. */
function post(url: URL, delivery: ClaimedDelivery, dispatcher: Dispatcher, patienceMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    const answer: Answer = { status: null, error: null, kept: [], retryAfter: undefined };
    let connection: Dispatcher.DispatchController | undefined;
    let isSettled = false;
    let readBytes = 0;
    let keptBytes = 0;

    const settle = (error: SendError | null) => {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(clock);
      resolve({ ...answer, error });
    };
    /** Settled by us: the connection is of no use any more. */
    const leave = (error: SendError | null) => {
      settle(error);
      connection?.abort(new Error('left'));
    };
    const clock = setTimeout(() => leave('timeout'), patienceMs);

    // The database's time, a moment ago: receivers refuse what a worker with a wrong clock would write.
    const timestamp = String(delivery.claimed_at_s);
    try {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: 'POST',
          body: delivery.body,
          headers: {
            'content-type': 'application/json',
            'user-agent': 'FieldTrack-Webhooks/1',
            'webhook-id': delivery.delivery_id,
            'webhook-timestamp': timestamp,
            'webhook-signature': signatures(delivery.delivery_id, timestamp, delivery.body, delivery.secrets),
            ...(delivery.traceparent ? { traceparent: delivery.traceparent } : {}),
          },
        },
        {
          onRequestStart(controller) {
            connection = controller;
            // The time was over before there was a connection: nothing is sent any more.
            if (isSettled) controller.abort(new Error('left'));
          },
          onResponseStart(_controller, status, headers) {
            answer.status = status;
            const retryAfter = headers['retry-after'];
            answer.retryAfter = Array.isArray(retryAfter) ? retryAfter[0] : retryAfter;
          },
          onResponseData(_controller, chunk) {
            if (keptBytes < keepAtMostBytes) {
              // A copy: the buffer is the connection's.
              const part = Buffer.from(chunk.subarray(0, keepAtMostBytes - keptBytes));
              answer.kept.push(part);
              keptBytes += part.length;
            }
            readBytes += chunk.length;
            // Nobody makes us read ten megabytes.
            if (readBytes >= readAtMostBytes) leave(verdict(answer.status));
          },
          onResponseEnd() {
            settle(verdict(answer.status));
          },
          onResponseError(_controller, error) {
            settle(kindOf(error, answer.status !== null));
          },
        },
      );
    } catch (error) {
      settle(kindOf(error, false));
    }
  });
}

function verdict(status: number | null): SendError | null {
  if (status !== null && status >= 200 && status < 300) return null;
  return status !== null && status >= 300 && status < 400 ? 'redirect' : 'status';
}

function kindOf(error: unknown, answered: boolean): SendError {
  if (error instanceof AddressRefusedError) return 'address_refused';
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (/^(ENOTFOUND|ENODATA|ESERVFAIL|EREFUSED|EBADNAME|EBADRESP|ETIMEOUT|ECANCELLED|EAI_AGAIN)$/.test(code))
    return 'dns';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'timeout';
  if (/^(ERR_TLS|ERR_SSL|CERT_|DEPTH_|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code)) return 'tls';
  return answered ? 'closed' : 'connection';
}

/** Text that PostgreSQL takes: no NUL, and what is no UTF-8 replaced. */
function textOf(chunks: readonly Buffer[]): string | null {
  if (chunks.length === 0) return null;
  return Buffer.concat(chunks).toString('utf8').replaceAll('\0', '\uFFFD').toWellFormed();
}

/** Retry-After in either of its forms: seconds, or a date. */
export function retryAfterSeconds(value: string | undefined, nowMs: number): number | null {
  if (value === undefined) return null;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value);
  // Date.parse takes nearly anything for a date.
  const dateMs = /^[A-Z][a-z]{2}, .* GMT$/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(dateMs) ? null : Math.max(0, (dateMs - nowMs) / 1000);
}

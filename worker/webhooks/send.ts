import { createHmac } from 'node:crypto';
import { Agent, type Dispatcher, request } from 'undici';
import { AddressRefusedError, guardedConnector, type Network } from './connect.ts';

/** A delivery as private.claim_webhook_deliveries hands it out. */
export interface ClaimedDelivery {
  organization_id: string;
  delivery_id: string;
  webhook_id: string;
  lease: string;
  attempt: number;
  url: string;
  body: string;
  secrets: string[];
  traceparent: string | null;
  allow_localhost: boolean;
}

export type SendError = 'status' | 'redirect' | 'timeout' | 'dns' | 'address_refused' | 'tls' | 'connection' | 'closed';

/** What came of an attempt; null as error is success. */
export interface SendOutcome {
  status: number | null;
  error: SendError | null;
  response: string | null;
  retry_after_s: number | null;
  duration_ms: number;
}

export interface Sender {
  send(delivery: ClaimedDelivery, signal: AbortSignal): Promise<SendOutcome>;
  close(): Promise<void>;
}

/** In all: name, connection, answer, however slowly it drips. */
const timeoutMs = 10_000;
const readAtMostBytes = 64 * 1024;
const keepAtMostBytes = 4 * 1024;
/** max_in_flight of an endpoint is at most 20. */
const connectionsPerOrigin = 20;

/** Hosts that may be this machine where the installation allows it (private.webhook_settings). */
const localHosts = new Set(['localhost', '127.0.0.1', '[::1]']);

export function signatures(id: string, timestamp: string, body: string, secrets: readonly string[]): string {
  return secrets
    .map((secret) => {
      const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
      return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
    })
    .join(' ');
}

export function createSender(network: Network, limits: { timeoutMs: number } = { timeoutMs }): Sender {
  const agentFor = (reach: 'public' | 'loopback') =>
    new Agent({
      connect: guardedConnector(network, reach),
      connections: connectionsPerOrigin,
      pipelining: 1,
      allowH2: false,
      // One clock for all of it, below.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  const publicAgent = agentFor('public');
  const localAgent = agentFor('loopback');

  return {
    async send(delivery, signal) {
      const began = performance.now();
      const timeout = new AbortController();
      const timer = setTimeout(() => timeout.abort(), limits.timeoutMs);
      const progress: Progress = { status: null, kept: [], retryAfter: undefined };
      let error: SendError | null;
      try {
        const url = new URL(delivery.url);
        const isLocal = delivery.allow_localhost && localHosts.has(url.hostname);
        const dispatcher = isLocal ? localAgent : publicAgent;
        error = await post(url, delivery, dispatcher, AbortSignal.any([timeout.signal, signal]), progress);
      } catch (thrown) {
        error = timeout.signal.aborted ? 'timeout' : kindOf(thrown, progress.status !== null);
      } finally {
        clearTimeout(timer);
      }
      return {
        status: progress.status,
        error,
        response: textOf(progress.kept),
        retry_after_s: error === null ? null : retryAfterSeconds(progress.retryAfter, Date.now()),
        duration_ms: Math.round(performance.now() - began),
      };
    },
    async close() {
      await Promise.all([publicAgent.destroy(), localAgent.destroy()]);
    },
  };
}

/** What is known so far: an answer may break off after its status. */
interface Progress {
  status: number | null;
  kept: Buffer[];
  retryAfter: string | undefined;
}

async function post(
  url: URL,
  delivery: ClaimedDelivery,
  dispatcher: Dispatcher,
  signal: AbortSignal,
  progress: Progress,
): Promise<SendError | null> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const answer = await request(url, {
    dispatcher,
    method: 'POST',
    signal,
    body: delivery.body,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'FieldTrack-Webhooks/1',
      'webhook-id': delivery.delivery_id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signatures(delivery.delivery_id, timestamp, delivery.body, delivery.secrets),
      ...(delivery.traceparent ? { traceparent: delivery.traceparent } : {}),
    },
  });
  progress.status = answer.statusCode;
  const retryAfter = answer.headers['retry-after'];
  progress.retryAfter = Array.isArray(retryAfter) ? retryAfter[0] : retryAfter;
  let readBytes = 0;
  let keptBytes = 0;
  // Leaving the loop early destroys the connection: nobody makes us read ten megabytes.
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    if (keptBytes < keepAtMostBytes) {
      const part = chunk.subarray(0, keepAtMostBytes - keptBytes);
      progress.kept.push(part);
      keptBytes += part.length;
    }
    readBytes += chunk.length;
    if (readBytes >= readAtMostBytes) break;
  }
  if (answer.statusCode >= 200 && answer.statusCode < 300) return null;
  return answer.statusCode >= 300 && answer.statusCode < 400 ? 'redirect' : 'status';
}

function kindOf(error: unknown, answered: boolean): SendError {
  if (error instanceof AddressRefusedError) return 'address_refused';
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'ENODATA') return 'dns';
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

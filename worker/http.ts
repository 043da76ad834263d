// The operators' pages: /health, /ready, /metrics and /internal. No tenant's data, and nothing that changes anything.

import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { describeError } from './log.ts';

export type Check = { ok: boolean; detail?: string };

export interface Pages {
  /** Whether the worker can do its work, check by check. */
  ready(): Promise<Record<string, Check>>;
  metrics(accept: string | undefined): Promise<{ contentType: string; body: string }>;
  /** Pages under /internal, by name. */
  internal: Record<string, () => Promise<unknown>>;
}

export interface HttpServer {
  url: string;
  close(): Promise<void>;
}

type Answer = { status: number; contentType: string; body: string; headers?: Record<string, string> };

const requestTimeoutMs = 10_000;
const maxConnections = 50;

export async function startHttp(options: {
  host: string;
  port: number;
  metricsToken: string | undefined;
  operatorToken: string | undefined;
  pages: Pages;
  log: Logger;
}): Promise<HttpServer> {
  const { pages, log } = options;
  const bootedAt = performance.now();

  async function answer(request: IncomingMessage): Promise<Answer> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return json(405, { error: 'method not allowed' }, { allow: 'GET, HEAD' });
    }
    // The address in `base` is never looked up; it only makes the path a URL.
    const { pathname } = new URL(request.url ?? '/', 'http://worker.invalid');
    if (pathname === '/health') {
      return json(200, { status: 'ok', uptime_s: Math.round((performance.now() - bootedAt) / 1000) });
    }
    if (pathname === '/ready') {
      const checks = await pages.ready();
      const ok = Object.values(checks).every((check) => check.ok);
      return json(ok ? 200 : 503, { status: ok ? 'ready' : 'not ready', checks });
    }
    if (pathname === '/metrics') {
      // Before any work: a scrape reads the database.
      if (options.metricsToken !== undefined && !bears(request, options.metricsToken)) return unauthorized();
      return { status: 200, ...(await pages.metrics(request.headers.accept)) };
    }
    const page = /^\/internal\/([a-z]+)$/.exec(pathname)?.[1];
    if (page !== undefined && options.operatorToken !== undefined) {
      if (!bears(request, options.operatorToken)) return unauthorized();
      const read = Object.hasOwn(pages.internal, page) ? pages.internal[page] : undefined;
      if (read) return json(200, await read());
    }
    return json(404, { error: 'not found' });
  }

  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs },
    (request, response) => {
      answer(request)
        .catch((error: unknown): Answer => {
          log.warn({ err: describeError(error) }, 'page failed');
          return json(503, { error: 'the page could not be made; the log has more' });
        })
        .then((made) => send(request, response, made))
        .catch((error: unknown) => log.debug({ err: describeError(error) }, 'answer not sent'));
    },
  );
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  server.on('error', (error) => log.error({ err: describeError(error) }, 'http server error'));
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Digests have one length, so the comparison tells nothing of the token, not even its length. */
function bears(request: IncomingMessage, token: string): boolean {
  const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(given), digest(token));
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

const unauthorized = (): Answer => json(401, { error: 'a bearer token is needed' }, { 'www-authenticate': 'Bearer' });

const json = (status: number, body: unknown, headers?: Record<string, string>): Answer => ({
  status,
  contentType: 'application/json; charset=utf-8',
  body: `${JSON.stringify(body)}\n`,
  ...(headers ? { headers } : {}),
});

function send(request: IncomingMessage, response: ServerResponse, made: Answer): void {
  response.writeHead(made.status, {
    'content-type': made.contentType,
    'content-length': Buffer.byteLength(made.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...made.headers,
  });
  response.end(request.method === 'HEAD' ? undefined : made.body);
}

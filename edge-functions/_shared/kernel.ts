import type { AbuseLog } from './abuse.ts';
import { discardBody, readBody } from './body.ts';
import { createCors } from './cors.ts';
import { describeError, type Logger } from './log.ts';
import { Refusal, refusal } from './refusal.ts';
import { nameSpan, type Trace, traceOf } from './trace.ts';

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** One request, as a function sees it. */
export type Context = {
  request: Request;
  /** What follows the function's name, undecoded and unresolved: `/` or `/osmand/…`. */
  path: string;
  /** From the question mark on, undecoded; empty without one. */
  query: string;
  requestId: string;
  trace: Trace;
  /** Where the call came from, by the proxies that are trusted; `unknown` without one. */
  address: string;
  log: Logger;
  /** Aborts when the caller leaves, or when the time to answer is over. */
  signal: AbortSignal;
  /** The body, at most the endpoint's limit. */
  body: () => Promise<Uint8Array<ArrayBuffer>>;
  /** For the log: which of the function's routes this is. Never a part of the path that a caller chose: it may be a token. */
  route: string | undefined;
  /** For log and abuse log: the public part of the key or token that the caller showed. */
  subject: string | undefined;
  /** Headers for the answer, refusals too; RateLimit is one. */
  answerHeaders: Record<string, string>;
};

export type Endpoint = {
  name: string;
  methods: readonly Method[];
  maxBodyBytes: number;
  /** Time until the answer begins. A stream may then go on for as long as it likes. */
  timeoutMs: number;
  handle: (context: Context) => Response | Promise<Response>;
};

/** `peer` is the address of the connection, where there is one. */
export type Handler = (request: Request, peer?: string) => Promise<Response>;

export type KernelDeps = {
  log: Logger;
  abuse: AbuseLog;
  allowedOrigins: readonly string[];
  /** How many proxies in front of us write x-forwarded-for; what stands further left came from the caller. */
  trustedProxies: number;
  newRequestId: () => string;
  now: () => number;
};

export type Kernel = (endpoint: Endpoint) => Handler;

/** For answers that are read by programs: nothing is sniffed, framed, cached or referred to. */
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'cross-origin-resource-policy': 'same-origin',
};

/** What every function does around its own work, the same way: ids, CORS, methods, limits, errors, headers, log. */
export function createKernel(deps: KernelDeps): Kernel {
  const cors = createCors(deps.allowedOrigins);

  return (endpoint) => async (request, peer) => {
    const startedAt = deps.now();
    const requestId = plausibleId(request.headers.get('x-request-id')) ?? deps.newRequestId();
    const trace = traceOf(request.headers.get('traceparent'));
    const log = deps.log.child({ request_id: requestId, trace_id: trace.traceId });
    const leaving = new AbortController();
    let bodyWasRead = false;
    const context: Context = {
      request,
      ...splitUrl(request.url, endpoint.name),
      requestId,
      trace,
      address: clientAddress(request.headers.get('x-forwarded-for'), deps.trustedProxies) ?? peer ?? 'unknown',
      log,
      signal: leaving.signal,
      async body() {
        const body = await readBody(request, endpoint.maxBodyBytes);
        bodyWasRead = true;
        return body;
      },
      route: undefined,
      subject: undefined,
      answerHeaders: {},
    };

    const answer = cors.preflight(request, endpoint.methods) ?? (await answerInTime(endpoint, context, leaving));
    const headers = new Headers(answer.headers);
    for (const [name, value] of Object.entries({ ...SECURITY_HEADERS, ...context.answerHeaders }))
      headers.set(name, value);
    for (const [name, value] of Object.entries(cors.headers(request))) {
      if (name === 'vary') headers.append(name, value);
      else headers.set(name, value);
    }
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-store');
    headers.set('x-request-id', requestId);
    if (!bodyWasRead && !(await discardBody(request))) headers.set('connection', 'close');

    const { status } = answer;
    const { route, subject, address } = context;
    nameSpan(request.method, `/${endpoint.name}${route === undefined ? '' : `/${route.replace(/^\//, '')}`}`);
    if (status === 401 || status === 403 || status === 429) deps.abuse.record({ address, subject, status, log });
    const duration_ms = Math.round((deps.now() - startedAt) * 10) / 10;
    log[status >= 500 ? 'error' : 'info']({ method: request.method, route, subject, status, duration_ms }, 'request');
    return new Response(answer.body, { status, headers });
  };
}

async function answerInTime(endpoint: Endpoint, context: Context, leaving: AbortController): Promise<Response> {
  const { request, log } = context;
  const leave = () => leaving.abort(request.signal.reason);
  if (request.signal.aborted) leave();
  request.signal.addEventListener('abort', leave, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeOver = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const late = refusal('timeout', `There was no answer within ${endpoint.timeoutMs / 1000} s.`, {
        hint: 'Ask for less at a time, or try again.',
      });
      reject(late);
      leaving.abort(late);
    }, endpoint.timeoutMs);
  });
  try {
    if (!(endpoint.methods as readonly string[]).includes(request.method)) {
      const allow = endpoint.methods.join(', ');
      throw refusal('method_not_allowed', `This function answers ${allow} only.`, { headers: { allow } });
    }
    return await Promise.race([endpoint.handle(context), timeOver]);
  } catch (error) {
    if (error instanceof Refusal) return answerRefusal(error);
    log.error({ err: describeError(error) }, 'unexpected failure');
    return answerRefusal(
      refusal('internal_error', 'Something went wrong here.', {
        details: context.requestId,
        hint: 'Try again; if it stays, tell the operator the request id in details.',
      }),
    );
  } finally {
    clearTimeout(timer);
  }
}

export function answerRefusal({ status, body, headers }: Refusal): Response {
  return Response.json(body, { status, headers });
}

/** Ids end up in logs: what a caller sends is echoed only if it can break none. */
function plausibleId(id: string | null): string | undefined {
  return id && /^[\w.-]{8,128}$/.test(id) ? id : undefined;
}

/** The last `trustedProxies` addresses were written by proxies of ours, each telling whom it talked to. */
function clientAddress(forwardedFor: string | null, trustedProxies: number): string | undefined {
  const addresses = (forwardedFor ?? '').split(',').map((address) => address.trim());
  const address = trustedProxies > 0 ? addresses.at(-Math.min(trustedProxies, addresses.length)) : undefined;
  return address && /^[0-9A-Fa-f.:]{2,45}$/.test(address) ? address : undefined;
}

/** By hand and not by URL, which resolves `..` and `%2e%2e` and so hides that somebody tried. */
function splitUrl(url: string, name: string): { path: string; query: string } {
  const [, whole = '/'] = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*([^#]*)/i.exec(url) ?? [];
  const mark = whole.indexOf('?');
  const path = mark < 0 ? whole : whole.slice(0, mark);
  const query = mark < 0 ? '' : whole.slice(mark);
  const [prefix] = new RegExp(`^(?:/functions/v1)?/${name}(?=/|$)`).exec(path) ?? [''];
  return { path: path.slice(prefix.length) || '/', query };
}

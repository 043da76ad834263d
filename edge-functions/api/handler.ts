import type { Context, Handler, Kernel } from '../_shared/kernel.ts';
import { describeError } from '../_shared/log.ts';
import { queryProblem } from '../_shared/query-price.ts';
import { refusal } from '../_shared/refusal.ts';
import type { Gatekeeper } from './gatekeeper.ts';

/** PostgREST has no other paths: its description, a table or view, a function. Everything else is somebody trying something. */
const PATH = /^\/(?:(?:rpc\/)?[A-Za-z_][A-Za-z0-9_]{0,62})?$/;

/**
 * What goes on and what comes back. Lists of what may pass, not of what may not: a header that is not here cannot choose a
 * role, a host, a schema or an address, whatever it is called.
 */
const REQUEST_HEADERS = ['accept', 'content-type', 'prefer', 'range', 'range-unit'];
const ANSWER_HEADERS = [
  'allow',
  'content-location',
  'content-range',
  'content-type',
  'location',
  'preference-applied',
  'proxy-status',
  'retry-after',
];

const MAX_BODY_BYTES = 1024 * 1024;

/** The API role's statements end after 8 s; what is left is the way there and back. */
const TIMEOUT_MS = 15_000;

export type ApiDeps = {
  kernel: Kernel;
  admit: Gatekeeper;
  /** Where PostgREST answers. */
  restUrl: string;
  /** What lets a request through the platform's gateway; the token beside it decides what it may do. */
  publishableKey: string;
  /** docs/openapi.json: what can be called here and at /rest/v1, for everybody to read. */
  description: string;
  fetch: typeof fetch;
};

/** `/functions/v1/api/*`: PostgREST for those who show an API key instead of a person's token. */
export function createHandler(deps: ApiDeps): Handler {
  return deps.kernel({
    name: 'api',
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    maxBodyBytes: MAX_BODY_BYTES,
    timeoutMs: TIMEOUT_MS,
    async handle(context) {
      if (context.path === '/openapi.json') return describe(deps, context);
      const { token } = await deps.admit(context);
      if (!PATH.test(context.path)) {
        throw refusal('path_invalid', 'A path is /<table> or /rpc/<function>.', {
          hint: 'Names have letters, digits and underscores; nothing in them is encoded.',
        });
      }
      context.route = context.path;
      const problem = queryProblem(context.query);
      if (problem) throw refusal('path_invalid', problem.message, { hint: problem.hint });
      return forward(deps, context, token);
    },
  });
}

function describe({ description }: ApiDeps, context: Context): Response {
  context.route = context.path;
  if (context.request.method !== 'GET' && context.request.method !== 'HEAD') {
    throw refusal('method_not_allowed', 'The description is read with GET.', { headers: { allow: 'GET, HEAD' } });
  }
  const headers = { 'content-type': 'application/json', 'cache-control': 'public, max-age=300' };
  return new Response(context.request.method === 'HEAD' ? null : description, { headers });
}

async function forward(deps: ApiDeps, context: Context, token: string): Promise<Response> {
  const { request, path, query, signal, log } = context;
  const headers = new Headers({
    apikey: deps.publishableKey,
    authorization: `Bearer ${token}`,
    'x-request-id': context.requestId,
    ...context.trace.headers,
  });
  for (const name of REQUEST_HEADERS) {
    const value = request.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  const body = request.method === 'GET' || request.method === 'HEAD' ? undefined : await context.body();
  if (body && path.startsWith('/rpc/') && isArray(body)) {
    throw refusal('invalid_argument', 'A function takes one JSON object.', {
      hint: 'Send one object a call: PostgREST would take the first of the array and drop the others.',
    });
  }
  let answer: Response;
  try {
    answer = await deps.fetch(`${deps.restUrl}${path}${withoutKey(query)}`, {
      method: request.method,
      headers,
      signal,
      redirect: 'manual',
      ...(body && body.byteLength > 0 ? { body } : {}),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    log.warn({ err: describeError(error) }, 'PostgREST did not answer');
    throw refusal('upstream_unavailable', 'The data API did not answer.', { hint: 'Try again in a moment.' });
  }
  const kept = new Headers();
  for (const name of ANSWER_HEADERS) {
    const value = answer.headers.get(name);
    if (value !== null) kept.set(name, value);
  }
  return new Response(answer.body, { status: answer.status, headers: kept });
}

function isArray(body: Uint8Array): boolean {
  const blanks = [0x20, 0x09, 0x0a, 0x0d];
  return body.find((byte) => !blanks.includes(byte)) === 0x5b;
}

/** The query as it was sent. A gateway reads `apikey` there, so that one does not pass, however it is written. */
function withoutKey(query: string): string {
  if (!/[aA%]/.test(query)) return query;
  const pairs = query.slice(1).split('&');
  const kept = pairs.filter((pair) => decodedName(pair) !== 'apikey');
  return kept.length > 0 && query.length > 1 ? `?${kept.join('&')}` : '';
}

function decodedName(pair: string): string {
  const [name] = new URLSearchParams(pair).keys();
  return (name ?? '').toLowerCase();
}

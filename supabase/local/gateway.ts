import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import { queryProblem } from '../../edge-functions/_shared/query-price.ts';
import { serveAdminConsole } from './admin-console.ts';
import type { Auth } from './auth.ts';
import type { EdgeFunction } from './functions.ts';
import { answer, CORS, refuseUnreadable, refuseUpgrade } from './gateway-answers.ts';
import type { KeyRing, Signer } from './keys.ts';
import type { Realtime } from './realtime.ts';
import { CLIENTS_SEND_NOTHING } from './realtime-channel.ts';
import { logRequest, type RequestLine, requestId } from './request-log.ts';
import { isArray } from './rpc-body.ts';
import type { Storage } from './storage.ts';
import { missingWhere } from './where-clause.ts';

export type Gateway = { url: string; stop: () => Promise<void> };

export type Routes = {
  rest: string;
  auth: Auth;
  storage: Pick<Storage, 'fetch'>;
  realtime: Pick<Realtime, 'upgrade'>;
  functions: Map<string, Pick<EdgeFunction, 'socket' | 'verifyJwt'>>;
};

/** Auth paths that people open from a mail, where no client adds a key. */
const OPEN_AUTH_PATHS = /^\/auth\/v1\/(verify|callback|authorize|health|\.well-known\/.*)$/;

const WEBSOCKET_PATH = '/realtime/v1/websocket';

/** URL and headers together: what PostgREST takes. Node's own limit of 16 KiB refuses a list of 400 ids. */
const MAX_HEADER_BYTES = 48 * 1024;

/** Supabase's front door: its paths, its keys, on 127.0.0.1 only. */
export async function startGateway(options: {
  port: number;
  keys: KeyRing;
  signer: Signer;
  /** The built administrator's page, served at /console/. */
  adminConsole?: { folder: string; publishableKey: string } | undefined;
  /** A function of the address, since Auth names it in its tokens and port 0 is known only once it is bound. */
  routes: (url: string) => Promise<Routes>;
  onRequest?: (line: RequestLine) => void;
}): Promise<Gateway> {
  let routes: Routes | undefined;
  let listeners: Record<'auth' | 'storage', ReturnType<typeof getRequestListener>> | undefined;
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://gateway');
    const [, service, version] = url.pathname.split('/');
    if (!routes || !listeners) return answer(outgoing, 503, 'The stack is still starting');
    if (options.adminConsole && (incoming.method === 'GET' || incoming.method === 'HEAD')) {
      // Who opens the bare address wants the page.
      if (url.pathname === '/' || url.pathname === '/console') {
        return void outgoing.writeHead(302, { location: '/console/' }).end();
      }
      const isPage = url.pathname.startsWith('/console/');
      if (isPage && serveAdminConsole(outgoing, url.pathname, options.adminConsole)) return;
    }
    if (version !== 'v1') return answer(outgoing, 404, `No service answers at ${url.pathname}`);
    if (service === 'functions') return toFunction(routes, url, incoming, outgoing);
    if (service !== 'rest' && service !== 'auth' && service !== 'storage' && service !== 'realtime') {
      return answer(outgoing, 404, `The stack without Docker has no /${service}/v1`);
    }
    if (incoming.method === 'OPTIONS') return void outgoing.writeHead(204, CORS).end();
    if (service === 'realtime') return answer(outgoing, ...realtimeByHttp(url.pathname));
    const apiKey = header(incoming, 'apikey') ?? url.searchParams.get('apikey') ?? undefined;
    const roleToken = options.keys.tokenFor(apiKey);
    // A signed URL is opened without any key; whoever else comes without one is refused by Storage itself.
    const opensWithoutKey =
      (service === 'auth' && OPEN_AUTH_PATHS.test(url.pathname)) || (service === 'storage' && !apiKey);
    if (!roleToken && !opensWithoutKey) {
      return answer(outgoing, 401, apiKey ? 'Invalid API key' : 'No API key found in request');
    }
    if (service !== 'rest') {
      for (const [name, value] of Object.entries(CORS)) outgoing.setHeader(name, value);
      const token = userToken(incoming) ?? roleToken;
      if (service === 'storage' && token) setAuthorization(incoming, token);
      await listeners[service](incoming, outgoing);
      return;
    }
    await toDataApi(routes.rest, url.pathname.slice('/rest/v1'.length) || '/', `${roleToken}`, incoming, outgoing);
  }

  async function toDataApi(
    socket: string,
    path: string,
    roleToken: string,
    incoming: IncomingMessage,
    outgoing: ServerResponse,
  ): Promise<void> {
    const query = queryOf(incoming);
    // Judged by the very text that goes on: read in another way, a second question mark would hide what is filtered.
    const statement = missingWhere(incoming.method ?? 'GET', path, new URLSearchParams(query.slice(1)));
    if (statement) return answer(outgoing, 400, `${statement} requires a WHERE clause`, '21000');
    const problem = queryProblem(query);
    if (problem) return answer(outgoing, 400, problem.message, 'path_invalid', problem.hint);
    const token = userToken(incoming);
    if (token && token.split('.').length !== 3) {
      const hint =
        'Send the access token of a signed-in person, or none. API keys (ft_…) go to /functions/v1/api as x-api-key.';
      return answer(outgoing, 401, 'The bearer is not a token', 'PGRST301', hint);
    }
    if (incoming.method === 'POST' && path.startsWith('/rpc/') && (await isArray(incoming))) {
      const hint = 'Send one object a call: PostgREST would take the first of the array and drop the others.';
      return answer(outgoing, 400, 'A function takes one JSON object', 'invalid_argument', hint);
    }
    const headers: Headers = { ...incoming.headers, authorization: `Bearer ${token ?? roleToken}` };
    delete headers.apikey;
    proxy({ socket, path: `${path}${query}`, headers, incoming, outgoing });
  }

  async function toFunction({ functions }: Routes, url: URL, incoming: IncomingMessage, outgoing: ServerResponse) {
    const name = url.pathname.split('/')[3] ?? '';
    const target = functions.get(name);
    if (!target) return answer(outgoing, 404, `There is no function "${name}"`, 'NOT_FOUND');
    if (target.verifyJwt && incoming.method !== 'OPTIONS' && !(await carriesOurToken(incoming))) {
      return answer(outgoing, 401, 'Invalid JWT');
    }
    const headers: Headers = {
      ...incoming.headers,
      'x-forwarded-for': incoming.socket.remoteAddress ?? '',
    };
    const path = url.pathname.slice('/functions/v1'.length);
    proxy({ socket: target.socket, path: `${path}${url.search}`, headers, incoming, outgoing });
  }

  async function carriesOurToken(incoming: IncomingMessage): Promise<boolean> {
    const token = userToken(incoming) ?? options.keys.tokenFor(header(incoming, 'apikey'));
    return token ? options.signer.verify(token).then(Boolean, () => false) : false;
  }

  function proxy(call: {
    socket: string;
    path: string;
    headers: Headers;
    incoming: IncomingMessage;
    outgoing: ServerResponse;
  }) {
    const { socket, path, headers, incoming, outgoing } = call;
    const to = {
      socketPath: socket,
      path,
      method: incoming.method,
      headers,
      agent,
      maxHeaderSize: 2 * MAX_HEADER_BYTES,
    };
    const onward = request(to, (response) => {
      // PostgREST repeats a long filter here, and a client of Node refuses headers beyond 16 KiB.
      if ((header(response, 'content-location') ?? '').length > 4096) delete response.headers['content-location'];
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      // Event streams must reach the client event by event.
      outgoing.flushHeaders();
      response.pipe(outgoing);
      response.on('error', () => outgoing.destroy());
    });
    onward.on('error', () => {
      if (outgoing.headersSent) outgoing.destroy();
      else answer(outgoing, 502, 'The service behind the gateway did not answer');
    });
    // The client left before the end: so does the service. After the end the connection is kept for the next request.
    outgoing.on('close', () => {
      if (!outgoing.writableFinished) onward.destroy();
    });
    incoming.pipe(onward);
  }

  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (incoming, outgoing) => {
    const id = requestId(incoming.headers['x-request-id']);
    incoming.headers['x-request-id'] = id;
    outgoing.setHeader('x-request-id', id);
    if (options.onRequest) logRequest(incoming, outgoing, id, options.onRequest);
    handle(incoming, outgoing).catch((error: unknown) => {
      answer(outgoing, 500, error instanceof Error ? error.message : 'The gateway failed');
    });
  });
  server.on('clientError', refuseUnreadable);
  // server.close() waits for these too, and knows nothing of them.
  const upgraded = new Set<Duplex>();
  server.on('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    const url = new URL(incoming.url ?? '/', 'http://gateway');
    upgraded.add(socket.once('close', () => upgraded.delete(socket)).on('error', () => socket.destroy()));
    const apiKey = header(incoming, 'apikey') ?? url.searchParams.get('apikey') ?? '';
    const isOurs = options.keys.tokenFor(apiKey) !== undefined;
    options.onRequest?.({
      method: 'GET',
      path: url.pathname,
      status: !isOurs ? 401 : url.pathname === WEBSOCKET_PATH ? 101 : 404,
      ms: 0,
      id: requestId(incoming.headers['x-request-id']),
    });
    if (url.pathname !== WEBSOCKET_PATH || !routes)
      return refuseUpgrade(socket, 404, `No WebSocket at ${url.pathname}`);
    if (!isOurs) return refuseUpgrade(socket, 401, apiKey ? 'Invalid API key' : 'No API key found in request');
    routes.realtime.upgrade(incoming, socket, head, apiKey);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('The gateway has no address');
  const url = `http://127.0.0.1:${address.port}`;
  const stop = () =>
    new Promise<void>((resolve) => {
      agent.destroy();
      for (const socket of upgraded) socket.destroy();
      server.close(() => resolve());
      server.closeAllConnections();
    });
  try {
    routes = await options.routes(url);
  } catch (error) {
    await stop();
    throw error;
  }
  listeners = { auth: getRequestListener(routes.auth.fetch), storage: getRequestListener(routes.storage.fetch) };
  return { url, stop };
}

type Headers = Record<string, string | string[] | undefined>;

function header(incoming: IncomingMessage, name: string): string | undefined {
  const value = incoming.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** A person's token, or none: supabase-js sends the key itself as bearer while nobody is signed in. */
function userToken(incoming: IncomingMessage): string | undefined {
  const [, token] = /^Bearer\s+(.+)$/i.exec(header(incoming, 'authorization') ?? '') ?? [];
  return token?.startsWith('sb_') ? undefined : token;
}

/** Realtime speaks by WebSocket; by HTTP a client would send broadcasts, which no policy lets it. */
function realtimeByHttp(path: string): [number, string] {
  if (path === WEBSOCKET_PATH) return [426, 'Realtime is reached by a WebSocket'];
  return [403, CLIENTS_SEND_NOTHING];
}

/** What getRequestListener makes a Request of: its raw headers. */
function setAuthorization(incoming: IncomingMessage, token: string): void {
  const kept = pairs(incoming.rawHeaders).filter(([name]) => name.toLowerCase() !== 'authorization');
  incoming.rawHeaders = [...kept, ['authorization', `Bearer ${token}`]].flat();
  incoming.headers.authorization = `Bearer ${token}`;
}

function pairs(list: string[]): [string, string][] {
  return list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1] ?? ''] as [string, string]] : []));
}

/** The query as it was sent (URLSearchParams would encode it anew), without a key that must not reach a log. */
function queryOf(incoming: IncomingMessage): string {
  const whole = incoming.url ?? '';
  const raw = whole.includes('?') ? whole.slice(whole.indexOf('?') + 1) : '';
  const kept = raw.split('&').filter((pair) => pair !== '' && !pair.startsWith('apikey='));
  return kept.length > 0 ? `?${kept.join('&')}` : '';
}

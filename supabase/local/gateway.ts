import { randomUUID } from 'node:crypto';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { serveAdminConsole } from './admin-console.ts';
import type { Auth } from './auth.ts';
import type { EdgeFunction } from './functions.ts';
import type { KeyRing, Signer } from './keys.ts';
import { missingWhere } from './where-clause.ts';

export type Gateway = { url: string; stop: () => Promise<void> };

export type Routes = { rest: string; auth: Auth; functions: Map<string, Pick<EdgeFunction, 'socket' | 'verifyJwt'>> };

/** Auth paths that people open from a mail, where no client adds a key. */
const OPEN_AUTH_PATHS = /^\/auth\/v1\/(verify|callback|authorize|health|\.well-known\/.*)$/;

const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': '*, authorization',
  'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS',
  'access-control-expose-headers': '*',
};

/** Supabase's front door: its paths, its keys, on 127.0.0.1 only. */
export async function startGateway(options: {
  port: number;
  keys: KeyRing;
  signer: Signer;
  /** The built administrator's page, served at /console/. */
  adminConsole?: { folder: string; publishableKey: string } | undefined;
  /** A function of the address, since Auth names it in its tokens and port 0 is known only once it is bound. */
  routes: (url: string) => Promise<Routes>;
}): Promise<Gateway> {
  let routes: Routes | undefined;
  let authListener: ReturnType<typeof getRequestListener> | undefined;
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://gateway');
    const [, service, version] = url.pathname.split('/');
    if (!routes || !authListener) return answer(outgoing, 503, 'The stack is still starting');
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
    if (service !== 'rest' && service !== 'auth') {
      return answer(outgoing, 404, `The stack without Docker has no /${service}/v1`);
    }
    if (incoming.method === 'OPTIONS') return void outgoing.writeHead(204, CORS).end();
    const apiKey = header(incoming, 'apikey') ?? url.searchParams.get('apikey') ?? undefined;
    const roleToken = options.keys.tokenFor(apiKey);
    if (!roleToken && !(service === 'auth' && OPEN_AUTH_PATHS.test(url.pathname))) {
      return answer(outgoing, 401, apiKey ? 'Invalid API key' : 'No API key found in request');
    }
    url.searchParams.delete('apikey');
    if (service === 'auth') {
      for (const [name, value] of Object.entries(CORS)) outgoing.setHeader(name, value);
      await authListener(incoming, outgoing);
      return;
    }
    const path = url.pathname.slice('/rest/v1'.length) || '/';
    const statement = missingWhere(incoming.method ?? 'GET', path, url.searchParams);
    if (statement) return answer(outgoing, 400, `${statement} requires a WHERE clause`, '21000');
    const headers: Headers = { ...incoming.headers, authorization: `Bearer ${userToken(incoming) ?? roleToken}` };
    delete headers.apikey;
    proxy({ socket: routes.rest, path: `${path}${queryOf(incoming)}`, headers, incoming, outgoing });
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
      'x-request-id': header(incoming, 'x-request-id') ?? randomUUID(),
      'x-forwarded-for': incoming.socket.remoteAddress ?? '',
    };
    const path = url.pathname.slice('/functions/v1'.length);
    proxy({ socket: target.socket, path: `${path}${url.search}`, headers, incoming, outgoing });
  }

  async function carriesOurToken(incoming: IncomingMessage): Promise<boolean> {
    const token = userToken(incoming) ?? options.keys.tokenFor(header(incoming, 'apikey'));
    return token ? options.signer.verify(token).then(Boolean, () => false) : false;
  }

  function proxy(to: {
    socket: string;
    path: string;
    headers: Headers;
    incoming: IncomingMessage;
    outgoing: ServerResponse;
  }) {
    const { socket, path, headers, incoming, outgoing } = to;
    const onward = request({ socketPath: socket, path, method: incoming.method, headers, agent }, (response) => {
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

  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch((error: unknown) => {
      answer(outgoing, 500, error instanceof Error ? error.message : 'The gateway failed');
    });
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
      server.close(() => resolve());
      server.closeAllConnections();
    });
  try {
    routes = await options.routes(url);
  } catch (error) {
    await stop();
    throw error;
  }
  authListener = getRequestListener(routes.auth.fetch);
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

/** The query as it was sent (URLSearchParams would encode it anew), without a key that must not reach a log. */
function queryOf(incoming: IncomingMessage): string {
  const raw = (incoming.url ?? '').split('?')[1];
  if (!raw) return '';
  const kept = raw.split('&').filter((pair) => !pair.startsWith('apikey='));
  return kept.length > 0 ? `?${kept.join('&')}` : '';
}

function answer(outgoing: ServerResponse, status: number, message: string, code = String(status)): void {
  outgoing.writeHead(status, { 'content-type': 'application/json', ...CORS });
  outgoing.end(JSON.stringify({ code, message, details: null, hint: null }));
}

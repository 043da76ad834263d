import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGuessLimit } from '../../supabase/local/auth-guesses.ts';
import { startGateway } from '../../supabase/local/gateway.ts';
import { createKeyRing, createSigner, newSecret } from '../../supabase/local/keys.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { type RequestLine, requestText } from '../../supabase/local/request-log.ts';
import { missingWhere } from '../../supabase/local/where-clause.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
const requests: RequestLine[] = [];
const restLines = () =>
  stack.lines
    .filter(({ part }) => part === 'rest')
    .map(({ line }) => line)
    .join('\n');

beforeAll(async () => {
  stack = await startTestStack({ functions: true, onRequest: (line) => requests.push(line) });
  await stack.admin.unsafe(`
    create function public.test_caller() returns jsonb language sql stable set search_path = '' as $$
      select jsonb_build_object(
        'role', current_user, 'uid', auth.uid(), 'headers', current_setting('request.headers', true)::jsonb)
    $$;
    grant execute on function public.test_caller() to anon, authenticated, service_role;
    create table public.test_notes (id int primary key, note text);
    insert into public.test_notes select i, 'note ' || i from generate_series(1, 1500) as i;
    grant select, update, delete on public.test_notes to service_role;`);
  await reloaded();
});
afterAll(() => stack?.stop());

/** The platform's event trigger tells PostgREST; wait until it has heard. */
async function reloaded(): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if ((await caller({ apikey: stack.publishableKey })).status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('PostgREST did not reload its schema');
}

function caller(headers: Record<string, string>, query = ''): Promise<Response> {
  return fetch(`${stack.url}/rest/v1/rpc/test_caller${query}`, { headers });
}

describe('keys', () => {
  test('the publishable key is anon, the secret key is service_role', async () => {
    expect(await (await caller({ apikey: stack.publishableKey })).json()).toMatchObject({ role: 'anon' });
    expect(await (await caller({ apikey: stack.secretKey })).json()).toMatchObject({ role: 'service_role' });
  });

  test('supabase-js, which sends the key as bearer too, is understood', async () => {
    const { data } = await stack
      .service()
      .from('test_notes' as never)
      .select('id')
      .limit(1);
    expect(data).toHaveLength(1);
  });

  test("a person's token beside the key decides the role", async () => {
    const alice = await stack.signUp('alice@example.test');
    const headers = { apikey: stack.publishableKey, authorization: `Bearer ${alice.accessToken}` };
    expect(await (await caller(headers)).json()).toMatchObject({ role: 'authenticated', uid: alice.userId });
  });

  test.each([
    ['no key', {}],
    ['an unknown key', { apikey: 'sb_publishable_unknown' }],
    ['only a bearer', { authorization: 'Bearer sb_secret_unknown' }],
  ])('%s is refused', async (_, headers) => {
    expect((await caller(headers)).status).toBe(401);
  });

  test('the key reaches neither the database nor the query of a function call', async () => {
    const byHeader = await (await caller({ apikey: stack.secretKey })).text();
    expect(byHeader).not.toContain('sb_secret');
    const byQuery = await caller({}, `?apikey=${stack.publishableKey}`);
    expect(byQuery.status).toBe(200);
  });
});

describe('statements without WHERE', () => {
  test.each(['PATCH', 'DELETE'])('%s of a whole table is refused as safeupdate would', async (method) => {
    const answer = await fetch(`${stack.url}/rest/v1/test_notes?select=id`, {
      method,
      headers: { apikey: stack.secretKey, 'content-type': 'application/json' },
      ...(method === 'PATCH' ? { body: '{"note":"all"}' } : {}),
    });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: '21000', message: expect.stringContaining('requires a WHERE') });
    expect(await stack.admin`select from public.test_notes where note <> 'all'`).toHaveLength(1500);
  });

  test('with a filter it passes', async () => {
    const headers = { apikey: stack.secretKey };
    const answer = await fetch(`${stack.url}/rest/v1/test_notes?id=eq.0`, { method: 'DELETE', headers });
    expect(answer.status).toBe(204);
  });

  test('a logical filter counts as one; RPCs are none of its business', () => {
    expect(missingWhere('DELETE', '/notes', new URLSearchParams('or=(id.eq.1,id.eq.2)'))).toBeUndefined();
    expect(missingWhere('DELETE', '/notes', new URLSearchParams('limit=1&order=id'))).toBe('DELETE');
    expect(missingWhere('PATCH', '/rpc/x', new URLSearchParams())).toBeUndefined();
    expect(missingWhere('POST', '/notes', new URLSearchParams())).toBeUndefined();
  });
});

describe('what the gateway answers itself', () => {
  const rest = (path: string, init: RequestInit = {}) =>
    fetch(`${stack.url}/rest/v1${path}`, { ...init, headers: { apikey: stack.secretKey, ...init.headers } });

  test('a second question mark hides no filter: nothing is deleted', async () => {
    const answer = await rest('/test_notes??id=eq.1', { method: 'DELETE' });
    expect(answer.status).toBe(400);
    expect(await stack.admin`select from public.test_notes`).toHaveLength(1500);
  });

  test('a filter on what is embedded is none on the rows', () => {
    expect(
      missingWhere('DELETE', '/expenses', new URLSearchParams('select=id,employee(name)&employee.name=eq.x')),
    ).toBe('DELETE');
    expect(missingWhere('DELETE', '/notes', new URLSearchParams('not.or=(id.eq.1,id.eq.2)'))).toBeUndefined();
    expect(missingWhere('DELETE', '/notes', new URLSearchParams('data->>x=eq.1'))).toBeUndefined();
  });

  test('500 ids in a filter are answered; beyond what fits the refusal is JSON', async () => {
    const ids = (count: number) => Array.from({ length: count }, () => randomUUID()).join(',');
    const people = await rest(`/employees?id=in.(${ids(500)})`);
    expect([people.status, await people.json()]).toEqual([200, []]);
    const tooMany = await rest(`/employees?id=in.(${ids(3000)})`);
    expect([tooMany.status, await tooMany.json()]).toEqual([
      431,
      expect.objectContaining({ code: '431', hint: expect.any(String) }),
    ]);
    expect(tooMany.headers.get('access-control-allow-origin')).toBe('*');
    const longFilter = await rest(`/employees?name=eq.${'x'.repeat(15_000)}`);
    expect(longFilter.status).toBe(200);
  });

  test('an array is no argument of a function: PostgREST would drop all of it but the first', async () => {
    for (const body of ['[{"a":1},{"a":2}]', ' \n[]', `${' '.repeat(60_000)}[]`]) {
      const answer = await rest('/rpc/test_caller', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      expect([answer.status, await answer.json()]).toEqual([
        400,
        expect.objectContaining({ code: 'invalid_argument', message: 'A function takes one JSON object' }),
      ]);
    }
    const headers = { 'content-type': 'application/json' };
    for (const body of ['{}', ' {} ', undefined]) {
      const answer = await rest('/rpc/test_caller', { method: 'POST', headers, ...(body ? { body } : {}) });
      expect(answer.status).toBe(200);
    }
  });

  test('an API key as bearer is told where it belongs', async () => {
    const answer = await rest('/employees', { headers: { authorization: `Bearer ft_live_abc_def` } });
    expect([answer.status, await answer.json()]).toEqual([
      401,
      expect.objectContaining({ code: 'PGRST301', hint: expect.stringContaining('/functions/v1/api') }),
    ]);
  });

  test('every answer carries the x-request-id that was sent, or a new one', async () => {
    for (const path of [
      '/rest/v1/employees',
      '/auth/v1/health',
      '/storage/v1/bucket',
      '/functions/v1/api',
      '/nothing',
    ]) {
      const sent = await fetch(`${stack.url}${path}`, {
        headers: { apikey: stack.secretKey, 'x-request-id': 'mine-0001' },
      });
      expect(sent.headers.get('x-request-id'), path).toBe('mine-0001');
      const odd = await fetch(`${stack.url}${path}`, { headers: { apikey: stack.secretKey, 'x-request-id': 'a b' } });
      expect(odd.headers.get('x-request-id'), path).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  test('requests are told one by one, without the query', async () => {
    requests.length = 0;
    await (await rest('/employees?select=id&name=eq.secret', { headers: { 'x-request-id': 'mine-0002' } })).text();
    await expect
      .poll(() => requests.find(({ id }) => id === 'mine-0002'))
      .toEqual({
        method: 'GET',
        path: '/rest/v1/employees',
        status: 200,
        ms: expect.any(Number),
        id: 'mine-0002',
      });
    expect(requestText({ method: 'GET', path: '/x', status: 200, ms: 3, id: 'mine-0002' })).toBe(
      'GET /x 200 3 ms mine-0002',
    );
  });

  test("PostgREST's log keeps no query of what it refused", async () => {
    const answer = await rest('/rpc/accept_invitation?token=very-secret', {
      headers: { apikey: stack.publishableKey },
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    await rest('/employees?nothing=eq.very-secret');
    await expect.poll(() => restLines()).toMatch(/GET \/employees\?…/);
    expect(restLines()).not.toContain('very-secret');
  });
});

test('max_rows of config.toml holds', async () => {
  const rows = await fetch(`${stack.url}/rest/v1/test_notes?select=id`, { headers: { apikey: stack.secretKey } });
  expect(await rows.json()).toHaveLength(1000);
});

test('filters arrive as they were sent, encoded characters and all', async () => {
  await stack.admin`update public.test_notes set note = ${'a+b & c=100%, "d"'} where id = 7`;
  const filter = encodeURIComponent('a+b & c=100%, "d"');
  const rows = await fetch(`${stack.url}/rest/v1/test_notes?note=eq.${filter}&select=id`, {
    headers: { apikey: stack.secretKey },
  });
  expect(await rows.json()).toEqual([{ id: 7 }]);
});

test('a browser may ask first (CORS)', async () => {
  const answer = await fetch(`${stack.url}/rest/v1/rpc/test_caller`, { method: 'OPTIONS' });
  expect(answer.status).toBe(204);
  expect(answer.headers.get('access-control-allow-origin')).toBe('*');
});

describe('functions', () => {
  test('one answers, with the request id that it was sent or a new one', async () => {
    const api = (headers: Record<string, string>) => fetch(`${stack.url}/functions/v1/api`, { headers });
    const echoed = await api({ 'x-request-id': 'request-0001' });
    expect(echoed.headers.get('x-request-id')).toBe('request-0001');
    expect([echoed.status, await echoed.json()]).toMatchObject([401, { code: 'api_key_invalid' }]);
    expect((await api({})).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('other methods are refused in the shape of all errors', async () => {
    const answer = await fetch(`${stack.url}/functions/v1/ingest/osmand`, { method: 'PUT', body: '{}' });
    expect(answer.status).toBe(405);
    expect(await answer.json()).toMatchObject({ code: 'method_not_allowed' });
  });

  test('pages of Vite and Next.js may call them, others may not', async () => {
    const preflight = async (origin: string) => {
      const headers = { origin, 'access-control-request-method': 'GET' };
      const answer = await fetch(`${stack.url}/functions/v1/admin-events`, { method: 'OPTIONS', headers });
      return answer.headers.get('access-control-allow-origin');
    };
    for (const host of ['localhost', '127.0.0.1']) {
      for (const port of [3000, 5173]) expect(await preflight(`http://${host}:${port}`)).toBe(`http://${host}:${port}`);
    }
    expect(await preflight('https://evil.example')).toBeNull();
    expect(await preflight('http://localhost:8080')).toBeNull();
  });

  test('an undeclared one is a 404', async () => {
    expect((await fetch(`${stack.url}/functions/v1/nothing`)).status).toBe(404);
  });

  test("deno.json pins the versions of package.json's lock", () => {
    const read = (file: string) => JSON.parse(readFileSync(join(repositoryDir, file), 'utf8'));
    const installed = { ...read('package.json').devDependencies, ...read('package.json').dependencies };
    for (const target of Object.values<string>(read('edge-functions/deno.json').imports)) {
      const [, name = '', version] = /^npm:(.+)@([^@/]+)$/.exec(target) ?? [];
      expect(`${name}@${installed[name]}`).toBe(`${name}@${version}`);
    }
  });
});

test('nothing listens on another address than 127.0.0.1', async () => {
  const { port } = new URL(stack.url);
  const databasePort = new URL(stack.database.url('postgres')).port;
  const others = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter((address) => !address.internal)
    .map((address) => address.address);
  for (const host of [...others, '::1', '127.0.0.2']) {
    for (const one of [port, databasePort]) expect(await opens(host, Number(one)), `${host}:${one}`).toBe(false);
  }
  expect(await opens('127.0.0.1', Number(port))).toBe(true);
});

function opens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1000 }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
    socket.on('timeout', () => {
      socket.destroy();
      resolve(false);
    });
  });
}

test('a stream passes event by event, and its end by the client reaches the function', async () => {
  const socket = join(tmpdir(), `ft-stream-${process.pid}.sock`);
  let gone: (() => void) | undefined;
  const clientGone = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const source = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
    response.on('close', () => gone?.());
  });
  await new Promise<void>((resolve) => source.listen(socket, resolve));
  const signer = createSigner(newSecret());
  const keys = await createKeyRing(signer, { publishableKey: 'sb_publishable_x', secretKey: 'sb_secret_x' });
  const gateway = await startGateway({
    port: 0,
    keys,
    signer,
    routes: async () => ({
      rest: socket,
      auth: { fetch: async () => new Response(), stop: async () => {} },
      storage: { fetch: async () => new Response() },
      realtime: { upgrade: () => {} },
      functions: new Map([
        ['stream', { socket, verifyJwt: false }],
        ['guarded', { socket, verifyJwt: true }],
      ]),
    }),
  });
  try {
    const first = await new Promise<string>((resolve, reject) => {
      const ask = request(`${gateway.url}/functions/v1/stream`, (response) => {
        response.on('data', (chunk: Buffer) => {
          resolve(chunk.toString());
          ask.destroy();
        });
        response.on('error', () => {});
      });
      ask.on('error', reject);
      ask.end();
    });
    // The source has not ended: what came did not wait for its end.
    expect(first).toBe('data: first\n\n');
    await clientGone;
    expect((await fetch(`${gateway.url}/functions/v1/guarded`)).status).toBe(401);
  } finally {
    await gateway.stop();
    source.closeAllConnections();
    source.close();
  }
});

describe('Auth', () => {
  test('the link of a mail opens here, and leads on to the page of the app', async () => {
    const person = await stack.signUp('link@example.test');
    await person.client.auth.resetPasswordForEmail(person.email);
    const [link] = /http\S+/.exec(stack.mails.at(-1)?.text ?? '') ?? [];
    expect(link).toMatch(new RegExp(`^${stack.url}/auth/v1/verify\\?`));
    const answer = await fetch(link ?? '', { redirect: 'manual' });
    expect(answer.status).toBe(303);
    expect(answer.headers.get('location')).toMatch(/^http:\/\/127\.0\.0\.1:3000.*access_token=/);
  });

  test('thirty wrong passwords, then none is tried for a while; who renews a session is none of it', async () => {
    const own = await startTestStack();
    try {
      const person = await own.signUp('guess@example.test', 'correct horse battery');
      const guess = (password: string) => own.anon().auth.signInWithPassword({ email: person.email, password });
      for (let n = 0; n < 30; n += 1) expect((await guess(`wrong ${n} guess`)).error?.status).toBe(400);
      expect((await guess('correct horse battery')).error).toMatchObject({
        status: 429,
        code: 'over_request_rate_limit',
      });
      expect((await person.client.auth.refreshSession()).error).toBeNull();
    } finally {
      await own.stop();
    }
  });

  test('the count forgets after five minutes', () => {
    let now = 0;
    const limit = createGuessLimit(() => now);
    const url = new URL('http://x/auth/v1/token?grant_type=password');
    for (let n = 0; n < 30; n += 1) {
      expect(limit.refuse(url)).toBeUndefined();
      limit.note(url, 400);
    }
    expect(limit.refuse(url)?.headers.get('retry-after')).toBe('300');
    now = 300_000;
    expect(limit.refuse(url)).toBeUndefined();
  });
});

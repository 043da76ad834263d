import { decodeJwt, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { beforeEach, expect, test } from 'vitest';
import { createAbuseLog } from '../../edge-functions/_shared/abuse.ts';
import { crc32Base62, type KeyVerdict, parseKey } from '../../edge-functions/_shared/api-key.ts';
import { createKernel, type Handler } from '../../edge-functions/_shared/kernel.ts';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { createMint, type SigningJwk } from '../../edge-functions/_shared/mint.ts';
import { createGatekeeper } from '../../edge-functions/api/gatekeeper.ts';
import { createHandler } from '../../edge-functions/api/handler.ts';

// The function without a network: what it asks of the database and of PostgREST is written down here and answered by hand.

const body = `ft_live_${'k'.repeat(12)}_${'s'.repeat(43)}`;
const key = `${body}_${crc32Base62(body)}`;
const granting = (granted: number, remaining = 100): KeyVerdict => ({
  refusal: null,
  organizationId: 'org-1',
  apiKeyId: 'key-1',
  scopes: ['sessions:read'],
  expiresAtS: null,
  requestsPerMinute: 600,
  granted,
  remaining,
});

let now: number;
let verdict: KeyVerdict;
let questions: number[];
let onward: { url: string; headers: Headers; method: string; body: string }[];
let answer: () => Response;
let api: Handler;
let lines: string[];

beforeEach(() => {
  now = 0;
  verdict = granting(1);
  questions = [];
  onward = [];
  lines = [];
  answer = () => Response.json([]);
  const clock = () => now;
  const abuse = createAbuseLog({ now: clock });
  const kernel = createKernel({
    log: createLogger({ service: 'api', level: 'info', write: (line) => lines.push(line) }),
    abuse,
    allowedOrigins: [],
    trustedProxies: 1,
    newRequestId: () => 'made-by-the-kernel',
    now: clock,
  });
  api = createHandler({
    kernel,
    admit: createGatekeeper({
      abuse,
      now: clock,
      mint: createMint({ jwk: undefined, secret: 's'.repeat(32) }),
      async verifyKey(_, keyId, secretHash, calls) {
        expect(keyId).toBe('k'.repeat(12));
        expect(secretHash).toHaveLength(32);
        questions.push(calls);
        return verdict;
      },
    }),
    restUrl: 'http://gateway/rest/v1',
    publishableKey: 'sb_publishable_1',
    description: '{}',
    async fetch(url, init) {
      const request = new Request(url as string, init as RequestInit);
      const { headers, method } = request;
      onward.push({ url: String(url), headers, method, body: await request.text() });
      return answer();
    },
  });
});

function call(path: string, init: RequestInit = {}): Promise<Response> {
  // Not by the URL class: the path has to arrive as it was written.
  const request = new Request('http://functions/', { ...init, headers: { 'x-api-key': key, ...init.headers } });
  Object.defineProperty(request, 'url', { value: `http://functions/api${path}` });
  return api(request);
}

const refusalOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

test('query, body and Prefer arrive as they were sent, with a token of 60 s beside them', async () => {
  const filter = '?select=a,b&name=eq.a%2Bb%20%22&or=(x.eq.1,y.is.null)';
  await call(`/expenses${filter}`, {
    method: 'PATCH',
    headers: { prefer: 'return=representation, count=exact', 'content-type': 'application/json', range: '0-9' },
    body: '{"status": "x"}',
  });
  const [sent] = onward;
  expect(sent).toMatchObject({
    url: `http://gateway/rest/v1/expenses${filter}`,
    method: 'PATCH',
    body: '{"status": "x"}',
  });
  expect(Object.fromEntries(sent?.headers ?? [])).toMatchObject({
    prefer: 'return=representation, count=exact',
    'content-type': 'application/json',
    range: '0-9',
    apikey: 'sb_publishable_1',
    'x-request-id': 'made-by-the-kernel',
  });
  const token = (sent?.headers.get('authorization') ?? '').replace('Bearer ', '');
  const claims = decodeJwt(token);
  expect(claims).toMatchObject({
    role: 'api_key',
    organization_id: 'org-1',
    api_key_id: 'key-1',
    scopes: ['sessions:read'],
  });
  expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(60);
});

test('an array is no argument of a function: PostgREST would take its first object and drop the others', async () => {
  for (const body of ['[{"a":1},{"a":2}]', ' \n[]']) {
    const answer = await call('/rpc/submit_expense', { method: 'POST', body });
    expect(await refusalOf(answer)).toEqual([400, 'invalid_argument']);
  }
  expect(onward).toEqual([]);
  await call('/rpc/submit_expense', { method: 'POST', body: ' {"points": []}' });
  await call('/webhooks', { method: 'POST', body: '[]' });
  expect(onward).toHaveLength(2);
});

test('what a client must not set does not pass', async () => {
  await call('/expenses?apikey=sb_secret_1&%61pikey=sb_secret_2&APIKEY=x&select=id', {
    headers: {
      role: 'service_role',
      apikey: 'sb_secret_1',
      authorization: 'Bearer eyJ0.e30.x',
      'x-forwarded-for': '10.0.0.1',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-prefix': '/admin',
      'x-real-ip': '10.0.0.1',
      host: 'evil.example',
      'accept-profile': 'private',
      'content-profile': 'private',
      cookie: 'a=b',
      'x-http-method-override': 'DELETE',
    },
  });
  const [sent] = onward;
  expect(sent?.url).toBe('http://gateway/rest/v1/expenses?select=id');
  const names = [...(sent?.headers.keys() ?? [])].filter((name) => name !== 'accept').sort();
  expect(names).toEqual(['apikey', 'authorization', 'traceparent', 'x-request-id']);
  expect(sent?.headers.get('apikey')).toBe('sb_publishable_1');
});

test.each([
  '/../auth/v1/admin/users',
  '/..',
  '//evil.example/rest/v1',
  '/expenses/..%2f..%2fauth',
  '/%2e%2e/auth',
  '/rpc//review_expense',
  '/rpc/../employees',
  '/expenses%00',
  '/expenses%3Fselect=*',
  '/expenses;x=1',
  '/rpc',
  '/rpc/',
  '/expenses/1',
  '/private.api_key_secrets',
  '/@evil.example/',
  '/\\evil.example',
  `/${'a'.repeat(64)}`,
])('the path %j is refused and nothing is asked onward', async (path) => {
  // `/rpc` is a table's name to PostgREST; it has none of that name.
  const response = await call(path);
  if (path === '/rpc') return expect(onward[0]?.url).toBe('http://gateway/rest/v1/rpc');
  expect(await refusalOf(response)).toEqual([400, 'path_invalid']);
  expect(onward).toEqual([]);
});

test.each(['?name=eq.%FF', '?name=eq.%F0%9F', '?%C3%28=1', '?select=name&name=eq.%ED%A0%80'])(
  'the query %j is no UTF-8, of which PostgREST makes a 500: it is refused and nothing is asked onward',
  async (query) => {
    expect(await refusalOf(await call(`/employees${query}`))).toEqual([400, 'path_invalid']);
    expect(onward).toEqual([]);
  },
);

test('a percent sign that encodes nothing stands for itself', async () => {
  expect((await call('/employees?name=like.50%&name=neq.%C3%A9')).status).toBe(200);
});

test('the description, tables and functions are paths', async () => {
  for (const path of ['', '/', '/attendance_sessions', '/rpc/review_expense']) {
    expect((await call(path)).status).toBe(200);
    now += 501;
  }
  expect(onward).toHaveLength(4);
});

test.each([
  ['no key', {}],
  ['an empty key', { 'x-api-key': '' }],
  ['a malformed key', { 'x-api-key': 'ft_live_abc' }],
  ['a person’s key', { 'x-api-key': 'sb_secret_abc' }],
  ['a bad checksum', { 'x-api-key': `${body}_000000` }],
  ['one letter changed', { 'x-api-key': key.replace('_s', '_t') }],
  ['two keys in one header', { 'x-api-key': `${key}, ${key}` }],
])('%s is told without asking the database', async (_, headers) => {
  const request = new Request('http://functions/api/expenses', { headers });
  expect(await refusalOf(await api(request))).toEqual([401, 'api_key_invalid']);
  expect(questions).toEqual([]);
});

test.each(['unknown', 'revoked', 'expired'] as const)('a key that is %s is refused', async (why) => {
  verdict = { refusal: why };
  const response = await call('/expenses');
  expect(await response.json()).toMatchObject({
    code: 'api_key_invalid',
    details: expect.stringMatching(/^It (was|has)/),
  });
  expect(onward).toEqual([]);
});

test('a revoked key is asked about again within half a second', async () => {
  verdict = granting(100);
  expect((await call('/expenses')).status).toBe(200);
  verdict = { refusal: 'revoked' };
  now += 499;
  expect((await call('/expenses')).status).toBe(200);
  now += 1;
  expect((await call('/expenses')).status).toBe(401);
  expect((await call('/expenses')).status).toBe(401);
});

test('the database grants the calls of half a second at once, and calls in between do not ask', async () => {
  verdict = granting(10, 590);
  for (let i = 0; i < 10; i += 1) await call('/expenses');
  expect(questions).toEqual([1]);
  now += 500;
  await call('/expenses');
  expect(questions).toEqual([1, 10]);
});

test('a key in steady use asks for twice as much until half a second is covered, then for what that used', async () => {
  verdict = granting(1);
  for (let i = 0; i < 40; i += 1) {
    // As many as it asks for.
    const before = questions.length;
    verdict = granting(Math.min(2 ** before, 100));
    await call('/expenses');
    now += 10;
  }
  expect(questions).toEqual([1, 2, 4, 8, 16, 32]);
});

test('calls at the same moment ask once', async () => {
  verdict = granting(20);
  const answers = await Promise.all(Array.from({ length: 20 }, () => call('/expenses')));
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  expect(questions).toEqual([1]);
});

test('the limit is told in headers, and a spent one is a 429 that does not ask again at once', async () => {
  verdict = granting(1, 41);
  const let_in = await call('/expenses');
  expect(let_in.headers.get('ratelimit-policy')).toBe('"api_key";q=600;w=60');
  expect(let_in.headers.get('ratelimit')).toBe('"api_key";r=41;t=56');
  verdict = granting(0, 0);
  for (let i = 0; i < 3; i += 1) {
    const refused = await call('/expenses');
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('ratelimit')).toBe('"api_key";r=0;t=60');
  }
  expect(questions).toHaveLength(2);
  now += 100;
  verdict = granting(1, 0);
  expect((await call('/expenses')).status).toBe(200);
});

test('an address with a hundred failures waits, but a key that was known there does not', async () => {
  expect((await call('/expenses')).status).toBe(200);
  for (let i = 0; i < 100; i += 1)
    await api(new Request('http://functions/api/expenses', { headers: { 'x-api-key': 'no' } }));
  now += 501;
  expect((await call('/expenses')).status).toBe(200);
  const other = body.replace('ft_live_k', 'ft_live_l');
  const blocked = await api(
    new Request('http://functions/api/expenses', { headers: { 'x-api-key': `${other}_${crc32Base62(other)}` } }),
  );
  expect(await refusalOf(blocked)).toEqual([429, 'rate_limited']);
  expect(lines.filter((line) => line.includes('repeated failures'))).toHaveLength(2);
});

test('a body of 2 MB is a 413', async () => {
  const response = await call('/rpc/record_locations', { method: 'POST', body: new Uint8Array(2 * 1024 * 1024) });
  expect(await refusalOf(response)).toEqual([413, 'body_too_large']);
  expect(onward).toEqual([]);
});

test('another method is a 405, before the key is looked at', async () => {
  expect(await refusalOf(await call('/expenses', { method: 'PROPFIND' }))).toEqual([405, 'method_not_allowed']);
  expect(questions).toEqual([]);
});

test('the answer comes back as it is, without what is none of the caller’s business', async () => {
  answer = () =>
    new Response('{"a":1}', {
      status: 206,
      headers: {
        'content-range': '0-0/9',
        'content-type': 'application/json',
        server: 'postgrest',
        'set-cookie': 'a=b',
      },
    });
  const response = await call('/expenses');
  expect([response.status, await response.text()]).toEqual([206, '{"a":1}']);
  expect(response.headers.get('content-range')).toBe('0-0/9');
  expect(response.headers.get('server')).toBeNull();
  expect(response.headers.get('set-cookie')).toBeNull();
});

test('a data API that does not answer is a 502', async () => {
  answer = () => {
    throw new TypeError('connection refused to 10.0.0.5');
  };
  expect(await refusalOf(await call('/expenses'))).toEqual([502, 'upstream_unavailable']);
  expect(lines.join()).not.toContain('10.0.0.5');
});

test('no line of the log holds the key or the token', async () => {
  await call('/expenses');
  expect(lines.join()).toContain('k'.repeat(12));
  expect(lines.join()).not.toMatch(/sssss|eyJ/);
});

test('a project with its own signing key gets tokens by it', async () => {
  const pair = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(pair.privateKey)), kid: 'imported-1' } as SigningJwk;
  const token = await createMint({ jwk, secret: undefined })({ role: 'api_key' }, 60);
  const { protectedHeader } = await jwtVerify(token, pair.publicKey);
  expect(protectedHeader).toMatchObject({ alg: 'ES256', kid: 'imported-1' });
});

test('keys are parsed by their form and checksum', () => {
  expect(crc32Base62('123456789')).toBe('3jZRME');
  expect(parseKey(key)).toEqual({ keyId: 'k'.repeat(12), secret: 's'.repeat(43) });
  expect(parseKey(` ${key}`)).toBeUndefined();
  expect(parseKey(`${key}\n`)).toBeUndefined();
});

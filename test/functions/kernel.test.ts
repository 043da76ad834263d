import { SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, test, vi } from 'vitest';
import { createAbuseLog } from '../../edge-functions/_shared/abuse.ts';
import { parseJson } from '../../edge-functions/_shared/body.ts';
import { readEnv } from '../../edge-functions/_shared/env.ts';
import { createTokenVerifier } from '../../edge-functions/_shared/jwt.ts';
import type { Context, Endpoint } from '../../edge-functions/_shared/kernel.ts';
import { createKernel } from '../../edge-functions/_shared/kernel.ts';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { createBuckets, rateLimitHeaders } from '../../edge-functions/_shared/rate-limit.ts';
import { refusal } from '../../edge-functions/_shared/refusal.ts';

type Line = Record<string, unknown>;

function endpoint(handle: Endpoint['handle'], more: Partial<Endpoint> = {}) {
  const lines: Line[] = [];
  const now = () => performance.now();
  const kernel = createKernel({
    log: createLogger({ service: 'test', level: 'info', write: (line) => lines.push(JSON.parse(line)) }),
    abuse: createAbuseLog({ now }),
    allowedOrigins: ['https://app.example.com'],
    trustedProxies: 1,
    newRequestId: () => 'made-by-the-kernel',
    now,
  });
  const call = kernel({ name: 'test', methods: ['GET', 'POST'], maxBodyBytes: 100, timeoutMs: 200, handle, ...more });
  const ask = (path = '/test', init?: RequestInit) => call(new Request(`http://functions${path}`, init));
  return { ask, lines };
}

const ok = () => new Response('fine');

describe('ids', () => {
  test('the request id is echoed, logged, and made where it is missing or could break a log', async () => {
    const { ask, lines } = endpoint(ok);
    const echoed = await ask('/test', { headers: { 'x-request-id': 'request-0001' } });
    expect(echoed.headers.get('x-request-id')).toBe('request-0001');
    for (const id of [undefined, 'short', 'with space in it', '"}{"level":"fatal', 'x'.repeat(129)]) {
      const made = await ask('/test', id === undefined ? {} : { headers: { 'x-request-id': id } });
      expect(made.headers.get('x-request-id')).toBe('made-by-the-kernel');
    }
    expect(lines[0]).toMatchObject({
      level: 'info',
      service: 'test',
      request_id: 'request-0001',
      status: 200,
      msg: 'request',
    });
    expect(Object.keys(lines[0] ?? {})).toEqual(
      expect.arrayContaining(['level', 'time', 'trace_id', 'msg', 'duration_ms']),
    );
  });

  test('trace context is handed on, or begun', async () => {
    const seen: string[] = [];
    const { ask, lines } = endpoint(({ trace }) => {
      seen.push(trace.traceparent);
      return ok();
    });
    const given = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await ask('/test', { headers: { traceparent: given } });
    await ask('/test', { headers: { traceparent: '00-00000000000000000000000000000000-b7ad6b7169203331-01' } });
    expect(seen[0]).toBe(given);
    expect(lines[0]).toMatchObject({ trace_id: '0af7651916cd43dd8448eb211c80319c' });
    expect(seen[1]).toMatch(/^00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  });

  test('the address is what the last trusted proxy saw, not what the caller wrote', async () => {
    let address = '';
    const { ask } = endpoint((context) => {
      address = context.address;
      return ok();
    });
    await ask('/test', { headers: { 'x-forwarded-for': '1.1.1.1, 203.0.113.7' } });
    expect(address).toBe('203.0.113.7');
    await ask('/test', { headers: { 'x-forwarded-for': '<script>' } });
    expect(address).toBe('unknown');
  });
});

describe('answers', () => {
  test('a refusal has the shape, the status of the registry, and its headers', async () => {
    const { ask } = endpoint(() => {
      throw refusal('rate_limited', 'Too many calls.', { headers: { 'retry-after': '3' } });
    });
    const answer = await ask();
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('3');
    expect(await answer.json()).toEqual({
      code: 'rate_limited',
      message: 'Too many calls.',
      details: null,
      hint: null,
    });
  });

  test('a defect is a 500 that tells nothing but the request id', async () => {
    const { ask, lines } = endpoint(() => {
      throw new Error('relation "secret_table" does not exist');
    });
    const answer = await ask();
    expect(answer.status).toBe(500);
    expect(await answer.json()).toMatchObject({ code: 'internal_error', details: 'made-by-the-kernel' });
    expect(JSON.stringify(lines)).not.toContain('secret_table');
  });

  test('another method is a 405 with Allow', async () => {
    const answer = await endpoint(ok).ask('/test', { method: 'DELETE' });
    expect(answer.status).toBe(405);
    expect(answer.headers.get('allow')).toBe('GET, POST');
    expect(await answer.json()).toMatchObject({ code: 'method_not_allowed' });
  });

  test('all of them carry the security headers', async () => {
    for (const answer of [await endpoint(ok).ask(), await endpoint(ok).ask('/test', { method: 'DELETE' })]) {
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'strict-transport-security': expect.stringContaining('max-age='),
      });
    }
  });

  test('an answer that does not begin in time is a 504, and the work is told to stop', async () => {
    let signal: AbortSignal | undefined;
    const { ask } = endpoint(
      (context) => {
        signal = context.signal;
        return new Promise<Response>(() => {});
      },
      { timeoutMs: 20 },
    );
    const answer = await ask();
    expect([answer.status, await answer.json()]).toMatchObject([504, { code: 'timeout' }]);
    expect(signal?.aborted).toBe(true);
  });

  test('the path is left as it was sent', async () => {
    const seen: [string, string][] = [];
    const { ask } = endpoint(({ path, query }) => {
      seen.push([path, query]);
      return ok();
    });
    await ask('/test/a%2Fb//c?x=a%20b&y=?');
    await ask('/functions/v1/test?x=1');
    expect(seen).toEqual([
      ['/a%2Fb//c', '?x=a%20b&y=?'],
      ['/', '?x=1'],
    ]);
  });
});

describe('bodies', () => {
  const echo = async ({ body }: Context) => Response.json({ got: parseJson(await body()) });
  const streamed = (text: string) =>
    new Request('http://functions/test', {
      method: 'POST',
      body: new Blob([text]).stream(),
      duplex: 'half',
    } as RequestInit);

  test('a body over the limit is a 413, announced or not', async () => {
    const { ask } = endpoint(echo);
    const announced = await ask('/test', { method: 'POST', body: '1'.repeat(101) });
    expect([announced.status, await announced.json()]).toMatchObject([413, { code: 'body_too_large' }]);
    const { ask: askAgain } = endpoint(() =>
      echo({
        body: () =>
          import('../../edge-functions/_shared/body.ts').then(({ readBody }) =>
            readBody(streamed('1'.repeat(101)), 100),
          ),
      } as Context),
    );
    expect((await askAgain('/test', { method: 'POST' })).status).toBe(413);
  });

  test.each(['{', '{"a":1}x', '', '\u0000'])('%j is a 400', async (body) => {
    const answer = await endpoint(echo).ask('/test', { method: 'POST', body });
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'body_invalid' }]);
  });

  test('bytes that are no UTF-8 are a 400', async () => {
    const answer = await endpoint(echo).ask('/test', { method: 'POST', body: new Uint8Array([0x22, 0xff, 0x22]) });
    expect(answer.status).toBe(400);
  });
});

describe('browsers', () => {
  const from = (origin: string, method = 'GET') => ({ method, headers: { origin } });

  test('an origin on the list may call, another gets no header, a wildcard is never sent', async () => {
    const { ask } = endpoint(ok);
    const listed = await ask('/test', from('https://app.example.com'));
    expect(listed.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
    expect(listed.headers.get('vary')).toBe('Origin');
    for (const origin of ['https://evil.example', 'null', 'https://app.example.com.evil.example']) {
      const answer = await ask('/test', from(origin));
      expect(answer.headers.get('access-control-allow-origin')).toBeNull();
      expect(answer.headers.get('vary')).toBe('Origin');
    }
  });

  test('a question before the call names methods and headers, and reaches no handler', async () => {
    const handle = vi.fn(ok);
    const { ask } = endpoint(handle);
    const listed = await ask('/test', from('https://app.example.com', 'OPTIONS'));
    expect(listed.status).toBe(204);
    expect(listed.headers.get('access-control-allow-methods')).toBe('GET, POST');
    expect(listed.headers.get('access-control-allow-headers')).toContain('x-api-key');
    const other = await ask('/test', from('https://evil.example', 'OPTIONS'));
    expect(other.headers.get('access-control-allow-methods')).toBeNull();
    expect(handle).not.toHaveBeenCalled();
  });
});

describe('logs', () => {
  test('secrets do not reach a line, by name or by their looks', () => {
    const lines: string[] = [];
    const log = createLogger({ service: 'test', level: 'info', write: (line) => lines.push(line) });
    log.info({ authorization: 'Bearer x', nested: { token: 'x1', password: 'x2' } }, 'named');
    log.warn({ note: 'key ft_live_0123456789AB_c2VjcmV0_abc123 was sent' }, 'by looks');
    log.info({ note: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl' }, 'token');
    log.debug({}, 'below the level');
    expect(lines).toHaveLength(3);
    expect(lines[0]).not.toMatch(/Bearer|x1|x2/);
    expect(lines[1]).toContain('ft_live_0123456789AB…');
    expect(lines[1]).not.toContain('c2VjcmV0');
    expect(lines[2]).not.toContain('eyJ');
  });
});

describe('limits', () => {
  test('a bucket is spent, refills, and says so in the headers of draft 11', () => {
    let now = 0;
    const policy = { name: 'calls', quota: 3, windowS: 60 };
    const buckets = createBuckets(policy, { now: () => now });
    expect([1, 2, 3].map(() => buckets.take('a').remaining)).toEqual([2, 1, 0]);
    expect(buckets.take('a')).toMatchObject({ retryAfterS: 20 });
    expect(buckets.take('b')).toMatchObject({ remaining: 2 });
    now += 20_000;
    const state = buckets.take('a');
    expect(rateLimitHeaders(policy, state)).toEqual({
      'ratelimit-policy': '"calls";q=3;w=60',
      ratelimit: '"calls";r=0;t=60',
    });
  });

  test('repeated failures are told of at 10 and 100, and then the address has to wait', () => {
    let now = 0;
    const lines: Line[] = [];
    const log = createLogger({ service: 'test', level: 'info', write: (line) => lines.push(JSON.parse(line)) });
    const abuse = createAbuseLog({ now: () => now });
    for (let i = 0; i < 99; i += 1) abuse.record({ address: '203.0.113.7', subject: 'key', status: 401, log });
    expect(abuse.blockedForS('203.0.113.7')).toBe(0);
    abuse.record({ address: '203.0.113.7', subject: 'key', status: 401, log });
    expect(lines.map((line) => line.failures_of_address)).toEqual([10, 100]);
    expect(lines[0]).toMatchObject({ level: 'warn', address: '203.0.113.7', subject: 'key', msg: 'repeated failures' });
    expect(abuse.blockedForS('203.0.113.7')).toBe(60);
    expect(abuse.blockedForS('203.0.113.8')).toBe(0);
    now += 60_000;
    expect(abuse.blockedForS('203.0.113.7')).toBe(0);
  });
});

describe('access tokens', () => {
  const secret = 's'.repeat(32);
  const issuer = 'http://127.0.0.1:54321/auth/v1';
  const verify = createTokenVerifier({ issuer, secret, jwksUrl: `${issuer}/.well-known/jwks.json` });
  const token = (claims: Record<string, unknown> = {}, key = secret) =>
    new SignJWT({ sub: 'u1', role: 'authenticated', iss: issuer, aud: 'authenticated', ...claims })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(key));

  test('one of this project names its person', async () => {
    expect(await verify(await token())).toMatchObject({ sub: 'u1' });
  });

  test.each<[string, () => string | Promise<string>]>([
    ['another issuer', () => token({ iss: 'https://evil.example/auth/v1' })],
    ['no issuer', () => token({ iss: undefined })],
    ['another audience', () => token({ aud: 'anon' })],
    ['another key', () => token({}, 'x'.repeat(32))],
    [
      'alg none',
      () =>
        new UnsecuredJWT({ sub: 'u1', role: 'authenticated' })
          .setIssuer(issuer)
          .setAudience('authenticated')
          .setExpirationTime('1h')
          .encode(),
    ],
    ['another role', () => token({ role: 'service_role' })],
    ['no person', () => token({ sub: undefined })],
    ['no token', () => 'not-a-token'],
  ])('%s is refused', async (_, make) => {
    await expect(verify(await make())).rejects.toMatchObject({ status: 401, body: { code: 'token_invalid' } });
  });

  test('an expired one is refused, and says so', async () => {
    const expired = await new SignJWT({ sub: 'u1', role: 'authenticated' })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer(issuer)
      .setAudience('authenticated')
      .setExpirationTime('1 minute ago')
      .sign(new TextEncoder().encode(secret));
    await expect(verify(expired)).rejects.toMatchObject({ status: 401, body: { details: 'It has expired.' } });
  });
});

describe('the environment', () => {
  const complete = {
    SUPABASE_URL: 'http://127.0.0.1:54321/',
    FIELDTRACK_EDGE_DATABASE_URL: 'postgresql://fieldtrack_edge:very-secret@localhost/postgres',
  };

  test('is read with its defaults', () => {
    expect(
      readEnv({ ...complete, FIELDTRACK_ALLOWED_ORIGINS: 'https://a.example, https://b.example' }, {}),
    ).toMatchObject({
      SUPABASE_URL: 'http://127.0.0.1:54321',
      FIELDTRACK_ALLOWED_ORIGINS: ['https://a.example', 'https://b.example'],
      FIELDTRACK_TRUSTED_PROXIES: 1,
    });
  });

  test('all problems are told at once, and no value', () => {
    const wrong = {
      SUPABASE_URL: 'ftp://very-secret',
      FIELDTRACK_ALLOWED_ORIGINS: '*',
      FIELDTRACK_JWT_SECRET: 'very-secret',
    };
    const read = () => readEnv(wrong, {});
    expect(read).toThrow(/SUPABASE_URL[\s\S]*FIELDTRACK_EDGE_DATABASE_URL[\s\S]*JWT_SECRET[\s\S]*ALLOWED_ORIGINS/);
    expect(read).not.toThrow(/very-secret/);
  });
});

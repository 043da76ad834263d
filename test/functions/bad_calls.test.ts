// One list of what goes wrong with a call, tried on each function through the running stack: gateway, Deno, database.
// What means something in one function only is in that function's own tests.

import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc32Base62 } from '../../edge-functions/_shared/api-key.ts';
import { createKey, type IssuedKey } from '../fixtures/api-keys.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
let key: IssuedKey;
let revoked: IssuedKey;
let expired: IssuedKey;
let narrow: IssuedKey;
let deviceToken: string;
let revokedDeviceToken: string;

beforeAll(async () => {
  stack = await startTestStack({ functions: true });
  const { organizationId, admin: founder } = await foundOrganization(stack, 'acme');
  admin = founder;
  const bob = await addEmployee(stack, admin, 'bob');
  [key, revoked, expired, narrow] = await Promise.all([
    createKey(admin, organizationId, ['employees:read', 'events:read', 'locations:write']),
    createKey(admin, organizationId, ['employees:read', 'events:read']),
    createKey(admin, organizationId, ['employees:read', 'events:read']),
    createKey(admin, organizationId, ['webhooks:manage']),
  ]);
  await admin.client.rpc('revoke_api_key', { api_key_id: revoked.id });
  await stack.admin`update public.api_keys set expires_at = now() where id = ${expired.id}`;
  const deviceOf = async () =>
    (await bob.client.rpc('my_device_token', { name: 'phone' })).data as { id: string; token: string };
  const [first, second] = [await deviceOf(), await deviceOf()];
  deviceToken = first.token;
  revokedDeviceToken = second.token;
  await bob.client.rpc('revoke_device_token', { device_token_id: second.id });
  await admin.client.rpc('check_in', { checked_in_at: new Date().toISOString(), client_request_id: randomUUID() });
});
afterAll(() => stack?.stop());

type Headers = Record<string, string>;
type Refused = [status: number, code: string];

const functions = ['api', 'admin-events', 'ingest'] as const;
type Name = (typeof functions)[number];
/** A path at which each function answers who may call. */
const paths: Record<Name, string> = { api: '/employees?select=id', 'admin-events': '', ingest: '/osmand?lat=1&lon=2' };
/** How each says that a caller is nobody. */
const nobody: Record<Name, string> = {
  api: 'api_key_invalid',
  'admin-events': 'api_key_invalid',
  ingest: 'device_token_invalid',
};

async function call(name: Name, init: RequestInit & { path?: string } = {}): Promise<Refused> {
  const { path = paths[name], ...request } = init;
  const answer = await fetch(`${stack.url}/functions/v1/${name}${path}`, request);
  const { code } = answer.status === 200 ? { code: 'ok' } : ((await answer.json()) as { code: string });
  await answer.body?.cancel().catch(() => {});
  return [answer.status, code];
}

/** As each function takes a credential. */
function showing(name: Name, credential: string): Headers {
  return name === 'ingest' ? { authorization: `Bearer ${credential}` } : { 'x-api-key': credential };
}

const wrongChecksum = (whole: string) => `${whole.slice(0, -6)}000000`;
const neverIssued = () => {
  const body = `ft_live_${'k'.repeat(12)}_${'s'.repeat(43)}`;
  return `${body}_${crc32Base62(body)}`;
};

describe.each(functions)('%s', (name) => {
  test('other methods are a 405 that names those there are', async () => {
    // fetch would not send this one.
    expect((await rawCall('TRACE', `/functions/v1/${name}${paths[name]}`, {}))[0]).toBe(405);
    const method = name === 'api' ? 'PROPFIND' : 'DELETE';
    const answer = await fetch(`${stack.url}/functions/v1/${name}${paths[name]}`, { method });
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([405, 'method_not_allowed']);
    expect(answer.headers.get('allow')).toContain('GET');
  });

  test('nobody is a 401', async () => {
    expect(await call(name)).toEqual([401, name === 'admin-events' ? 'not_authenticated' : nobody[name]]);
  });

  test('a credential that is malformed, made up, another’s or of another kind is a 401', async () => {
    const credentials: [what: string, text: string][] = [
      ['nonsense', 'nonsense'],
      ['half a key', key.key.slice(0, 30)],
      ['half a device token', deviceToken.slice(0, 30)],
      ['a bad checksum', wrongChecksum(key.key)],
      ['never issued', neverIssued()],
      ['a device token never issued', `ft_device_${'u'.repeat(43)}`],
      ['revoked', name === 'ingest' ? revokedDeviceToken : revoked.key],
      ['expired', expired.key],
      ['the other kind', name === 'ingest' ? key.key : deviceToken],
      ['the publishable key', stack.publishableKey],
      ['the secret key', stack.secretKey],
      ['a person’s access token', admin.accessToken],
    ];
    for (const [what, credential] of credentials) {
      expect(await call(name, { headers: showing(name, credential) }), what).toEqual([401, nobody[name]]);
    }
  });

  test('a token of another issuer, one without a signature, and one of a role that it gives itself are a 401', async () => {
    const claims = { role: 'authenticated', sub: admin.userId, aud: 'authenticated' };
    const secret = new TextEncoder().encode(stack.jwtSecret);
    const sign = (more: object, by = secret) =>
      new SignJWT({ ...claims, iss: `${stack.url}/auth/v1`, ...more })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime('1h')
        .sign(by);
    const tokens: [what: string, token: string][] = [
      ['another issuer', await sign({ iss: 'https://evil.example/auth/v1' })],
      ['another key', await sign({}, new TextEncoder().encode('x'.repeat(32)))],
      ['alg none', new UnsecuredJWT({ ...claims, iss: `${stack.url}/auth/v1` }).setExpirationTime('1h').encode()],
      ['service_role', await sign({ role: 'service_role' })],
      ['api_key', await sign({ role: 'api_key', scopes: ['employees:read', 'events:read'] })],
    ];
    const code = name === 'admin-events' ? 'token_invalid' : nobody[name];
    for (const [what, token] of tokens) {
      expect(await call(name, { headers: { authorization: `Bearer ${token}` } }), what).toEqual([401, code]);
    }
  });

  test('headers that would choose a role, a key, a host or an address choose nothing', async () => {
    const smuggled = {
      role: 'service_role',
      apikey: stack.secretKey,
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'https',
      'x-forwarded-prefix': '/rest/v1',
      'x-original-url': '/rest/v1/expenses',
      'x-http-method-override': 'DELETE',
      'accept-profile': 'private',
      'content-profile': 'private',
    };
    expect(await call(name, { headers: smuggled })).toEqual(await call(name));
    // Beside a key that may do something else: what it may not stays refused.
    if (name === 'ingest') return;
    const path = name === 'api' ? '/expenses' : '';
    const lacking = name === 'api' ? key.key : narrow.key;
    expect(await call(name, { path, headers: { ...smuggled, 'x-api-key': lacking } })).toEqual([403, 'scope_missing']);
  });

  test('paths that resolve to something else are refused', async () => {
    const { key: apiKey } = key;
    for (const path of [
      '/..%2f..%2frest%2fv1%2fexpenses',
      '//expenses',
      '/%2e%2e%2fapi',
      '/x%00',
      '/a/b/c/d',
      '/%FF',
    ]) {
      const [status] = await rawCall('GET', `/functions/v1/${name}${path}`, { 'x-api-key': apiKey });
      expect([400, 401, 404], `${name}${path}: ${status}`).toContain(status);
    }
    // The gateway resolves what is plainly written; what is left is a path of its own.
    for (const path of [`/functions/v1/${name}/../../rest/v1/expenses`, `/functions/v1/${name}/../../../etc/passwd`]) {
      const [status] = await rawCall('GET', path, { 'x-api-key': apiKey });
      expect([401, 404], `${path}: ${status}`).toContain(status);
    }
  });

  test('a body beyond the limit is refused unread, and the connection serves the next caller', async () => {
    const path = name === 'api' ? '/rpc/record_locations' : name === 'ingest' ? `/overland/${deviceToken}` : '';
    const headers = { 'content-type': 'application/json', ...(name === 'api' ? { 'x-api-key': key.key } : {}) };
    // Phones send a whole day in one request; the other functions take 1 MiB.
    const body = new Uint8Array((name === 'ingest' ? 9 : 2) * 1024 * 1024);
    const expected: Refused = name === 'admin-events' ? [405, 'method_not_allowed'] : [413, 'body_too_large'];
    for (let round = 0; round < 3; round += 1) {
      expect(await call(name, { method: 'POST', path, headers, body })).toEqual(expected);
      expect((await call(name))[0]).toBe(401);
    }
  });

  test('a body that is no JSON, or has more points than one call may, is a 400', async () => {
    if (name === 'admin-events') return;
    const headers = { 'content-type': 'application/json', ...(name === 'api' ? { 'x-api-key': key.key } : {}) };
    const post = (body: string) =>
      call(name, {
        method: 'POST',
        path: name === 'api' ? '/rpc/record_locations' : `/overland/${deviceToken}`,
        headers,
        body,
      });
    const invalid: Refused = name === 'api' ? [400, 'PGRST102'] : [400, 'body_invalid'];
    for (const body of ['{', '{"points":', '\u0000', '{"locations":[}']) expect(await post(body)).toEqual(invalid);
    const point = { recorded_at: new Date().toISOString(), latitude: 1, longitude: 2 };
    const feature = { type: 'Feature', geometry: { type: 'Point', coordinates: [2, 1] }, properties: {} };
    const tooMany =
      name === 'api'
        ? { employee_id: admin.employeeId, points: Array(101).fill(point) }
        : { locations: Array(10_001).fill(feature) };
    expect(await post(JSON.stringify(tooMany))).toEqual([400, 'batch_size']);
  });
});

test('a key with a scope that does not exist cannot be made', async () => {
  const { error } = await admin.client.rpc('create_api_key', {
    name: 'x',
    scopes: ['employees:read', 'employees:eat'],
  });
  expect(error?.code).toBe('invalid_argument');
});

test('a key that lacks the scope is a 403, on the stream as on a table', async () => {
  const headers = { 'x-api-key': narrow.key };
  expect(await call('api', { headers })).toEqual([403, 'scope_missing']);
  expect(await call('admin-events', { headers })).toEqual([403, 'scope_missing']);
});

/** What fetch would resolve or refuse to send. */
function rawCall(method: string, path: string, headers: Headers): Promise<[status: number, text: string]> {
  const { hostname, port } = new URL(stack.url);
  return new Promise((resolve, reject) => {
    const lines = Object.entries({ host: hostname, connection: 'close', ...headers }).map(([n, v]) => `${n}: ${v}\r\n`);
    const socket = connect({ host: hostname, port: Number(port) }, () => {
      socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    });
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on('end', () => resolve([Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text]));
    socket.on('error', reject);
  });
}

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTokenVerifier } from '../../edge-functions/_shared/jwt.ts';
import { Refusal } from '../../edge-functions/_shared/refusal.ts';

// A hosted project signs with its own keys and publishes the public halves. The stand-in has a shared secret, so this side is
// tested against a key set of the test's own, served on loopback.

let server: Server;
let url: string;
let issuer: string;
let fetches = 0;
let signing: CryptoKey;
let published: { keys: object[] };

beforeAll(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true });
  signing = pair.privateKey;
  published = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }] };
  server = createServer((_request, response) => {
    fetches += 1;
    response.setHeader('content-type', 'application/json').end(JSON.stringify(published));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth/v1/.well-known/jwks.json`;
  issuer = 'https://project.example.test/auth/v1';
});
afterAll(() => new Promise((resolve) => server?.close(resolve)));

const sub = '5f7d2c1e-6f0a-4c7e-9a38-0f6f5b1f6a11';

function token(
  key: CryptoKey | Uint8Array,
  header: { alg: string; kid?: string },
  claims: object = {},
): Promise<string> {
  return new SignJWT({ role: 'authenticated', ...claims })
    .setProtectedHeader(header)
    .setSubject(sub)
    .setIssuer('iss' in claims ? String(claims.iss) : issuer)
    .setAudience('aud' in claims ? String(claims.aud) : 'authenticated')
    .setExpirationTime('exp' in claims ? Number(claims.exp) : '10 m')
    .sign(key);
}

const codeOf = (outcome: Promise<unknown>): Promise<string> =>
  outcome.then(
    () => 'let in',
    (error: unknown) => (error instanceof Refusal ? error.body.code : `${error}`),
  );

test('a token of a published key is let in, and the keys are fetched once for many', async () => {
  const verify = createTokenVerifier({ issuer, secret: undefined, jwksUrl: url });
  fetches = 0;
  for (let round = 0; round < 20; round += 1) {
    expect(await verify(await token(signing, { alg: 'ES256', kid: 'one' }))).toMatchObject({
      sub,
      role: 'authenticated',
    });
  }
  expect(fetches).toBe(1);
});

test('another key, another algorithm, another issuer, another audience, another role: each is refused', async () => {
  const verify = createTokenVerifier({ issuer, secret: undefined, jwksUrl: url });
  const other = (await generateKeyPair('ES256')).privateKey;
  const rsa = (await generateKeyPair('RS256')).privateKey;
  const publicText = new TextEncoder().encode(JSON.stringify(published.keys[0]));
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(
    JSON.stringify({ role: 'authenticated', sub, iss: issuer, aud: 'authenticated', exp: 9_999_999_999 }),
  ).toString('base64url')}.`;
  const tokens = {
    'another key under the same name': await token(other, { alg: 'ES256', kid: 'one' }),
    'a key that is not published': await token(other, { alg: 'ES256', kid: 'two' }),
    'RS256 by a key of its own': await token(rsa, { alg: 'RS256', kid: 'one' }),
    'HS256 with the public key as secret': await token(publicText, { alg: 'HS256', kid: 'one' }),
    'alg none': none,
    'another issuer': await token(signing, { alg: 'ES256', kid: 'one' }, { iss: 'https://other.example.test/auth/v1' }),
    'another audience': await token(signing, { alg: 'ES256', kid: 'one' }, { aud: 'anon' }),
    expired: await token(signing, { alg: 'ES256', kid: 'one' }, { exp: Math.floor(Date.now() / 1000) - 60 }),
    service_role: await token(signing, { alg: 'ES256', kid: 'one' }, { role: 'service_role' }),
  };
  for (const [name, one] of Object.entries(tokens)) expect(await codeOf(verify(one)), name).toBe('token_invalid');
});

test('while the keys cannot be fetched nobody is let in, and the caller is told to try again', async () => {
  const gone = createServer();
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  const verify = createTokenVerifier({ issuer, secret: undefined, jwksUrl: `http://127.0.0.1:${port}/jwks.json` });
  expect(await codeOf(verify(await token(signing, { alg: 'ES256', kid: 'one' })))).toBe('upstream_unavailable');
});

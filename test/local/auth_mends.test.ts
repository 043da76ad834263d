import { createClient } from '@supabase/supabase-js';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { importLite } from '../../supabase/local/auth-warnings.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

// Where a title names a file, @supabase/lite 0.10.0 fails the test as it comes, and that file is the mend.
let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack?.stop());

const nobodysHook = `create or replace function private.custom_access_token_hook(in_event jsonb) returns jsonb
  language plpgsql stable security definer set search_path = ''`;

async function withHook(body: string, use: () => Promise<void>): Promise<void> {
  const [original] = await stack.admin<{ source: string }[]>`
    select pg_get_functiondef('private.custom_access_token_hook(jsonb)'::regprocedure) as source`;
  await stack.admin.unsafe(`${nobodysHook} as $$ begin ${body} end $$`);
  try {
    await use();
  } finally {
    await stack.admin.unsafe(original?.source ?? '');
  }
}

function post(path: string, body: unknown): Promise<Response> {
  return fetch(`${stack.url}/auth/v1/${path}`, {
    method: 'POST',
    headers: { apikey: stack.publishableKey, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

describe('metadata (auth-json.ts)', () => {
  test('is a jsonb object, not a string stringified twice', async () => {
    const client = createClient(stack.url, stack.publishableKey, { auth: { persistSession: false } });
    await client.auth.signUp({
      email: 'meta@example.test',
      password: 'correct horse battery',
      options: { data: { full_name: 'Meta "M" Müller' } },
    });
    const [row] = await stack.admin`
      select raw_user_meta_data ->> 'full_name' as name, jsonb_typeof(raw_user_meta_data) as type
      from auth.users where email = 'meta@example.test'`;
    expect(row).toEqual({ name: 'Meta "M" Müller', type: 'object' });
  });
});

describe('claims (auth-claims.ts)', () => {
  test("carry Supabase's shape", async () => {
    const { accessToken, userId } = await stack.signUp('claims@example.test');
    expect(decodeJwt(accessToken)).toMatchObject({
      iss: `${stack.url}/auth/v1`,
      sub: userId,
      aud: 'authenticated',
      role: 'authenticated',
      email: 'claims@example.test',
      phone: '',
      app_metadata: expect.any(Object),
      user_metadata: expect.any(Object),
      aal: 'aal1',
      amr: [{ method: 'password', timestamp: expect.any(Number) }],
      session_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      is_anonymous: false,
    });
  });
});

describe('access token hook (auth-hook.ts)', () => {
  test('is called as supabase_auth_admin at sign-up, sign-in and refresh, and its claims are signed', async () => {
    const body = `return jsonb_build_object('claims', (in_event -> 'claims') || jsonb_build_object(
      'app_role', 'ADMIN', 'called_by', session_user, 'for', in_event -> 'user_id', 'method', in_event -> 'authentication_method'));`;
    await withHook(body, async () => {
      const alice = await stack.signUp('hook@example.test');
      const added = { app_role: 'ADMIN', called_by: 'supabase_auth_admin', for: alice.userId };
      expect(decodeJwt(alice.accessToken)).toMatchObject({ ...added, role: 'authenticated', method: 'password' });
      const again = await alice.client.auth.signInWithPassword({ email: alice.email, password: alice.password });
      expect(decodeJwt(again.data.session?.access_token ?? '')).toMatchObject(added);
      const refreshed = await alice.client.auth.refreshSession();
      expect(decodeJwt(refreshed.data.session?.access_token ?? '')).toMatchObject({
        ...added,
        method: 'token_refresh',
      });
      // The token signed anew is one that Auth itself accepts.
      expect((await alice.client.auth.getUser()).data.user?.id).toBe(alice.userId);
    });
  });

  test('may refuse, with its own status and words', async () => {
    const body = `return jsonb_build_object('error', jsonb_build_object('http_code', 403, 'message', 'Not today'));`;
    await withHook(body, async () => {
      const answer = await post('signup', { email: 'refused@example.test', password: 'correct horse battery' });
      expect(answer.status).toBe(403);
      expect(await answer.json()).toMatchObject({ msg: 'Not today' });
    });
  });

  test('that fails is a 500 that tells the client nothing of why', async () => {
    await withHook(`raise exception 'secret detail';`, async () => {
      const answer = await post('signup', { email: 'broken@example.test', password: 'correct horse battery' });
      expect(answer.status).toBe(500);
      expect(await answer.text()).not.toContain('secret detail');
    });
  });

  test('that does not exist leaves the token without its claims', async () => {
    await stack.admin`alter function private.custom_access_token_hook(jsonb) rename to hook_elsewhere`;
    try {
      const { accessToken } = await stack.signUp('nohook@example.test');
      expect(decodeJwt(accessToken)).not.toHaveProperty('app_role');
    } finally {
      await stack.admin`alter function private.hook_elsewhere(jsonb) rename to custom_access_token_hook`;
    }
  });
});

describe('a banned user (auth-ban.ts)', () => {
  test('cannot sign in nor refresh, and keeps no session', async () => {
    const eve = await stack.signUp('eve@example.test');
    await stack.admin`update auth.users set banned_until = now() + interval '1 hour' where id = ${eve.userId}`;
    const refreshed = await eve.client.auth.refreshSession();
    expect(refreshed.error?.code).toBe('user_banned');
    const signedIn = await post('token?grant_type=password', { email: eve.email, password: eve.password });
    expect(signedIn.status).toBe(400);
    expect(await signedIn.json()).toMatchObject({ error_code: 'user_banned' });
    expect(await stack.admin`select from auth.sessions where user_id = ${eve.userId}`).toHaveLength(0);
  });

  test('may sign in again when the ban is over', async () => {
    const bob = await stack.signUp('bob@example.test');
    await stack.admin`update auth.users set banned_until = now() - interval '1 second' where id = ${bob.userId}`;
    expect((await post('token?grant_type=password', { email: bob.email, password: bob.password })).status).toBe(200);
  });
});

describe('the secret', () => {
  test("is the installation's: a token signed with @supabase/lite's default is refused", async () => {
    const { createSigner } = await import('../../supabase/local/keys.ts');
    const forged = await createSigner('unsafe-secret-change-me').sign({ role: 'service_role', sub: 'x' }, '1h');
    const headers = { apikey: stack.publishableKey, authorization: `Bearer ${forged}` };
    expect((await fetch(`${stack.url}/auth/v1/user`, { headers })).status).toBeGreaterThanOrEqual(400);
    expect((await fetch(`${stack.url}/rest/v1/`, { headers })).status).toBe(401);
  });
});

// Its Data API is off, its system schema never reconciled, and it connects as supabase_auth_admin: so it cannot.
describe('what @supabase/lite would add', () => {
  test('grants nothing to anon', async () => {
    const [granted] = await stack.admin`
      select count(*)::int as count from information_schema.role_table_grants
      where grantee = 'anon' and table_schema in ('public', 'private', 'auth', 'pgboss')
        and privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')`;
    expect(granted?.count).toBe(0);
  });

  test("leaves auth.uid() as the platform's", async () => {
    const [row] = await stack.admin`select pg_get_functiondef('auth.uid()'::regprocedure) as source`;
    expect(row?.source).toContain('request.jwt.claims');
  });

  test.each(['/_system/info', '/_system/config', '/', '/auth/v1/../../_system/info'])(
    'does not serve %s',
    async (path) => {
      const answer = await fetch(`${stack.url}${path}`, { headers: { apikey: stack.secretKey } });
      expect(answer.status).toBe(404);
    },
  );
});

test('process.emitWarning still takes an Error after the import (auth-warnings.ts)', async () => {
  await importLite();
  // @supabase/lite's own version calls includes() on it.
  expect(() => process.emitWarning(new Error('from a test'))).not.toThrow();
});

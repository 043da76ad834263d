// PostgREST pools connections, switches roles and prepares statements, and PostgreSQL checks EXECUTE of an inlined SQL
// function only when it plans. So after an authorized caller, anon on the same connection could run the finished plan.
// A SET clause prevents inlining; hence `set search_path = ''` on every function that a client role can name.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type SignedIn, startTestStack, type TestStack } from '../fixtures/stack.ts';

/** PostgreSQL plans a prepared statement anew five times before it keeps a plan for good. */
const CALLS_UNTIL_THE_PLAN_IS_KEPT = 8;

let stack: TestStack;
let alice: SignedIn;

beforeAll(async () => {
  // One connection: the caller who is refused meets the plan of the one who was served.
  stack = await startTestStack({ poolSize: 1 });
  alice = await stack.signUp('alice@example.test');
  await stack.admin.unsafe(`
    create function public.probe_inlinable() returns integer language sql stable as 'select 1';
    create function public.probe_with_search_path() returns integer language sql stable set search_path = '' as 'select 1';
    revoke execute on function public.probe_inlinable(), public.probe_with_search_path() from public;
    grant execute on function public.probe_inlinable(), public.probe_with_search_path() to authenticated;
    notify pgrst, 'reload schema';
  `);
  // Until PostgREST has read the new functions it answers 404.
  await vi.waitFor(async () => expect((await call('probe_with_search_path', alice)).status).toBe(200), 10_000);
});

afterAll(async () => {
  await stack.stop();
});

type Answer = { status: number; code: string | null };

async function call(name: string, caller: SignedIn | 'anon', args: string[] = []): Promise<Answer> {
  const token = caller === 'anon' ? stack.publishableKey : caller.accessToken;
  const response = await fetch(`${stack.url}/rest/v1/rpc/${name}`, {
    method: 'POST',
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    // Nulls are enough: a plan is made whatever the values, and a refusal by the body comes after EXECUTE was checked.
    body: JSON.stringify(Object.fromEntries(args.map((arg) => [arg, null]))),
  });
  const body: unknown = await response.json();
  const hasCode = typeof body === 'object' && body !== null && 'code' in body;
  return { status: response.status, code: hasCode ? String(body.code) : null };
}

async function afterAnAuthorizedCaller(name: string, args: string[] = []): Promise<Answer> {
  for (let i = 0; i < CALLS_UNTIL_THE_PLAN_IS_KEPT; i++) {
    const { code } = await call(name, alice, args);
    expect(['42501', 'PGRST202']).not.toContain(code);
  }
  return call(name, 'anon', args);
}

const refused = { status: 401, code: '42501' };

test('the trap is real: an inlinable function without a SET clause answers anon after an authorized caller', async () => {
  expect((await afterAnAuthorizedCaller('probe_inlinable')).status).toBe(200);
});

test('a function with set search_path refuses anon after an authorized caller on the same connection', async () => {
  expect(await afterAnAuthorizedCaller('probe_with_search_path')).toEqual(refused);
});

test('every RPC refuses anon after an authorized caller on the same connection', async () => {
  const rpcs = await stack.admin<{ name: string; args: string[] }[]>`
    select p.proname as name, coalesce(p.proargnames[1:p.pronargs], '{}') as args
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'public'::regnamespace
      and p.proname not like 'probe%'
      and has_function_privilege('authenticated', p.oid, 'execute')
      and not has_function_privilege('anon', p.oid, 'execute')`;
  expect(rpcs.map(({ name }) => name)).toContain('check_in');
  for (const { name, args } of rpcs) {
    expect({ name, ...(await afterAnAuthorizedCaller(name, args)) }).toEqual({ name, ...refused });
  }
});

import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let mallory: Member;
let victor: Member;
beforeAll(async () => {
  stack = await startTestStack();
  mallory = (await foundOrganization(stack, 'mallory')).admin;
  victor = (await foundOrganization(stack, 'victor')).admin;
});
afterAll(() => stack?.stop());

function get(person: Member, path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`${stack.url}/rest/v1${path}`, {
    ...init,
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${person.accessToken}`, ...init.headers },
  });
}

test('a regular expression in a filter is refused, however it is written', async () => {
  for (const filter of [
    'name=match.^(n*)*$',
    'name=imatch.x',
    'name=not.match.x',
    'or=(name.match.x,id.is.null)',
    'name=match(any).{x}',
  ]) {
    const answer = await get(mallory, `/employees?select=id&${filter}`);
    expect([answer.status, ((await answer.json()) as { code: string }).code], filter).toEqual([
      400,
      'invalid_argument',
    ]);
  }
  expect((await get(mallory, '/employees?select=id&name=ilike.m*')).status).toBe(200);
});

test('bytes that are no text, and rows embedded without end, are a bad request', async () => {
  for (const query of ['name=eq.%ff', 'name=eq.%ed%a0%80', 'select=a(b(c(d(id))))']) {
    const answer = await get(mallory, `/employees?${query}`);
    expect([answer.status, ((await answer.json()) as { code: string }).code], query).toEqual([400, 'path_invalid']);
  }
});

test('who has too many reads under way is told so, and nobody else', async () => {
  const held = postgres(stack.database.url('postgres'), { max: 1 });
  try {
    await held.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(hashtextextended(format('fieldtrack.reads.%s.%s', ${mallory.userId}::text, n), 0))
        from generate_series(1, 5) as n`;
      const refused = await get(mallory, '/employees?select=id');
      expect(refused.status).toBe(429);
      expect(refused.headers.get('retry-after')).toBe('1');
      expect(await refused.json()).toMatchObject({ code: 'rate_limited', details: 'reads' });
      expect((await get(victor, '/employees?select=id')).status).toBe(200);
    });
  } finally {
    await held.end();
  }
  expect((await get(mallory, '/employees?select=id')).status).toBe(200);
});

test('a page that asks for eight things in one moment gets them', async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => get(mallory, '/employees?select=id')));
  expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
});

test('a read ends after two seconds', async () => {
  const held = postgres(stack.database.url('postgres'), { max: 1 });
  try {
    await held.begin(async (tx) => {
      await tx`lock table public.expenses in access exclusive mode`;
      const began = performance.now();
      const answer = await get(mallory, '/expenses?select=id');
      expect(((await answer.json()) as { code: string }).code).toBe('57014');
      expect(performance.now() - began).toBeLessThan(6000);
    });
  } finally {
    await held.end();
  }
});

test('every write takes a token of its person, whatever function it calls', async () => {
  await stack.admin`
    insert into private.rate_buckets (organization_id, kind, subject_id, tokens, refilled_at)
    select organization_id, 'writes', user_id, 0, now() + interval '1 hour'
    from public.employees where user_id = ${mallory.userId}
    on conflict on constraint rate_buckets_pkey do update set tokens = 0, refilled_at = excluded.refilled_at`;
  const functions = await stack.admin<{ name: string }[]>`
    select distinct p.proname::text as name
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'public'::regnamespace and p.provolatile = 'v' and p.proname <> 'record_locations'
      and p.pronargs - p.pronargdefaults = 0
      and has_function_privilege('authenticated', p.oid, 'execute')`;
  expect(functions.length).toBeGreaterThan(1);
  for (const { name } of functions) {
    const answer = await get(mallory, `/rpc/${name}`, {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json' },
    });
    const { code, details } = (await answer.json()) as { code: string; details: string };
    expect([answer.status, code, details], name).toEqual([429, 'rate_limited', 'writes']);
  }
  const removed = await get(mallory, '/webhooks?id=eq.00000000-0000-0000-0000-000000000000', { method: 'DELETE' });
  expect(removed.status).toBe(429);
  expect((await get(victor, '/webhooks?id=eq.00000000-0000-0000-0000-000000000000', { method: 'DELETE' })).status).toBe(
    204,
  );
});

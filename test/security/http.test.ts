import { createHmac, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

// What HTTP adds to the matrix: embedding, counting, and tokens that are not what they say. Mallory, administrator of another
// organization, knows every id of Acme and finds nothing.

let stack: TestStack;
let alice: Member;
let bob: Member;
let mallory: Member;
let acme: string;
let secrets: string[];

beforeAll(async () => {
  stack = await startTestStack({ poolSize: 4 });
  const founded = await foundOrganization(stack, 'acme');
  acme = founded.organizationId;
  alice = founded.admin;
  bob = await addEmployee(stack, alice, 'bob');
  mallory = (await foundOrganization(stack, 'other')).admin;
  const sessionId = await workAnHour(bob);
  const expense = await bob.client.rpc('submit_expense', {
    amount: 12.5,
    description: 'Lunch of Acme',
    client_request_id: randomUUID(),
  });
  if (expense.error) throw expense.error;
  secrets = [acme, bob.employeeId, alice.employeeId, sessionId, expense.data.id, 'Lunch of Acme'];
});
afterAll(() => stack?.stop());

const get = (path: string, token: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${stack.url}/rest/v1/${path}`, {
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}`, ...headers },
  });

const mentions = (text: string): string[] => secrets.filter((secret) => text.includes(secret));

test('embedding along every foreign key, in both directions, leads into no other organization', async () => {
  const keys = await stack.admin<{ name: string; child: string; parent: string }[]>`
    select c.conname as name, c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent
    from pg_constraint as c
    where c.contype = 'f' and c.conparentid = 0 and c.connamespace = 'public'::regnamespace
      and c.confrelid::regclass::text not like 'auth.%'
    order by 2, 1`;
  expect(keys.length).toBeGreaterThan(20);
  const wrong: string[] = [];
  const sees = { alice: 0 };
  for (const { name, child, parent } of keys) {
    for (const path of [`${child}?select=*,${parent}!${name}(*)`, `${parent}?select=*,${child}!${name}(*)`]) {
      const response = await get(path, mallory.accessToken);
      const text = await response.text();
      if (response.status !== 200 && response.status !== 401 && response.status !== 403) {
        wrong.push(`${path}: ${response.status} ${text}`);
      }
      for (const secret of mentions(text)) wrong.push(`${path} shows ${secret}`);
      const own = await (await get(path, alice.accessToken)).text();
      if (mentions(own).length > 0) sees.alice += 1;
    }
  }
  expect(wrong).toEqual([]);
  // The paths are real: Acme's administrator sees Acme through them.
  expect(sees.alice).toBeGreaterThan(20);
});

test('counting by Prefer, HEAD or ranges counts no rows of another organization', async () => {
  const relations = await stack.admin<{ name: string }[]>`
    select c.relname as name from pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1`;
  for (const { name } of relations) {
    const column = name === 'organizations' ? 'id' : 'organization_id';
    for (const method of ['GET', 'HEAD']) {
      const response = await fetch(`${stack.url}/rest/v1/${name}?${column}=eq.${acme}`, {
        method,
        headers: {
          apikey: stack.publishableKey,
          authorization: `Bearer ${mallory.accessToken}`,
          prefer: 'count=exact',
          range: '0-5',
        },
      });
      if (response.status < 300) expect(response.headers.get('content-range'), name).toMatch(/^\*\/0$/);
      expect(mentions(await response.text()), name).toEqual([]);
    }
  }
});

// PostgREST answers count=planned with what the planner expects, which it knows from all tenants' rows: ranges of names, bisected,
// spelt out names of other organizations, for whoever had signed up.
test('nobody is told what the planner expects, which it knows from everybody’s rows', async () => {
  await stack.admin`analyze`;
  const relations = await stack.admin<{ name: string }[]>`
    select c.relname as name from pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') order by 1`;
  const outsider = await stack.signUp(`outsider-${randomUUID().slice(0, 8)}@example.test`);
  const told: string[] = [];
  for (const { name } of relations) {
    for (const query of [`${name}?limit=0`, name]) {
      for (const [who, { accessToken }] of Object.entries({ mallory, bob, outsider })) {
        const response = await get(query, accessToken, { prefer: 'count=planned' });
        const range = response.headers.get('content-range');
        const body = await response.text();
        if (response.status !== 400 || range !== null || !body.includes('invalid_argument')) {
          told.push(`${who} ${query}: ${response.status} ${range} ${body}`);
        }
      }
    }
  }
  expect(told).toEqual([]);
  for (const path of [
    `employees?select=id,organizations!inner(id)&organizations.id=eq.${acme}`,
    'employees?name=gte.a&name=lt.c&id=is.null',
  ]) {
    const response = await get(path, mallory.accessToken, { prefer: 'count=planned' });
    expect(await response.json(), path).toMatchObject({ code: 'invalid_argument', hint: 'Send Prefer: count=exact.' });
  }
  // Of two headers of one name the database is shown one; both count.
  const { port, hostname } = new URL(stack.url);
  const doubled = await new Promise<number | undefined>((resolve, reject) => {
    const question = request(
      { hostname, port, path: '/rest/v1/employees?select=id' },
      (response) => response.resume() && resolve(response.statusCode),
    );
    question.on('error', reject);
    question.setHeader('apikey', stack.publishableKey);
    question.setHeader('authorization', `Bearer ${mallory.accessToken}`);
    question.setHeader('prefer', ['count=planned', 'return=minimal']);
    question.end();
  });
  expect(doubled).toBe(400);
  const counted = await get('employees?select=id', bob.accessToken, { prefer: 'count=exact' });
  expect(counted.headers.get('content-range')).toBe('0-0/1');
});

test('filters, orders and aggregates on embedded rows tell nothing of another organization', async () => {
  for (const path of [
    `attendance_sessions?select=id,employee!inner(name)&employee.id=eq.${bob.employeeId}`,
    `employees?select=id,attendance_sessions(count)&id=eq.${bob.employeeId}`,
    `expenses?or=(id.eq.${secrets[4]},amount.gt.0)&order=employee(name).desc`,
    `expenses?select=amount.sum()`,
    `rpc/get_session_route?session_id=${secrets[3]}`,
    `gps_locations?session_id=eq.${secrets[3]}&select=latitude`,
  ]) {
    const text = await (await get(path, mallory.accessToken)).text();
    expect(mentions(text.replace(secrets[3] ?? '', '').replace(secrets[3] ?? '', '')), path).toEqual([]);
    expect(text, path).not.toContain('46.0');
  }
});

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

function forge(header: object, claims: object, secret?: string): string {
  const body = `${part(header)}.${part(claims)}`;
  return `${body}.${secret === undefined ? '' : createHmac('sha256', secret).update(body).digest('base64url')}`;
}

test('a token that is not what it says is refused: none, another key, a changed claim, expired, another role', async () => {
  const now = Math.floor(Date.now() / 1000);
  const claims = { role: 'authenticated', sub: alice.userId, aud: 'authenticated', exp: now + 600 };
  const hs = { alg: 'HS256', typ: 'JWT' };
  const tokens: Record<string, string> = {
    'alg none': forge({ alg: 'none', typ: 'JWT' }, claims),
    'alg None with a signature': forge({ alg: 'None', typ: 'JWT' }, claims, stack.jwtSecret),
    'another key': forge(hs, claims, 'x'.repeat(40)),
    'the publishable key as secret': forge(hs, claims, stack.publishableKey),
    'RS256 in the header': forge({ alg: 'RS256', typ: 'JWT' }, claims, stack.jwtSecret),
    expired: forge(hs, { ...claims, exp: now - 120 }, stack.jwtSecret),
    'not yet valid': forge(hs, { ...claims, nbf: now + 600 }, stack.jwtSecret),
    'a claim changed after signing': alice.accessToken.replace(
      /\.[^.]+\./,
      `.${part({ ...claims, role: 'service_role' })}.`,
    ),
    'service_role by another key': forge(hs, { ...claims, role: 'service_role' }, 'x'.repeat(40)),
    // Signed rightly, as no one can; the roles that log in are no roles of a request.
    'role postgres': forge(hs, { ...claims, role: 'postgres' }, stack.jwtSecret),
    'role supabase_admin': forge(hs, { ...claims, role: 'supabase_admin' }, stack.jwtSecret),
    'role fieldtrack_worker': forge(hs, { ...claims, role: 'fieldtrack_worker' }, stack.jwtSecret),
    'role fieldtrack_edge': forge(hs, { ...claims, role: 'fieldtrack_edge' }, stack.jwtSecret),
    'three dots': `${alice.accessToken}.x`,
    'no token at all': 'x',
  };
  const outcomes: Record<string, number> = {};
  for (const [name, token] of Object.entries(tokens)) {
    const response = await get('employees?select=id', token);
    outcomes[name] = response.status;
    expect(mentions(await response.text()), name).toEqual([]);
  }
  for (const [name, status] of Object.entries(outcomes)) expect([401, 403], `${name}: ${status}`).toContain(status);
  // The same made rightly is let in: what was refused above was refused for what it was.
  expect((await get('employees?select=id', forge(hs, claims, stack.jwtSecret))).status).toBe(200);
});

test('claims of one’s own making about organization and role change nothing', async () => {
  const now = Math.floor(Date.now() / 1000);
  const token = forge(
    { alg: 'HS256', typ: 'JWT' },
    {
      role: 'authenticated',
      sub: bob.userId,
      aud: 'authenticated',
      exp: now + 600,
      app_role: 'ADMIN',
      organization_id: mallory.employeeId,
      user_metadata: { app_role: 'ADMIN', organization_id: acme },
      app_metadata: { app_role: 'ADMIN' },
    },
    stack.jwtSecret,
  );
  const rows = (await (await get('employees?select=id', token)).json()) as { id: string }[];
  expect(rows).toEqual([{ id: bob.employeeId }]);
  const refused = await fetch(`${stack.url}/rest/v1/rpc/update_organization`, {
    method: 'POST',
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ changes: { name: 'Bob’s' } }),
  });
  expect(refused.status).toBe(403);
});

test('what is unique over the installation tells no more than that a slug is taken', async () => {
  const { data } = await alice.client.from('organizations').select('slug').single();
  const outsider = await stack.signUp(`outsider-${randomUUID().slice(0, 8)}@example.test`);
  const { error } = await outsider.client.rpc('create_organization', {
    name: 'Copy',
    slug: data?.slug ?? '',
    time_zone: 'UTC',
  });
  expect(error).toMatchObject({ code: 'slug_taken' });
  expect(mentions(JSON.stringify(error))).toEqual([]);
});

import { connect } from 'node:net';
import { createClient } from '@supabase/supabase-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey, type IssuedKey, rpcWithKey, withKey } from '../fixtures/api-keys.ts';
import {
  addEmployee,
  foundOrganization,
  type Member,
  readClock,
  straightNorth,
  workAnHour,
} from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
let bob: Member;
let organizationId: string;
let everything: IssuedKey;
let expenseId: string;

const scopes = [
  'sessions:read',
  'locations:read',
  'locations:write',
  'expenses:read',
  'expenses:review',
  'employees:read',
  'employees:write',
  'analytics:read',
  'webhooks:manage',
  'events:read',
];

beforeAll(async () => {
  stack = await startTestStack({ functions: true });
  ({ organizationId, admin } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, admin, 'bob');
  await workAnHour(bob);
  const expense = await bob.client.rpc('submit_expense', {
    amount: 12.5,
    description: 'Parking',
    client_request_id: crypto.randomUUID(),
  });
  expenseId = expense.data?.id ?? '';
  everything = await createKey(admin, organizationId, scopes);
});
afterAll(() => stack?.stop());

const refusalOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

test('a key reads with filters, order, embedding, counting and paging as PostgREST has them', async () => {
  const response = await withKey(
    stack,
    everything.key,
    '/gps_locations?select=recorded_at,session(employee(name))&order=recorded_at.desc&latitude=gt.46.01',
    { headers: { prefer: 'count=exact', range: '0-4' } },
  );
  expect(response.status).toBe(206);
  expect(response.headers.get('content-range')).toMatch(/^0-4\/\d+$/);
  expect(await response.json()).toHaveLength(5);
  expect(response.headers.get('ratelimit-policy')).toBe('"api_key";q=600;w=60');
  const csv = await withKey(stack, everything.key, '/employees?select=name&order=name', {
    headers: { accept: 'text/csv' },
  });
  expect(await csv.text()).toBe(
    'name\nacme-founder\nbob'.replace(
      'acme-founder',
      (await admin.client.from('employees').select('name').eq('id', admin.employeeId).single()).data?.name ?? '',
    ),
  );
});

test('supabase-js works with it: the function is its REST address', async () => {
  const client = createClient(`${stack.url}/functions/v1/api`, 'unused', {
    global: {
      fetch: (input, init) =>
        fetch(String(input).replace('/functions/v1/api/rest/v1/', '/functions/v1/api/'), {
          ...init,
          headers: { ...Object.fromEntries(new Headers(init?.headers)), 'x-api-key': everything.key },
        }),
    },
  });
  const { data, error } = await client.from('expenses').select('amount, employee(name)').eq('id', expenseId).single();
  expect(error).toBeNull();
  expect(data).toMatchObject({ amount: 12.5, employee: { name: 'bob' } });
});

test('who did it is the key: in the row, the audit log and the event', async () => {
  const reviewer = await createKey(admin, organizationId, ['expenses:review']);
  const response = await rpcWithKey(stack, reviewer.key, 'review_expense', {
    expense_id: expenseId,
    status: 'APPROVED',
  });
  expect(await response.json()).toMatchObject({
    status: 'APPROVED',
    reviewer_id: null,
    reviewer_api_key_id: reviewer.id,
  });
  const audit = await admin.client
    .from('audit_log')
    .select('actor_type, actor_id')
    .eq('action', 'expense.approved')
    .single();
  expect(audit.data).toEqual({ actor_type: 'api_key', actor_id: reviewer.id });
  const event = await admin.client
    .from('events')
    .select('actor_type, actor_id')
    .eq('type', 'expense.approved')
    .single();
  expect(event.data).toEqual({ actor_type: 'api_key', actor_id: reviewer.id });
  const named = await admin.client.from('expenses').select('reviewer_api_key(name)').eq('id', expenseId).single();
  expect(named.data).toMatchObject({ reviewer_api_key: { name: 'expenses:review' } });
});

test('the trace of the call is in the event it caused', async () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const response = await withKey(stack, everything.key, '/rpc/update_employee', {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-b7ad6b7169203331-01` },
    body: JSON.stringify({ employee_id: bob.employeeId, changes: { phone: '123' } }),
  });
  expect(response.status).toBe(200);
  const event = await admin.client
    .from('events')
    .select('traceparent')
    .eq('type', 'employee.updated')
    .eq('actor_type', 'api_key');
  expect(event.data?.[0]?.traceparent).toContain(traceId);
});

test('a key sends points for an employee it names, 100 at a time', async () => {
  const minutesAgo = readClock();
  await bob.client.rpc('check_in', { checked_in_at: minutesAgo(1), client_request_id: crypto.randomUUID() });
  const send = (body: unknown) => rpcWithKey(stack, everything.key, 'record_locations', body);
  const points = straightNorth(1, minutesAgo(0.5));
  expect(await (await send({ points, employee_id: bob.employeeId })).json()).toMatchObject({ inserted: 1 });
  expect(await refusalOf(await send({ points }))).toEqual([400, 'invalid_argument']);
  expect(await refusalOf(await send({ points: Array(101).fill(points[0]), employee_id: bob.employeeId }))).toEqual([
    400,
    'batch_size',
  ]);
  expect(await refusalOf(await send({ points, employee_id: crypto.randomUUID() }))).toEqual([
    404,
    'employee_not_found',
  ]);
  const { data: session } = await bob.client.from('attendance_sessions').select('id').eq('status', 'ACTIVE').single();
  expect(await (await send({ points, session_id: session?.id })).json()).toMatchObject({ inserted: 0, duplicates: 1 });
  expect(
    await refusalOf(await send({ points, session_id: session?.id, employee_id: admin.employeeId })),
    "a session of somebody else's",
  ).toEqual([404, 'session_not_found']);
});

test('a person names nobody but oneself', async () => {
  const { error } = await bob.client.rpc('record_locations', {
    points: straightNorth(1, new Date().toISOString()),
    employee_id: admin.employeeId,
  });
  expect(error?.code).toBe('invalid_argument');
});

test('bad bodies are refused by the function or by PostgREST, never by a 500', async () => {
  const headers = { 'content-type': 'application/json' };
  const post = (body: string | Uint8Array<ArrayBuffer>) =>
    withKey(stack, everything.key, '/rpc/record_locations', { method: 'POST', headers, body });
  expect(await refusalOf(await post('{'))).toEqual([400, 'PGRST102']);
  expect(await refusalOf(await post(new Uint8Array(2 * 1024 * 1024)))).toEqual([413, 'body_too_large']);
  expect((await post('[]')).status).toBeLessThan(500);
});

test('a revoked key is refused within a second, also one in full use', async () => {
  const doomed = await createKey(admin, organizationId, ['employees:read']);
  const read = () => withKey(stack, doomed.key, '/employees?select=id');
  expect((await read()).status).toBe(200);
  let stopped = false;
  let lastSuccess = 0;
  const user = (async () => {
    while (!stopped) {
      const sentAt = performance.now();
      if ((await read()).status === 200) lastSuccess = sentAt;
      else await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const { error } = await admin.client.rpc('revoke_api_key', { api_key_id: doomed.id });
  const revokedAt = performance.now();
  expect(error).toBeNull();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  stopped = true;
  await user;
  expect(lastSuccess - revokedAt).toBeLessThan(1000);
  expect(await refusalOf(await read())).toEqual([401, 'api_key_invalid']);
});

test('the database refuses a revoked key that still has a token: nothing rests on the function', async () => {
  const doomed = await createKey(admin, organizationId, ['employees:read']);
  await admin.client.rpc('revoke_api_key', { api_key_id: doomed.id });
  const token = await stack.signer.sign(
    { role: 'api_key', organization_id: organizationId, api_key_id: doomed.id, scopes: ['employees:read'] },
    '60 s',
  );
  const response = await fetch(`${stack.url}/rest/v1/employees?select=id`, {
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}` },
  });
  expect(await refusalOf(response)).toEqual([401, 'api_key_invalid']);
});

test('an expired key, and the old one after a rotation without overlap, are refused; with overlap both work', async () => {
  const first = await createKey(admin, organizationId, ['employees:read']);
  const rotate = async (id: string, overlap_hours: number) => {
    const { data, error } = await admin.client.rpc('rotate_api_key', { api_key_id: id, overlap_hours });
    if (error) throw error;
    return data as { id: string; key: string };
  };
  const second = await rotate(first.id, 24);
  for (const key of [first.key, second.key]) expect((await withKey(stack, key, '/employees')).status).toBe(200);
  const third = await rotate(second.id, 0);
  expect((await withKey(stack, third.key, '/employees')).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 550));
  const refused = await withKey(stack, second.key, '/employees');
  expect(await refused.json()).toMatchObject({ code: 'api_key_invalid', details: 'It has expired.' });
});

test('the limit counts over the minute and over processes: it is kept in the database', async () => {
  const slow = await createKey(admin, organizationId, ['employees:read'], { requests_per_minute: 5 });
  const answers = await Promise.all(Array.from({ length: 8 }, () => withKey(stack, slow.key, '/employees')));
  const statuses = answers.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(5);
  expect(statuses.filter((status) => status === 429)).toHaveLength(3);
  const refused = answers.find(({ status }) => status === 429);
  expect(refused?.headers.get('retry-after')).toBe('12');
  expect(refused?.headers.get('ratelimit')).toBe('"api_key";r=0;t=60');
});

test('scopes are what the key has now, not what its token says', async () => {
  const token = await stack.signer.sign(
    {
      role: 'api_key',
      organization_id: organizationId,
      api_key_id: (await createKey(admin, organizationId, ['employees:read'])).id,
      scopes,
    },
    '60 s',
  );
  const response = await fetch(`${stack.url}/rest/v1/expenses`, {
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}` },
  });
  expect(await refusalOf(response)).toEqual([403, 'scope_missing']);
});

test('headers that would choose a role, a host or an organization choose nothing', async () => {
  const own = await createKey(admin, organizationId, ['employees:read']);
  const response = await withKey(stack, own.key, '/expenses', {
    headers: {
      authorization: `Bearer ${admin.accessToken}`,
      apikey: stack.secretKey,
      role: 'service_role',
      'x-forwarded-for': '127.0.0.1',
      'accept-profile': 'private',
    },
  });
  expect(await refusalOf(response)).toEqual([403, 'scope_missing']);
  const byQuery = await withKey(stack, own.key, `/expenses?apikey=${stack.secretKey}`);
  expect(await refusalOf(byQuery)).toEqual([403, 'scope_missing']);
});

test.each([
  // The gateway resolves what is plainly written; a function called api or rest is all it can reach.
  ['/functions/v1/api/../../rest/v1/expenses', [404]],
  ['/functions/v1/api/..%2f..%2frest%2fv1%2fexpenses', [400]],
  ['/functions/v1/api//expenses', [400]],
  ['/functions/v1/api/rpc/..%2fexpenses', [400]],
  ['/functions/v1/api/%2e%2e/api/expenses%00', [400]],
])('the raw path %s is refused', async (path, statuses) => {
  expect(statuses).toContain(await rawStatus(path, everything.key));
});

/** fetch would resolve the dots before it sends them. */
function rawStatus(path: string, key: string): Promise<number> {
  const { hostname, port } = new URL(stack.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) }, () => {
      socket.write(`GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\nx-api-key: ${key}\r\nconnection: close\r\n\r\n`);
    });
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on('end', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])));
    socket.on('error', reject);
  });
}

test('last use is noted, coarse', async () => {
  const used = await createKey(admin, organizationId, ['employees:read']);
  const lastUse = async () => {
    const { data } = await admin.client.from('api_keys').select('last_used_at').eq('id', used.id).single();
    return Date.parse(data?.last_used_at ?? '');
  };
  const before = Date.now();
  await withKey(stack, used.key, '/employees');
  expect(await lastUse()).toBeGreaterThanOrEqual(before);
  await stack.admin`update public.api_keys set last_used_at = now() - interval '30 seconds' where id = ${used.id}`;
  // The verdict of half a second is over, so the database is asked again.
  await new Promise((resolve) => setTimeout(resolve, 550));
  await withKey(stack, used.key, '/employees');
  expect(await lastUse()).toBeLessThan(before);
});

test('the log of the function names the key by its public part and nothing else', () => {
  const lines = stack.lines.filter(({ part }) => part === 'api').map(({ line }) => line);
  expect(lines.length).toBeGreaterThan(10);
  for (const line of lines.filter((line) => line.startsWith('{'))) JSON.parse(line);
  expect(lines.join('\n')).not.toContain(everything.key.split('_')[3]);
  expect(lines.join('\n')).toContain(everything.key.split('_')[2]);
});

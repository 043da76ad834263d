// What goes wrong on a working day: somebody wants to be more than they are, the database dies in the middle of a call, names
// are not what a form expects, and the clocks change at night.

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey, rpcWithKey } from '../fixtures/api-keys.ts';
import { hostileTexts } from '../fixtures/hostile.ts';
import {
  addEmployee,
  eventually,
  foundOrganization,
  type Member,
  readClock,
  straightNorth,
} from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let organizationId: string;
let alice: Member;
let bob: Member;

beforeAll(async () => {
  stack = await startTestStack({ functions: true, poolSize: 10 });
  ({ organizationId, admin: alice } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, alice, 'bob');
});
afterAll(() => stack?.stop());

/** As bytes on the wire, since a client library may mend what is sent. */
async function call(
  person: Member,
  name: string,
  args: object,
): Promise<{ status: number; answer: Record<string, unknown> }> {
  const response = await fetch(`${stack.url}/rest/v1/rpc/${name}`, {
    method: 'POST',
    headers: {
      apikey: stack.publishableKey,
      authorization: `Bearer ${person.accessToken}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(args),
  });
  return { status: response.status, answer: (await response.json()) as Record<string, unknown> };
}

describe('nobody promotes themselves', () => {
  const roleOf = async ({ employeeId }: Member) => {
    const [row] = await stack.admin`select app_role, organization_id from public.employees where id = ${employeeId}`;
    return row;
  };

  test.each<[string, () => PromiseLike<{ error: unknown }>]>([
    ['by the row', () => bob.client.from('employees').update({ app_role: 'ADMIN' }).eq('id', bob.employeeId)],
    [
      'by a second row for the same user',
      () =>
        bob.client
          .from('employees')
          .insert({ organization_id: organizationId, name: 'bob', user_id: bob.userId, app_role: 'ADMIN' } as never),
    ],
    [
      'by an upsert of the own row',
      () =>
        bob.client
          .from('employees')
          .upsert({ organization_id: organizationId, id: bob.employeeId, name: 'bob', app_role: 'ADMIN' } as never),
    ],
    [
      'by update_employee',
      () => bob.client.rpc('update_employee', { employee_id: bob.employeeId, changes: { app_role: 'ADMIN' } }),
    ],
    [
      'by an invitation to the own address',
      () => bob.client.rpc('invite_employee', { email: bob.email, name: 'bob', app_role: 'ADMIN' }),
    ],
    [
      'by founding another organization',
      () => bob.client.rpc('create_organization', { name: 'Mine', slug: 'mine', time_zone: 'UTC' }),
    ],
    [
      'by an API key of the own making',
      () => bob.client.rpc('create_api_key', { name: 'mine', scopes: ['employees:write'] }),
    ],
    [
      'by another mass-assigned argument',
      () =>
        bob.client.rpc('check_in', {
          checked_in_at: new Date().toISOString(),
          client_request_id: randomUUID(),
          app_role: 'ADMIN',
        } as never),
    ],
  ])('%s', async (_, attempt) => {
    expect((await attempt()).error).not.toBeNull();
    expect(await roleOf(bob)).toEqual({ app_role: 'EMPLOYEE', organization_id: organizationId });
    const [row] = await stack.admin`select count(*)::int as people from public.employees where user_id = ${bob.userId}`;
    expect(row?.people).toBe(1);
  });

  test('by metadata of the own account, which goes into the token', async () => {
    const changed = await bob.client.auth.updateUser({
      data: { app_role: 'ADMIN', role: 'service_role', organization_id: organizationId },
    });
    expect(changed.error).toBeNull();
    const { data } = await bob.client.auth.refreshSession();
    const token = data.session?.access_token ?? '';
    expect(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({
      role: 'authenticated',
      app_role: 'EMPLOYEE',
    });
    expect((await call({ ...bob, accessToken: token }, 'get_dashboard', {})).answer.code).toBe('admin_required');
  });

  test('by a key of the organization: it makes no administrator and changes none', async () => {
    const { key } = await createKey(alice, organizationId, ['employees:write']);
    for (const [name, args] of [
      ['update_employee', { employee_id: bob.employeeId, changes: { app_role: 'ADMIN' } }],
      ['update_employee', { employee_id: alice.employeeId, changes: { name: 'Mallory' } }],
      ['invite_employee', { email: 'key@example.test', name: 'key', app_role: 'ADMIN' }],
      ['set_employee_active', { employee_id: alice.employeeId, is_active: false }],
    ] as const) {
      expect((await rpcWithKey(stack, key, name, args)).status, name).toBe(403);
    }
    expect((await roleOf(bob))?.app_role).toBe('EMPLOYEE');
  });

  test('an administrator who was demoted is none at the next call, whatever the token says', async () => {
    const anna = await addEmployee(stack, alice, 'anna', 'ADMIN');
    const { data } = await anna.client.auth.refreshSession();
    const known = { ...anna, accessToken: data.session?.access_token ?? '' };
    expect((await call(known, 'get_dashboard', {})).status).toBe(200);
    await alice.client.rpc('update_employee', { employee_id: anna.employeeId, changes: { app_role: 'EMPLOYEE' } });
    const back = await call(known, 'update_employee', { employee_id: anna.employeeId, changes: { app_role: 'ADMIN' } });
    expect([back.status, back.answer.code]).toEqual([403, 'admin_required']);
  });
});

describe('the database ends in the middle of a call: nothing is half there, and the same call again is answered once', () => {
  type Step = { name: string; args: object; table: string; before?: () => Promise<void> };
  const id = () => randomUUID();
  const minutesAgo = readClock();
  let person: Member;
  let expenseId: string;

  beforeAll(async () => {
    person = await addEmployee(stack, alice, 'carol');
    const claimed = await person.client.rpc('submit_expense', {
      amount: 5,
      description: 'Stamps',
      client_request_id: id(),
    });
    expenseId = claimed.data?.id ?? '';
  });

  /** All that a call can leave behind in the organization, as one text. */
  async function state(): Promise<string> {
    const tables = await stack.admin<{ name: string }[]>`
      select format('%I.%I', n.nspname, c.relname) as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
      where n.nspname in ('public', 'private', 'pgboss') and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname not in ('rate_buckets') order by 1`;
    const sums = await stack.admin.unsafe(
      tables
        .map(
          ({ name }) =>
            `select '${name}' as name, md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as sum from ${name} as t`,
        )
        .join(' union all ')
        // In parallel they come in any order.
        .concat(' order by 1'),
    );
    return JSON.stringify(sums);
  }

  const steps: [string, () => Step][] = [
    [
      'check_in',
      () => ({
        name: 'check_in',
        args: { checked_in_at: minutesAgo(30), client_request_id: id() },
        table: 'attendance_sessions',
      }),
    ],
    [
      'record_locations',
      () => ({ name: 'record_locations', args: { points: straightNorth(20, minutesAgo(25)) }, table: 'gps_locations' }),
    ],
    [
      'check_out',
      () => ({
        name: 'check_out',
        args: { checked_out_at: minutesAgo(1), client_request_id: id() },
        table: 'attendance_sessions',
      }),
    ],
    [
      'submit_expense',
      () => ({
        name: 'submit_expense',
        args: { amount: 7, description: 'Parking', client_request_id: id() },
        table: 'expenses',
      }),
    ],
    [
      'review_expense',
      () => ({ name: 'review_expense', args: { expense_id: expenseId, status: 'APPROVED' }, table: 'expenses' }),
    ],
  ];

  test.each(steps)('%s', async (_, make) => {
    const { name, args } = make();
    const who = name === 'review_expense' ? alice : person;
    const before = await state();
    // What comes last in these transactions waits here, when the rows before it are written already.
    const last = name === 'record_locations' ? 'public.employee_last_state' : 'public.events';
    let answer: { status: number } = { status: 0 };
    await stack.admin.begin(async (sql) => {
      await sql.unsafe(`lock table ${last} in exclusive mode`);
      const sent = call(who, name, args);
      let pid = 0;
      await eventually('the wait', async () => {
        const [row] = await sql<{ pid: number }[]>`
          select a.pid from pg_stat_activity as a join pg_locks as l on l.pid = a.pid and not l.granted
          where a.datname = current_database() and a.usename = 'authenticator' limit 1`;
        pid = row?.pid ?? 0;
        return pid > 0;
      });
      await sql`select pg_terminate_backend(${pid})`;
      answer = await sent;
    });
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(await state()).toBe(before);

    const [first, second] = [await call(who, name, args), await call(who, name, args)];
    expect(first.status).toBe(200);
    if (name === 'record_locations') {
      expect([first.answer, second.answer]).toMatchObject([{ inserted: 20 }, { inserted: 0, duplicates: 20 }]);
    } else if (name === 'review_expense') {
      // It has no id of the client's: a retry is told that it is decided, and how.
      expect([second.status, second.answer.details]).toEqual([409, 'APPROVED']);
    } else {
      expect(second).toEqual(first);
    }
    const events = await stack.admin`select from public.events where organization_id = ${organizationId}
      and subject_id = ${(first.answer.id as string | undefined) ?? randomUUID()}
      and type = ${{ check_in: 'session.checked_in', check_out: 'session.checked_out', submit_expense: 'expense.submitted', review_expense: 'expense.approved' }[name] ?? ''}`;
    expect(events).toHaveLength(name === 'record_locations' ? 0 : 1);
  });
});

describe('texts are kept as they came, or refused with a code', () => {
  const minutesAgo = readClock();
  let sessionId: string | undefined;
  beforeAll(async () => {
    const opened = await bob.client.rpc('check_in', {
      checked_in_at: minutesAgo(310),
      client_request_id: randomUUID(),
    });
    sessionId = opened.data?.id;
    await bob.client.rpc('check_out', { checked_out_at: minutesAgo(190), client_request_id: randomUUID() });
  });

  const texts = hostileTexts.filter((text) => text.length <= 10_000);
  /** Valid calls that take text; the text goes into the named argument, or into the named key of `changes`. */
  const takers: [string, string, () => Promise<[Member, object]>][] = [
    ['update_employee', 'changes.name', async () => [alice, { employee_id: bob.employeeId }]],
    ['update_employee', 'changes.phone', async () => [alice, { employee_id: bob.employeeId }]],
    ['update_employee', 'changes.employee_code', async () => [alice, { employee_id: bob.employeeId }]],
    ['update_organization', 'changes.name', async () => [alice, {}]],
    ['update_organization', 'changes.currency', async () => [alice, {}]],
    ['update_organization', 'changes.time_zone', async () => [alice, {}]],
    ['invite_employee', 'name', async () => [alice, { email: `${randomUUID()}@example.test` }]],
    ['invite_employee', 'email', async () => [alice, { name: 'Erin' }]],
    ['invite_employee', 'phone', async () => [alice, { email: `${randomUUID()}@example.test`, name: 'Erin' }]],
    ['submit_expense', 'description', async () => [bob, { amount: 1, client_request_id: randomUUID() }]],
    [
      'submit_expense',
      'category',
      async () => [bob, { amount: 1, description: 'Parking', client_request_id: randomUUID() }],
    ],
    [
      'submit_expense',
      'receipt_path',
      async () => [bob, { amount: 1, description: 'Parking', client_request_id: randomUUID() }],
    ],
    ['review_expense', 'comment', async () => [alice, { expense_id: await claim(), status: 'REJECTED' }]],
    [
      'correct_session',
      'reason',
      async () => [alice, { session_id: sessionId, checked_in_at: minutesAgo(300), checked_out_at: minutesAgo(200) }],
    ],
    ['force_check_out', 'reason', async () => [alice, { employee_id: await checkedIn() }]],
    ['create_api_key', 'name', async () => [alice, { scopes: ['sessions:read'] }]],
    ['my_device_token', 'name', async () => [bob, {}]],
    ['create_webhook', 'description', async () => [alice, { url: 'https://hooks.example.test/x', events: ['*'] }]],
    ['create_webhook', 'url', async () => [alice, { events: ['*'] }]],
    ['create_receipt_path', 'extension', async () => [bob, {}]],
    ['delete_organization', 'slug', async () => [alice, {}]],
    ['accept_invitation', 'token', async () => [bob, {}]],
    ['get_leaderboard', 'metric', async () => [bob, {}]],
  ];
  const claim = async () => {
    const { data, error } = await bob.client.rpc('submit_expense', {
      amount: 1,
      description: 'Parking',
      client_request_id: randomUUID(),
    });
    if (error) throw error;
    return data.id;
  };
  const checkedIn = async () => {
    await bob.client.rpc('check_in', { checked_in_at: new Date().toISOString(), client_request_id: randomUUID() });
    return bob.employeeId;
  };

  test.each(takers)('%s: %s', async (name, place, rest) => {
    const [argument = '', key] = place.split('.');
    for (const text of texts) {
      await stack.admin`delete from private.rate_buckets where true`;
      await stack.admin`delete from public.webhooks where true`;
      const [person, args] = await rest();
      const { status, answer } = await call(person, name, { ...args, [argument]: key ? { [key]: text } : text });
      const shown = `${JSON.stringify(text).slice(0, 60)} ${status} ${JSON.stringify(answer).slice(0, 300)}`;
      if (status === 200) {
        const kept = await keptText(name, key ?? argument, answer);
        // Blanks around it are dropped where it is a name.
        const unpadded = text.replace(/^ +| +$/g, '');
        expect([text, unpadded, unpadded || null], shown).toContain(kept);
      } else {
        expect([400, 404], shown).toContain(status);
        // PostgreSQL has no NUL in a text, and PostgREST takes no half of a surrogate pair for JSON.
        const expected = text.includes('\0')
          ? ['22P05']
          : text.isWellFormed()
            ? ['invalid_argument', 'invitation_not_found']
            : ['PGRST102'];
        expect(expected, shown).toContain(answer.code);
      }
    }
  });

  /** What the database made of it: a field of the answer, of what the answer names, or the reason in the audit log. */
  async function keptText(name: string, field: string, answer: Record<string, unknown>): Promise<unknown> {
    if (name === 'invite_employee') {
      const [row] = await stack.admin`select e.name, e.phone, i.email from public.invitations as i
        join public.employees as e on e.id = i.employee_id where i.id = ${answer.invitation_id as string}`;
      return row?.[field];
    }
    if (field === 'reason') {
      const [row] = await stack.admin`select reason from public.audit_log
        where organization_id = ${organizationId} order by id desc limit 1`;
      return row?.reason;
    }
    return answer[field === 'comment' ? 'review_comment' : field];
  }
});

test.each([
  ['infinity locks every day to come', 'update_organization', { changes: { locked_until: 'infinity' } }],
  ['-infinity is no day', 'update_organization', { changes: { locked_until: '-infinity' } }],
  ['a key that ends at infinity', 'create_api_key', { name: 'x', scopes: ['events:read'], expires_at: 'infinity' }],
  [
    'hours beyond what a timestamp holds are judged before they are added to now',
    'rotate_webhook_secret',
    { webhook_id: randomUUID(), overlap_hours: 2147483647 },
  ],
] as [string, string, object][])('%s: invalid_argument', async (_, name, args) => {
  const { status, answer } = await call(alice, name, args);
  expect([status, answer.code]).toEqual([400, 'invalid_argument']);
});

describe('the nights the clocks change', () => {
  // Check-in at 22:00 and check-out at 06:00 by the clock on the wall: seven hours in spring, nine in autumn.
  test.each([
    [
      'Europe/Ljubljana',
      'spring',
      '2026-03-28T22:00:00+01:00',
      '2026-03-29T06:00:00+02:00',
      7 * 3600,
      [2 * 3600, 5 * 3600],
    ],
    [
      'Europe/Ljubljana',
      'autumn',
      '2026-10-24T22:00:00+02:00',
      '2026-10-25T06:00:00+01:00',
      9 * 3600,
      [2 * 3600, 7 * 3600],
    ],
    [
      'Australia/Lord_Howe',
      'spring, by half an hour',
      '2026-10-03T22:00:00+10:30',
      '2026-10-04T06:00:00+11:00',
      7.5 * 3600,
      [2 * 3600, 5.5 * 3600],
    ],
    [
      'America/New_York',
      'autumn, out and in within the hour that comes twice',
      '2025-11-02T01:50:00-04:00',
      '2025-11-02T01:10:00-05:00',
      20 * 60,
      [20 * 60],
    ],
  ])('%s in %s', async (timeZone, _, checkedInAt, checkedOutAt, seconds, days) => {
    const { admin, organizationId: organization } = await foundOrganization(stack, 'night', timeZone);
    const worker = await addEmployee(stack, admin, 'worker');
    const minutesAgo = readClock();
    // These nights are fixed and hours by hand end where retention does: it keeps for as long as the nights recede.
    await stack.admin`update public.organizations set location_retention_days = 3650 where id = ${organization}`;
    // The phone was without signal for longer than any grace, so the administrator says when it was.
    const opened = await call(worker, 'check_in', { checked_in_at: minutesAgo(5), client_request_id: randomUUID() });
    await call(worker, 'check_out', { checked_out_at: minutesAgo(1), client_request_id: randomUUID() });
    const corrected = await call(admin, 'correct_session', {
      session_id: opened.answer.id,
      checked_in_at: checkedInAt,
      checked_out_at: checkedOutAt,
      reason: 'the night shift',
    });
    expect([corrected.status, corrected.answer.duration_s]).toEqual([200, seconds]);
    await stack.admin.begin(async (sql) => {
      await sql`select set_config('fieldtrack.organization_id', ${organization}, true)`;
      await sql`select private.compute_session_distance(${organization}, ${opened.answer.id as string})`;
    });
    const { data } = await worker.client.from('session_days').select('duration_s').order('day');
    expect(data?.map(({ duration_s }) => duration_s)).toEqual(days);
  });

  test('check-in before the change and check-out after it, both over the wire with the offset of their moment', async () => {
    // The same instants with offsets an hour apart, as a phone sends them when the zone changes under it.
    const worker = await addEmployee(stack, alice, 'walker');
    const minutesAgo = readClock();
    // The clock on the wall of the offset is that of UTC so many hours later.
    const at = (minutes: number, offset: number) => `${minutesAgo(minutes - offset * 60).slice(0, 19)}+0${offset}:00`;
    const opened = await call(worker, 'check_in', { checked_in_at: at(120, 2), client_request_id: randomUUID() });
    const closed = await call(worker, 'check_out', { checked_out_at: at(30, 1), client_request_id: randomUUID() });
    expect([opened.status, closed.status, closed.answer.duration_s]).toEqual([200, 200, 90 * 60]);
  });
});

test('an administrator reads all employees with their last state and newest session in one request', async () => {
  const minutesAgo = readClock();
  const { admin } = await foundOrganization(stack, 'lists');
  const [dora, emil] = [await addEmployee(stack, admin, 'dora'), await addEmployee(stack, admin, 'emil')];
  await dora.client.rpc('check_in', { checked_in_at: minutesAgo(10), client_request_id: randomUUID() });
  await dora.client.rpc('record_locations', { points: straightNorth(1, minutesAgo(5), 46.5) });
  await emil.client.rpc('check_in', { checked_in_at: minutesAgo(10), client_request_id: randomUUID() });
  await emil.client.rpc('check_out', { checked_out_at: minutesAgo(2), client_request_id: randomUUID() });
  const query =
    'select=name,employee_last_state(latitude,is_checked_in),employee_latest_sessions(activity_status,duration_s)&order=name&limit=50';
  const read = async (person: Member) => {
    const response = await fetch(`${stack.url}/rest/v1/employees?${query}`, {
      headers: { apikey: stack.publishableKey, authorization: `Bearer ${person.accessToken}` },
    });
    return response.json();
  };
  const [first, second] = [
    {
      name: 'dora',
      employee_last_state: { latitude: 46.5, is_checked_in: true },
      employee_latest_sessions: { activity_status: 'ACTIVE', duration_s: null },
    },
    {
      name: 'emil',
      employee_last_state: { latitude: null, is_checked_in: false },
      employee_latest_sessions: { activity_status: 'RECENT', duration_s: 480 },
    },
  ];
  expect(await read(admin)).toEqual([
    first,
    second,
    expect.objectContaining({ employee_latest_sessions: { activity_status: 'INACTIVE', duration_s: null } }),
  ]);
  expect(await read(emil)).toEqual([second]);
});

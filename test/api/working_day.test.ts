import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Database } from '../../types/database.ts';
import {
  addEmployee,
  foundOrganization,
  type Member,
  type MinutesAgo,
  readClock,
  straightNorth,
  workAnHour,
} from '../fixtures/organization.ts';
import { type Client, startTestStack, type TestStack } from '../fixtures/stack.ts';

type Functions = Database['public']['Functions'];

let stack: TestStack;
let alice: Member;
let anna: Member;
let bob: Member;
let carol: Member;
let dave: Member;
let mallory: Member;
let sessionId: string;
let expenseId: string;
let minutesAgo: MinutesAgo;

beforeAll(async () => {
  stack = await startTestStack({ poolSize: 10 });
  alice = (await foundOrganization(stack, 'acme')).admin;
  mallory = (await foundOrganization(stack, 'other')).admin;
  anna = await addEmployee(stack, alice, 'anna', 'ADMIN');
  bob = await addEmployee(stack, alice, 'bob');
  carol = await addEmployee(stack, alice, 'carol');
  dave = await addEmployee(stack, alice, 'dave');
  minutesAgo = readClock();
  sessionId = await workAnHour(bob, minutesAgo);
  expenseId = await claim(bob);
  const deactivated = await alice.client.rpc('set_employee_active', { employee_id: dave.employeeId, is_active: false });
  if (deactivated.error) throw deactivated.error;
});
afterAll(() => stack?.stop());

async function claim(person: Member): Promise<string> {
  const { data, error } = await person.client.rpc('submit_expense', {
    amount: 12.5,
    description: 'Parking',
    client_request_id: randomUUID(),
  });
  if (error) throw error;
  return data.id;
}

describe('who may call what', () => {
  const actors = ['bob', 'carol', 'alice', 'mallory', 'dave', 'anon'] as const;
  const clientOf = (actor: (typeof actors)[number]): Client =>
    actor === 'anon' ? stack.anon() : { bob, carol, alice, mallory, dave }[actor].client;

  // Answers in the order of the actors: bob (it is his session and expense), carol, alice (administrator), mallory
  // (administrator of another organization), dave (deactivated, token still valid), anon. A plain number is an HTTP status.
  const table: [keyof Functions, () => Record<string, unknown>, (number | string)[]][] = [
    ['get_my_profile', () => ({}), [200, 200, 200, 200, 'not_a_member', 401]],
    ['get_my_summary', () => ({}), [200, 200, 200, 200, 'not_a_member', 401]],
    ['get_leaderboard', () => ({}), [200, 200, 200, 200, 'not_a_member', 401]],
    ['get_dashboard', () => ({}), ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401]],
    ['get_live_map', () => ({}), ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401]],
    ['get_org_summary', () => ({}), ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401]],
    ['get_session_trend', () => ({}), ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401]],
    ['get_expense_summary', () => ({}), ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401]],
    [
      'get_user_summary',
      () => ({ employee_id: bob.employeeId }),
      [200, 'employee_not_found', 200, 'employee_not_found', 'not_a_member', 401],
    ],
    ['create_receipt_path', () => ({ extension: 'jpg' }), [200, 200, 200, 200, 'not_a_member', 401]],
    [
      'get_session_route',
      () => ({ session_id: sessionId }),
      [200, 'session_not_found', 200, 'session_not_found', 'session_not_found', 401],
    ],
    [
      'recalculate_session',
      () => ({ session_id: sessionId }),
      [200, 'session_not_found', 200, 'session_not_found', 'not_a_member', 401],
    ],
    [
      'record_locations',
      () => ({ points: straightNorth(1, minutesAgo(60)), session_id: sessionId }),
      [200, 'session_not_found', 'session_not_found', 'session_not_found', 'not_a_member', 401],
    ],
    [
      'review_expense',
      () => ({ expense_id: expenseId, status: 'MAYBE' }),
      ['admin_required', 'admin_required', 'invalid_argument', 'invalid_argument', 'not_a_member', 401],
    ],
    [
      'review_expense',
      () => ({ expense_id: randomUUID(), status: 'APPROVED' }),
      ['admin_required', 'admin_required', 'expense_not_found', 'expense_not_found', 'not_a_member', 401],
    ],
    [
      'correct_session',
      () => ({ session_id: sessionId, checked_in_at: minutesAgo(71), checked_out_at: minutesAgo(2), reason: 'matrix' }),
      ['admin_required', 'admin_required', 200, 'session_not_found', 'not_a_member', 401],
    ],
    [
      'force_check_out',
      () => ({ employee_id: bob.employeeId }),
      ['admin_required', 'admin_required', 'no_open_session', 'employee_not_found', 'not_a_member', 401],
    ],
    [
      'update_employee',
      () => ({ employee_id: bob.employeeId, changes: { phone: '1' } }),
      ['admin_required', 'admin_required', 200, 'employee_not_found', 'not_a_member', 401],
    ],
    [
      'update_employee',
      () => ({ employee_id: bob.employeeId, changes: { app_role: 'ADMIN', organization_id: randomUUID() } }),
      ['admin_required', 'admin_required', 'invalid_argument', 'invalid_argument', 'not_a_member', 401],
    ],
    [
      'set_employee_active',
      () => ({ employee_id: bob.employeeId, is_active: true }),
      ['admin_required', 'admin_required', 200, 'employee_not_found', 'not_a_member', 401],
    ],
    [
      'update_organization',
      () => ({ changes: { max_speed_mps: 70 } }),
      ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401],
    ],
    [
      'invite_employee',
      () => ({ email: `${randomUUID()}@example.test`, name: 'X' }),
      ['admin_required', 'admin_required', 200, 200, 'not_a_member', 401],
    ],
    [
      'check_out',
      () => ({ checked_out_at: minutesAgo(0), client_request_id: randomUUID() }),
      ['no_open_session', 'no_open_session', 'no_open_session', 'no_open_session', 'not_a_member', 401],
    ],
  ];

  test.each(table)('%s', async (name, args, expected) => {
    const answers: (number | string)[] = [];
    for (const actor of actors) {
      // The arguments fit their function; the compiler cannot follow the pair through a table.
      const { error, status } = await clientOf(actor).rpc(name, args() as never);
      answers.push(error === null || status === 401 ? status : error.code);
    }
    expect(Object.fromEntries(actors.map((actor, index) => [actor, answers[index]]))).toEqual(
      Object.fromEntries(actors.map((actor, index) => [actor, expected[index]])),
    );
  });
});

test('two administrators decide at once: one wins, the other is told the state, one audit row, one event', async () => {
  for (let round = 0; round < 5; round += 1) {
    const expense = await claim(carol);
    const [first, second] = await Promise.all([
      alice.client.rpc('review_expense', { expense_id: expense, status: 'APPROVED' }),
      anna.client.rpc('review_expense', { expense_id: expense, status: 'REJECTED', comment: 'no receipt' }),
    ]);
    const [won, lost] = first.error === null ? [first, second] : [second, first];
    expect(won.error).toBeNull();
    expect(lost.status).toBe(409);
    expect(lost.error).toMatchObject({ code: 'expense_already_reviewed', details: won.data?.status });
    const audited = await stack.admin`select 1 from public.audit_log where subject_id = ${expense}`;
    expect(audited).toHaveLength(1);
    const events =
      await stack.admin`select type from public.events where subject_id = ${expense} and type <> 'expense.submitted'`;
    expect(events).toEqual([{ type: `expense.${won.data?.status.toLowerCase()}` }]);
  }
});

test('the same expense ten times at once: one row, ten equal answers', async () => {
  const request = { amount: 3, description: 'Stamps', client_request_id: randomUUID() };
  const answers = await Promise.all(Array.from({ length: 10 }, () => bob.client.rpc('submit_expense', request)));
  expect(new Set(answers.map(({ data, error }) => data?.id ?? error?.code)).size).toBe(1);
});

test('two administrators demote each other at once: one stays', async () => {
  const founded = await foundOrganization(stack, 'pair');
  const second = await addEmployee(stack, founded.admin, 'second', 'ADMIN');
  const demote = (by: Member, whom: Member) =>
    by.client.rpc('update_employee', { employee_id: whom.employeeId, changes: { app_role: 'EMPLOYEE' } });
  await Promise.all([demote(founded.admin, second), demote(second, founded.admin)]);
  const [row] = await stack.admin<{ admins: number }[]>`select count(*)::int as admins from public.employees
    where organization_id = ${founded.organizationId} and app_role = 'ADMIN' and is_active`;
  expect(row?.admins).toBe(1);
});

test('too many calls answer 429 with Retry-After', async () => {
  const erin = await addEmployee(stack, alice, 'erin');
  for (let call = 0; call < 10; call += 1) await claim(erin);
  const response = await fetch(`${stack.url}/rest/v1/rpc/submit_expense`, {
    method: 'POST',
    headers: {
      apikey: stack.publishableKey,
      authorization: `Bearer ${erin.accessToken}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ amount: 1, description: 'Eleventh', client_request_id: randomUUID() }),
  });
  expect(response.status).toBe(429);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(Number(response.headers.get('retry-after'))).toBeLessThanOrEqual(6);
  expect(await response.json()).toMatchObject({ code: 'rate_limited' });
});

test('lists embed by role names', async () => {
  const expense = await claim(bob);
  await alice.client.rpc('review_expense', { expense_id: expense, status: 'APPROVED', approved_amount: 10 });
  const { data, error } = await alice.client
    .from('expenses')
    .select('approved_amount, employee(name), reviewer(name)')
    .eq('id', expense)
    .single();
  expect(error).toBeNull();
  expect(data).toMatchObject({
    approved_amount: 10,
    employee: { name: 'bob' },
    reviewer: { name: expect.any(String) },
  });
  // The types of supabase-js take two references to one table for ambiguous unless they are hints; the compiler holds this one.
  const typed = await alice.client
    .from('expenses')
    .select('employee:employees!employee(name), reviewer:employees!reviewer(name)')
    .eq('id', expense)
    .single();
  expect([typed.data?.employee.name, typed.data?.reviewer?.name]).toEqual(['bob', expect.any(String)]);
});

test.each([`Robert'); drop table employees;--`, '"quoted" \\ back\\slash', '👩🏽‍🚒 Þóra Ünïcödé', '../../etc/passwd'])(
  'a name is text, whatever it says: %s',
  async (name) => {
    const { data, error } = await alice.client.rpc('update_employee', {
      employee_id: carol.employeeId,
      changes: { name },
    });
    expect(error).toBeNull();
    expect(data?.name).toBe(name);
  },
);

test('what a phone does not know, its place or its heading, is null to the API and to its types', async () => {
  const erik = await addEmployee(stack, alice, 'erik');
  const checkedIn = await erik.client.rpc('check_in', {
    checked_in_at: minutesAgo(10),
    client_request_id: randomUUID(),
    latitude: null,
    longitude: null,
    accuracy_m: null,
  });
  expect(checkedIn.data?.check_in_latitude).toBeNull();
  const sent = await erik.client.rpc('record_location', {
    recorded_at: minutesAgo(5),
    latitude: 46,
    longitude: 14.5,
    accuracy_m: null,
    speed_mps: null,
    heading_deg: null,
    battery_pct: null,
    sequence_number: null,
  });
  expect(sent.data).toMatchObject({ inserted: 1, rejected: [] });
});

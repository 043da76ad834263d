import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { meet, overtake } from '../fixtures/overtaking.ts';

// An erasure takes everything of a person while something of theirs is under way. A third transaction stops one of the two in its
// middle, so that they meet there: neither is ended for it, and the erased person stays erased.

let database: TestDatabase;
let organizationId: string;
let admins: { userId: string; employeeId: string }[];
let person: { userId: string; employeeId: string };
let one: postgres.Sql;
let other: postgres.Sql;
let gate: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  const [organization] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  admins = [await hire('Ada', 'ADMIN'), await hire('Anna', 'ADMIN')];
});
beforeEach(async () => {
  [one, other, gate] = Array.from({ length: 3 }, () =>
    postgres(database.url('postgres'), { max: 1, onnotice: () => {} }),
  ) as [postgres.Sql, postgres.Sql, postgres.Sql];
  person = await hire('Eva', 'EMPLOYEE');
  return () => Promise.all([one.end(), other.end(), gate.end()]);
});
afterAll(() => database?.drop());

async function hire(name: string, role: string) {
  const owner = database.sql('postgres');
  const userId = randomUUID();
  await owner`insert into auth.users (id, email) values (${userId}, ${`${userId}@example.test`})`;
  const [employee] = await owner<{ id: string }[]>`
    insert into public.employees (organization_id, name, app_role, user_id)
    values (${organizationId}, ${name}, ${role}, ${userId}) returning id`;
  return { userId, employeeId: employee?.id ?? '' };
}

const become = (sql: postgres.Sql, who: { userId: string } | undefined) =>
  sql`select set_config('request.jwt.claims', ${JSON.stringify({ sub: who?.userId, role: 'authenticated' })}, false)`;

async function session(from: string, to: string | null): Promise<string> {
  const [row] = await gate<{ id: string }[]>`
    insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
    values (${organizationId}, ${person.employeeId}, ${to ? 'CLOSED' : 'ACTIVE'}, ${from}, ${to}, ${to},
      ${to ? 'EMPLOYEE' : null}) returning id`;
  return row?.id ?? '';
}

const erase = (sql: postgres.Sql) => sql`select public.erase_employee(${person.employeeId}, 'asked by letter')`;
const meeting = <T, U>(close: () => PromiseLike<unknown>, first: () => PromiseLike<T>, second: () => PromiseLike<U>) =>
  meet(database.sql('postgres'), [gate, close], [one, first], [other, second]);

async function expectErased(): Promise<void> {
  const [row] = await gate`
    select e.name, e.erased_at is not null as erased, x.completed_at is not null as done
    from public.employees as e join private.erasures as x on x.employee_id = e.id where e.id = ${person.employeeId}`;
  expect(row).toEqual({ name: 'Erased', erased: true, done: true });
}

test('a distance job between its session and a day that is new', async () => {
  const night = await session('2026-11-09T22:00:00Z', '2026-11-10T02:00:00Z');
  await gate`select private.lock_employee_day(${organizationId}, ${person.employeeId}, '2026-11-09')`;
  await become(other, admins[0]);
  const [measured] = await meeting(
    () => gate`select private.lock_employee_day(${organizationId}, ${person.employeeId}, '2026-11-09')`,
    () => one`select private.compute_session_distance(${organizationId}, ${night}) as outcome`,
    () => erase(other),
  );
  expect([...measured]).toEqual([{ outcome: 'done' }]);
  const days = await gate`select day::text from public.session_days where session_id = ${night} order by day`;
  expect(days.map(({ day }) => day)).toEqual(['2026-11-09', '2026-11-10']);
  await expectErased();
});

test('a step of the schedule between the erasure and a day that is new', async () => {
  await session('2026-11-09T22:00:00Z', '2026-11-10T02:00:00Z');
  await gate`select private.lock_employee_day(${organizationId}, ${person.employeeId}, '2026-11-09')`;
  await gate`update public.employees set name = 'Erased', user_id = null, is_active = false, erased_at = now()
    where id = ${person.employeeId}`;
  await gate`insert into private.erasures (organization_id, employee_id) values (${organizationId}, ${person.employeeId})`;
  await become(other, admins[0]);
  await meeting(
    () => gate`select private.lock_employee_day(${organizationId}, ${person.employeeId}, '2026-11-09')`,
    () => one`select private.continue_erasures()`,
    () => erase(other),
  );
  await expectErased();
});

test('a review between its expense and the totals of somebody who is at work', async () => {
  await session('2026-11-09T08:00:00Z', null);
  const [expense] = await gate<{ id: string }[]>`
    insert into public.expenses (organization_id, employee_id, amount, currency, description, spent_on, client_request_id)
    values (${organizationId}, ${person.employeeId}, 12, 'EUR', 'Lunch with Eva', '2026-11-09', gen_random_uuid()) returning id`;
  await become(one, admins[1]);
  await become(other, admins[0]);
  // The review's row refers to its reviewer, whom the gate holds.
  await meeting(
    () => gate`select from public.employees where id = ${admins[1]?.employeeId ?? ''} for update`,
    () => one`select public.review_expense(${expense?.id ?? ''}, 'APPROVED')`,
    () => erase(other),
  );
  const [reviewed] = await gate`select status, description from public.expenses where id = ${expense?.id ?? ''}`;
  expect(reviewed).toEqual({ status: 'APPROVED', description: 'Erased' });
  await expectErased();
});

test('a review that comes while the person is erased writes nothing of the claim into the audit log', async () => {
  const [expense] = await gate<{ id: string }[]>`
    insert into public.expenses (organization_id, employee_id, amount, currency, description, spent_on, client_request_id)
    values (${organizationId}, ${person.employeeId}, 12, 'EUR', 'Lunch with Eva', '2026-11-09', gen_random_uuid()) returning id`;
  await become(one, admins[0]);
  await become(other, admins[1]);
  await overtake(
    database.sql('postgres'),
    [one, () => erase(one)],
    [other, () => other`select public.review_expense(${expense?.id ?? ''}, 'APPROVED')`],
  );
  const rows = await gate<{ text: string }[]>`
    select concat_ws(' ', action, before, after) as text from public.audit_log where subject_id = ${expense?.id ?? ''}`;
  expect(rows.map(({ text }) => text)).toEqual([expect.stringMatching(/^expense\.approved /)]);
  expect(rows[0]?.text).not.toMatch('Lunch');
});

test('points that took their token and wait for the session', async () => {
  const open = await session(new Date(Date.now() - 3_600_000).toISOString(), null);
  await become(one, admins[0]);
  await become(other, person);
  const point = { recorded_at: new Date().toISOString(), latitude: 46, longitude: 14.5 };
  // The gate's bucket exists, so that the call waits with it and not for it.
  await other`select public.record_locations(${other.json([point])})`;
  const sent = { ...point, recorded_at: new Date().toISOString() };
  await expect(
    meeting(
      () => gate`select from public.employee_last_state where employee_id = ${person.employeeId} for update`,
      () => erase(one),
      () => other`select public.record_locations(${other.json([sent])})`,
    ),
  ).rejects.toThrow('session_sealed');
  const points = await gate`select from public.gps_locations where session_id = ${open}`;
  expect(points).toHaveLength(0);
  await expectErased();
});

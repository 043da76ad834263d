import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { overtake, startUntilItWaits } from '../fixtures/overtaking.ts';

// The lock date moves while something is written that counts for a day behind it. Whoever is first, nothing comes to a locked day
// after the date has moved, and the date does not move over what is not settled.

let database: TestDatabase;
let organizationId: string;
let admin: { userId: string; employeeId: string };
let worker: { userId: string; employeeId: string };
let sessionId: string;
let expenseId: string;
let one: postgres.Sql;
let other: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  one = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  other = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end()]);
  await database?.drop();
});
beforeEach(async () => {
  const owner = database.sql('postgres');
  const [organization] = await owner<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency, device_checks_in)
    values ('Acme', ${`acme-${randomUUID().slice(0, 8)}`}, 'UTC', 'EUR', true) returning id`;
  organizationId = organization?.id ?? '';
  admin = await hire('Ada', 'ADMIN');
  worker = await hire('Eva', 'EMPLOYEE');
  // Settled: three days ago, so that a phone's first point of today still checks in.
  const [session] = await owner<{ id: string }[]>`
    insert into public.attendance_sessions (organization_id, employee_id, status, checked_in_at, checked_out_at,
      checked_out_received_at, closed_by, distance_status, distance_m, algorithm_version)
    values (${organizationId}, ${worker.employeeId}, 'CLOSED', now() - interval '71 hours', now() - interval '70 hours',
      now() - interval '70 hours', 'EMPLOYEE', 'DONE', 0, 2) returning id`;
  sessionId = session?.id ?? '';
  const [expense] = await owner<{ id: string }[]>`
    insert into public.expenses (organization_id, employee_id, amount, currency, description, spent_on, client_request_id)
    values (${organizationId}, ${worker.employeeId}, 12, 'EUR', 'Lunch', '2026-11-09', gen_random_uuid()) returning id`;
  expenseId = expense?.id ?? '';
});

async function hire(name: string, role: string) {
  const owner = database.sql('postgres');
  const userId = randomUUID();
  await owner`insert into auth.users (id, email) values (${userId}, ${`${userId}@example.test`})`;
  const [employee] = await owner<{ id: string }[]>`
    insert into public.employees (organization_id, name, app_role, user_id)
    values (${organizationId}, ${name}, ${role}, ${userId}) returning id`;
  return { userId, employeeId: employee?.id ?? '' };
}

const become = (sql: postgres.Sql, who: { userId: string }) =>
  sql`select set_config('request.jwt.claims', ${JSON.stringify({ sub: who.userId, role: 'authenticated' })}, false)`;

const lock = (sql: postgres.Sql) => sql`select public.update_organization(
  jsonb_build_object('locked_until', (now() at time zone 'UTC')::date))`;

type Writer = {
  who: () => { userId: string };
  write: (sql: postgres.Sql) => PromiseLike<unknown>;
  isSettled?: boolean;
};

const writers: Record<string, Writer> = {
  'a check-in': {
    who: () => worker,
    write: (sql) => sql`select public.check_in(now() - interval '25 hours', gen_random_uuid())`,
  },
  'late points': {
    who: () => worker,
    write: (sql) => sql`select public.record_locations(jsonb_build_array(jsonb_build_object(
      'recorded_at', now() - interval '70 hours 30 minutes', 'latitude', 46, 'longitude', 14.5)), ${sessionId}::uuid)`,
  },
  'a correction': {
    who: () => admin,
    write: (sql) =>
      sql`select public.correct_session(${sessionId}, now() - interval '72 hours', now() - interval '70 hours', 'longer')`,
  },
  'a recalculation': { who: () => worker, write: (sql) => sql`select public.recalculate_session(${sessionId})` },
  'an expense': {
    who: () => worker,
    write: (sql) => sql`select public.submit_expense(10, 'Parking', gen_random_uuid(),
      spent_on => (now() at time zone 'UTC')::date - 1)`,
    isSettled: true,
  },
  'a review': {
    who: () => admin,
    write: (sql) => sql`select public.review_expense(${expenseId}, 'APPROVED')`,
    isSettled: true,
  },
};
describe.each(Object.entries(writers))('%s', (_name, { who, write, isSettled }) => {
  test('that comes while the date moves waits for it and is refused', async () => {
    await become(one, admin);
    await become(other, who());
    const refused = overtake(database.sql('postgres'), [one, () => lock(one)], [other, () => write(other)]);
    await expect(refused).rejects.toThrow(/"code": "period_locked"/);
  });

  test('that is under way is waited for, and then the date is judged', async () => {
    await become(one, who());
    await become(other, admin);
    await one`begin`;
    await write(one);
    const { waits, ended } = await startUntilItWaits(database.sql('postgres'), other, () => lock(other));
    expect(waits).toBe(true);
    await one`commit`;
    if (isSettled) await ended;
    else await expect(ended).rejects.toThrow(/"code": "period_unsettled"/);
  });
});

test('a phone that reports while the date moves checks nobody in', async () => {
  await become(one, admin);
  const [answer] = await overtake(
    database.sql('postgres'),
    [one, () => lock(one)],
    [
      other,
      () => other`select private.check_in_by_device(${organizationId}, ${worker.employeeId}, now() - interval '25 hours',
        '{"latitude": 46, "longitude": 14}') as checked_in`,
    ],
  );
  expect(answer).toEqual({ checked_in: false });
});

test('a person who is deactivated, a check-in and a moving date do not stop each other', async () => {
  const second = await hire('Anna', 'ADMIN');
  const third = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  try {
    await become(one, admin);
    await become(other, second);
    await become(third, admin);
    // Holds the person and the organization; the check-in waits for the person, the date for the check-in.
    await one`begin`;
    await one`select public.set_employee_active(${second.employeeId}, false)`;
    const checkIn = await startUntilItWaits(
      database.sql('postgres'),
      other,
      () => other`select public.check_in(now(), gen_random_uuid())`,
    );
    const date = await startUntilItWaits(database.sql('postgres'), third, () => lock(third));
    expect([checkIn.waits, date.waits]).toEqual([true, true]);
    await one`commit`;
    await expect(checkIn.ended).rejects.toThrow(/"code": "not_a_member"/);
    await date.ended;
  } finally {
    await third.end();
  }
});

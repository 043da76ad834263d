import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { meet, overtake } from '../fixtures/overtaking.ts';

// Two transactions of one person that need the same days. Whoever waits must hold nothing that the other one still needs: a third
// transaction stops the first in its middle, so that the second meets it there, and then lets go.

let database: TestDatabase;
let organizationId: string;
let employeeId: string;
let reviewerId: string;
let one: postgres.Sql;
let other: postgres.Sql;
let gate: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  const [organization] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  [one, other, gate] = Array.from({ length: 3 }, () =>
    postgres(database.url('postgres'), { max: 1, onnotice: () => {} }),
  ) as [postgres.Sql, postgres.Sql, postgres.Sql];
});
beforeEach(async () => {
  const [employee] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Eva') returning id`;
  employeeId = employee?.id ?? '';
  const [reviewer] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Alice') returning id`;
  reviewerId = reviewer?.id ?? '';
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end(), gate?.end()]);
  await database?.drop();
});

/** A closed session of an hour, measured. */
async function session(day: string, hour: number): Promise<string> {
  const at = (hours: number) => new Date(`${day}T${String(hours).padStart(2, '0')}:00:00Z`);
  const [row] = await one<{ id: string }[]>`
    insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
    values (${organizationId}, ${employeeId}, 'CLOSED', ${at(hour)}, ${at(hour + 1)}, now(), 'EMPLOYEE') returning id`;
  await measure(one, row?.id ?? '');
  return row?.id ?? '';
}

const measure = (sql: postgres.Sql, sessionId: string) =>
  sql`select private.compute_session_distance(${organizationId}, ${sessionId}) as outcome`;

const moveBy = (sessionId: string, days: number) => one`
  update public.attendance_sessions
  set checked_in_at = checked_in_at + ${days} * interval '1 day', checked_out_at = checked_out_at + ${days} * interval '1 day'
  where id = ${sessionId}`;

/** A job that the gate's transaction asks for makes whoever asks for the same one wait, having locked that day. */
async function meeting(first: () => PromiseLike<unknown>, second: () => PromiseLike<unknown>): Promise<unknown[]> {
  await gate`delete from pgboss.job where name = 'analytics'`;
  const askForBothDays = async () => {
    for (const day of ['2026-11-09', '2026-11-10']) {
      const payload = { organization_id: organizationId, employee_id: employeeId, day };
      await gate`select private.enqueue('analytics', ${gate.json(payload)}, ${`${employeeId} ${day}`})`;
    }
  };
  return meet(database.sql('postgres'), [gate, askForBothDays], [one, first], [other, second]);
}

test('two sessions of a person that swap their days: the second job waits and holds no day that the first one needs', async () => {
  const [monday, tuesday] = [await session('2026-11-09', 8), await session('2026-11-10', 12)];
  await moveBy(monday, 1);
  await moveBy(tuesday, -1);
  const outcomes = await meeting(
    () => measure(one, monday),
    () => measure(other, tuesday),
  );
  expect(outcomes).toEqual([[{ outcome: 'done' }], [{ outcome: 'done' }]]);
  const days = await one`select session_id as session, day::text from public.session_days
    where employee_id = ${employeeId} order by day`;
  expect([...days]).toEqual([
    { session: tuesday, day: '2026-11-09' },
    { session: monday, day: '2026-11-10' },
  ]);
});

test('a review of an expense of the day that a session is measured for: days are locked before snapshots by both', async () => {
  const worked = await session('2026-11-09', 8);
  const [expense] = await one<{ id: string }[]>`
    insert into public.expenses (organization_id, employee_id, amount, currency, description, spent_on, client_request_id)
    values (${organizationId}, ${employeeId}, 12, 'EUR', 'Lunch', '2026-11-09', gen_random_uuid()) returning id`;
  await one`update public.attendance_sessions set distance_m = 7 where id = ${worked}`;
  await meeting(
    () => measure(one, worked),
    () => other`update public.expenses set status = 'APPROVED', approved_amount = amount, reviewed_at = now(),
      reviewer_id = ${reviewerId} where id = ${expense?.id ?? ''}`,
  );
});

test('two days of a month computed at once: the second waits for the first, and the month is the sum of both', async () => {
  const compute = (sql: postgres.Sql, day: string) => sql`
    select private.compute_employee_day(${organizationId}, ${employeeId}, ${day})`;
  await session('2026-11-09', 8);
  // The month's row is there: making it would make the second wait too.
  await compute(one, '2026-11-09');
  await session('2026-11-09', 12);
  await session('2026-11-10', 8);
  await overtake(
    database.sql('postgres'),
    [one, () => compute(one, '2026-11-09')],
    [other, () => compute(other, '2026-11-10')],
  );
  const months = await one`
    select month::text, sessions, duration_s::int from public.employee_monthly_metrics where employee_id = ${employeeId}`;
  expect([...months]).toEqual([{ month: '2026-11-01', sessions: 3, duration_s: 10_800 }]);
});

import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { overtake } from '../fixtures/overtaking.ts';

// Two transactions that change different rows of one person at the same time. Each trigger recomputes from the base tables, so
// the one that waited for the other's snapshot row must read after the wait: what it saw before is older than what it overwrites.

let database: TestDatabase;
let organizationId: string;
let employeeId: string;
let one: postgres.Sql;
let other: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  const [organization] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  one = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  other = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
});
beforeEach(async () => {
  const [employee] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Eva') returning id`;
  employeeId = employee?.id ?? '';
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end()]);
  await database?.drop();
});

const hoursAgo = (hours: number): Date => new Date(Date.now() - hours * 3_600_000);

async function session(sql: postgres.Sql, from: Date, to: Date | null): Promise<string> {
  const [row] = await sql<{ id: string }[]>`
    insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
    values (${organizationId}, ${employeeId}, ${to ? 'CLOSED' : 'ACTIVE'}, ${from}, ${to}, ${to}, ${to ? 'EMPLOYEE' : null})
    returning id`;
  return row?.id ?? '';
}

const point = (sql: postgres.Sql, sessionId: string, at: Date, latitude: number) => sql`
  insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
  values (${organizationId}, ${sessionId}, ${at}, ${employeeId}, ${latitude}, 14.5)`;

/** The first statement stays uncommitted while the second runs; when that waits, or is done, the first commits. */
const during = (first: () => PromiseLike<unknown>, second: () => PromiseLike<unknown>) =>
  overtake(database.sql('postgres'), [one, first], [other, second]);

async function expectNoDrift(): Promise<void> {
  const [row] = await database.sql('service_role')<{ repaired: Record<string, number> }[]>`
    select public.reconcile_snapshot_tables() as repaired`;
  expect({ ...row?.repaired, org_dashboard_snapshot: 0 }).toEqual({
    employee_latest_sessions: 0,
    active_users: 0,
    employee_last_state: 0,
    employee_metrics_snapshot: 0,
    pending_expenses: 0,
    org_dashboard_snapshot: 0,
  });
}

test('a check-in while the distance of the session before is written', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  await during(
    () => session(one, hoursAgo(1), null),
    () => other`update public.attendance_sessions set distance_m = 7, distance_status = 'FAILED' where id = ${before}`,
  );
  await expectNoDrift();
});

test('a check-in while the session before is corrected', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  await during(
    () => session(one, hoursAgo(1), null),
    () => other`update public.attendance_sessions set checked_out_at = ${hoursAgo(3)} where id = ${before}`,
  );
  await expectNoDrift();
});

test('a check-out while an earlier session is corrected', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  const open = await session(one, hoursAgo(1), null);
  await during(
    () => one`
      update public.attendance_sessions set status = 'CLOSED', closed_by = 'EMPLOYEE', checked_out_at = now(),
        checked_out_received_at = now() where id = ${open}`,
    () => other`update public.attendance_sessions set checked_out_at = ${hoursAgo(3)} where id = ${before}`,
  );
  await expectNoDrift();
});

test('points while an earlier session is corrected: the position does not move back', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  const open = await session(one, hoursAgo(1), null);
  await point(one, open, hoursAgo(0.9), 46);
  await during(
    () => point(one, open, hoursAgo(0.5), 47),
    () => other`update public.attendance_sessions set checked_out_at = ${hoursAgo(3)} where id = ${before}`,
  );
  const [state] = await one`select latitude from public.employee_last_state where employee_id = ${employeeId}`;
  expect(state).toEqual({ latitude: 47 });
  await expectNoDrift();
});

test('late points while an earlier session is corrected and nobody is at work: the position does not move back', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  const closed = await session(one, hoursAgo(2), hoursAgo(1));
  await point(one, closed, hoursAgo(1.9), 46);
  await during(
    () => point(one, closed, hoursAgo(1.5), 47),
    () => other`update public.attendance_sessions set checked_out_at = ${hoursAgo(3)} where id = ${before}`,
  );
  const [state] = await one`select latitude from public.employee_last_state where employee_id = ${employeeId}`;
  expect(state).toEqual({ latitude: 47 });
  await expectNoDrift();
});

test('points while retention seals an earlier session', async () => {
  const before = await session(one, hoursAgo(5), hoursAgo(4));
  await point(one, before, hoursAgo(4.5), 45);
  const open = await session(one, hoursAgo(1), null);
  await during(
    () => point(one, open, hoursAgo(0.5), 47),
    () => other`update public.attendance_sessions set points_purged_at = now() where id = ${before}`,
  );
  await expectNoDrift();
});

test('two expenses decided at once, and one that is taken back', async () => {
  const claim = async (): Promise<string> => {
    const [row] = await one<{ id: string }[]>`
      insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
      values (${organizationId}, ${employeeId}, current_date, 10, 'EUR', 'Coffee', ${randomUUID()}) returning id`;
    return row?.id ?? '';
  };
  const [first, second] = [await claim(), await claim()];
  const approve = (sql: postgres.Sql, id: string) => sql`
    update public.expenses set status = 'APPROVED', approved_amount = 10, reviewed_at = now() where id = ${id}`;
  await during(
    () => approve(one, first),
    () => approve(other, second),
  );
  await expectNoDrift();
  const third = await claim();
  await during(
    () => approve(one, third),
    () => other`update public.expenses set approved_amount = 5 where id = ${first}`,
  );
  await expectNoDrift();
});

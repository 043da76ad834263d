import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { overtake } from '../fixtures/overtaking.ts';

// A person checks in while an administrator deactivates the person. Whoever is first, nobody who left is at work afterwards.

let database: TestDatabase;
let organizationId: string;
let adminUserId: string;
let employeeId: string;
let userId: string;
let one: postgres.Sql;
let other: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  one = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  other = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
});
beforeEach(async () => {
  const owner = database.sql('postgres');
  const slug = `acme-${randomUUID().slice(0, 8)}`;
  const [organization] = await owner<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency, device_checks_in)
    values ('Acme', ${slug}, 'UTC', 'EUR', true) returning id`;
  organizationId = organization?.id ?? '';
  const person = async (name: string, role: string) => {
    const id = randomUUID();
    await owner`insert into auth.users (id, email) values (${id}, ${`${id}@example.test`})`;
    const [employee] = await owner<{ id: string }[]>`
      insert into public.employees (organization_id, name, app_role, user_id)
      values (${organizationId}, ${name}, ${role}, ${id}) returning id`;
    return { userId: id, employeeId: employee?.id ?? '' };
  };
  adminUserId = (await person('Ada', 'ADMIN')).userId;
  ({ userId, employeeId } = await person('Eva', 'EMPLOYEE'));
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end()]);
  await database?.drop();
});

const become = (sql: postgres.Sql, id: string) =>
  sql`select set_config('request.jwt.claims', ${JSON.stringify({ sub: id, role: 'authenticated' })}, false)`;

const deactivate = (sql: postgres.Sql) => sql`select public.set_employee_active(${employeeId}, false)`;
const checkIn = (sql: postgres.Sql) => sql`select public.check_in(now(), ${randomUUID()})`;
const checkInByDevice = (sql: postgres.Sql) => sql`
  select private.check_in_by_device(${organizationId}, ${employeeId}, now(), '{"latitude": 46, "longitude": 14}')`;

/** The first stays uncommitted until the second waits for it or is done; answers the second's error, or null. */
const during = (first: () => PromiseLike<unknown>, second: () => PromiseLike<unknown>) =>
  overtake(database.sql('postgres'), [one, first], [other, second]).then(
    () => null,
    (error: unknown) => error,
  );

const openSessions = async () =>
  (
    await database.sql('postgres')`
    select from public.attendance_sessions where employee_id = ${employeeId} and status = 'ACTIVE'`
  ).length;

test('A check-in that comes during the deactivation is refused', async () => {
  await become(one, adminUserId);
  await become(other, userId);
  const error = await during(
    () => deactivate(one),
    () => checkIn(other),
  );
  expect(String(error)).toContain('not_a_member');
  expect(await openSessions()).toBe(0);
});

test('A phone that reports during the deactivation checks nobody in', async () => {
  await become(one, adminUserId);
  await during(
    () => deactivate(one),
    () => checkInByDevice(other),
  );
  expect(await openSessions()).toBe(0);
});

test('A deactivation that comes during the check-in closes that session', async () => {
  await become(one, userId);
  await become(other, adminUserId);
  const error = await during(
    () => checkIn(one),
    () => deactivate(other),
  );
  expect(error).toBeNull();
  expect(await openSessions()).toBe(0);
});

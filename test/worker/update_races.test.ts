import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { overtake } from '../fixtures/overtaking.ts';

// Two administrators change one row at once, each another part of it: the second reads what the first has written.

let database: TestDatabase;
let one: postgres.Sql;
let other: postgres.Sql;
let organizationId: string;
let employeeId: string;
let webhookId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  const owner = database.sql('postgres');
  const userId = randomUUID();
  await owner`insert into auth.users (id, email, email_confirmed_at) values (${userId}, 'ada@example.test', now())`;
  [{ id: organizationId } = { id: '' }] = await owner<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  [{ id: employeeId } = { id: '' }] = await owner<{ id: string }[]>`
    insert into public.employees (organization_id, user_id, name, app_role)
    values (${organizationId}, ${userId}, 'Ada', 'ADMIN') returning id`;
  [{ id: webhookId } = { id: '' }] = await owner<{ id: string }[]>`
    insert into public.webhooks (organization_id, url, events)
    values (${organizationId}, 'https://hooks.example.test/', '{*}') returning id`;
  await owner`insert into public.webhook_circuits (organization_id, webhook_id) values (${organizationId}, ${webhookId})`;
  [one, other] = [0, 1].map(() => postgres(database.url('authenticator'), { max: 1, onnotice: () => {} })) as [
    postgres.Sql,
    postgres.Sql,
  ];
  for (const sql of [one, other]) {
    await sql`set role authenticated`;
    await sql`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: userId })}, false)`;
  }
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end()]);
  await database?.drop();
});

test('a webhook', async () => {
  const change = (sql: postgres.Sql, changes: string) =>
    sql`select public.update_webhook(${webhookId}, ${changes}::text::jsonb)`;
  await overtake(
    database.sql('postgres'),
    [one, () => change(one, '{"description": "Payroll"}')],
    [other, () => change(other, '{"max_in_flight": 3}')],
  );
  const rows = await one`select description, max_in_flight from public.webhooks`;
  expect([...rows]).toEqual([{ description: 'Payroll', max_in_flight: 3 }]);
});

test('an employee', async () => {
  const change = (sql: postgres.Sql, changes: string) =>
    sql`select public.update_employee(${employeeId}, ${changes}::text::jsonb)`;
  await overtake(
    database.sql('postgres'),
    [one, () => change(one, '{"phone": "+386 1"}')],
    [other, () => change(other, '{"employee_code": "A1"}')],
  );
  const rows = await one`select phone, employee_code from public.employees`;
  expect([...rows]).toEqual([{ phone: '+386 1', employee_code: 'A1' }]);
});

test('an organization', async () => {
  const change = (sql: postgres.Sql, changes: string) =>
    sql`select public.update_organization(${changes}::text::jsonb)`;
  await overtake(
    database.sql('postgres'),
    [one, () => change(one, '{"name": "Acme Ltd"}')],
    [other, () => change(other, '{"time_zone": "Europe/Paris"}')],
  );
  const rows = await one`select name, time_zone from public.organizations`;
  expect([...rows]).toEqual([{ name: 'Acme Ltd', time_zone: 'Europe/Paris' }]);
});

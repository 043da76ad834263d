import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { startUntilItWaits } from '../fixtures/overtaking.ts';

let database: TestDatabase;
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

test('An invitation that is accepted while its person is deactivated waits, and is refused: no deadlock', async () => {
  const owner = database.sql('postgres');
  const userId = randomUUID();
  await owner`insert into auth.users (id, email, email_confirmed_at) values (${userId}, 'eva@example.test', now())`;
  const [{ organizationId } = { organizationId: '' }] = await owner<{ organizationId: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR')
    returning id as "organizationId"`;
  const [{ employeeId } = { employeeId: '' }] = await owner<{ employeeId: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Eva') returning id as "employeeId"`;
  const [{ invitationId } = { invitationId: '' }] = await owner<{ invitationId: string }[]>`
    insert into public.invitations (organization_id, employee_id, email, expires_at)
    values (${organizationId}, ${employeeId}, 'eva@example.test', now() + interval '1 day') returning id as "invitationId"`;
  await owner`
    insert into private.invitation_tokens (organization_id, invitation_id, token_hash)
    values (${organizationId}, ${invitationId}, private.hash_token('fti_one'))`;
  await other`select set_config('request.jwt.claims', ${JSON.stringify({ sub: userId, role: 'authenticated' })}, false)`;

  // What private.set_employee_active does, one step at a time.
  await one`begin`;
  await one`select from public.employees where id = ${employeeId} for update`;
  const { waits, ended } = await startUntilItWaits(
    owner,
    other,
    () => other`select public.accept_invitation('fti_one')`,
  );
  expect(waits).toBe(true);
  await one`update public.invitations set status = 'REVOKED' where id = ${invitationId}`;
  await one`update public.employees set is_active = false where id = ${employeeId}`;
  await one`commit`;
  await expect(ended).rejects.toThrow('invitation_not_found');
});

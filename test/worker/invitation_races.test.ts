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

/** Somebody who is invited, and has `other`'s connection to accept. */
async function invite(name: string, days: number) {
  const owner = database.sql('postgres');
  const userId = randomUUID();
  const email = `${name}@example.test`;
  await owner`insert into auth.users (id, email, email_confirmed_at) values (${userId}, ${email}, now())`;
  const [{ organizationId } = { organizationId: '' }] = await owner<{ organizationId: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', ${`acme-${name}`}, 'UTC', 'EUR')
    returning id as "organizationId"`;
  const [{ employeeId } = { employeeId: '' }] = await owner<{ employeeId: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, ${name}) returning id as "employeeId"`;
  const [{ invitationId } = { invitationId: '' }] = await owner<{ invitationId: string }[]>`
    insert into public.invitations (organization_id, employee_id, email, expires_at)
    values (${organizationId}, ${employeeId}, ${email}, now() + make_interval(days => ${days})) returning id as "invitationId"`;
  await owner`
    insert into private.invitation_tokens (organization_id, invitation_id, token_hash)
    values (${organizationId}, ${invitationId}, private.hash_token(${`fti_${name}`}))`;
  await other`select set_config('request.jwt.claims', ${JSON.stringify({ sub: userId, role: 'authenticated' })}, false)`;
  return { owner, employeeId, invitationId };
}

test('An invitation that is accepted while its person is deactivated waits, and is refused: no deadlock', async () => {
  const { owner, employeeId, invitationId } = await invite('eva', 1);

  // What private.set_employee_active does, one step at a time.
  await one`begin`;
  await one`select from public.employees where id = ${employeeId} for update`;
  const { waits, ended } = await startUntilItWaits(
    owner,
    other,
    () => other`select public.accept_invitation('fti_eva')`,
  );
  expect(waits).toBe(true);
  await one`update public.invitations set status = 'REVOKED', revoked_at = now() where id = ${invitationId}`;
  await one`update public.employees set is_active = false where id = ${employeeId}`;
  await one`commit`;
  await expect(ended).rejects.toThrow('invitation_not_found');
});

test('An invitation that is accepted when its time to be forgotten has come waits, and is gone: no deadlock', async () => {
  const { owner, employeeId, invitationId } = await invite('ida', -31);
  const gate = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  try {
    // The token goes with the invitation, when that is in hand already.
    await gate`begin`;
    await gate`select from private.invitation_tokens where invitation_id = ${invitationId} for update`;
    const purge = await startUntilItWaits(owner, one, () => one`select private.purge_leftovers()`);
    const accepted = await startUntilItWaits(owner, other, () => other`select public.accept_invitation('fti_ida')`);
    expect([purge.waits, accepted.waits]).toEqual([true, true]);
    await gate`commit`;
    await purge.ended;
    await expect(accepted.ended).rejects.toThrow('invitation_not_found');
  } finally {
    await gate.end();
  }
  expect(await owner`select is_active from public.employees where id = ${employeeId}`).toEqual([{ is_active: false }]);
});

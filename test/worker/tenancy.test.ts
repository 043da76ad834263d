import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../worker/database.ts';
import { addEmployee, foundOrganization, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let database: Database;
let acme: string;
let other: string;

beforeAll(async () => {
  stack = await startTestStack();
  const founded = await foundOrganization(stack, 'acme');
  acme = founded.organizationId;
  other = (await foundOrganization(stack, 'other')).organizationId;
  await workAnHour(await addEmployee(stack, founded.admin, 'bob'));
  database = openDatabase({
    connectionString: stack.database.url('fieldtrack_worker'),
    poolSize: 2,
    onError: (error) => {
      throw error;
    },
  });
});
afterAll(async () => {
  await database?.close();
  await stack?.stop();
});

const count = (organizationId: string) =>
  database.withOrganization(organizationId, async (trx) => {
    const sessions = await trx.selectFrom('public.attendance_sessions').select('organization_id').execute();
    const points = await trx.selectFrom('public.gps_locations').select('organization_id').execute();
    return { sessions: sessions.length, points: points.length };
  });

test('withOrganization shows its own organization and no other', async () => {
  expect(await count(acme)).toEqual({ sessions: 1, points: 60 });
  expect(await count(other)).toEqual({ sessions: 0, points: 0 });
});

test('the setting ends with its transaction: the same connection without it sees nothing', async () => {
  const sql = stack.database.sql('fieldtrack_worker');
  await sql.begin(async (trx) => {
    await trx`select set_config('fieldtrack.organization_id', ${acme}, true)`;
    expect(await trx`select 1 from public.attendance_sessions`).toHaveLength(1);
  });
  expect(await sql`select 1 from public.attendance_sessions`).toHaveLength(0);
  expect(await sql`select 1 from public.gps_locations`).toHaveLength(0);
});

test('the worker may write figures of a session, and nothing else of it', async () => {
  await expect(
    database.withOrganization(acme, (trx) =>
      trx
        .updateTable('public.attendance_sessions')
        .set({ checked_in_at: new Date(0).toISOString() })
        .execute(),
    ),
  ).rejects.toMatchObject({ code: '42501' });
});

test("another organization's session is gone for the job, and its row stays as it was", async () => {
  const [session] = await stack.admin<{ id: string }[]>`select id from public.attendance_sessions`;
  const sql = stack.database.sql('fieldtrack_worker');
  const [result] = await sql.begin(async (trx) => {
    await trx`select set_config('fieldtrack.organization_id', ${other}, true)`;
    return trx<
      { outcome: string }[]
    >`select private.compute_session_distance(${acme}, ${session?.id ?? ''}) as outcome`;
  });
  expect(result?.outcome).toBe('gone');
  const [row] = await stack.admin`select distance_status from public.attendance_sessions`;
  expect(row).toEqual({ distance_status: 'PENDING' });
});

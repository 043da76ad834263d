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

test('the setting ends with its transaction: the same connection without it sees nothing', async () => {
  const worker = stack.database.sql('fieldtrack_worker');
  await worker.begin(async (trx) => {
    await trx`select set_config('fieldtrack.organization_id', ${acme}, true)`;
    expect(await trx`select 1 from public.attendance_sessions`).toHaveLength(1);
  });
  expect(await worker`select 1 from public.attendance_sessions`).toHaveLength(0);
  expect(await worker`select 1 from public.gps_locations`).toHaveLength(0);
});

test('the worker may write figures of a session, and nothing else of it', async () => {
  const worker = stack.database.sql('fieldtrack_worker');
  await expect(
    worker.begin(async (trx) => {
      await trx`select set_config('fieldtrack.organization_id', ${acme}, true)`;
      await trx`update public.attendance_sessions set checked_in_at = 'epoch'`;
    }),
  ).rejects.toMatchObject({ code: '42501' });
});

test("another organization's session is gone for the job, and its row stays as it was", async () => {
  const [session] = await stack.admin<{ id: string }[]>`select id from public.attendance_sessions`;
  const status = async () => {
    const [row] = await stack.admin<
      { status: string }[]
    >`select distance_status as status from public.attendance_sessions`;
    return row?.status;
  };
  const as = (organizationId: string) =>
    database.callForOrganization('compute_session_distance', organizationId, session?.id ?? '');
  expect(await as(other)).toBe('gone');
  // Nor does it help to name the right one in the call, when the transaction is another's.
  const worker = stack.database.sql('fieldtrack_worker');
  const [row] = await worker.begin(async (trx) => {
    await trx`select set_config('fieldtrack.organization_id', ${other}, true)`;
    return trx<
      { outcome: string }[]
    >`select private.compute_session_distance(${acme}, ${session?.id ?? ''}) as outcome`;
  });
  expect(row?.outcome).toBe('gone');
  expect(await status()).toBe('PENDING');
  expect(await as(acme)).toBe('done');
  expect(await status()).toBe('DONE');
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member, readClock } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let organizationId: string;
let admin: Member;
let eva: Member;

beforeAll(async () => {
  stack = await startTestStack({ worker: true });
  const founded = await foundOrganization(stack, 'acme');
  organizationId = founded.organizationId;
  admin = founded.admin;
  eva = await addEmployee(stack, admin, 'eva');
});
afterAll(() => stack?.stop());

const dashboard = async (): Promise<{ active: number; pending: number }> => {
  const { data, error } = await admin.client
    .from('org_dashboard_snapshot')
    .select('active_employees, pending_expenses')
    .maybeSingle();
  if (error) throw error;
  return { active: data?.active_employees ?? 0, pending: data?.pending_expenses ?? 0 };
};

test('what people do is on the dashboard within a second or two, and nobody waits for it', async () => {
  await eva.client.rpc('check_in', { checked_in_at: readClock()(5), client_request_id: randomUUID() });
  await eva.client.rpc('submit_expense', { amount: 3, description: 'Parking', client_request_id: randomUUID() });
  // A second by design (250 ms a round); this machine may be busy.
  await expect.poll(dashboard, { timeout: 5000, interval: 50 }).toEqual({ active: 1, pending: 1 });
  await eva.client.rpc('check_out', { checked_out_at: new Date().toISOString(), client_request_id: randomUUID() });
  await expect.poll(dashboard, { timeout: 5000, interval: 50 }).toEqual({ active: 0, pending: 1 });
});

test('two workers share the loop: one reads, the other passes', async () => {
  // The day's figures of the check-out above refresh the dashboard too; they come first.
  await expect
    .poll(async () => (await admin.client.from('org_daily_metrics').select('sessions').maybeSingle()).data?.sessions, {
      timeout: 10_000,
    })
    .toBe(1);
  const held = await stack.database.sql('supabase_admin').reserve();
  try {
    await held`select pg_advisory_lock(hashtextextended('fieldtrack.snapshots', 0))`;
    await eva.client.rpc('check_in', { checked_in_at: new Date().toISOString(), client_request_id: randomUUID() });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await dashboard()).toMatchObject({ active: 0 });
  } finally {
    await held`select pg_advisory_unlock(hashtextextended('fieldtrack.snapshots', 0))`;
    held.release();
  }
  await expect.poll(dashboard, { timeout: 5000, interval: 50 }).toMatchObject({ active: 1 });
});

test('employees with their last state and activity are one request, under the names of their relations', async () => {
  await eva.client.rpc('record_locations', {
    points: [
      { recorded_at: new Date().toISOString(), latitude: 46.05, longitude: 14.5, accuracy_m: 8, battery_pct: 71 },
    ],
  });
  const { data, error } = await admin.client
    .from('employees')
    .select('name, employee_last_state(latitude, battery_pct), employee_latest_sessions(is_open, activity_status)')
    .eq('organization_id', organizationId)
    .eq('id', eva.employeeId)
    .single();
  if (error) throw error;
  expect(data).toEqual({
    name: 'eva',
    employee_last_state: { latitude: 46.05, battery_pct: 71 },
    employee_latest_sessions: { is_open: true, activity_status: 'ACTIVE' },
  });
});

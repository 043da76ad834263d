import { randomUUID } from 'node:crypto';
import { addEmployee, foundOrganization, type Member, readClock } from '../../test/fixtures/organization.ts';
import type { TestStack } from '../../test/fixtures/stack.ts';

export type Company = {
  admin: Member;
  eva: Member;
  otto: Member;
  /** Of Eva: an hour, with a stop and a gap before which the battery was empty. */
  sessionId: string;
  expenseId: string;
};

/** A small company with something on each screen, made through the API. */
export async function foundCompany(
  stack: TestStack,
  names = { eva: 'Eva Employee', otto: 'Otto Other' },
): Promise<Company> {
  const { admin } = await foundOrganization(stack, 'acme');
  await must(admin.client.rpc('update_employee', { employee_id: admin.employeeId, changes: { name: 'Ada Admin' } }));
  const [eva, otto] = [await hire(stack, admin, names.eva), await hire(stack, admin, names.otto)];
  const sessionId = await work(eva);
  const expense = await must(
    eva.client.rpc('submit_expense', {
      amount: 24.9,
      category: 'MEALS',
      description: 'Lunch with a customer',
      client_request_id: randomUUID(),
      receipt_path: await uploadReceipt(eva),
    }),
  );
  return { admin, eva, otto, sessionId, expenseId: expense.id };
}

export async function hire(stack: TestStack, admin: Member, name: string): Promise<Member> {
  const person = await addEmployee(stack, admin, 'person');
  await must(admin.client.rpc('update_employee', { employee_id: person.employeeId, changes: { name } }));
  return person;
}

export async function checkIn(person: Member, minutes = 5): Promise<string> {
  const { id } = await must(
    person.client.rpc('check_in', { checked_in_at: readClock()(minutes), client_request_id: randomUUID() }),
  );
  return id;
}

export async function sendPoint(person: Member, place: { latitude: number; longitude: number }): Promise<void> {
  const point = { recorded_at: new Date().toISOString(), accuracy_m: 5, speed_mps: 8, battery_pct: 80, ...place };
  await must(person.client.rpc('record_locations', { points: [point] }));
}

export async function checkOut(person: Member): Promise<void> {
  await must(
    person.client.rpc('check_out', { checked_out_at: new Date().toISOString(), client_request_id: randomUUID() }),
  );
}

async function work(person: Member): Promise<string> {
  const minutesAgo = readClock();
  const session = await must(
    person.client.rpc('check_in', { checked_in_at: minutesAgo(90), client_request_id: randomUUID() }),
  );
  // Drives for twenty minutes, stands for ten, and drives on after half an hour without a word.
  const points = Array.from({ length: 60 }, (_, index) => {
    const minute = index < 40 ? index / 2 : index < 50 ? 20 + (index - 40) : 60 + (index - 50) / 2;
    const driven = index < 40 ? index : index < 50 ? 40 : 60 + index - 50;
    return {
      recorded_at: minutesAgo(85 - minute),
      latitude: 46.05 + driven * 0.002,
      longitude: 14.5,
      accuracy_m: 6,
      battery_pct: index < 50 ? Math.max(3, 30 - Math.round(index * 0.55)) : 60,
    };
  });
  await must(person.client.rpc('record_locations', { points, session_id: session.id }));
  await must(person.client.rpc('check_out', { checked_out_at: minutesAgo(15), client_request_id: randomUUID() }));
  return session.id;
}

/** The smallest picture there is. */
const pixel = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

async function uploadReceipt(person: Member): Promise<string> {
  const { path } = await must(person.client.rpc('create_receipt_path', { extension: 'png' }));
  const { error } = await person.client.storage.from('receipts').upload(path, pixel, { contentType: 'image/png' });
  if (error) throw error;
  return path;
}

type Answer<T> = PromiseLike<{ data: T; error: null } | { data: null; error: { message: string; code: string } }>;

export async function must<T>(call: Answer<T>): Promise<T> {
  const { data, error } = await call;
  if (error !== null) throw new Error(`${error.code}: ${error.message}`);
  return data;
}

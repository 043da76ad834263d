import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member, readClock, straightNorth } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let alice: Member;

beforeAll(async () => {
  stack = await startTestStack({ poolSize: 10 });
  alice = (await foundOrganization(stack, 'acme')).admin;
});
afterAll(() => stack?.stop());

const tenTimes = <T>(call: () => PromiseLike<T>): Promise<T[]> => Promise.all(Array.from({ length: 10 }, () => call()));

test('ten check-ins at once with ten ids: one wins, nine are told which session is open', async () => {
  const minutesAgo = readClock();
  const bob = await addEmployee(stack, alice, 'bob');
  const answers = await tenTimes(() =>
    bob.client.rpc('check_in', { checked_in_at: minutesAgo(5), client_request_id: randomUUID() }),
  );
  const won = answers.filter(({ error }) => error === null);
  expect(won).toHaveLength(1);
  for (const { error, status } of answers.filter((answer) => answer.error !== null)) {
    expect(status).toBe(409);
    expect(error).toMatchObject({ code: 'session_already_open', details: won[0]?.data?.id });
  }
});

test('the same check-in ten times at once: one row and ten equal answers', async () => {
  const minutesAgo = readClock();
  const bob = await addEmployee(stack, alice, 'bob');
  const request = { checked_in_at: minutesAgo(5), client_request_id: randomUUID() };
  const answers = await tenTimes(() => bob.client.rpc('check_in', request));
  expect(new Set(answers.map(({ data, error }) => JSON.stringify(data ?? error))).size).toBe(1);
  expect(answers[0]?.error).toBeNull();
  const { count } = await bob.client.from('attendance_sessions').select('*', { count: 'exact', head: true });
  expect(count).toBe(1);
});

test('ten check-outs at once: one wins, nine find nothing open, one job waits', async () => {
  const minutesAgo = readClock();
  const bob = await addEmployee(stack, alice, 'bob');
  const checkedIn = await bob.client.rpc('check_in', { checked_in_at: minutesAgo(5), client_request_id: randomUUID() });
  expect(checkedIn.error).toBeNull();
  const answers = await tenTimes(() =>
    bob.client.rpc('check_out', { checked_out_at: minutesAgo(1), client_request_id: randomUUID() }),
  );
  expect(answers.filter(({ error }) => error === null)).toHaveLength(1);
  expect(answers.filter(({ error }) => error?.code === 'no_open_session')).toHaveLength(9);
  const jobs = await stack.admin`select 1 from pgboss.job where singleton_key = ${checkedIn.data?.id ?? ''}`;
  expect(jobs).toHaveLength(1);
});

test('the same batch five times at once: each point is there once, and the counts add up', async () => {
  const minutesAgo = readClock();
  const bob = await addEmployee(stack, alice, 'bob');
  await bob.client.rpc('check_in', { checked_in_at: minutesAgo(60), client_request_id: randomUUID() });
  const points = straightNorth(50, minutesAgo(55));
  const answers = await Promise.all(Array.from({ length: 5 }, () => bob.client.rpc('record_locations', { points })));
  const counts = answers.map(({ data }) => data as { inserted: number; duplicates: number });
  expect(counts.reduce((sum, { inserted }) => sum + inserted, 0)).toBe(50);
  expect(counts.reduce((sum, { duplicates }) => sum + duplicates, 0)).toBe(200);
  const { count } = await bob.client.from('gps_locations').select('*', { count: 'exact', head: true });
  expect(count).toBe(50);
});

test('a batch and a check-out at once: an accepted batch is before the job, or asks for it again', async () => {
  for (let round = 0; round < 5; round += 1) {
    const minutesAgo = readClock();
    const bob = await addEmployee(stack, alice, `bob-${round}`);
    const checkedIn = await bob.client.rpc('check_in', {
      checked_in_at: minutesAgo(60),
      client_request_id: randomUUID(),
    });
    const sessionId = checkedIn.data?.id ?? '';
    const [batch, checkedOut] = await Promise.all([
      bob.client.rpc('record_locations', { points: straightNorth(50, minutesAgo(55)), session_id: sessionId }),
      bob.client.rpc('check_out', { checked_out_at: minutesAgo(1), client_request_id: randomUUID() }),
    ]);
    expect([batch.error, checkedOut.error]).toEqual([null, null]);
    const jobs = await stack.admin`select 1 from pgboss.job where singleton_key = ${sessionId} and state = 'created'`;
    expect(jobs).toHaveLength(1);
  }
});

test('an invitation accepted twice at once by its person: one employment, no error', async () => {
  const email = `${randomUUID()}@example.test`;
  const invited = await alice.client.rpc('invite_employee', { email, name: 'Erin' });
  const { token } = invited.data as { token: string };
  const erin = await stack.signUp(email);
  const answers = await tenTimes(() => erin.client.rpc('accept_invitation', { token }));
  expect(answers.map(({ error }) => error)).toEqual(Array.from({ length: 10 }, () => null));
});

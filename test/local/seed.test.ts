import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sessionRoute } from '../../types/answers.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ worker: true });
});
afterAll(() => stack?.stop());

test('the demo organization of supabase/seed.sql is there once, and its people can sign in', async () => {
  const seed = readFileSync('supabase/seed.sql', 'utf8');
  const postgres = stack.database.sql('postgres');
  await postgres.unsafe(seed).simple();
  await postgres.unsafe(seed).simple();

  const ada = stack.anon();
  const { error } = await ada.auth.signInWithPassword({ email: 'ada@demo.example', password: 'Demo-12345' });
  expect(error).toBeNull();
  const { data: people } = await ada.from('employees').select('name, app_role').order('name');
  expect(people).toEqual([
    { name: 'Ada Admin', app_role: 'ADMIN' },
    { name: 'Eva Employee', app_role: 'EMPLOYEE' },
  ]);
  const { data: expenses } = await ada.from('pending_expenses').select('amount');
  expect(expenses).toEqual([{ amount: 12.5 }]);
  const { data: sessions } = await ada.from('attendance_sessions').select('id, status').order('checked_in_at');
  expect(sessions?.map(({ status }) => status)).toEqual(['CLOSED', 'ACTIVE']);

  await expect
    .poll(async () => {
      const { data } = await ada.rpc('get_session_route', { session_id: `${sessions?.[0]?.id}` });
      return sessionRoute.parse(data);
    })
    .toMatchObject({ distance_status: 'DONE', distance_m: expect.closeTo(2 * Math.PI * 600, -2) });

  const eva = stack.anon();
  const signedIn = await eva.auth.signInWithPassword({ email: 'eva@demo.example', password: 'Demo-12345' });
  expect(signedIn.error).toBeNull();
});

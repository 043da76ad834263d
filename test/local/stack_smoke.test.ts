import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ functions: true });
});
afterAll(() => stack?.stop());

test('sign up, read own user, call the hello function', async () => {
  const alice = await stack.signUp('alice@example.test');
  const { data } = await alice.client.auth.getUser();
  expect(data.user?.email).toBe('alice@example.test');
  const rest = await fetch(`${stack.url}/rest/v1/`, { headers: { apikey: stack.publishableKey } });
  expect(rest.status).toBe(200);
  const hello = await fetch(`${stack.url}/functions/v1/hello`, { headers: { 'x-request-id': 'request-0001' } });
  expect(await hello.json()).toMatchObject({ request_id: 'request-0001' });
});

import { readFileSync } from 'node:fs';
import { createConfig, lint } from '@redocly/openapi-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ functions: true });
});
afterAll(() => stack?.stop());

test('docs/openapi.json has no error for redocly', async () => {
  const config = await createConfig({ extends: ['recommended'] });
  const problems = await lint({ ref: 'docs/openapi.json', config });
  expect(problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)).toEqual([]);
});

test('everybody reads it from the function api, as committed', async () => {
  const response = await fetch(`${stack.url}/functions/v1/api/openapi.json`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
  expect(await response.json()).toEqual(JSON.parse(readFileSync('docs/openapi.json', 'utf8')));
  const head = await fetch(`${stack.url}/functions/v1/api/openapi.json`, { method: 'HEAD' });
  expect(head.status).toBe(200);
  const posted = await fetch(`${stack.url}/functions/v1/api/openapi.json`, { method: 'POST', body: '{}' });
  expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
});

test('a key is still wanted for everything else', async () => {
  const response = await fetch(`${stack.url}/functions/v1/api/employees`);
  expect(response.status).toBe(401);
});

import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../supabase/local/free-port.ts';
import { createKey } from '../fixtures/api-keys.ts';
import { startEdgeProcess } from '../fixtures/edge-process.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
let requests: Record<string, { path: string; headers: Record<string, string> }>;
beforeAll(async () => {
  stack = await startTestStack();
  let organizationId: string;
  ({ admin, organizationId } = await foundOrganization(stack, 'acme'));
  const { key } = await createKey(admin, organizationId, ['employees:read']);
  const bob = await addEmployee(stack, admin, 'bob');
  const { data } = await bob.client.rpc('my_device_token', {});
  const { token } = data as { token: string };
  requests = {
    api: { path: 'employees?select=id', headers: { 'x-api-key': key } },
    ingest: { path: `osmand/${token}?lat=46&lon=14.5&timestamp=${Math.floor(Date.now() / 1000)}`, headers: {} },
    'admin-events': { path: '', headers: { authorization: `Bearer ${admin.accessToken}` } },
  };
});
afterAll(() => stack?.stop());

const changed = (change: (url: URL) => void): string => {
  const url = new URL(stack.database.url('fieldtrack_edge'));
  change(url);
  return url.href;
};

test.each([
  ['nobody listens', (url: URL) => (url.port = '1')],
  // Between \password and the functions' next start: operations.md, "Rotate secrets".
  ['the password is no more the right one', (url: URL) => (url.password = 'not-it')],
])('%s: each function answers 503 with Retry-After, and nothing of the reason', async (_, change) => {
  for (const [name, { path, headers }] of Object.entries(requests)) {
    const port = await freePort();
    const env = { FIELDTRACK_EDGE_DATABASE_URL: changed(change), SUPABASE_ANON_KEY: stack.publishableKey };
    const process = await startEdgeProcess(stack, { name, port, env });
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/${name}/${path}`, { headers });
      expect(answer.status, name).toBe(503);
      expect(answer.headers.get('retry-after'), name).toBe('5');
      expect(await answer.json(), name).toEqual({
        code: 'database_unavailable',
        message: 'The database did not answer.',
        details: null,
        hint: 'Try again in a moment.',
      });
    } finally {
      await process.stop();
    }
  }
});

import { createClient } from '@supabase/supabase-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newKey, newSecret } from '../../supabase/local/keys.ts';
import { setPasswords } from '../../supabase/local/platform.ts';
import { type Services, startServices } from '../../supabase/local/services.ts';
import { createKey, withKey } from '../fixtures/api-keys.ts';
import { buildTemplates, startThrowAwayCluster, type ThrowAwayCluster } from '../fixtures/cluster.ts';
import { addEmployee, eventually, foundOrganization, type Member, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { pagesOf, type RunningWorker, spawnWorker } from '../fixtures/worker.ts';

// The table "Rotate secrets" of docs/operations.md, performed. Keys of organizations, webhooks and devices are the API's and have
// tests of their own. A cluster of its own, because a role's password is the cluster's.

let cluster: ThrowAwayCluster;
let stack: TestStack;
let admin: Member;
let organizationId: string;
let bob: Member;
beforeAll(async () => {
  cluster = await startThrowAwayCluster({ fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' });
  stack = await startTestStack({ cluster: await buildTemplates(cluster.adminUrl), functions: true });
  ({ admin, organizationId } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, admin, 'bob');
});
afterAll(async () => {
  await stack?.stop();
  await cluster?.stop();
});

function withPassword(role: string, password: string): string {
  const url = new URL(stack.database.url(role));
  url.password = password;
  return url.href;
}

test('the worker’s password and the tokens of its pages: the one that runs goes on, the next one needs the new ones', async () => {
  const distanceIsDone = (sessionId: string) =>
    eventually('the distance is done', async () => {
      const [row] = await stack.admin`select distance_status from public.attendance_sessions where id = ${sessionId}`;
      return row?.distance_status === 'DONE';
    });
  const started: RunningWorker[] = [];
  const start = async (password: string, token: string) => {
    const worker = spawnWorker({
      DATABASE_URL: withPassword('fieldtrack_worker', password),
      METRICS_TOKEN: token,
      OPERATOR_TOKEN: token,
    });
    started.push(worker);
    return { worker, url: await pagesOf(() => worker.lines.join('')) };
  };
  const statusOf = async (url: string, page: string, token: string) =>
    (await fetch(`${url}${page}`, { headers: { authorization: `Bearer ${token}` } })).status;
  const [oldPassword, newPassword] = [new URL(stack.database.url('fieldtrack_worker')).password, newSecret()];
  const [oldToken, newToken] = [newSecret(), newSecret()];
  try {
    const before = await start(oldPassword, oldToken);
    await setPasswords(cluster.adminUrl, { fieldtrack_worker: newPassword });
    await distanceIsDone(await workAnHour(bob));
    before.worker.child.kill('SIGTERM');
    expect(await before.worker.ended).toEqual({ code: 0, signal: null });

    const refused = spawnWorker({ DATABASE_URL: withPassword('fieldtrack_worker', oldPassword) });
    expect((await refused.ended).code).toBe(1);
    // invalid_password
    expect(refused.lines.join('')).toContain('28P01');

    const after = await start(newPassword, newToken);
    await distanceIsDone(await workAnHour(await addEmployee(stack, admin, 'carol')));
    for (const page of ['/metrics', '/internal/queues']) {
      expect(await statusOf(after.url, page, oldToken), page).toBe(401);
      expect(await statusOf(after.url, page, newToken), page).toBe(200);
    }
  } finally {
    for (const { child } of started) child.kill('SIGTERM');
    await Promise.all(started.map(({ ended }) => ended));
  }
});

test('signing secret, publishable and secret key, the functions’ password: old ones are refused, people and API keys go on', async () => {
  const { key } = await createKey(admin, organizationId, ['employees:read']);
  expect((await withKey(stack, key, '/employees?select=id')).status).toBe(200);
  const edgePassword = newSecret();
  await setPasswords(cluster.adminUrl, { fieldtrack_edge: edgePassword });
  const [publishableKey, secretKey] = [newKey('publishable'), newKey('secret')];
  let after: Services | undefined;
  try {
    after = await startServices({
      port: 0,
      urlOf: (role) => (role === 'fieldtrack_edge' ? withPassword(role, edgePassword) : stack.database.url(role)),
      jwtSecret: newSecret(),
      publishableKey,
      secretKey,
      functions: true,
      worker: false,
      onLine: () => {},
    });
    const { url } = after;
    const employees = (apikey: string, token?: string) =>
      fetch(`${url}/rest/v1/employees?select=id`, {
        headers: { apikey, ...(token ? { authorization: `Bearer ${token}` } : {}) },
      });
    expect((await employees(stack.publishableKey)).status).toBe(401);
    expect((await employees(stack.secretKey)).status).toBe(401);
    expect((await employees(publishableKey, admin.accessToken)).status).toBe(401);
    expect((await employees(secretKey)).status).toBe(200);

    const person = createClient(url, publishableKey, { auth: { persistSession: false, autoRefreshToken: false } });
    const { data, error } = await person.auth.signInWithPassword({ email: admin.email, password: admin.password });
    expect(error).toBeNull();
    const own = await employees(publishableKey, data.session?.access_token);
    expect(own.status).toBe(200);
    expect(await own.json()).toContainEqual({ id: admin.employeeId });
    // And the old deployment refuses what the new one signs.
    const strange = { apikey: stack.publishableKey, authorization: `Bearer ${data.session?.access_token}` };
    expect((await fetch(`${stack.url}/rest/v1/employees?select=id`, { headers: strange })).status).toBe(401);

    expect((await withKey({ ...stack, url }, key, '/employees?select=id')).status).toBe(200);
  } finally {
    await after?.stop();
  }
});

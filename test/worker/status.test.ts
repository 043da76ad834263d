import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { npmBinary } from '../../supabase/local/binaries.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { addEmployee, eventually, foundOrganization, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ worker: true });
});
afterAll(() => stack?.stop());

async function status(env: Record<string, string> = {}): Promise<{ code: number; text: string }> {
  const run = promisify(execFile)(npmBinary('node'), [join(repositoryDir, 'scripts', 'status.ts')], {
    env: { PATH: process.env.PATH ?? '', SUPABASE_URL: stack.url, SUPABASE_SECRET_KEY: stack.secretKey, ...env },
  });
  const { code, stdout, stderr } = await run.then(
    (output) => ({ code: 0, ...output }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  return { code, text: stripVTControlCharacters(`${stdout}${stderr}`) };
}

test('npm run status is one screen: queues, schedules, webhooks, what is wrong', async () => {
  const { admin } = await foundOrganization(stack, 'acme');
  const sessionId = await workAnHour(await addEmployee(stack, admin, 'bob'));
  await eventually('DONE', async () => {
    const [row] = await stack.admin`select distance_status from public.attendance_sessions where id = ${sessionId}`;
    return row?.distance_status === 'DONE';
  });
  // A worker that has just started has its schedules still before it.
  await eventually('ok', async () => (await status()).code === 0);
  const well = await status();
  expect(well.text).toMatch(/FieldTrack http:.*, migration \d{14}: ok/);
  expect(well.text).toMatch(/^ {2}distance +0 +0 +0/m);
  expect(well.text).toMatch(/^ {2}forgotten-sessions +\*\/5 \* \* \* \*/m);
  expect(well.code).toBe(0);

  await stack.admin`update public.attendance_sessions set distance_status = 'FAILED'`;
  const ill = await status();
  expect(ill.text).toContain('! distances could not be computed');
  expect(ill.code).toBe(1);
});

test('a stack that is not there, or a key that is not the operators’, is one line', async () => {
  expect(await status({ SUPABASE_URL: 'http://127.0.0.1:9' })).toEqual({
    code: 2,
    text: 'http://127.0.0.1:9 does not answer.\n',
  });
  const refused = await status({ SUPABASE_SECRET_KEY: stack.publishableKey });
  expect(refused.text).toMatch(
    /^(system_health|queue_stats) answered 40[13]\. Is SUPABASE_SECRET_KEY its secret key\?\n$/,
  );
});

test('half a stack is none: the one on this machine is not shown instead', async () => {
  const half = await status({ SUPABASE_SECRET_KEY: '' });
  expect(half).toEqual({
    code: 2,
    text: 'SUPABASE_URL and SUPABASE_SECRET_KEY belong together: set both, or neither.\n',
  });
  expect((await status({ SUPABASE_URL: `${stack.url}/` })).code).toBeLessThan(2);
});

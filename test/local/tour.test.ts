import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

const run = promisify(execFile);
const readme = readFileSync('README.md', 'utf8');

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ worker: true, functions: true });
});
afterAll(() => stack?.stop());

/** Every shell line of the tour, against the test's stack instead of the one of `npm start`. */
function script(): string {
  const [tour = ''] = readme.slice(readme.indexOf('\n## A tour')).split(/\n## (?!A tour)/);
  const lines = [...tour.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block).join('\n');
  return lines.replace(/^URL=.*$/m, `URL=${stack.url}`).replace(/^KEY=\S.*?(?= {2})/m, `KEY=${stack.publishableKey}`);
}

async function bash(): Promise<string> {
  const { stdout } = await run('bash', ['-c', script()], { timeout: 90_000 });
  return stdout;
}

test("README's tour runs as it stands, and once more", { timeout: 200_000 }, async () => {
  const first = await bash();
  expect(first).toMatch(/^Acme\nEva\nCLOSED\n/);
  const { distance_m, points } = JSON.parse(/\{\s+"distance_m"[\s\S]*?\n\}/.exec(first)?.[0] ?? 'null');
  expect(points).toBe(10);
  expect(Math.abs(distance_m - 180)).toBeLessThan(10);
  expect(first).toContain('HTTP/1.1 403');
  expect(first).toContain('HTTP/1.1 200');
  expect(first).toContain('event: session.checked_out');

  const second = await bash();
  expect(second).toMatch(/^already_in_organization\n(already_in_organization|invitation_not_found)\nCLOSED\n/);
  expect(second).not.toContain('PGRST301');
  expect(JSON.parse(/\{\s+"distance_m"[\s\S]*?\n\}/.exec(second)?.[0] ?? 'null').points).toBe(10);
});

test("README's commands of the supabase CLI run on the URL that npm start prints", async () => {
  const section = readme.slice(readme.indexOf('\n## With the supabase CLI'));
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(section) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'fieldtrack-cli-'));
  const lines = block
    .replace(/^DB='.*?'/m, `DB='${stack.database.url('postgres')}?sslmode=disable'`)
    .replace('> types.ts', `> ${folder}/types.ts`);
  const env = { ...process.env, DO_NOT_TRACK: '1', SUPABASE_TELEMETRY_DISABLED: '1' };
  try {
    const { stdout } = await run('bash', ['-e', '-c', lines], { env });
    expect(stdout).toContain('20261124000100');
    expect(readFileSync(join(folder, 'types.ts'), 'utf8')).toMatch(/^\s*export type Json/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.each([
  ['tour.ts', [/^1 point sent;/, /name: 'Eva'/]],
  ['receipt.ts', [/by Realtime: \d+\.\d+\.\d+/, /by the stream: \{.*"amount": ?12\.5/, /the receipt: 200/]],
])("README's supabase-js is docs/examples/%s, and it runs", async (file, said) => {
  const path = join('docs', 'examples', file);
  expect(readme).toContain(`\`\`\`ts\n${readFileSync(path, 'utf8')}\`\`\``);
  const env = { ...process.env, URL: stack.url, KEY: stack.publishableKey };
  const { stdout } = await run(process.execPath, [path], { env, timeout: 30_000 });
  for (const line of said) expect(stdout).toMatch(line);
});

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
beforeAll(async () => {
  stack = await startTestStack();
  ({ admin } = await foundOrganization(stack, 'acme'));
});
afterAll(() => stack?.stop());

async function ask(path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<string> {
  const response = await fetch(`${stack.url}/rest/v1${path}`, {
    method,
    ...(body === undefined ? {} : { body }),
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${admin.accessToken}`, ...headers },
  });
  const { code } = z
    .looseObject({ code: z.string().optional() })
    .catch({})
    .parse(await response.json().catch(() => ({})));
  return [response.status, ...(code === undefined ? [] : [code])].join(' ');
}

const claims = () => ({ role: 'authenticated', sub: admin.userId });
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** What the page's first column says, done. */
const acts: Record<string, () => Promise<string>> = {
  'sends a token that has expired': async () =>
    ask('/employees', bearer(await stack.signer.sign({ ...claims() }, '-1h'))),
  'sends a token that was signed with another key': async () => {
    const [head, body, signature = ''] = (await stack.signer.sign({ ...claims() }, '1h')).split('.');
    return ask('/employees', bearer(`${head}.${body}.${[...signature].reverse().join('')}`));
  },
  'sends a signed token whose role does not exist': async () =>
    ask('/employees', bearer(await stack.signer.sign({ ...claims(), role: 'nobody_at_all' }, '1h'))),
  'reads a table that does not exist': () => ask('/nothing_of_the_kind'),
  'calls a function that does not exist': () => ask('/rpc/nothing_of_the_kind', {}, 'POST'),
  'asks for a media type that is not served': () => ask('/employees', { accept: 'image/png' }),
  'sends JSON nested deeper than PostgreSQL reads': () =>
    ask(
      '/rpc/record_locations',
      { 'content-type': 'application/json' },
      'POST',
      `{"points": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
    ),
  'counts with `Prefer: count=estimated`': () => ask('/employees', { prefer: 'count=estimated' }),
};

async function majorVersion(): Promise<number> {
  const response = await fetch(`${stack.url}/rest/v1/`, { headers: { apikey: stack.secretKey } });
  const { info } = z.object({ info: z.object({ version: z.string() }) }).parse(await response.json());
  return Number.parseInt(info.version, 10);
}

test('docs/postgrest-versions.md says what this PostgREST answers', async () => {
  const rows = [...readFileSync('docs/postgrest-versions.md', 'utf8').matchAll(/^\| (\S.*?) \| (.*?) \| (.*?) \|$/gm)]
    .map(([, act = '', twelve = '', later = '']) => ({ act, twelve, later }))
    .filter(({ act, twelve }) => act in acts || /^\d{3}/.test(twelve));
  expect(rows.map(({ act }) => act).sort()).toEqual(Object.keys(acts).sort());
  const isOld = (await majorVersion()) < 13;
  const answers = await Promise.all(rows.map(async ({ act }) => [act, await acts[act]?.()]));
  expect(Object.fromEntries(answers)).toEqual(
    Object.fromEntries(rows.map(({ act, twelve, later }) => [act, isOld ? twelve : later])),
  );
});

test('an expired token is a 401 whose code begins with PGRST3, on any version', async () => {
  expect(await acts['sends a token that has expired']?.()).toMatch(/^401 PGRST3\d\d$/);
});

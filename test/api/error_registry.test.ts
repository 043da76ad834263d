import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { edgeErrors, errors, pointErrors } from '../../types/errors.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

const sources = () =>
  database.sql('postgres')<{ name: string; source: string }[]>`
    select p.oid::regprocedure::text as name, p.prosrc as source from pg_catalog.pg_proc as p
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)`;

test('the database gives each code the status of the registry, and knows no other code', async () => {
  const [row] = await database.sql('postgres')<{ source: string }[]>`
    select prosrc as source from pg_catalog.pg_proc where oid = 'private.error_status(text)'::regprocedure`;
  const inSql = Object.fromEntries(
    [...(row?.source ?? '').matchAll(/when '(\w+)' then (\d+)/g)].map(([, code, status]) => [code, Number(status)]),
  );
  expect(inSql).toEqual(Object.fromEntries(Object.entries(errors).map(([code, { status }]) => [code, status])));
});

test('every code that a function raises is registered, and every registered code is raised', async () => {
  const raised = new Set<string>();
  for (const { source } of await sources()) {
    for (const [, code] of source.matchAll(/private\.fail\(\s*'(\w+)'/g)) if (code !== undefined) raised.add(code);
  }
  expect([...raised].sort()).toEqual(Object.keys(errors).sort());
});

test('record_locations gives points the codes of the registry', async () => {
  const body = (await sources()).find(({ name }) => name.startsWith('private.insert_locations('))?.source ?? '';
  const given = new Set([...body.matchAll(/then '(point_\w+)'/g)].map(([, code]) => code));
  expect([...given].sort()).toEqual(Object.keys(pointErrors).sort());
});

test('docs/error-codes.md lists exactly the registry', () => {
  const page = readFileSync(join(repositoryDir, 'docs', 'error-codes.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (\w+) \| (\d{3}) \| (.+) \|$/gm)].map(([, code, status, meaning]) => [
    code,
    { status: Number(status), meaning },
  ]);
  expect(Object.fromEntries(rows)).toEqual({ ...errors, ...edgeErrors });
  const points = [...page.matchAll(/^\| (point_\w+) \| (.+) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
  expect(Object.fromEntries(points)).toEqual(pointErrors);
});

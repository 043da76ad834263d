import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

/** What calls functions from outside: the worker and the functions. */
const callers = ['worker', 'edge-functions'].flatMap((folder) =>
  readdirSync(join(repositoryDir, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => readFileSync(join(repositoryDir, folder, path), 'utf8')),
);

test('each function in private has a caller: another function, a policy, a trigger, a view, a schedule, the worker or a function', async () => {
  const admin = database.sql('supabase_admin');
  const functions = await admin<{ oid: number; name: string; isOurs: boolean; body: string }[]>`
    select p.oid::int, p.proname as name, p.pronamespace = 'private'::regnamespace as "isOurs",
      -- What a comment names is not called.
      regexp_replace(p.prosrc, '--[^\n]*', '', 'g') as body
    from pg_proc as p
    where p.pronamespace in ('private'::regnamespace, 'public'::regnamespace)`;
  const [catalog] = await admin<{ text: string }[]>`
    select string_agg(x.text, ' ') as text from (
      select concat_ws(' ', qual, with_check) as text from pg_policies
      union all select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
      union all select evtname || ' ' || evtfoid::regproc from pg_event_trigger
      union all select pg_get_constraintdef(oid) from pg_constraint where contype = 'c'
      union all select pg_get_expr(adbin, adrelid) from pg_attrdef
      union all select pg_get_indexdef(indexrelid) from pg_index where indexprs is not null or indpred is not null
      union all select definition from pg_views where schemaname in ('public', 'private')
      union all select command from private.schedules
      union all select oprcode::text from pg_operator where oprnamespace = 'private'::regnamespace
      -- Turns of tenants call their piece by its bare name (000740_turns).
      union all select 'private.' || turn from private.tenant_loops
      -- Auth calls its hook by configuration.
      union all select 'private.custom_access_token_hook('
    ) as x`;
  // Operators' own, by the pages that tell them to.
  const operators = readFileSync(join(repositoryDir, 'docs', 'operations.md'), 'utf8');
  const dead = functions.filter(({ oid, name, isOurs }) => {
    const isNamed = new RegExp(`private\\.${name}\\b`);
    const isCalled = functions.some((one) => one.oid !== oid && isNamed.test(one.body));
    const isOutside =
      [catalog?.text ?? '', operators, ...callers].some((text) => isNamed.test(text)) ||
      // callForOrganization takes the bare name.
      callers.some((text) => text.includes(`'${name}'`));
    return isOurs && !isCalled && !isOutside;
  });
  expect(dead.map(({ name }) => name)).toEqual([]);
});

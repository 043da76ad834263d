import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getConstructionPlans, PgBoss as PreviousPgBoss } from 'pg-boss-previous';
import type postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pgbossSteps } from '../../.ci/pgboss-steps.ts';
import { migrationsDir } from '../../supabase/local/paths.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { addEmployee, eventually, foundOrganization, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { pagesOf, spawnWorker } from '../fixtures/worker.ts';

// The upgrade of docs/operations.md, on jobs of real people, from the version before to the one that is installed.

let stack: TestStack;
let fresh: TestDatabase;
beforeAll(async () => {
  [stack, fresh] = await Promise.all([startTestStack(), createTestDatabase()]);
});
afterAll(async () => {
  await stack?.stop();
  await fresh?.drop();
});

test('jobs that wait and jobs in hand outlive the upgrade, and the schema is that of a new installation', async () => {
  const owner = stack.database.sql('postgres');
  await owner.begin(async (trx) => {
    await trx.unsafe('drop schema pgboss cascade').simple();
    await trx.unsafe(withoutTransaction(getConstructionPlans('pgboss'))).simple();
    for (const statement of ourStatementsAboutQueues()) await trx.unsafe(statement).simple();
    // The version before had no column for traces.
    await trx.unsafe(
      enqueueFunction()
        .replace(', trace_context', '')
        .replace(/,\s+case when v_traceparent .*/, ''),
    );
  });
  const installed = await versionOf(owner);
  const { admin } = await foundOrganization(stack, 'acme');
  const sessions: string[] = [];
  for (const name of ['bob', 'carol', 'dave']) sessions.push(await workAnHour(await addEmployee(stack, admin, name)));

  // The worker of the version before takes one job and dies with it.
  const old = new PreviousPgBoss({
    connectionString: stack.database.url('fieldtrack_worker'),
    migrate: false,
    createSchema: false,
    supervise: false,
    schedule: false,
  });
  old.on('error', () => {});
  await old.start();
  const [taken] = await old.fetch<{ session_id: string }>('distance', { batchSize: 1 });
  expect(sessions).toContain(taken?.data.session_id);
  await old.stop({ graceful: false, close: true });

  const before = await jobsOf(owner);
  expect(before.filter(({ state }) => state === 'active')).toHaveLength(1);
  expect(before.filter(({ state, name }) => state === 'created' && name === 'distance')).toHaveLength(2);
  await owner.begin((trx) => trx.unsafe(`${pgbossSteps(installed)}\n${enqueueFunction()}`).simple());
  expect(await jobsOf(owner)).toEqual(before);
  expect(await versionOf(owner)).toBeGreaterThan(installed);
  expect(await schemaOf(owner)).toEqual(await schemaOf(fresh.sql('postgres')));

  // While no worker runs, clients write as always.
  sessions.push(await workAnHour(await addEmployee(stack, admin, 'erin')));
  await owner`update pgboss.job set heartbeat_on = now() - interval '5 minutes' where state = 'active'`;
  const worker = spawnWorker({ DATABASE_URL: stack.database.url('fieldtrack_worker') });
  try {
    const url = await pagesOf(() => worker.lines.join(''));
    await eventually(
      'all four have their distance',
      async () => {
        const [row] = await stack.admin`select count(*)::int as done from public.attendance_sessions
          where id = any (${sessions}) and distance_status = 'DONE'`;
        return row?.done === 4;
      },
      40_000,
    );
    expect((await fetch(`${url}/ready`)).status).toBe(200);
  } finally {
    worker.child.kill('SIGTERM');
    await worker.ended;
  }
}, 90_000);

test('steps from a version that is not the installed one are refused, and nothing is changed', async () => {
  const owner = fresh.sql('postgres');
  const before = await schemaOf(owner);
  const older = (await versionOf(owner)) - 1;
  // The same steps twice: somebody pushes what is there already.
  await expect(owner.begin((trx) => trx.unsafe(pgbossSteps(older)).simple())).rejects.toThrow('division by zero');
  expect(await schemaOf(owner)).toEqual(before);
});

const withoutTransaction = (sql: string): string =>
  sql.replaceAll(/^\s*(BEGIN;|COMMIT;|SET LOCAL .*|SELECT pg_advisory_xact_lock.*)$/gm, '');

const chapters = readdirSync(migrationsDir)
  .sort()
  .map((file) => readFileSync(join(migrationsDir, file), 'utf8'));
const jobs = chapters.find((text) => text.includes('create function private.enqueue(')) ?? '';

/** What the upgrade's migration also has, where it is to use something new. */
function enqueueFunction(): string {
  const [, body = ''] = /^create (function private\.enqueue\([\s\S]*?^\$\$;)$/m.exec(jobs) ?? [];
  return `create or replace ${body}`;
}

/** Rights and queues, as our migrations have them. */
function ourStatementsAboutQueues(): string[] {
  const rights = jobs.slice(jobs.indexOf('do $$'), jobs.indexOf('select pgboss.create_queue('));
  const queues = chapters.flatMap((text) => text.match(/^select pgboss\.create_queue\([\s\S]*?\);$/gm) ?? []);
  expect(queues).toHaveLength(5);
  return [rights, ...queues];
}

async function versionOf(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ version: number }[]>`select version from pgboss.version`;
  return row?.version ?? 0;
}

const jobsOf = (sql: postgres.Sql) => sql<{ id: string; name: string; state: string }[]>`
  select id, name, state, data, singleton_key, dead_letter, retry_limit, heartbeat_seconds
  from pgboss.job where name not like '\\_\\_%' order by id`;

/** What makes up the schema, whatever the order it was made in. */
async function schemaOf(sql: postgres.Sql) {
  const columns = await sql`
    select table_name, column_name, data_type, column_default, is_nullable from information_schema.columns
    where table_schema = 'pgboss' order by 1, 2`;
  const indexes = await sql`select indexdef from pg_indexes where schemaname = 'pgboss' order by 1`;
  const constraints = await sql`
    select conrelid::regclass::text as relation, pg_get_constraintdef(oid) as definition from pg_constraint
    where connamespace = 'pgboss'::regnamespace order by 1, 2`;
  const functions = await sql`
    select proname, regexp_replace(prosrc, '\\s+', ' ', 'g') as body, proconfig, proacl::text from pg_proc
    where pronamespace = 'pgboss'::regnamespace order by 1`;
  const rights = await sql`
    select relname, relacl::text from pg_class where relnamespace = 'pgboss'::regnamespace and relkind in ('r', 'p') order by 1`;
  return { columns, indexes, constraints, functions, rights };
}

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { npmBinary } from '../../supabase/local/binaries.ts';
import { migrationsDir, repositoryDir } from '../../supabase/local/paths.ts';
import { jobPayloads } from '../../types/jobs.ts';
import { jobs } from '../../worker/jobs/index.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { eventually } from '../fixtures/organization.ts';
import { startTestStack } from '../fixtures/stack.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

test('every queue has a handler and a payload, and every handler a queue', async () => {
  const queues = await database.sql('postgres')<{ name: string }[]>`
    select name from pgboss.queue where name not like '\\_\\_%' order by name`;
  const names = queues.map(({ name }) => name);
  expect(Object.keys(jobs).sort()).toEqual(names);
  expect(Object.keys(jobPayloads).sort()).toEqual(names);
  for (const [name, job] of Object.entries(jobs)) expect(job.queue).toBe(name);
});

test('the queue schema is what the installed pg-boss prints', () => {
  // By its path: the previous version, which the test of upgrades brings, has a program of the same name.
  const program = join(repositoryDir, 'node_modules', 'pg-boss', 'dist', 'cli.js');
  const printed = execFileSync(npmBinary('node'), [program, 'plans', 'create', '--schema', 'pgboss'], {
    encoding: 'utf8',
  });
  const wrapper = /^\s*(BEGIN;|COMMIT;|SET LOCAL |SELECT pg_advisory_xact_lock)/;
  const body = printed.split('\n').filter((line) => !wrapper.test(line));
  const normal = (lines: string[]) =>
    lines
      .map((line) => line.trimEnd())
      .join('\n')
      .trim();
  const migration = readFileSync(join(migrationsDir, '20261124000400_pgboss_schema.sql'), 'utf8');
  const start = migration.indexOf('-- SQL to create pg-boss schema:');
  expect(start).toBeGreaterThan(0);
  expect(normal(migration.slice(start).split('\n'))).toBe(normal(body));
});

test('a job in every queue of the migrations is taken by the worker', async () => {
  const stack = await startTestStack({ worker: true });
  try {
    const queues = await stack.admin<{ name: string }[]>`
      select name from pgboss.queue where name not like '\\_\\_%' order by name`;
    // An empty payload is refused by every handler before it does anything; taken is all that is asked here.
    for (const { name } of queues) await stack.admin`select private.enqueue(${name}, '{}'::jsonb)`;
    await eventually('every job is taken', async () => {
      const waiting = await stack.admin<{ name: string }[]>`
        select distinct name from pgboss.job where data = '{}'::jsonb and state = 'created'`;
      return waiting.length === 0;
    });
  } finally {
    await stack.stop();
  }
});

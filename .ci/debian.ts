// npm run test:debian: the database's tests again on Debian's PostgreSQL 15, with what npm's PostgreSQL 17 lacks:
// pg_cron (schedules), plpgsql_check (`supabase db lint`) and PostGIS beside us (`supabase db advisors`).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { withMigratedDatabase } from './database.ts';
import { lintProblems } from './lint.ts';
import { proveClaims } from './pg-prove.ts';
import { restoreDrill } from './restore.ts';
import { runCommand } from './run-command.ts';

const debianPostgres = '/usr/lib/postgresql/15/bin';
if (!existsSync(debianPostgres)) {
  console.error(`${debianPostgres} is missing: apt-get install postgresql-15 (and what .ci/run lists) first.`);
  process.exit(1);
}
// Read by supabase/local/binaries.ts.
process.env.FIELDTRACK_POSTGRES_BIN = debianPostgres;

let passed = 0;
let failed = 0;

function report(name: string, problem: string | null): void {
  console.log(`${problem === null ? 'ok  ' : 'FAIL'} ${name}`);
  if (problem === null) {
    passed += 1;
    return;
  }
  failed += 1;
  console.log(problem.replace(/^/gm, '    '));
}

/** As on a hosted project: the platform's superuser makes the extensions that are not trusted. */
async function makeExtensions(superuserUrl: string): Promise<void> {
  await query(
    superuserUrl,
    `create extension pg_cron with schema pg_catalog;
     grant usage on schema cron to postgres;
     create extension plpgsql_check with schema extensions;
     create extension pgtap with schema extensions;
     create extension postgis with schema extensions;`,
  );
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows ?? [];
  } finally {
    await client.end();
  }
}

async function everyScheduleIsACronJob(url: string): Promise<string | null> {
  const missing = await query(
    url,
    `select s.name from private.schedules as s
     where not exists (
       select from cron.job as j where j.jobname = 'fieldtrack-' || s.name and j.schedule = s.cron and j.active
     )`,
  );
  return missing.length === 0 ? null : `no cron job for: ${missing.map((row) => row.name).join(', ')}`;
}

async function advisors(url: string): Promise<string | null> {
  const args = ['db', 'advisors', `--remote=${url}?sslmode=disable`, '--fail-on=warn', '--yes'];
  const { ok, stdout, stderr } = await runCommand('supabase', args);
  return ok ? null : `${stdout}${stderr}`.trim();
}

async function applySeed(url: string): Promise<string | null> {
  const seed = ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--file=supabase/seed.sql', url];
  const { ok, stderr } = await runCommand('psql', seed);
  return ok ? null : stderr.trim();
}

/** A worker of a hosted project: the schedules are pg_cron's, its login is the one the operator gave a password. */
async function startWorker(url: string, superuserUrl: string) {
  const password = 'checks';
  await query(superuserUrl, `alter role fieldtrack_worker password '${password}'`);
  const login = Object.assign(new URL(url), { username: 'fieldtrack_worker', password });
  const child = spawn(process.execPath, ['worker/main.ts'], {
    env: { ...process.env, DATABASE_URL: login.href, HTTP_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const ended = once(child, 'exit');
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return {
    /** Waits until the seed's distance is there; answers what it said when it never comes. */
    async problem(): Promise<string | null> {
      const worked = `select from public.attendance_sessions where distance_status = 'DONE'`;
      for (const until = Date.now() + 30_000; Date.now() < until && child.exitCode === null; ) {
        if ((await query(url, worked)).length > 0) return null;
        await setTimeout(250);
      }
      return lines.filter((line) => !line.includes('"level":"info"')).join('\n') || 'no distance after 30 s';
    },
    isRunning: () => child.exitCode === null,
    async stop(): Promise<void> {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Each assertion counts as one. */
async function prove(name: string, url: string): Promise<void> {
  const proof = await proveClaims(url);
  passed += proof.passed;
  failed += proof.failed;
  console.log(`${proof.problem === null ? 'ok  ' : 'FAIL'} ${name} (pg_prove: ${proof.passed} assertions)`);
  if (proof.problem !== null) console.log(proof.problem.replace(/^/gm, '    '));
}

await withMigratedDatabase(
  async ({ url, superuserUrl }) => {
    const { server_version: version } = (await query(url, 'show server_version'))[0] ?? {};
    console.log(`The migrations are applied to PostgreSQL ${version}.`);
    report('every schedule is a job of pg_cron', await everyScheduleIsACronJob(url));
    report('supabase db lint (plpgsql_check) has no warnings', await lintProblems(url));
    report('supabase db advisors have no warnings', await advisors(url));
    await prove('the claims hold on a new database', url);
    report('supabase/seed.sql applies', await applySeed(url));
    const worker = await startWorker(url, superuserUrl);
    report('the worker starts beside pg_cron', await worker.problem());
    await prove('the claims hold beside the demo organization and a worker', url);
    report('the worker is still there', worker.isRunning() ? null : 'it ended');
    await worker.stop();
    report('a dump restores into an empty database', await restoreDrill(url, superuserUrl, debianPostgres));
  },
  {
    settings: {
      shared_preload_libraries: 'pg_cron,plpgsql_check',
      'cron.database_name': 'postgres',
      // Jobs without a connection of their own: one by TCP would need a password.
      'cron.use_background_workers': 'on',
      max_worker_processes: '16',
    },
    beforeMigrations: makeExtensions,
  },
);

console.log(`\nOn Debian's PostgreSQL 15:\n${passed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;

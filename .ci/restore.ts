// The backup and restore drill of docs/operations.md, step by step: dump, restore into an empty database, compare every row,
// let reconcile find nothing to repair, and write.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { applyPlatform } from '../supabase/local/platform.ts';
import { runCommand } from './run-command.ts';

const schemas = ['public', 'private', 'gps', 'pgboss', 'supabase_migrations'];

/** A day's worth of everything: people, sessions with points and figures, expenses, events, jobs. */
const life = `
  select tests.cast_on_stage();
  insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
  select tests.acme(), s.id, now() - interval '3 hours' + i * interval '1 minute', tests.user_id('bob'), 46 + i * 0.005, 14.5, 5
  from (select tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours') as id) as s
  cross join generate_series(0, 59) as i;
  select private.compute_session_distance(organization_id, id) from public.attendance_sessions;
  insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
  values (tests.acme(), tests.user_id('bob'), current_date, 12.5, 'EUR', 'Parking', gen_random_uuid());
`;

async function run(command: string, ...args: string[]): Promise<void> {
  const { ok, stdout, stderr } = await runCommand(command, args);
  if (!ok) throw new Error(`${command}: ${stderr || stdout}`.trim());
}

async function query<R extends pg.QueryResultRow>(url: string, sql: string): Promise<R[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows ?? [];
  } finally {
    await client.end();
  }
}

/** Of every table: how many rows, and a digest of them. */
async function contents(url: string): Promise<Map<string, string>> {
  const tables = await query<{ name: string }>(
    url,
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname in ('${schemas.join("', '")}') order by 1`,
  );
  const digests = new Map<string, string>();
  for (const { name } of tables) {
    const [row] = await query<{ digest: string }>(
      url,
      `select count(*) || ' rows, ' || coalesce(md5(string_agg(r, '' order by r)), '') as digest
       from (select md5(t::text) as r from ${name} as t) as rows`,
    );
    digests.set(name, row?.digest ?? '');
  }
  return digests;
}

const inDatabase = (url: string, database: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
};

/** Null, or what went wrong. `bin` is where pg_dump and pg_restore of the server's own version are. */
export async function restoreDrill(url: string, superuserUrl: string, bin: string): Promise<string | null> {
  const folder = mkdtempSync(join(tmpdir(), 'fieldtrack-drill-'));
  const [dump, accounts] = [join(folder, 'fieldtrack.dump'), join(folder, 'accounts.dump')];
  const restored = inDatabase(url, 'restored');
  try {
    await query(url, life);
    const before = await contents(url);
    if (!before.get('public.events')?.match(/^[1-9]/)) return 'nothing happened before the dump';

    const tables = ['--table=auth.users', '--table=auth.identities'];
    await run(join(bin, 'pg_dump'), '--format=custom', `--file=${dump}`, ...schemas.map((s) => `--schema=${s}`), url);
    await run(join(bin, 'pg_dump'), '--format=custom', `--file=${accounts}`, '--data-only', ...tables, url);

    await query(superuserUrl, 'create database restored owner postgres');
    await applyPlatform(inDatabase(superuserUrl, 'restored'));
    await query(restored, 'create extension if not exists btree_gist schema extensions; drop schema public');
    await query(restored, 'alter default privileges revoke execute on functions from public');
    await query(restored, 'revoke temporary on database restored from public');
    await run(join(bin, 'pg_restore'), '--exit-on-error', `--dbname=${restored}`, accounts);
    await run(join(bin, 'pg_restore'), '--exit-on-error', `--dbname=${restored}`, dump);

    const after = await contents(restored);
    const different = [...before].filter(([name, digest]) => after.get(name) !== digest);
    if (different.length > 0 || before.size !== after.size) {
      return (
        different.map(([name, digest]) => `${name}: ${digest} became ${after.get(name)}`).join('\n') || 'other tables'
      );
    }

    await query(restored, 'select private.install_platform()');
    const schedules = await query<{ name: string }>(
      restored,
      `select name from private.schedules where name = 'reconcile'`,
    );
    if (schedules.length === 1) {
      const [outcome] = await query<{ outcome: string }>(
        restored,
        `select private.run_schedule('reconcile') as outcome`,
      );
      const [run] = await query<{ items: string }>(
        restored,
        `select items from private.schedule_runs where schedule_name = 'reconcile' order by id desc limit 1`,
      );
      if (outcome?.outcome !== 'done' || run?.items !== '0')
        return `reconcile: ${outcome?.outcome}, repaired ${run?.items}`;
    }
    await query(restored, 'update public.organizations set max_session_hours = 9');
    const [event] = await query<{ n: number }>(
      restored,
      `select count(*)::int as n from public.events where type = 'organization.updated'`,
    );
    return event?.n === 2 ? null : 'the restored database does not write events';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

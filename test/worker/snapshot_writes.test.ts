import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// A phone that reports all day writes its person's two rows thousands of times. Such an update must stay within the page (HOT) and
// touch no index, or the small tables and their indexes grow with what is no history.

let database: TestDatabase;
let sql: postgres.Sql;
let organizationId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  sql = postgres(database.url('supabase_admin'), { max: 1, onnotice: () => {} });
  const [organization] = await sql<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
});
afterAll(async () => {
  await sql?.end();
  await database?.drop();
});

const updates = async (): Promise<Record<string, { all: number; hot: number }>> => {
  await sql`select pg_stat_force_next_flush()`;
  const rows = await sql<{ relname: string; all: number; hot: number }[]>`
    select relname, n_tup_upd::int as all, n_tup_hot_upd::int as hot from pg_stat_user_tables
    where schemaname = 'public' and relname in ('active_users', 'employee_last_state')`;
  return Object.fromEntries(rows.map(({ relname, all, hot }) => [relname, { all, hot }]));
};

test('a thousand batches of five people: each updates two rows once, all of them HOT', async () => {
  await sql`insert into public.employees (organization_id, name)
    select ${organizationId}, 'P' || i from generate_series(1, 5) as i`;
  await sql`insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
    select organization_id, id, now() - interval '1 hour' from public.employees`;
  const before = await updates();
  // Three points a batch, and each in a statement and transaction of its own, as they come.
  await sql.unsafe(`
    create procedure public.report() language plpgsql as $$
    declare
      v record;
    begin
      for n in 1..200 loop
        for v in select s.* from public.attendance_sessions as s loop
          insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
          select v.organization_id, v.id, v.checked_in_at + make_interval(secs => n * 10 + i), v.employee_id, 46 + n * 1e-4, 14.5
          from generate_series(1, 3) as i;
          commit;
        end loop;
      end loop;
    end $$`);
  await sql`call public.report()`;
  const after = await updates();
  for (const table of ['active_users', 'employee_last_state']) {
    const written = (after[table]?.all ?? 0) - (before[table]?.all ?? 0);
    const hot = (after[table]?.hot ?? 0) - (before[table]?.hot ?? 0);
    expect({ table, written }).toEqual({ table, written: 1000 });
    // A row moves to another page when dead versions fill its own before they can be pruned.
    expect(hot / written, table).toBeGreaterThan(0.98);
  }
});

import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// The reconciliation beside writers: it mends what is broken, never what is being written, and waits for nobody.

let database: TestDatabase;
let organizationId: string;
let employeeId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  const admin = database.sql('postgres');
  const [organization] = await admin<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  const [employee] = await admin<{ id: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Eva') returning id`;
  employeeId = employee?.id ?? '';
});
afterAll(() => database?.drop());

const reconcile = async (): Promise<Record<string, number> | null> => {
  const [row] = await database.sql('service_role')`select public.reconcile_snapshot_tables() as repaired`;
  return row?.repaired;
};
const mended = async (): Promise<Record<string, number>> =>
  Object.fromEntries(Object.entries((await reconcile()) ?? {}).filter(([, count]) => count !== 0));

const openSession = (sql: postgres.Sql) => sql`
  insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
  values (${organizationId}, ${employeeId}, now() - interval '1 hour')`;

test('a row that a writer holds is passed over, and what the writer commits stays', async () => {
  const writer = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  try {
    // Broken, and at the same moment somebody checks the person in.
    await database.sql('postgres')`
      update public.employee_latest_sessions set distance_m = 1 where employee_id = ${employeeId}`;
    await writer`begin`;
    await openSession(writer);
    const began = performance.now();
    expect(await mended()).toEqual({});
    expect(performance.now() - began, 'it waited for nobody').toBeLessThan(3000);
    await writer`commit`;
    expect(await mended()).toEqual({});
    expect(
      await database.sql('postgres')`
        select is_open, distance_m from public.employee_latest_sessions where employee_id = ${employeeId}`,
    ).toEqual([{ is_open: true, distance_m: null }]);
  } finally {
    await writer.end();
  }
});

test('a writer that commits after the candidates were found is not overwritten with older state', async () => {
  const admin = database.sql('postgres');
  // Mended before the person with the open session, in the order of ids.
  const first = '00000000-0000-4000-8000-000000000000';
  await admin`insert into public.employees (organization_id, id, name) values (${organizationId}, ${first}, 'First')`;
  await admin`
    update public.employee_latest_sessions set duration_s = 5
    where organization_id = ${organizationId} and employee_id in (${first}, ${employeeId})`;
  // The run is held after finding and before mending the second: where it writes the first.
  await database.sql('supabase_admin').unsafe(`
    create function public.tg_wait() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(4711);
      return new;
    end $$;
    create trigger _000_wait before insert on public.employee_latest_sessions
      for each row when (new.employee_id = '${first}') execute function public.tg_wait();
  `);
  const holder = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  try {
    await holder`begin`;
    await holder`select pg_advisory_xact_lock(4711)`;
    const run = mended();
    await expect
      .poll(
        async () =>
          (
            await database.sql('supabase_admin')`
              select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted
                and database = (select oid from pg_database where datname = current_database())`
          ).length,
      )
      .toBe(1);
    await admin`
      update public.attendance_sessions
      set status = 'CLOSED', closed_by = 'EMPLOYEE', checked_out_at = now(), checked_out_received_at = now()
      where employee_id = ${employeeId} and status = 'ACTIVE'`;
    await holder`commit`;
    expect(await run).toMatchObject({ employee_latest_sessions: 1 });
    expect(await mended()).toEqual({});
    const [row] = await admin`
      select l.is_open, l.duration_s = s.duration_s as is_right, s.status from public.employee_latest_sessions as l
      join public.attendance_sessions as s on s.id = l.session_id where l.employee_id = ${employeeId}`;
    expect(row).toEqual({ is_open: false, is_right: true, status: 'CLOSED' });
  } finally {
    await holder.end();
    await database.sql('supabase_admin').unsafe('drop function public.tg_wait() cascade');
  }
});

test('two at once: one runs, the other says so; beside eight writers neither deadlocks nor drifts', async () => {
  const admin = database.sql('postgres');
  const people = await admin<{ id: string }[]>`
    insert into public.employees (organization_id, name)
    select ${organizationId}, 'P' || n from generate_series(1, 8) as n returning id`;
  const writers = people.map(async ({ id }) => {
    const sql = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
    try {
      for (let round = 0; round < 15; round += 1) {
        await sql`
          insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
          values (${organizationId}, ${id}, clock_timestamp())`;
        await sql`
          update public.attendance_sessions
          set status = 'CLOSED', closed_by = 'EMPLOYEE', checked_out_at = clock_timestamp(), checked_out_received_at = now()
          where organization_id = ${organizationId} and employee_id = ${id} and status = 'ACTIVE'`;
        await sql`
          insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
          values (${organizationId}, ${id}, current_date, 1, 'EUR', 'Coffee', ${randomUUID()})`;
      }
    } finally {
      await sql.end();
    }
  });
  const results: (Record<string, number> | null)[] = [];
  const isDone = Promise.all(writers).then(() => true);
  while (!(await Promise.race([isDone, new Promise((resolve) => setTimeout(resolve, 20))]))) {
    results.push(...(await Promise.all([reconcile(), reconcile()])));
  }
  await isDone;
  expect(results.length).toBeGreaterThan(2);
  for (const result of results.filter((one) => one !== null)) {
    expect(Object.values(result).reduce((sum, count) => sum + count, 0)).toBe(0);
  }
  expect(await mended()).toEqual({});
});

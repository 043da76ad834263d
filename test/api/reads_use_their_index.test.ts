// A million points, 200,000 sessions and as many expenses, in two large tenants among thousands of tiny ones: each read a client
// sends must find its rows by an index, in the order it wants, and stop after its page. Plans are those of the real role under row level security.

import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

type Plan = {
  'Node Type': string;
  'Relation Name'?: string;
  'Subplan Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  Plans?: Plan[];
};

const acme = randomUUID();
const users = { admin: randomUUID(), employee: randomUUID() };
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  const sql = database.sql('supabase_admin');
  await sql.begin(async (trx) => {
    // Keys hold by construction; checking a million of them one by one is not what is measured here.
    await trx`set local session_replication_role = replica`;
    await trx`insert into auth.users (id, email, email_confirmed_at)
      values (${users.admin}, 'admin@example.test', now()), (${users.employee}, 'employee@example.test', now())`;
    await trx`insert into public.organizations (id, name, slug, time_zone, currency)
      values (${acme}, 'Acme', 'acme', 'UTC', 'EUR'), (gen_random_uuid(), 'Other', 'other', 'UTC', 'EUR')`;
    await trx`insert into public.organization_time_zones (organization_id, valid_from, time_zone)
      select id, '-infinity', 'UTC' from public.organizations`;
    await trx`insert into public.employees (organization_id, user_id, name, employee_code, app_role)
      select o.id, case when o.id = ${acme} and i = 1 then ${users.admin}::uuid when o.id = ${acme} and i = 2 then ${users.employee}::uuid end,
        'Person ' || md5(i::text), 'EMP' || i, case when i = 1 then 'ADMIN' else 'EMPLOYEE' end
      from public.organizations as o, generate_series(1, 2000) as i`;
    await trx`insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
      select e.organization_id, e.id, 'CLOSED', d - interval '8 hours', d, d, 'EMPLOYEE'
      from public.employees as e, generate_series(now() - interval '50 days', now() - interval '1 day', interval '1 day') as d`;
    await trx`insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
      select s.organization_id, s.id, s.checked_in_at + make_interval(mins => i), s.employee_id, 46, 14.5
      from (select * from public.attendance_sessions order by id limit 20000) as s, generate_series(1, 50) as i`;
    await trx`insert into public.session_days
      (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
      select organization_id, id, checked_in_at::date, employee_id, 'UTC', checked_in_at, checked_out_at, 0
      from public.attendance_sessions`;
    await trx`insert into public.expenses
      (organization_id, employee_id, spent_on, amount, currency, description, client_request_id, submitted_at, status, approved_amount, reviewed_at)
      select organization_id, employee_id, checked_in_at::date, 10, 'EUR', 'Parking', gen_random_uuid(), checked_in_at,
        case when pending then 'PENDING' else 'APPROVED' end, case when not pending then 10 end, case when not pending then now() end
      from (select *, random() < 0.01 as pending from public.attendance_sessions) as s`;
    // Daily figures of two years for the organizations, of fifty days for their people.
    await trx`insert into public.employee_daily_metrics
      (organization_id, employee_id, day, time_zone, currency, sessions, duration_s, distance_m, expenses_approved, approved_amount)
      select organization_id, employee_id, day, 'UTC', 'EUR', 1, 28800, 1000 + random() * 9000, 1, 10 from public.session_days`;
    await trx`insert into public.employee_monthly_metrics
      (organization_id, employee_id, month, currency, sessions, duration_s, distance_m, approved_amount)
      select organization_id, employee_id, date_trunc('month', day)::date, 'EUR', sum(sessions), sum(duration_s), sum(distance_m),
        sum(approved_amount) from public.employee_daily_metrics group by 1, 2, 3`;
    await trx`insert into public.employee_monthly_metrics (organization_id, employee_id, month, currency)
      select e.organization_id, e.id, (date_trunc('month', now()) - make_interval(months => i))::date, 'EUR'
      from public.employees as e, generate_series(3, 12) as i`;
    await trx`insert into public.employee_latest_sessions
      (organization_id, employee_id, session_id, is_open, checked_in_at, checked_out_at)
      select distinct on (organization_id, employee_id) organization_id, employee_id, id, false, checked_in_at, checked_out_at
      from public.attendance_sessions order by organization_id, employee_id, checked_in_at desc`;
    await trx`insert into public.employee_last_state
      (organization_id, employee_id, fix_session_id, recorded_at, latitude, longitude)
      select organization_id, employee_id, session_id, checked_out_at, 46, 14.5 from public.employee_latest_sessions`;
    // A tenth is at work.
    await trx`update public.employee_latest_sessions set is_open = true, checked_out_at = null where hashtext(employee_id::text) % 10 = 0`;
    await trx`select private.refresh_dashboard(${acme})`;
    await trx`insert into public.org_daily_metrics (organization_id, day, time_zone, currency, sessions)
      select o.id, current_date - i, 'UTC', 'EUR', 1 from public.organizations as o, generate_series(0, 1999) as i`;
    await trx`insert into public.org_daily_expenses
      select o.id, current_date - i, 'EUR', c, 1, 1, 1, 1, 1, 1
      from public.organizations as o, generate_series(0, 1999) as i, unnest('{MEALS,TRAVEL,OTHER}'::text[]) as c`;
    await trx`insert into public.audit_log (organization_id, action, actor_type, subject_type)
      select o.id, 'session.corrected', 'system', 'session' from public.organizations as o, generate_series(1, 25000)`;
    // One event in a hundred is Acme's, one person in a hundred is at work.
    await trx`insert into public.events (organization_id, epoch, xact, type, subject_type, subject_id, actor_type, payload)
      select o.id, 0, (i / 100)::text::xid8, 'organization.updated', 'organization', o.id, 'system', '{}'
      from generate_series(1, 20000) as i
      join public.organizations as o on (o.id = ${acme}) = (i % 100 = 0)`;
    await trx`insert into public.employee_last_state
      (organization_id, employee_id, is_checked_in, session_id, fix_session_id, recorded_at, latitude, longitude)
      select organization_id, id, employee_code like '%00', id, id, now(), 46, 14.5 from public.employees
      union all
      select md5((n / 1000)::text)::uuid, gen_random_uuid(), true, i, i, now(), 46, 14.5
      from (select n, gen_random_uuid() as i from generate_series(1, 20000) as n) as elsewhere
      on conflict (organization_id, employee_id) do update
      set is_checked_in = excluded.is_checked_in, session_id = excluded.session_id`;
    // One job in a hundred is Acme's.
    await trx`insert into pgboss.job (name, policy, singleton_key, data)
      select 'distance', 'short', i::text, jsonb_build_object('organization_id', o.id, 'session_id', gen_random_uuid())
      from generate_series(1, 20000) as i join public.organizations as o on (o.id = ${acme}) = (i % 100 = 0)`;
    await trx`insert into public.active_users (organization_id, employee_id, session_id, checked_in_at)
      select organization_id, employee_id, session_id, now() from public.employee_last_state
      where is_checked_in or organization_id <> ${acme}`;
    // Most installations have thousands of tenants of two people and few of thousands: the average says nothing of either, and
    // the planner knows no more than the average.
    await trx`insert into public.organizations (name, slug, time_zone, currency)
      select 'Tiny', 'tiny-' || i, 'UTC', 'EUR' from generate_series(1, 3000) as i`;
    await trx`insert into public.employees (organization_id, name, employee_code)
      select o.id, 'Person ' || i, 'EMP' || i from public.organizations as o, generate_series(1, 2) as i where o.name = 'Tiny'`;
    const ofTiny = trx`select e.* from public.employees as e join public.organizations as o on o.id = e.organization_id
      where o.name = 'Tiny'`;
    await trx`insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
      select organization_id, id, 'CLOSED', now() - interval '30 hours', now() - interval '24 hours', now(), 'EMPLOYEE' from (${ofTiny})`;
    await trx`insert into public.expenses
      (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
      select organization_id, id, current_date, 10, 'EUR', 'Parking', gen_random_uuid() from (${ofTiny})`;
    await trx`insert into public.employee_daily_metrics (organization_id, employee_id, day, time_zone, currency)
      select organization_id, id, current_date - 1, 'UTC', 'EUR' from (${ofTiny})`;
    await trx`insert into public.employee_latest_sessions (organization_id, employee_id, is_open)
      select organization_id, id, false from (${ofTiny})`;
    await trx`insert into public.employee_last_state (organization_id, employee_id) select organization_id, id from (${ofTiny})`;
  });
  await sql`analyze`;
}, 120_000);
afterAll(() => database?.drop());

async function planOf(user: string, query: string): Promise<Plan> {
  return database.sql('postgres').begin(async (trx) => {
    await trx`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: user })}, true),
      set_config('role', 'authenticated', true)`;
    const [row] = await trx.unsafe<{ 'QUERY PLAN': { Plan: Plan }[] }[]>(`explain (analyze, format json) ${query}`);
    const plan = row?.['QUERY PLAN'][0]?.Plan;
    if (plan === undefined) throw new Error('EXPLAIN gave no plan');
    return plan;
  });
}

/** Rows that a node touched, those it threw away included. */
const touched = (node: Plan): number =>
  (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)) *
  node['Actual Loops'];

const nodes = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodes)];

const reads: [string, keyof typeof users, string][] = [
  ['sessions, newest first', 'admin', 'select * from public.attendance_sessions order by checked_in_at desc limit 50'],
  [
    'sessions with their people, as PostgREST embeds',
    'admin',
    `select s.*, row_to_json(e.*) from public.attendance_sessions as s
     left join lateral (select name from public.employees as e
       where e.organization_id = s.organization_id and e.id = s.employee_id) as e on true
     order by s.checked_in_at desc limit 50`,
  ],
  [
    "one person's sessions",
    'admin',
    `select * from public.attendance_sessions
     where employee_id = (select id from public.employees where employee_code = 'EMP7' limit 1)
     order by checked_in_at desc limit 50`,
  ],
  [
    'own sessions, naming the employee',
    'employee',
    `select * from public.attendance_sessions where employee_id = private.current_employee_id()
     order by checked_in_at desc limit 20`,
  ],
  [
    'people with their newest session, as PostgREST embeds it',
    'admin',
    `select e.name, s.rows from public.employees as e
     left join lateral (select json_agg(s) as rows from (select s.* from public.attendance_sessions as s
       where s.organization_id = e.organization_id and s.employee_id = e.id order by s.checked_in_at desc limit 1) as s) as s on true
     order by e.name, e.id limit 50`,
  ],
  [
    'expenses with their people and reviewers, as PostgREST embeds them',
    'admin',
    `select x.*, row_to_json(e.*), row_to_json(r.*) from public.expenses as x
     left join lateral (select name from public.employees as e
       where e.organization_id = x.organization_id and e.id = x.employee_id) as e on true
     left join lateral (select name from public.employees as r
       where r.organization_id = x.organization_id and r.id = x.reviewer_id) as r on true
     order by x.submitted_at desc limit 50`,
  ],
  ['expenses, newest first', 'admin', 'select * from public.expenses order by submitted_at desc limit 50'],
  [
    'pending expenses, newest first',
    'admin',
    `select * from public.expenses where status = 'PENDING' order by submitted_at desc limit 50`,
  ],
  [
    'the days of a week, in order',
    'admin',
    `select * from public.session_days where day between current_date - 20 and current_date - 14 order by day limit 50`,
  ],
  [
    'a page of the export of sessions',
    'admin',
    `select * from public.export_sessions
     where checked_in_at <= now() - interval '20 days'
       and (checked_in_at < now() - interval '20 days' or session_id > gen_random_uuid())
     order by checked_in_at desc, session_id limit 50`,
  ],
  [
    // Rows of the same day before the last one are passed over again: at most a day's.
    'a page of the export of daily figures',
    'admin',
    `select * from public.export_daily_metrics
     where day >= current_date - 20 and (day > current_date - 20 or employee_id > '01000000-0000-4000-8000-000000000000')
     order by day, employee_id limit 50`,
  ],
  [
    'a page of the export of expenses',
    'admin',
    `select * from public.export_expenses
     where submitted_at <= now() - interval '20 days'
       and (submitted_at < now() - interval '20 days' or expense_id > gen_random_uuid())
     order by submitted_at desc, expense_id limit 50`,
  ],
  [
    'own expenses, naming the employee',
    'employee',
    `select * from public.expenses where employee_id = private.current_employee_id() order by submitted_at desc limit 20`,
  ],
  [
    'own days of a month, naming the employee',
    'employee',
    `select * from public.employee_daily_metrics where employee_id = private.current_employee_id()
     and day > current_date - 30 order by day limit 50`,
  ],
  [
    'employees with their last state and newest session, as PostgREST embeds them',
    'admin',
    `select e.name, row_to_json(state.*), row_to_json(latest.*)
     from public.employees as e
     left join lateral (select s.latitude, s.longitude, s.recorded_at from public.employee_last_state as s
       where s.organization_id = e.organization_id and s.employee_id = e.id) as state on true
     left join lateral (select l.session_id, l.activity_status from public.employee_latest_sessions as l
       where l.organization_id = e.organization_id and l.employee_id = e.id) as latest on true
     order by e.name, e.id limit 50`,
  ],
  ['employees by name', 'admin', 'select * from public.employees order by name, id limit 50'],
  ['audit log, newest first', 'admin', 'select * from public.audit_log order by id desc limit 50'],
];

test.each(reads)('%s (%s) reads its page and no more', async (_, who, query) => {
  const plan = await planOf(users[who], query);
  const all = nodes(plan);
  const shown = JSON.stringify(plan);
  expect(
    all.filter((node) => node['Node Type'] === 'Seq Scan').map((node) => node['Relation Name']),
    shown,
  ).toEqual([]);
  expect(
    all.filter((node) => node['Node Type'].includes('Sort')),
    shown,
  ).toEqual([]);
  expect(
    all.filter((node) => node['Subplan Name']?.startsWith('SubPlan')),
    shown,
  ).toEqual([]);
  const read = Math.max(...all.map(touched));
  expect(read, shown).toBeLessThanOrEqual(100);
});

test("a session's points are found by the key in the partitions, whoever asks", async () => {
  const [session] = await database.sql('postgres')<{ id: string }[]>`
    select session_id as id from public.gps_locations where organization_id = ${acme} limit 1`;
  const plan = await planOf(
    users.admin,
    `select * from public.gps_locations
     where organization_id = '${acme}' and session_id = '${session?.id ?? ''}' order by recorded_at`,
  );
  const all = nodes(plan);
  // An empty partition is scanned, whatever index it has; one with rows must not be.
  const scanned = all.filter((node) => node['Node Type'] === 'Seq Scan' && (node['Rows Removed by Filter'] ?? 0) > 0);
  expect(scanned, JSON.stringify(plan)).toEqual([]);
  expect(plan['Actual Rows']).toBe(50);
  expect(Math.max(...all.map(touched))).toBeLessThanOrEqual(50);
});

// EXPLAIN does not look into a function, so what it touched is read from the transaction's own statistics.
const reports: [string, keyof typeof users, string, number][] = [
  ['the organization over a year', 'admin', `public.get_org_summary(current_date - 365, current_date)`, 366],
  [
    'a person over a year',
    'admin',
    `public.get_user_summary((select id from public.employees order by name limit 1), current_date - 365, current_date)`,
    366,
  ],
  ['the dashboard', 'admin', 'public.get_dashboard()', 7 + 5],
  ['the map', 'admin', 'public.get_live_map()', 0],
  ['the trend of a year', 'admin', `public.get_session_trend(current_date - 365, current_date)`, 366],
  ['expenses of a year', 'admin', `public.get_expense_summary(current_date - 365, current_date)`, 3 * 366],
  ['the own week', 'employee', 'public.get_my_summary()', 7],
  ['the jobs of the organization', 'admin', 'public.queue_stats()', 0],
  // Everybody is ranked: ten days of 2,000 people and the own again, or their whole month and no day of it.
  [
    'a leaderboard of ten days',
    'employee',
    `public.get_leaderboard('distance', current_date - 19, current_date - 10)`,
    20_010,
  ],
  [
    'a leaderboard of a month',
    'admin',
    `public.get_leaderboard('duration', date_trunc('month', now() - interval '1 month')::date, (date_trunc('month', now()) - interval '1 day')::date)`,
    2000,
  ],
];

/** Rows that this transaction read from each table, by sequential scans and by indexes. */
const statistics = (sql: postgres.Sql | postgres.TransactionSql) => sql<
  { name: string; scanned: number; fetched: number }[]
>`
  select s.relname as name, s.seq_tup_read::int as scanned, coalesce(s.idx_tup_fetch, 0)::int as fetched
  from pg_stat_xact_user_tables as s join pg_class as c on c.oid = s.relid
  -- Tables of a page or two (organizations, their zones) are rightly read whole.
  where c.relpages > 4`;

/** What a call read of each table, as the transaction's own statistics tell. */
async function touchedBy(role: string, claims: object, call: string) {
  return await database.sql('postgres').begin(async (trx) => {
    await trx`select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true), set_config('role', ${role}, true)`;
    // What the backend has not reported yet is still in there, hence the difference.
    const before = await statistics(trx);
    await trx.unsafe(`select * from ${call}`);
    const after = await statistics(trx);
    return after
      .map((table) => {
        const earlier = before.find(({ name }) => name === table.name);
        return {
          name: table.name,
          scanned: table.scanned - (earlier?.scanned ?? 0),
          fetched: table.fetched - (earlier?.fetched ?? 0),
        };
      })
      .filter(({ scanned, fetched }) => scanned + fetched > 0);
  });
}

test.each(reports)('%s (%s) reads rows of its range by an index and no others', async (_, who, call, figures) => {
  const touchedTables = await touchedBy('authenticated', { role: 'authenticated', sub: users[who] }, call);
  const shown = JSON.stringify(touchedTables);
  expect(
    touchedTables.filter(({ scanned }) => scanned > 0).map(({ name }) => name),
    shown,
  ).toEqual([]);
  const read = touchedTables.filter(({ name }) => name.endsWith('_metrics') || name.endsWith('_daily_expenses'));
  for (const { fetched } of read) expect(fetched, shown).toBeLessThanOrEqual(figures);
});

// The live stream's questions, asked by one process for all its clients.
test.each<[string, string, { name: string; fetched: number }[]]>([
  [
    'a page of what a client missed',
    `private.read_organization_log('${acme}', 0::smallint, '20', 0, 0::smallint, '180', 0, 100)`,
    [{ name: 'events', fetched: 100 }],
  ],
  ['the log from a position', `private.read_log(0::smallint, '100', 0, 1000)`, [{ name: 'events', fetched: 1000 }]],
  [
    'who is at work and where',
    `private.read_positions_at_work('{${acme}}')`,
    [
      { name: 'active_users', fetched: 20 },
      { name: 'employee_last_state', fetched: 20 },
    ],
  ],
])('the live stream: %s is found by an index', async (_, call, expected) => {
  const tables = await touchedBy('fieldtrack_edge', {}, call);
  const shown = JSON.stringify(tables);
  expect(tables.map(({ name }) => name).sort(), shown).toEqual(expected.map(({ name }) => name));
  for (const { name, fetched } of expected) {
    const table = tables.find((one) => one.name === name);
    expect(table?.scanned, shown).toBe(0);
    // The planner looks at the ends of an index, too.
    expect(table?.fetched, shown).toBeGreaterThanOrEqual(fetched);
    expect(table?.fetched, shown).toBeLessThanOrEqual(fetched + 10);
  }
});

test('a batch of points looks its session up by the key, not among all sessions of the person', async () => {
  const sql = await database.sql('postgres').reserve();
  const fetchedSessions = async () =>
    (await statistics(sql)).find(({ name }) => name === 'attendance_sessions')?.fetched ?? 0;
  try {
    await sql`begin`;
    // As among thousands of large tenants: what is left of one in a person's sessions looks like one row.
    await sql`alter table public.attendance_sessions alter column organization_id set (n_distinct = 5000)`;
    await sql`analyze public.attendance_sessions`;
    await sql`insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
      select e.organization_id, e.id, now() - interval '1 hour' from public.employees as e where e.user_id = ${users.employee}`;
    const points = Array.from({ length: 100 }, (_, index) => ({
      recorded_at: new Date(Date.now() - 60_000 - index * 1000).toISOString(),
      latitude: 46,
      longitude: 14.5,
    }));
    const claims = { role: 'authenticated', sub: users.employee };
    await sql`select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true), set_config('role', 'authenticated', true)`;
    const before = await fetchedSessions();
    const [row] = await sql<{ answer: object }[]>`
      select public.record_locations(${JSON.stringify(points)}::text::jsonb) as answer`;
    expect(row?.answer).toMatchObject({ inserted: 100 });
    const fetched = (await fetchedSessions()) - before;
    // Each point's foreign key, and some for the call.
    expect(fetched).toBeGreaterThanOrEqual(100);
    expect(fetched).toBeLessThan(120);
  } finally {
    await sql`rollback`;
    sql.release();
  }
});

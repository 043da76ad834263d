import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// Random histories: people check in and out, also late and by force, points come in any order, expenses are claimed and reviewed,
// sessions corrected, people deactivated, the zone changed, and the reconciliation runs at random moments. Whatever the history,
// the snapshots say what a recomputation here, from the base tables and by other code, says; and the reconciliation mends nothing.

const people = 3;
const person = fc.nat(people - 1);

type Step = { advanceMinutes: number } & (
  | { kind: 'checkIn' | 'checkOut' | 'forceCheckOut' | 'autoCheckOut' | 'deactivate' | 'activate'; person: number }
  | { kind: 'points'; person: number; lateMinutes: number; offsets: number[] }
  | { kind: 'expense'; person: number; cents: number; currency: 'EUR' | 'USD' }
  | { kind: 'review'; nth: number; approve: boolean; part: number }
  | { kind: 'correct'; nth: number; shiftMinutes: number }
  | { kind: 'distance' | 'reconcile' | 'dashboards' }
  | { kind: 'timeZone'; zone: string }
  | { kind: 'timePasses'; hours: number }
);

const advanceMinutes = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 240 }));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('checkIn' as const, 'checkIn' as const, 'checkOut' as const, 'checkOut' as const),
      person,
      advanceMinutes,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'forceCheckOut' as const,
        'autoCheckOut' as const,
        'deactivate' as const,
        'activate' as const,
      ),
      person,
      advanceMinutes,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('points' as const),
      person,
      // A batch that waited in the phone is wholly older than one that came before it.
      lateMinutes: fc.constantFrom(0, 0, 20, 60, 180),
      offsets: fc.array(fc.integer({ min: -30, max: 0 }), { minLength: 1, maxLength: 6 }),
      advanceMinutes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('expense' as const),
      person,
      cents: fc.integer({ min: 1, max: 100_000 }),
      currency: fc.constantFrom('EUR' as const, 'USD' as const),
      advanceMinutes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('review' as const),
      nth: fc.nat(5),
      approve: fc.boolean(),
      part: fc.integer({ min: 1, max: 100 }),
      advanceMinutes,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('correct' as const),
      nth: fc.nat(5),
      shiftMinutes: fc.integer({ min: -60, max: 60 }),
      advanceMinutes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('distance' as const, 'reconcile' as const, 'dashboards' as const),
      advanceMinutes,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('timeZone' as const),
      zone: fc.constantFrom('Asia/Kolkata', 'America/New_York', 'Pacific/Apia'),
      advanceMinutes,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('timePasses' as const),
      hours: fc.integer({ min: 1, max: 30 }),
      advanceMinutes,
    }),
  },
);

let database: TestDatabase;
let admin: postgres.Sql;
beforeAll(async () => {
  database = await createTestDatabase();
  admin = database.sql('supabase_admin');
});
afterAll(() => database?.drop());

type World = { organizationId: string; adminUserId: string; userIds: string[]; employeeIds: string[] };

async function newWorld(): Promise<World> {
  const userIds = Array.from({ length: people + 1 }, () => randomUUID());
  for (const id of userIds) await admin`insert into auth.users (id, email) values (${id}, ${`${id}@example.test`})`;
  const [organization] = await admin<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', ${randomUUID()}, 'Europe/Ljubljana', 'EUR') returning id`;
  if (!organization) throw new Error('no organization');
  const employeeIds: string[] = [];
  for (const [index, userId] of userIds.entries()) {
    const [row] = await admin<{ id: string }[]>`
      insert into public.employees (organization_id, user_id, name, app_role)
      values (${organization.id}, ${userId}, ${`P${index}`}, ${index === people ? 'ADMIN' : 'EMPLOYEE'}) returning id`;
    employeeIds.push(row?.id ?? '');
  }
  return { organizationId: organization.id, adminUserId: userIds[people] ?? '', userIds, employeeIds };
}

/** A call as PostgREST makes it. Refusals of the registry are part of a history; anything else is a defect. */
async function call(userId: string, run: (sql: postgres.TransactionSql) => Promise<unknown>): Promise<void> {
  const claims = JSON.stringify({ role: 'authenticated', sub: userId });
  try {
    await database.sql('authenticated').begin(async (sql) => {
      await sql`select set_config('request.jwt.claims', ${claims}, true)`;
      await run(sql);
    });
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'PGRST') throw error;
  }
}

async function play(world: World, steps: readonly Step[]): Promise<void> {
  let minutesAgo = 70 * 60;
  const at = (offset = 0) => new Date(Date.now() - Math.max(0, minutesAgo - offset) * 60_000).toISOString();
  const user = (index: number) => world.userIds[index] ?? '';
  const employee = (index: number) => world.employeeIds[index] ?? '';
  for (const one of steps) {
    minutesAgo -= one.advanceMinutes;
    await admin`delete from private.rate_buckets where organization_id = ${world.organizationId}`;
    switch (one.kind) {
      case 'checkIn':
        await call(user(one.person), (sql) => sql`select public.check_in(${at()}, ${randomUUID()})`);
        break;
      case 'checkOut':
        await call(user(one.person), (sql) => sql`select public.check_out(${at()}, ${randomUUID()})`);
        break;
      case 'forceCheckOut':
        await call(world.adminUserId, (sql) => sql`select public.force_check_out(${employee(one.person)}, ${at()})`);
        break;
      case 'autoCheckOut':
        // They came when they happened, or each would be waited for.
        await admin`update public.attendance_sessions set checked_in_received_at = checked_in_at
          where organization_id = ${world.organizationId} and status = 'ACTIVE'`;
        await admin`select private.close_forgotten_sessions()`;
        break;
      case 'deactivate':
        await call(world.adminUserId, (sql) => sql`select public.set_employee_active(${employee(one.person)}, false)`);
        break;
      case 'activate':
        // What accept_invitation does, without an invitation a turn: they are limited to 30 an hour.
        await admin`update public.employees set is_active = true where id = ${employee(one.person)} and not is_active`;
        break;
      case 'points': {
        const points = one.offsets.map((offset, index) => ({
          recorded_at: at(offset - one.lateMinutes),
          latitude: 46 + offset / 1000,
          longitude: 14.5 + index / 1000,
          accuracy_m: 5 + index,
          battery_pct: 50 + index,
          is_mock: index % 2 === 1,
        }));
        const sessions = await admin<{ id: string }[]>`
          select id from public.attendance_sessions where employee_id = ${employee(one.person)}
          order by checked_in_at desc limit 2`;
        for (const { id } of sessions) {
          await call(
            user(one.person),
            (sql) => sql`select public.record_locations(${JSON.stringify(points)}::text::jsonb, ${id})`,
          );
        }
        break;
      }
      case 'expense':
        await call(
          user(one.person),
          (sql) =>
            sql`select public.submit_expense(${one.cents / 100}, 'An expense', ${randomUUID()}, currency => ${one.currency})`,
        );
        break;
      case 'review': {
        const rows = await admin<{ id: string; amount: string }[]>`
          select id, amount from public.expenses where organization_id = ${world.organizationId} order by id`;
        const expense = rows[one.nth % Math.max(1, rows.length)];
        if (!expense) break;
        const approved = one.approve ? Math.max(0.01, Math.round(Number(expense.amount) * one.part) / 100) : null;
        await call(
          world.adminUserId,
          (sql) =>
            sql`select public.review_expense(${expense.id}, ${one.approve ? 'APPROVED' : 'REJECTED'}, ${approved}, 'seen')`,
        );
        break;
      }
      case 'correct': {
        const rows = await admin<{ id: string; checked_in_at: Date; checked_out_at: Date | null }[]>`
          select id, checked_in_at, checked_out_at from public.attendance_sessions
          where organization_id = ${world.organizationId} order by id`;
        const session = rows[one.nth % Math.max(1, rows.length)];
        if (!session) break;
        const move = (time: Date) => new Date(time.getTime() + one.shiftMinutes * 60_000).toISOString();
        await call(
          world.adminUserId,
          (sql) => sql`select public.correct_session(${session.id}, ${move(session.checked_in_at)},
            ${move(session.checked_out_at ?? new Date(session.checked_in_at.getTime() + 60_000))}, 'a correction')`,
        );
        break;
      }
      case 'distance':
        for (const { id } of await admin<{ id: string }[]>`
          select id from public.attendance_sessions
          where organization_id = ${world.organizationId} and distance_status = 'PENDING'`) {
          await database.sql('fieldtrack_worker').begin(async (sql) => {
            await sql`select set_config('fieldtrack.organization_id', ${world.organizationId}, true)`;
            await sql`select private.compute_session_distance(${world.organizationId}, ${id})`;
          });
        }
        break;
      case 'reconcile':
        await expectNoRepairs();
        break;
      case 'dashboards':
        await database.sql('fieldtrack_worker')`select private.refresh_dashboards()`;
        break;
      case 'timeZone':
        await call(
          world.adminUserId,
          (sql) => sql`select public.update_organization(jsonb_build_object('time_zone', ${one.zone}::text))`,
        );
        break;
      case 'timePasses':
        // For what is closed: as if it had been so many hours earlier. Oldest first, so that none runs into another.
        for (const { id } of await admin<{ id: string }[]>`
          select id from public.attendance_sessions
          where organization_id = ${world.organizationId} and status = 'CLOSED' order by checked_in_at`) {
          await admin`
            update public.attendance_sessions
            set checked_in_at = checked_in_at - make_interval(hours => ${one.hours}),
              checked_out_at = checked_out_at - make_interval(hours => ${one.hours})
            where organization_id = ${world.organizationId} and id = ${id}`;
        }
        break;
    }
  }
}

async function expectNoRepairs(): Promise<void> {
  const [row] = await database.sql('service_role')<{ repaired: Record<string, number> }[]>`
    select public.reconcile_snapshot_tables() as repaired`;
  expect(Object.entries(row?.repaired ?? {}).filter(([, count]) => count !== 0)).toEqual([]);
}

const byKey = <T>(rows: readonly T[], key: (row: T) => string): T[] =>
  rows.toSorted((a, b) => key(a).localeCompare(key(b)));
const cents = (value: string | null): number => Math.round(Number(value ?? 0) * 100);

/** The recomputation: plain reads of the base tables, and everything else in this function. */
async function compare(world: World): Promise<void> {
  const { organizationId } = world;
  const sessions = await admin`
    select s.*, to_jsonb(l) as live from public.attendance_sessions as s
    left join private.live_distances as l on l.organization_id = s.organization_id and l.session_id = s.id
    where s.organization_id = ${organizationId}`;
  const points = await admin`select * from public.gps_locations where organization_id = ${organizationId}`;
  const expenses = await admin`select * from public.expenses where organization_id = ${organizationId}`;
  const employees = await admin`select * from public.employees where organization_id = ${organizationId}`;
  const newest = <T extends postgres.Row>(rows: readonly T[], by: string): T | undefined =>
    rows.toSorted((a, b) => b[by].getTime() - a[by].getTime())[0];

  const expected = employees.map(({ id, is_active }) => {
    const own = sessions.filter((session) => session.employee_id === id);
    const closed = own.filter((session) => session.status === 'CLOSED');
    // What waits for a decision (more hours than a session may have, say) is in no figure.
    const counted = closed.filter(({ counts }) => counts);
    const open = own.find((session) => session.status === 'ACTIVE');
    const latest = newest(own, 'checked_in_at');
    const fix = newest(
      points.filter((point) => point.employee_id === id),
      'recorded_at',
    );
    const claimed = expenses.filter((expense) => expense.employee_id === id);
    const approved = claimed.filter((expense) => expense.status === 'APPROVED');
    const amounts = new Map<string, number>();
    for (const { currency, approved_amount } of approved) {
      amounts.set(currency, (amounts.get(currency) ?? 0) + cents(approved_amount));
    }
    return {
      employee_id: id,
      is_active,
      latest: {
        session_id: latest?.id ?? null,
        is_open: latest?.status === 'ACTIVE',
        checked_in_at: latest?.checked_in_at ?? null,
        checked_out_at: latest?.checked_out_at ?? null,
        duration_s: latest?.duration_s ?? null,
        distance_m: latest?.distance_m ?? null,
        distance_status: latest?.distance_status ?? null,
      },
      active: open ? { session_id: open.id, checked_in_at: open.checked_in_at } : null,
      state: {
        is_checked_in: open !== undefined,
        session_id: open?.id ?? null,
        last_check_in_at: latest?.checked_in_at ?? null,
        last_check_out_at: newest(closed, 'checked_in_at')?.checked_out_at ?? null,
        fix_session_id: fix?.session_id ?? null,
        recorded_at: fix?.recorded_at ?? null,
        accuracy_m: fix?.accuracy_m ?? null,
        is_mock: fix?.is_mock ?? null,
        latitude: fix?.latitude ?? null,
        longitude: fix?.longitude ?? null,
        battery_pct: fix?.battery_pct ?? null,
        distance_cents: open?.live ? Math.round(open.live.distance_m * 100) : null,
        distance_is_provisional: open?.live ? open.live.is_provisional : null,
      },
      metrics: {
        sessions: counted.length,
        duration_s: counted.reduce((sum, { duration_s }) => sum + duration_s, 0),
        distance_cents: counted.reduce((sum, { distance_m }) => sum + cents(distance_m), 0),
        expenses_submitted: claimed.length,
        expenses_approved: approved.length,
        expenses_rejected: claimed.filter(({ status }) => status === 'REJECTED').length,
        approved_cents: Object.fromEntries([...amounts].toSorted()),
      },
    };
  });

  const latest = await admin`select * from public.employee_latest_sessions where organization_id = ${organizationId}`;
  const active = await admin`select * from public.active_users where organization_id = ${organizationId}`;
  const state = await admin`select * from public.employee_last_state where organization_id = ${organizationId}`;
  const metrics = await admin`select * from public.employee_metrics_snapshot where organization_id = ${organizationId}`;
  const of = (rows: readonly postgres.Row[], id: string): postgres.Row | undefined =>
    rows.find(({ employee_id }) => employee_id === id);
  const stored = employees.map(({ id, is_active }) => {
    const l = of(latest, id);
    const a = of(active, id);
    const s = of(state, id);
    const m = of(metrics, id);
    return {
      employee_id: id,
      is_active,
      latest: {
        session_id: l?.session_id,
        is_open: l?.is_open,
        checked_in_at: l?.checked_in_at,
        checked_out_at: l?.checked_out_at,
        duration_s: l?.duration_s,
        distance_m: l?.distance_m,
        distance_status: l?.distance_status,
      },
      active: a ? { session_id: a.session_id, checked_in_at: a.checked_in_at } : null,
      state: {
        is_checked_in: s?.is_checked_in,
        session_id: s?.session_id,
        last_check_in_at: s?.last_check_in_at,
        last_check_out_at: s?.last_check_out_at,
        fix_session_id: s?.fix_session_id,
        recorded_at: s?.recorded_at,
        accuracy_m: s?.accuracy_m,
        is_mock: s?.is_mock,
        latitude: s?.latitude,
        longitude: s?.longitude,
        battery_pct: s?.battery_pct,
        distance_cents: s?.distance_m === null ? null : cents(s?.distance_m),
        distance_is_provisional: s?.distance_is_provisional,
      },
      metrics: {
        sessions: m?.sessions,
        duration_s: Number(m?.duration_s),
        distance_cents: cents(m?.distance_m),
        expenses_submitted: m?.expenses_submitted,
        expenses_approved: m?.expenses_approved,
        expenses_rejected: m?.expenses_rejected,
        approved_cents: Object.fromEntries(
          Object.entries<number>(m?.approved_amounts ?? {})
            .map(([currency, amount]) => [currency, Math.round(amount * 100)] as const)
            .toSorted(),
        ),
      },
    };
  });
  expect(byKey(stored, (row) => row.employee_id)).toEqual(byKey(expected, (row) => row.employee_id));

  const pending = await admin`
    select expense_id, amount, currency from public.pending_expenses where organization_id = ${organizationId}`;
  expect(byKey([...pending], (row) => row.expense_id)).toEqual(
    byKey(
      expenses
        .filter(({ status }) => status === 'PENDING')
        .map(({ id, amount, currency }) => ({ expense_id: id, amount, currency })),
      (row) => row.expense_id,
    ),
  );

  await expect
    .poll(async () => {
      await database.sql('fieldtrack_worker')`select private.refresh_dashboards()`;
      const [dashboard] = await admin`
        select employees, active_employees, recent_employees, inactive_employees, pending_expenses, pending_amounts
        from public.org_dashboard_snapshot where organization_id = ${organizationId}`;
      const { pending_amounts: amounts = {}, ...counts } = dashboard ?? {};
      return {
        ...counts,
        pending_cents: Object.fromEntries(
          Object.entries<number>(amounts).map(([currency, amount]) => [currency, Math.round(amount * 100)]),
        ),
      };
    })
    .toEqual(dashboardOf(expected, expenses));
}

function dashboardOf(
  people: readonly { is_active: boolean; latest: { is_open: boolean; checked_out_at: Date | null } }[],
  expenses: readonly postgres.Row[],
): Record<string, unknown> {
  const waiting = expenses.filter(({ status }) => status === 'PENDING');
  const pendingCents: Record<string, number> = {};
  for (const { currency, amount } of waiting) pendingCents[currency] = (pendingCents[currency] ?? 0) + cents(amount);
  const members = people.filter(({ is_active }) => is_active);
  const dayAgo = Date.now() - 24 * 3_600_000;
  const active = members.filter(({ latest }) => latest.is_open).length;
  const recent = members.filter(
    ({ latest }) => !latest.is_open && latest.checked_out_at && latest.checked_out_at.getTime() > dayAgo,
  ).length;
  return {
    employees: members.length,
    active_employees: active,
    recent_employees: recent,
    inactive_employees: members.length - active - recent,
    pending_expenses: waiting.length,
    pending_cents: pendingCents,
  };
}

test(
  'after any history the snapshots equal a recomputation, and the reconciliation mends nothing',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), async (steps) => {
        const world = await newWorld();
        await play(world, steps);
        await compare(world);
        await expectNoRepairs();
        await admin.begin(async (sql) => {
          await sql`set local fieldtrack.erasure = 'on'`;
          await sql`delete from public.organizations where id = ${world.organizationId}`;
        });
      }),
      { numRuns: Number(process.env.PROPERTY_RUNS ?? 8), endOnFailure: !process.env.PROPERTY_SHRINK },
    );
  },
  Number(process.env.PROPERTY_RUNS ?? 8) * 10_000,
);

import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// The invariant of hours: the sessions of a person are a function of the set of reports. A random week (one to three devices, with
// work that overlaps too) is told to several people of one organization, to each in an order of its own, with repetitions. What
// is refused because it came too early is sent again at the end, as phones do. Then all of them must have the same sessions,
// reports, days and figures, byte by byte; and the reconciliation repairs nothing.

const orders = 3;

type Report =
  | { kind: 'checkIn'; work: number; at: number; id: string; place: boolean }
  | { kind: 'checkOut'; at: number; id: string; names: string | null }
  | { kind: 'whole'; at: number; until: number; id: string }
  | { kind: 'points'; names: string; at: number[] }
  | { kind: 'void'; names: string }
  | { kind: 'auto' };

type Work = {
  startsMinutesAgo: number;
  minutes: number;
  told: 'named' | 'unnamed' | 'whole' | 'wholeAndHalves' | 'neverOut';
  points: number;
  pointsPast: number;
  isVoided: boolean;
  isTwice: boolean;
};

// Minutes of a grid, so that instants coincide as well.
const work: fc.Arbitrary<Work> = fc.record({
  startsMinutesAgo: fc.integer({ min: 30, max: 420 }).map((tens) => tens * 10),
  minutes: fc.integer({ min: 1, max: 110 }).map((tens) => tens * 10),
  told: fc.constantFrom('named', 'named', 'unnamed', 'whole', 'wholeAndHalves', 'neverOut'),
  points: fc.integer({ min: 0, max: 6 }),
  pointsPast: fc.integer({ min: 0, max: 2 }),
  isVoided: fc.nat(9).map((n) => n === 0),
  isTwice: fc.nat(9).map((n) => n === 0),
});

const week = fc.record({
  works: fc.array(work, { minLength: 1, maxLength: 7 }),
  auto: fc.boolean(),
  seeds: fc.array(fc.array(fc.nat(1_000_000), { minLength: 60, maxLength: 60 }), {
    minLength: orders,
    maxLength: orders,
  }),
  repeats: fc.array(fc.nat(2), { minLength: 60, maxLength: 60 }),
});

let database: TestDatabase;
let admin: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  admin = database.sql('supabase_admin');
});
afterAll(() => database?.drop());

function reportsOf(works: readonly Work[], uuids: () => string): Report[] {
  const reports: Report[] = [];
  for (const [index, one] of works.entries()) {
    const start = one.startsMinutesAgo;
    const end = Math.max(5, start - one.minutes);
    const id = uuids();
    if (one.told !== 'whole') reports.push({ kind: 'checkIn', work: index, at: start, id, place: index % 2 === 0 });
    if (one.told === 'whole' || one.told === 'wholeAndHalves')
      reports.push({ kind: 'whole', at: start, until: end, id });
    if (one.told === 'named' || one.told === 'wholeAndHalves')
      reports.push({ kind: 'checkOut', at: end, id: uuids(), names: id });
    if (one.told === 'unnamed') reports.push({ kind: 'checkOut', at: end, id: uuids(), names: null });
    if (one.isTwice && one.told === 'named')
      reports.push({ kind: 'checkOut', at: Math.max(5, end - 7), id: uuids(), names: id });
    const last = start - end;
    const at = Array.from({ length: one.points }, (_, n) => start - Math.floor((last * (n + 1)) / (one.points + 1)));
    if (one.told === 'neverOut' && one.pointsPast > 0) at.push(Math.max(4, end - one.pointsPast * 3));
    if (at.length > 0) reports.push({ kind: 'points', names: id, at });
    if (one.isVoided) reports.push({ kind: 'void', names: id });
  }
  return reports;
}

type Person = { userId: string; employeeId: string };
type World = { organizationId: string; adminUserId: string; people: Person[] };

async function newWorld(): Promise<World> {
  const userIds = Array.from({ length: orders + 1 }, () => randomUUID());
  for (const id of userIds) await admin`insert into auth.users (id, email) values (${id}, ${`${id}@example.test`})`;
  const [organization] = await admin<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', ${randomUUID()}, 'Europe/Ljubljana', 'EUR') returning id`;
  const organizationId = organization?.id ?? '';
  const people: Person[] = [];
  for (const [index, userId] of userIds.entries()) {
    const [row] = await admin<{ id: string }[]>`
      insert into public.employees (organization_id, user_id, name, app_role, created_at)
      values (${organizationId}, ${userId}, ${`P${index}`}, ${index === orders ? 'ADMIN' : 'EMPLOYEE'},
        now() - interval '1 year') returning id`;
    people.push({ userId, employeeId: row?.id ?? '' });
  }
  return { organizationId, adminUserId: userIds[orders] ?? '', people: people.slice(0, orders) };
}

/** A call as PostgREST makes it: its answer, or the code of its refusal. Anything else is a defect. */
async function call(
  userId: string,
  run: (sql: postgres.TransactionSql) => Promise<readonly postgres.Row[]>,
): Promise<{ row: postgres.Row } | { code: string }> {
  const claims = JSON.stringify({ role: 'authenticated', sub: userId });
  try {
    return await database.sql('authenticated').begin(async (sql) => {
      await sql`select set_config('request.jwt.claims', ${claims}, true)`;
      return { row: (await run(sql))[0] ?? {} };
    });
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'PGRST') throw error;
    return { code: JSON.parse(error.message).code };
  }
}

async function tell(world: World, person: Person, now: number, report: Report): Promise<string | null> {
  const at = (minutesAgo: number) => new Date(now - minutesAgo * 60_000).toISOString();
  const sessionOf = async (id: string): Promise<string | null> => {
    const [row] = await admin<{ id: string | null }[]>`
      select (private.session_of_check_in(${world.organizationId}, ${person.employeeId}, ${id})).id`;
    return row?.id ?? null;
  };
  const code = (answer: { row: postgres.Row } | { code: string }) => ('code' in answer ? answer.code : null);
  switch (report.kind) {
    case 'checkIn':
      return code(
        await call(
          person.userId,
          (sql) =>
            sql`select * from public.check_in(${at(report.at)}, ${report.id}, ${report.place ? 46 : null},
              ${report.place ? 14.5 : null})`,
        ),
      );
    case 'checkOut':
      return code(
        await call(
          person.userId,
          (sql) =>
            sql`select * from public.check_out(${at(report.at)}, ${report.id}, check_in_request_id => ${report.names})`,
        ),
      );
    case 'whole':
      return code(
        await call(
          person.userId,
          (sql) => sql`select * from public.record_session(${at(report.at)}, ${at(report.until)}, ${report.id})`,
        ),
      );
    case 'points': {
      const sessionId = await sessionOf(report.names);
      if (!sessionId) return 'too_early';
      const points = report.at.map((minutesAgo) => ({
        recorded_at: at(minutesAgo),
        latitude: 46 + minutesAgo / 10_000,
        longitude: 14.5,
        accuracy_m: 5,
      }));
      const answer = await call(
        person.userId,
        (sql) => sql`select public.record_locations(${JSON.stringify(points)}::text::jsonb, ${sessionId}) as answer`,
      );
      // Some lie past an end that is known now: told, and sent again when more is known.
      return 'row' in answer && answer.row.answer.rejected.length > 0 ? 'too_early' : code(answer);
    }
    case 'void': {
      const sessionId = await sessionOf(report.names);
      if (!sessionId) return 'too_early';
      return code(
        await call(world.adminUserId, (sql) => sql`select * from public.void_session(${sessionId}, 'never was')`),
      );
    }
    case 'auto':
      await admin`update public.attendance_sessions set checked_in_received_at = checked_in_at
        where employee_id = ${person.employeeId} and status = 'ACTIVE'`;
      await admin`select private.close_forgotten_sessions()`;
      return null;
  }
}

/** A refusal that is not for good: the report is sent again. Any other one would be a report that is lost. */
function isEarly(code: string | null): boolean {
  if (code !== null && !early.has(code)) throw new Error(`refused for good: ${code}`);
  return code !== null;
}

const early = new Set(['too_early', 'no_open_session', 'check_out_before_check_in']);

async function play(world: World, person: Person, now: number, reports: readonly Report[], repeats: readonly number[]) {
  let waiting: Report[] = [];
  for (const [index, report] of reports.entries()) {
    for (let n = 0; n <= (repeats[index] === 0 ? 1 : 0); n++) {
      const code = await tell(world, person, now, report);
      if (isEarly(code)) {
        waiting.push(report);
        break;
      }
    }
    if (index % 5 === 0) await computeDistances(world);
  }
  for (let round = 0; round < 3; round++) {
    const again: Report[] = [];
    for (const report of waiting) {
      const code = await tell(world, person, now, report);
      if (isEarly(code)) again.push(report);
    }
    waiting = again;
  }
}

async function computeDistances(world: World): Promise<void> {
  const asked = await admin<{ id: string }[]>`
    select distinct (data ->> 'session_id') as id from pgboss.job
    where name = 'distance' and data ->> 'organization_id' = ${world.organizationId} and state = 'created'`;
  await admin`delete from pgboss.job where name = 'distance' and data ->> 'organization_id' = ${world.organizationId}`;
  for (const { id } of asked) {
    await database.sql('fieldtrack_worker').begin(async (sql) => {
      await sql`select set_config('fieldtrack.organization_id', ${world.organizationId}, true)`;
      await sql`select private.compute_session_distance(${world.organizationId}, ${id})`;
    });
  }
}

/** Everything about a person's hours that does not say who it is or when it arrived. */
async function stateOf(person: Person): Promise<unknown> {
  const sessions = await admin`
    select checked_in_at, checked_out_at, status, opened_by, closed_by, duration_s, distance_status,
      case when voided_at is null then distance_m end as distance_m, case when voided_at is null then points_used end as points_used,
      claimed_checked_out_at, check_in_request_id, check_out_request_id, check_out_is_named, check_in_latitude, check_out_latitude,
      review_reasons, needs_review, counts, provisional_until, voided_at is not null as is_voided, original_checked_in_at,
      original_checked_out_at
    from public.attendance_sessions where employee_id = ${person.employeeId} order by checked_in_at, check_in_request_id`;
  const reports = await admin`
    select r.kind, r.reported_at, r.client_request_id, r.is_named, s.checked_in_at
    from public.session_reports as r left join public.attendance_sessions as s on s.id = r.session_id
    where r.employee_id = ${person.employeeId}
      -- One that names nobody and beats nothing is refused when it comes last, and kept when it came first: it counts for neither.
      and (r.kind = 'CHECK_IN' or r.is_named)
    order by r.kind, r.reported_at, r.client_request_id`;
  const days = await admin`
    select d.day, s.checked_in_at, d.duration_s, d.distance_m
    from public.session_days as d join public.attendance_sessions as s on s.id = d.session_id
    where d.employee_id = ${person.employeeId} order by 1, 2`;
  const [totals] = await admin`
    select sessions, duration_s, distance_m from public.employee_metrics_snapshot where employee_id = ${person.employeeId}`;
  const [latest] = await admin`
    select is_open, checked_in_at, checked_out_at, duration_s from public.employee_latest_sessions
    where employee_id = ${person.employeeId}`;
  return { sessions: [...sessions], reports: [...reports], days: [...days], totals, latest };
}

test(
  'any order of arrival gives the same hours, and nothing that was acknowledged is lost',
  async () => {
    await fc.assert(
      fc.asyncProperty(week, async ({ works, auto, seeds, repeats }) => {
        const world = await newWorld();
        const now = Date.now();
        let made = 0;
        const base = randomUUID().slice(0, 24);
        const reports = reportsOf(works, () => {
          made += 1;
          return `${base}${String(made * 7919).padStart(12, '0')}`;
        });
        if (auto) reports.push({ kind: 'auto' });
        const states: unknown[] = [];
        for (const [index, person] of world.people.entries()) {
          const order =
            index === 0
              ? reports
              : reports
                  .map((report, nth) => ({ report, key: seeds[index]?.[nth % 60] ?? 0 }))
                  .toSorted((a, b) => a.key - b.key)
                  .map(({ report }) => report);
          await admin`delete from private.rate_buckets where organization_id = ${world.organizationId}`;
          await play(world, person, now, order, repeats);
          await tell(world, person, now, { kind: 'auto' });
          await computeDistances(world);
          states.push(await stateOf(person));
        }
        for (const state of states.slice(1)) expect(state).toEqual(states[0]);
        const [lost] = await admin<{ open: number }[]>`
          select count(*)::int as open from public.attendance_sessions
          where organization_id = ${world.organizationId} and voided_at is null and checked_out_at < checked_in_at`;
        expect(lost?.open).toBe(0);
        const [repaired] = await database.sql('service_role')<{ repaired: Record<string, number> }[]>`
          select public.reconcile_snapshot_tables() as repaired`;
        expect(Object.entries(repaired?.repaired ?? {}).filter(([, count]) => count !== 0)).toEqual([]);
        await admin.begin(async (sql) => {
          await sql`set local fieldtrack.erasure = 'on'`;
          await sql`delete from public.organizations where id = ${world.organizationId}`;
        });
      }),
      { numRuns: Number(process.env.PROPERTY_RUNS ?? 8), endOnFailure: !process.env.PROPERTY_SHRINK },
    );
  },
  Number(process.env.PROPERTY_RUNS ?? 8) * 20_000,
);

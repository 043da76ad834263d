import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import type { Bench, Section } from '../section.ts';
import { quantile } from './distance/track-store.ts';
import { type Populated, type Population, populate } from './reads/population.ts';

interface Read {
  name: string;
  sql: string;
  /** The same figures from the tables beneath, for scale. */
  live?: string;
  /** Does not grow with the people, so it should not with the set. */
  isConstant: boolean;
  goalMs?: number;
}

const questions: readonly Read[] = [
  {
    name: 'session list, first 50',
    sql: `select s.*, row_to_json(e.*) from public.attendance_sessions as s
      left join lateral (select name from public.employees as e
        where e.organization_id = s.organization_id and e.id = s.employee_id) as e on true
      order by s.checked_in_at desc, s.id limit 50`,
    isConstant: true,
  },
  {
    name: 'organization, 30 days',
    sql: 'select public.get_org_summary(current_date - 30, current_date - 1)',
    live: `select count(distinct session_id), sum(duration_s), sum(distance_m) from public.session_days
      where organization_id = private.current_organization_id() and day between current_date - 30 and current_date - 1`,
    isConstant: true,
  },
  {
    // Everybody is ranked, so it grows with the people; history outside the range does not matter.
    name: 'leaderboard, 30 days',
    sql: `select public.get_leaderboard('distance', current_date - 30, current_date - 1)`,
    live: `select employee_id, sum(distance_m) from public.attendance_sessions
      where organization_id = private.current_organization_id() and checked_in_at >= current_date - 30 and checked_in_at < current_date
      group by 1 order by 2 desc limit 10`,
    isConstant: false,
  },
];

const rounds = 300;
const liveRounds = 3;

/** What administrators read, in a small and in a large organization of the same history. */
export const reads: Section = {
  name: 'reads',
  question: 'Do dashboards, maps and lists cost the same at a hundred people and at ten thousand?',
  async run(bench) {
    const sizes: [string, Population][] = [
      ['small', { employees: 100, days: 30, pointsPerSession: 33 }],
      [
        'large',
        bench.quick
          ? { employees: 1000, days: 30, pointsPerSession: 4 }
          : { employees: 10_000, days: 30, pointsPerSession: 17 },
      ],
    ];
    const measured = new Map<string, Map<string, Timing>>();
    for (const [size, population] of sizes) measured.set(size, await measure(bench, size, population));
    report(bench, measured);
  },
};

interface Timing {
  p50: number;
  p99: number;
  live: number | undefined;
}

async function measure(bench: Bench, size: string, population: Population): Promise<Map<string, Timing>> {
  const startedAt = performance.now();
  const database = await bench.createDatabase();
  const populated = await populate(database, population);
  const owner = database.sql('supabase_admin');
  await owner`vacuum analyze`;
  await owner`checkpoint`;
  const [counts] = await owner<{ employees: number; sessions: number; points: number }[]>`
    select (select count(*)::int from public.employees) as employees,
      (select count(*)::int from public.attendance_sessions) as sessions,
      (select count(*)::int from public.gps_locations) as points`;
  bench.note(
    `${size}: ${counts?.employees} people, ${counts?.sessions} sessions, ${counts?.points} points, made in ` +
      `${((performance.now() - startedAt) / 1000).toFixed(0)} s`,
  );
  const timings = new Map<string, Timing>();
  const sql = database.sql('authenticator');
  for (const read of questions) {
    timings.set(
      read.name,
      await asAdministrator(sql, populated, async (trx) => {
        const times = await time(trx, read.sql, rounds, 20);
        const live = read.live === undefined ? undefined : quantile(await time(trx, read.live, liveRounds, 1), 0.5);
        return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), live };
      }),
    );
  }
  return timings;
}

/** As PostgREST does it: a role and claims for the transaction, so row level security decides. */
function asAdministrator<T>(
  sql: postgres.Sql,
  { adminUserId }: Populated,
  run: (trx: postgres.TransactionSql) => Promise<T>,
): Promise<T> {
  return sql.begin(async (trx) => {
    await trx`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: adminUserId })}, true),
      set_config('role', 'authenticated', true), set_config('statement_timeout', '60s', true)`;
    return run(trx);
  }) as Promise<T>;
}

/** Milliseconds of each run, the round trip on the loopback included. */
async function time(trx: postgres.TransactionSql, query: string, count: number, warmUp: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = -warmUp; i < count; i += 1) {
    const from = performance.now();
    await trx.unsafe(query, [], { prepare: true });
    if (i >= 0) times.push(performance.now() - from);
  }
  return times;
}

function report(bench: Bench, measured: ReadonlyMap<string, ReadonlyMap<string, Timing>>): void {
  const lines = questions.flatMap((read) => {
    const small = measured.get('small')?.get(read.name);
    const large = measured.get('large')?.get(read.name);
    if (small === undefined || large === undefined) return [];
    bench.report({
      name: `${read.name}: p50 large`,
      value: large.p50,
      unit: 'ms',
      ...(read.goalMs === undefined ? {} : { goal: { atMost: read.goalMs } }),
    });
    bench.report({ name: `${read.name}: p99 large`, value: large.p99, unit: 'ms' });
    bench.report({
      name: `${read.name}: p50 large / small`,
      value: large.p50 / small.p50,
      unit: 'x',
      ...(read.isConstant ? { goal: { atMost: 1.5 } } : {}),
    });
    if (large.live !== undefined) {
      bench.report({ name: `${read.name}: aggregated live, large`, value: large.live, unit: 'ms' });
    }
    const ms = (value: number | undefined) => (value === undefined ? '' : value.toFixed(2));
    return [
      [
        read.name,
        ms(small.p50),
        ms(small.p99),
        ms(large.p50),
        ms(large.p99),
        (large.p50 / small.p50).toFixed(2),
        ms(small.live),
        ms(large.live),
      ],
    ];
  });
  bench.table(
    ['ms, as the administrator', 'small p50', 'p99', 'large p50', 'p99', 'large/small', 'live small', 'live large'],
    lines,
  );
}

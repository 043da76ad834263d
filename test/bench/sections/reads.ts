import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import { median, quantile } from '../quantile.ts';
import type { Bench, Section } from '../section.ts';
import { type Populated, type Population, populate } from './reads/population.ts';

interface Question {
  name: string;
  /** The round's number is for questions that must not be the same each time. */
  sql: (round: number) => string;
  /** The same figures from the tables beneath, for scale. */
  live?: string;
  /** Does not grow with the people, so it should not with the set. */
  isConstant: boolean;
  goalMs?: number;
}

const questions: readonly Question[] = [
  {
    name: 'get_dashboard',
    sql: () => 'select public.get_dashboard()',
    live: `select
      (select count(*) from public.attendance_sessions where status = 'ACTIVE'),
      (select count(distinct employee_id) from public.attendance_sessions where checked_out_at > now() - interval '24 hours'),
      (select count(*) from public.attendance_sessions where checked_in_at >= current_date),
      (select sum(amount) from public.expenses where status = 'PENDING'),
      (select json_agg(t) from (select day, count(distinct session_id), sum(duration_s), sum(distance_m)
        from public.session_days where day > current_date - 7 group by day order by day) as t),
      (select json_agg(t) from (select employee_id, sum(distance_m) as m from public.session_days
        where day >= date_trunc('month', now()) group by 1 order by 2 desc limit 5) as t)`,
    isConstant: true,
    goalMs: 2,
  },
  {
    name: 'get_live_map, first 1,000',
    sql: () => 'select public.get_live_map(1000)',
    live: `select distinct on (employee_id) employee_id, recorded_at, latitude, longitude from public.gps_locations
      order by employee_id, recorded_at desc`,
    // In the small set there are a hundred people to answer with: a tenth.
    isConstant: false,
  },
  {
    name: 'get_live_map, first 20',
    sql: () => 'select public.get_live_map(20)',
    isConstant: true,
  },
  {
    name: 'session list, first 50',
    sql: () => `select s.*, row_to_json(e.*) from public.attendance_sessions as s
      left join lateral (select name from public.employees as e
        where e.organization_id = s.organization_id and e.id = s.employee_id) as e on true
      order by s.checked_in_at desc, s.id limit 50`,
    isConstant: true,
  },
  {
    name: 'organization, 30 days',
    sql: () => 'select public.get_org_summary(current_date - 30, current_date - 1)',
    live: `select count(distinct session_id), sum(duration_s), sum(distance_m) from public.session_days
      where organization_id = private.current_organization_id() and day between current_date - 30 and current_date - 1`,
    isConstant: true,
  },
  {
    name: 'leaderboard, 30 days',
    sql: () => `select public.get_leaderboard('distance', current_date - 30, current_date - 1)`,
    live: `select employee_id, sum(distance_m) from public.attendance_sessions
      where organization_id = private.current_organization_id() and checked_in_at >= current_date - 30 and checked_in_at < current_date
      group by 1 order by 2 desc limit 10`,
    isConstant: true,
  },
  {
    // A day changed since it was last asked for, so everybody is ranked anew: grows with the people. The same figures each time,
    // and never the same range.
    name: 'leaderboard, 30 days, ranked anew',
    sql: (round) =>
      `select public.get_leaderboard('distance', current_date - 30, current_date + ${round + warmUpRounds})`,
    isConstant: false,
  },
];

const rounds = 300;
const fewestRounds = 20;
const warmUpRounds = 20;
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
          ? { employees: 1000, days: 10, pointsPerSession: 4 }
          : { employees: 10_000, days: 30, pointsPerSession: 17 },
      ],
    ];
    const places: Place[] = [];
    for (const [size, population] of sizes) places.push(await settle(bench, size, population));
    const [small, large] = places as [Place, Place];
    // Slow questions are asked less often; p99 of twenty is the slowest.
    const seconds = bench.quick ? 0.5 : 8;
    const results: Result[] = [];
    for (const question of questions) {
      results.push(
        await asAdministrator(small, (inSmall) =>
          asAdministrator(large, (inLarge) => ask(question, inSmall, inLarge, seconds)),
        ),
      );
    }
    report(bench, results);
  },
};

interface Place extends Populated {
  sql: postgres.Sql;
}

interface Result {
  question: Question;
  small: Timing;
  large: Timing;
}

interface Timing {
  p50: number;
  p99: number;
  live: number | undefined;
}

async function settle(bench: Bench, size: string, population: Population): Promise<Place> {
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
  return { ...populated, sql: database.sql('authenticator') };
}

/** As PostgREST does it: a role and claims for the transaction, so row level security decides. */
function asAdministrator<T>(
  { sql, adminUserId }: Place,
  run: (trx: postgres.TransactionSql) => Promise<T>,
): Promise<T> {
  return sql.begin(async (trx) => {
    await trx`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: adminUserId })}, true),
      set_config('role', 'authenticated', true), set_config('statement_timeout', '60s', true)`;
    return run(trx);
  }) as Promise<T>;
}

/** In turns, so that whatever else the machine does befalls both. */
async function ask(
  question: Question,
  small: postgres.TransactionSql,
  large: postgres.TransactionSql,
  seconds: number,
): Promise<Result> {
  const times = { small: [] as number[], large: [] as number[] };
  const until = performance.now() + seconds * 1000;
  for (let round = -warmUpRounds; round < rounds; round += 1) {
    const query = question.sql(round);
    const [inSmall, inLarge] = [await time(small, query), await time(large, query)];
    if (round < 0) continue;
    if (round >= fewestRounds && performance.now() > until) break;
    times.small.push(inSmall);
    times.large.push(inLarge);
  }
  const timing = async (trx: postgres.TransactionSql, all: number[]): Promise<Timing> => {
    const live: number[] = [];
    if (question.live !== undefined) {
      for (let round = 0; round < liveRounds; round += 1) live.push(await time(trx, question.live));
    }
    return {
      p50: median(all),
      p99: quantile(all, 0.99),
      live: live.length > 0 ? median(live) : undefined,
    };
  };
  return { question, small: await timing(small, times.small), large: await timing(large, times.large) };
}

/** Milliseconds, the round trip on the loopback included. */
async function time(trx: postgres.TransactionSql, query: string): Promise<number> {
  const from = performance.now();
  await trx.unsafe(query, [], { prepare: true });
  return performance.now() - from;
}

function report(bench: Bench, results: readonly Result[]): void {
  const lines = results.map(({ question: read, small, large }) => {
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
      read.name,
      ms(small.p50),
      ms(small.p99),
      ms(large.p50),
      ms(large.p99),
      (large.p50 / small.p50).toFixed(2),
      ms(small.live),
      ms(large.live),
    ];
  });
  bench.table(
    ['ms, as the administrator', 'small p50', 'p99', 'large p50', 'p99', 'large/small', 'live small', 'live large'],
    lines,
  );
}

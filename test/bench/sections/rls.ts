import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import type { Section } from '../section.ts';
import { quantile } from './distance/track-store.ts';
import { populate } from './reads/population.ts';

const rounds = 400;
const warmUpRounds = 40;

interface Question {
  name: string;
  /** The condition stands for what the policy does: empty under row level security. */
  sql: (organization: string) => string;
}

const questions: readonly Question[] = [
  {
    name: 'sessions, newest 50',
    sql: (organization) => `select s.* from public.attendance_sessions as s
      ${organization ? `where ${organization}` : ''} order by s.checked_in_at desc, s.id limit 50`,
  },
  {
    name: 'expenses that wait, newest 50',
    sql: (organization) => `select s.* from public.expenses as s
      where s.status = 'PENDING' ${organization ? `and ${organization}` : ''} order by s.submitted_at desc, s.id limit 50`,
  },
  {
    name: 'people by name, first 50',
    sql: (organization) => `select s.* from public.employees as s
      ${organization ? `where ${organization}` : ''} order by s.name, s.id limit 50`,
  },
  {
    name: 'a month of daily figures',
    sql: (organization) => `select s.* from public.org_daily_metrics as s
      where s.day > current_date - 30 ${organization ? `and ${organization}` : ''} order by s.day`,
  },
];

/** What row level security costs an administrator beside the same query that names its organization. */
export const rls: Section = {
  name: 'rls',
  question: 'What does row level security cost beside naming the organization?',
  async run(bench) {
    const database = await bench.createDatabase();
    const { organizationId, adminUserId } = await populate(database, {
      employees: bench.quick ? 100 : 1000,
      days: 60,
      pointsPerSession: 10,
    });
    const owner = database.sql('supabase_admin');
    const [session] = await owner<{ id: string }[]>`
      select id from public.attendance_sessions where status = 'CLOSED' order by checked_in_at desc limit 1`;
    // One session with the points of a day: eight hours, one every thirty seconds.
    await owner`
      insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
      select s.organization_id, s.id, s.checked_in_at + make_interval(secs => 30 * i), s.employee_id, 46 + i * 1e-4, 14.5, 5
      from public.attendance_sessions as s cross join generate_series(1, 959) as i
      where s.id = ${session?.id ?? ''} on conflict do nothing`;
    await owner`vacuum analyze`;
    const route: Question = {
      name: 'points of one session',
      sql: (organization) => `select s.* from public.gps_locations as s
        where s.session_id = '${session?.id}' ${organization ? `and ${organization}` : ''} order by s.recorded_at`,
    };
    const lines: (string | number)[][] = [];
    for (const question of [...questions, route]) {
      const times = { under: [] as number[], explicit: [] as number[] };
      let hasSubplan = false;
      await owner.begin(async (explicit) => {
        await database.sql('authenticator').begin(async (under) => {
          const claims = JSON.stringify({ role: 'authenticated', sub: adminUserId });
          await under`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
          const [policy, named] = [question.sql(''), question.sql(`s.organization_id = '${organizationId}'`)].map(
            asJson,
          );
          if (policy === undefined || named === undefined) throw new Error('no question');
          hasSubplan = (await under.unsafe(`explain ${policy}`)).some((row) =>
            /SubPlan/.test(String(row['QUERY PLAN'])),
          );
          // In turns, so that whatever else the machine does befalls both.
          for (let round = -warmUpRounds; round < rounds; round += 1) {
            const [one, other] = [await time(under, policy), await time(explicit, named)];
            if (round < 0) continue;
            times.under.push(one);
            times.explicit.push(other);
          }
        });
      });
      const [under, explicit] = [quantile(times.under, 0.5), quantile(times.explicit, 0.5)];
      bench.report({
        name: `${question.name}: over explicit`,
        value: under / explicit,
        unit: 'x',
        goal: { atMost: 1.15 },
      });
      bench.report({
        name: `${question.name}: subplans a row`,
        value: hasSubplan ? 1 : 0,
        unit: '',
        goal: { atMost: 0 },
      });
      lines.push([question.name, explicit.toFixed(3), under.toFixed(3), (under / explicit).toFixed(2)]);
    }
    bench.table(['ms, p50', 'explicit', 'under RLS', 'ratio'], lines);
  },
};

/** As PostgREST asks: the page comes as one JSON text. */
const asJson = (query: string) => `select coalesce(json_agg(page), '[]') as body from (${query}) as page`;

/** Milliseconds, the round trip on the loopback included. */
async function time(trx: postgres.TransactionSql, query: string): Promise<number> {
  const from = performance.now();
  await trx.unsafe(query, [], { prepare: true });
  return performance.now() - from;
}

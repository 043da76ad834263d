import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import { quantile } from '../quantile.ts';
import type { Section } from '../section.ts';
import { populate } from './reads/population.ts';

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
      days: bench.quick ? 20 : 60,
      pointsPerSession: 10,
    });
    const rounds = bench.quick ? 60 : 600;
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
    const sql = database.sql('authenticator');
    const connection = await sql.reserve();
    const lines: (string | number)[][] = [];
    for (const question of [...questions, route]) {
      const asked = {
        under: asJson(question.sql('')),
        explicit: asJson(question.sql(`s.organization_id = '${organizationId}'`)),
      };
      const times = { under: [] as Times[], explicit: [] as Times[] };
      // In turns and on one connection, as from PostgREST's pool, so that whatever else the machine does befalls both.
      for (let round = -warmUpRounds; round < rounds; round += 1) {
        const one = await request(connection, { role: 'authenticated', sub: adminUserId }, asked.under);
        const other = await request(connection, { role: 'service_role' }, asked.explicit);
        if (round < 0) continue;
        times.under.push(one);
        times.explicit.push(other);
      }
      // The lower quartile: above it is what else the machine does, a commit's company for one.
      const p25 = (of: readonly Times[], part: keyof Times) =>
        quantile(
          of.map((time) => time[part]),
          0.25,
        );
      const ratio = (part: keyof Times) => p25(times.under, part) / p25(times.explicit, part);
      bench.report({
        name: `${question.name}: over explicit`,
        value: ratio('request'),
        unit: 'x',
        goal: { atMost: 1.15 },
      });
      bench.report({ name: `${question.name}: the statement alone`, value: ratio('statement'), unit: 'x' });
      bench.report({
        name: `${question.name}: subplans a row`,
        value: (await hasSubplan(connection, adminUserId, asked.under)) ? 1 : 0,
        unit: '',
        goal: { atMost: 0 },
      });
      lines.push([
        question.name,
        ...(['request', 'statement'] as const).flatMap((part) => [
          p25(times.explicit, part).toFixed(3),
          p25(times.under, part).toFixed(3),
          ratio(part).toFixed(2),
        ]),
      ]);
    }
    connection.release();
    bench.table(['ms, p25', 'explicit', 'under RLS', 'ratio', 'statement', 'under RLS', 'ratio'], lines);
  },
};

/** As PostgREST asks: the page comes as one JSON text. */
const asJson = (query: string) => `select coalesce(json_agg(page), '[]') as body from (${query}) as page`;

/** Milliseconds, round trips on the loopback included. */
interface Times {
  request: number;
  statement: number;
}

/** Without `simple: false`, of which its types do not know, postgres.js prepares nothing that has no parameters. */
const prepared = { prepare: true, simple: false };

interface Claims {
  role: string;
  sub?: string;
}

/** As PostgREST serves it: a transaction that is told who asks, and a statement that is prepared once a connection. */
async function request(connection: postgres.ReservedSql, claims: Claims, query: string): Promise<Times> {
  const began = performance.now();
  await connection`begin`;
  await become(connection, claims);
  const asked = performance.now();
  await connection.unsafe(query, [], prepared);
  const answered = performance.now();
  await connection`commit`;
  return { request: performance.now() - began, statement: answered - asked };
}

const become = (connection: postgres.ReservedSql, claims: Claims) => connection`
  select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true), set_config('role', ${claims.role}, true)`;

async function hasSubplan(connection: postgres.ReservedSql, adminUserId: string, query: string): Promise<boolean> {
  await connection`begin`;
  await become(connection, { role: 'authenticated', sub: adminUserId });
  const plan = await connection.unsafe(`explain ${query}`);
  await connection`rollback`;
  return plan.some((row) => /SubPlan/.test(String(row['QUERY PLAN'])));
}

import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import type { TestDatabase } from '../../fixtures/database.ts';
import { median } from '../quantile.ts';
import type { Section } from '../section.ts';
import { type Population, populate } from './reads/population.ts';

const batches = 60;
const warmUpBatches = 5;
const pointsPerBatch = 100;

/** The same people's day, in organizations whose history is ten and a hundred times as long. */
export const growth: Section = {
  name: 'growth',
  question: 'Do writing and reading cost the same at 0.1, 1 and 10 million points?',
  async run(bench) {
    const sizes: [string, Population][] = [
      ['0.1 M', { employees: 100, days: 30, pointsPerSession: 33 }],
      bench.quick
        ? ['0.3 M', { employees: 300, days: 30, pointsPerSession: 33 }]
        : ['1 M', { employees: 1000, days: 30, pointsPerSession: 33 }],
    ];
    if (!bench.quick) sizes.push(['10 M', { employees: 10_000, days: 30, pointsPerSession: 33 }]);
    const places: {
      size: string;
      database: TestDatabase;
      userId: string;
      sessionId: string;
      batch: number[];
      list: number[];
      route: number[];
    }[] = [];
    for (const [size, population] of sizes) {
      const database = await bench.createDatabase();
      const { adminUserId: userId } = await populate(database, population);
      await database.sql('supabase_admin')`vacuum analyze`;
      await openSession(database, userId);
      await database.sql('supabase_admin')`checkpoint`;
      const [session] = await database.sql('supabase_admin')<{ id: string }[]>`
        select id from public.attendance_sessions where status = 'CLOSED' order by checked_in_at desc, id limit 1`;
      places.push({ size, database, userId, sessionId: session?.id ?? '', batch: [], list: [], route: [] });
    }
    const reads = bench.quick ? 50 : 200;
    // In turns over the sizes, so that whatever else the machine does befalls all.
    for (let round = -warmUpBatches; round < batches; round += 1) {
      for (const place of places) {
        const took = await sendBatch(place.database, place.userId, round + warmUpBatches);
        if (round >= 0) place.batch.push(took);
      }
    }
    for (let round = 0; round < reads; round += 1) {
      for (const place of places) {
        place.list.push(
          await read(
            place.database,
            place.userId,
            (sql) =>
              sql`select id, checked_in_at, distance_m from public.attendance_sessions order by checked_in_at desc, id limit 50`,
          ),
        );
        place.route.push(
          await read(place.database, place.userId, async (sql) => {
            await sql`select public.get_session_route(${place.sessionId})`;
          }),
        );
      }
    }
    const [smallest] = places;
    for (const place of places.slice(1)) {
      for (const [name, key] of [
        ['a batch of 100', 'batch'],
        ['sessions, newest 50', 'list'],
        ['a route', 'route'],
      ] as const) {
        bench.report({
          name: `${name}: ${place.size} over 0.1 M`,
          value: median(place[key]) / median(smallest?.[key] ?? []),
          unit: 'x',
          goal: { atMost: 1.2 },
        });
      }
    }
    const ms = (values: readonly number[]) => median(values).toFixed(2);
    bench.table(
      ['ms, p50', 'batch of 100', 'sessions, newest 50', 'a route'],
      places.map(({ size, batch, list, route }) => [size, ms(batch), ms(list), ms(route)]),
    );
  },
};

/** The administrator is a person of the organization too: the one whose phone sends here. */
async function openSession(database: TestDatabase, userId: string): Promise<void> {
  await database.sql('supabase_admin')`
    insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
    select e.organization_id, e.id, now() - interval '5 minutes' from public.employees as e
    where e.user_id = ${userId}
      and not exists (select from public.attendance_sessions as s
        where s.organization_id = e.organization_id and s.employee_id = e.id and s.status = 'ACTIVE')`;
}

/** A hundred points of five seconds, newer than those of the batch before. */
async function sendBatch(database: TestDatabase, userId: string, index: number): Promise<number> {
  const owner = database.sql('supabase_admin');
  await owner`update private.rate_buckets set tokens = 60 where kind = 'locations'`;
  const [open] = await owner<{ at: Date }[]>`
    select s.checked_in_at as at from public.attendance_sessions as s join public.employees as e
      on e.organization_id = s.organization_id and e.id = s.employee_id
    where e.user_id = ${userId} and s.status = 'ACTIVE'`;
  const from = (open?.at.getTime() ?? 0) + 1000 + index * 3000;
  const points = Array.from({ length: pointsPerBatch }, (_, step) => ({
    recorded_at: new Date(from + step * 30).toISOString(),
    latitude: 46 + (index * pointsPerBatch + step) * 1e-5,
    longitude: 14.5,
    accuracy_m: 5,
  }));
  const body = JSON.stringify(points);
  return read(database, userId, (sql) => sql`select public.record_locations(${body}::text::jsonb)`);
}

/** Milliseconds of a transaction as PostgREST makes it. */
async function read(
  database: TestDatabase,
  userId: string,
  run: (sql: postgres.TransactionSql) => PromiseLike<unknown>,
): Promise<number> {
  const from = performance.now();
  await database.sql('authenticator').begin(async (sql) => {
    const claims = JSON.stringify({ role: 'authenticated', sub: userId });
    await sql`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
    await run(sql);
  });
  return performance.now() - from;
}

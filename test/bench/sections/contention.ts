import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import postgres from 'postgres';
import type { TestDatabase } from '../../fixtures/database.ts';
import { median } from '../quantile.ts';
import type { Section } from '../section.ts';

const clients = 32;

/** Whether the people of one organization stand in each other's way: no row of it may be written by all of them. */
export const contention: Section = {
  name: 'contention',
  question: 'Do 32 clients check in as fast in one organization as in 32?',
  async run(bench) {
    const rounds = bench.quick ? 1 : 7;
    const roundMs = bench.quick ? 400 : 2000;
    const perClient = bench.quick ? 70 : 1200;
    const database = await bench.createDatabase();
    const together = await makePeople(database, [randomUUID()], clients * perClient);
    const apart = await makePeople(
      database,
      Array.from({ length: clients }, () => randomUUID()),
      perClient,
    );
    await database.sql('supabase_admin')`vacuum analyze`;

    // Beside the clients, as in operation: the worker's loop, which refreshes the dashboards of whoever checked in.
    const worker = database.sql('fieldtrack_worker');
    let isMeasuring = true;
    const loop = (async () => {
      while (isMeasuring) {
        await worker`select private.refresh_dashboards()`;
        await setTimeout(250);
      }
    })();

    const connections = Array.from({ length: clients }, () =>
      postgres(database.url('authenticator'), { max: 1, onnotice: () => {} }),
    );
    const share = (people: readonly string[], client: number) =>
      people.slice(client * perClient, (client + 1) * perClient);
    const workers = connections.map((sql, client) => ({
      sql,
      together: share(together, client),
      apart: share(apart, client),
    }));
    const rates = { together: [] as number[], apart: [] as number[] };
    // In turns, so that whatever else the machine does befalls both; the first turn of each warms up.
    for (let round = 0; round <= rounds; round += 1) {
      for (const kind of round % 2 === 0 ? (['together', 'apart'] as const) : (['apart', 'together'] as const)) {
        const from = performance.now();
        const counts = await Promise.all(workers.map((one) => checkIn(one.sql, one[kind], from + roundMs)));
        const rate = counts.reduce((sum, count) => sum + count, 0) / ((performance.now() - from) / 1000);
        if (round > 0) rates[kind].push(rate);
      }
    }
    isMeasuring = false;
    await loop;
    await Promise.all(connections.map((sql) => sql.end()));

    bench.table(
      ['check-ins per second, 32 clients', ...rates.together.map((_, index) => `round ${index + 1}`)],
      [
        ['in one organization', ...rates.together.map((rate) => rate.toFixed(0))],
        ['in 32 organizations', ...rates.apart.map((rate) => rate.toFixed(0))],
      ],
    );
    const [inOne, inMany] = [median(rates.together), median(rates.apart)];
    bench.report({ name: 'check-ins in one organization, median', value: inOne, unit: '/s' });
    bench.report({ name: 'check-ins in 32 organizations, median', value: inMany, unit: '/s' });
    bench.report({ name: 'one organization / 32', value: inOne / inMany, unit: '', goal: { atLeast: 0.9 } });
  },
};

/** People with accounts; answers the user ids, organization by organization. */
async function makePeople(
  database: TestDatabase,
  organizations: readonly string[],
  perOrganization: number,
): Promise<string[]> {
  const sql = database.sql('supabase_admin');
  await sql`set synchronous_commit = off`;
  await sql`insert into public.organizations (id, name, slug, time_zone, currency)
    select id, 'Bench', 'bench-' || left(id::text, 8), 'UTC', 'EUR' from unnest(${organizations}::uuid[]) as id`;
  const rows = await sql<{ user_id: string }[]>`
    with people as (
      select o.id as organization_id, gen_random_uuid() as user_id, 'EMP' || o.position || '-' || i as code
      from unnest(${organizations}::uuid[]) with ordinality as o (id, position)
      cross join generate_series(1, ${perOrganization}) as i
    ),
    users as (
      insert into auth.users (id, email) select user_id, user_id || '@example.test' from people returning id
    )
    insert into public.employees (organization_id, user_id, name, employee_code)
    select p.organization_id, p.user_id, p.code, p.code from people as p join users as u on u.id = p.user_id
    returning organization_id, user_id`;
  return rows.map(({ user_id }) => user_id);
}

/** Checks one after the other in, as PostgREST would: claims and role for one transaction. Answers how many until then. */
async function checkIn(sql: postgres.Sql, people: string[], until: number): Promise<number> {
  let count = 0;
  while (performance.now() < until) {
    const userId = people.pop();
    if (userId === undefined) throw new Error('Too few people were made for so fast a machine.');
    const claims = JSON.stringify({ role: 'authenticated', sub: userId });
    // One message, so that the client's work does not hide what is measured. Nothing here comes from outside.
    await sql
      .unsafe(
        `begin;
         select set_config('request.jwt.claims', '${claims}', true), set_config('role', 'authenticated', true);
         select public.check_in(now() - interval '1 second', '${randomUUID()}');
         commit`,
      )
      .simple();
    count += 1;
  }
  return count;
}

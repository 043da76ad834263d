import postgres from 'postgres';
import { Pool } from 'undici';
import type { TestStack } from '../../fixtures/stack.ts';
import { median } from '../quantile.ts';
import type { Bench, Section } from '../section.ts';
import { load, type Point, settle, takePoints, type Worker } from './ingest/field.ts';

const SIZES = [1, 10, 100];
const CLIENTS = [1, 8, 32];

/** Points by record_locations, with everything that hangs on it, beside the least that PostgreSQL could do for them. */
export const ingest: Section = {
  name: 'ingest',
  question: 'How many points a second, and how much of that is ours?',
  async run(bench) {
    const stack = await bench.startStack({ poolSize: 10 });
    // Sixty calls at once are anybody's allowance; there are so many people that nobody reaches it.
    const workers = await settle(stack.database, 20, 100, true);
    await stack.admin.unsafe(bareTable);
    const seconds = bench.quick ? 0.2 : 3;
    const clients = Array.from({ length: 32 }, () =>
      postgres(stack.database.url('authenticator'), {
        max: 1,
        onnotice: () => {},
        connection: { role: 'authenticated' },
      }),
    );
    const bareClients = Array.from({ length: 32 }, () =>
      postgres(stack.database.url('supabase_admin'), { max: 1, onnotice: () => {} }),
    );
    const rows: (string | number)[][] = [];
    try {
      const record = (size: number) => async (client: number, turn: number) => {
        const worker = at(workers, turn);
        await at(clients, client)`
          select public.record_locations(${JSON.stringify(takePoints(worker, size))}::text::jsonb)
          from (select set_config('request.jwt.claims', ${worker.claims}, true) as claims) as c where c.claims <> ''`;
      };
      const insert = (way: typeof multiRowInsert) => (size: number) => async (client: number, turn: number) => {
        const worker = at(workers, turn);
        await way(at(bareClients, client), worker, takePoints(worker, size));
      };
      const ways = { ours: record, bare: insert(multiRowInsert), floor: insert(insertOfArrays) };
      // Connections, plans and the first pages.
      for (const way of Object.values(ways)) await load(32, bench.quick ? 0.3 : 1, way(10));
      for (const size of SIZES) {
        for (const count of CLIENTS) {
          if (bench.quick && count === 8) continue;
          const rates = { ours: [] as number[], bare: [] as number[], floor: [] as number[] };
          // In turns, so that what else the machine does meets all.
          const rounds = bench.quick ? 2 : 3;
          for (let round = 0; round < rounds; round += 1) {
            for (const name of ['bare', 'ours', 'floor'] as const) {
              rates[name].push((await load(count, seconds / rounds, ways[name](size))).perSecond * size);
            }
          }
          const [ours, bare, floor] = [median(rates.ours), median(rates.bare), median(rates.floor)];
          const of = `batches of ${size}, ${count} ${count === 1 ? 'client' : 'clients'}`;
          rows.push([size, count, ...[ours, bare, floor].map((rate) => rate.toFixed(0)), (ours / bare).toFixed(2)]);
          bench.report({ name: `points/s, ${of}`, value: ours, unit: 'points/s' });
          bench.report({
            name: `share of a bare multi-row insert, ${of}`,
            value: ours / bare,
            unit: 'x',
            ...(size === 100 ? { goal: { atLeast: 0.6 } } : {}),
          });
          bench.report({ name: `share of an insert of arrays, ${of}`, value: ours / floor, unit: 'x' });
        }
      }
      bench.table(['points a call', 'clients', 'points/s', 'multi-row insert', 'insert of arrays', 'share'], rows);
      await writtenBytes(bench, stack, ways.ours(100), ways.bare(100));
    } finally {
      await Promise.all([...clients, ...bareClients].map((client) => client.end({ timeout: 1 })));
    }
    await overHttp(bench, stack, workers, seconds);
  },
};

/** The same columns, keys, checks, foreign key and partitions, and nothing else: no row level security, no trigger. */
const bareTable = `
  create schema bare;
  create table bare.points (like public.gps_locations including all) partition by range (recorded_at);
  alter table bare.points add foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete cascade;
  do $$ declare m date; begin
    for m in select generate_series(date_trunc('month', now() - interval '2 months'), now() + interval '3 months', '1 month') loop
      execute format('create table bare.points_%s partition of bare.points for values from (%L) to (%L)',
        to_char(m, 'YYYY_MM'), m || ' 00:00:00+00', (m + interval '1 month')::date || ' 00:00:00+00');
    end loop;
  end $$;`;

/** The multi-row INSERT that a client library writes: a prepared statement with twelve parameters a point. */
function multiRowInsert(sql: postgres.Sql, worker: Worker, points: Point[]) {
  const { organizationId, sessionId, employeeId } = worker;
  const rows = points.map((point) => ({
    organization_id: organizationId,
    session_id: sessionId,
    employee_id: employeeId,
    ...point,
  }));
  return sql`insert into bare.points ${sql(rows)} on conflict do nothing`;
}

/** The quickest way that we know into a table: a parameter a column. Nobody sends points like this; it is the floor. */
function insertOfArrays(sql: postgres.Sql, { organizationId, sessionId, employeeId }: Worker, points: Point[]) {
  return sql`
    insert into bare.points (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m, speed_mps,
      heading_deg, battery_pct, is_mock, sequence_number)
    select ${organizationId}, ${sessionId}, u.a, ${employeeId}, u.b, u.c, u.d, u.e, u.f, u.g, u.h, u.i
    from unnest(
      ${points.map((p) => p.recorded_at)}::timestamptz[], ${points.map((p) => p.latitude)}::float8[],
      ${points.map((p) => p.longitude)}::float8[], ${points.map((p) => p.accuracy_m)}::float4[],
      ${points.map((p) => p.speed_mps)}::float4[], ${points.map((p) => p.heading_deg)}::float4[],
      ${points.map((p) => p.battery_pct)}::int2[], ${`{${points.map((p) => p.is_mock).join()}}`}::text::bool[],
      ${points.map((p) => p.sequence_number)}::int8[]) as u (a, b, c, d, e, f, g, h, i)
    on conflict do nothing`;
}

async function writtenBytes(
  bench: Bench,
  { admin }: TestStack,
  record: (client: number, turn: number) => Promise<void>,
  insert: (client: number, turn: number) => Promise<void>,
): Promise<void> {
  for (const [name, table, call] of [
    ['record_locations', 'public.gps_locations', record],
    ['bare insert', 'bare.points', insert],
  ] as const) {
    const measure = async () => {
      const [row] = await admin<{ wal: string; disk: string; points: string }[]>`
        select pg_current_wal_insert_lsn() - '0/0' as wal,
          (select sum(pg_total_relation_size(relid)) from pg_partition_tree(${table}::text::regclass) where isleaf) as disk,
          (select count(*) from ${admin(table)}) as points`;
      return { wal: Number(row?.wal), disk: Number(row?.disk), points: Number(row?.points) };
    };
    const before = await measure();
    const calls = bench.quick ? 20 : 500;
    for (let turn = 0; turn < calls; turn += 1) await call(0, turn);
    const after = await measure();
    const points = after.points - before.points;
    bench.report({
      name: `WAL a point, batches of 100, ${name}`,
      value: (after.wal - before.wal) / points,
      unit: 'bytes',
    });
    bench.report({ name: `disk a point, ${name}`, value: after.disk / after.points, unit: 'bytes' });
  }
}

async function overHttp(bench: Bench, stack: TestStack, workers: Worker[], seconds: number): Promise<void> {
  const tokens = new Map<Worker, string>();
  for (const worker of workers) tokens.set(worker, await stack.signer.sign(JSON.parse(worker.claims), '1h'));
  const pool = new Pool(stack.url, { connections: 32 });
  try {
    for (const size of [1, 100]) {
      const call = async (_client: number, turn: number) => {
        const worker = at(workers, turn);
        const answer = await pool.request({
          path: '/rest/v1/rpc/record_locations',
          method: 'POST',
          headers: {
            apikey: stack.publishableKey,
            authorization: `Bearer ${tokens.get(worker)}`,
            'content-type': 'application/json',
          },
          body: JSON.stringify({ points: takePoints(worker, size) }),
        });
        const text = await answer.body.text();
        if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}: ${text}`);
      };
      await load(32, 0.3, call);
      const { perSecond, p99Ms } = await load(32, seconds, call);
      const of = `batches of ${size}, 32 clients`;
      bench.report({ name: `points/s over HTTP, ${of}`, value: perSecond * size, unit: 'points/s' });
      bench.report({ name: `p99 over HTTP, ${of}`, value: p99Ms, unit: 'ms' });
    }
  } finally {
    await pool.close();
  }
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index % list.length];
  if (item === undefined) throw new Error('an empty list');
  return item;
}

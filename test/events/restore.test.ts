import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTemplates, startThrowAwayCluster } from '../fixtures/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// A dump restored into another cluster: its transaction ids are smaller than those in the log. Readers that were half-way, and
// streams that remember a position, go on without loss or repeat.

let old: TestDatabase;
let restored: postgres.Sql;
let stop: (() => Promise<void>) | undefined;

beforeAll(async () => {
  old = await createTestDatabase();
  const server = await startThrowAwayCluster({ fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' });
  stop = server.stop;
  const { template } = await buildTemplates(server.adminUrl);
  const admin = postgres(server.adminUrl, { max: 1, onnotice: () => {} });
  await admin.unsafe(`create database restored template ${template} owner postgres`);
  await admin.end();
  const url = new URL(server.adminUrl);
  url.pathname = '/restored';
  restored = postgres(url.href, { max: 2, onnotice: () => {} });
});
afterAll(async () => {
  await restored?.end({ timeout: 1 });
  await stop?.();
  await old?.drop();
});

const emit = (sql: postgres.Sql, organizationId: string, n: number) =>
  sql`select private.emit_event(${organizationId}, 'organization.updated', 'organization', ${organizationId}, null,
    jsonb_build_object('n', ${n}::integer)) from generate_series(1, 1)`;

test('a log restored where transaction ids are smaller is read on without loss or repeat', async () => {
  const before = old.sql('supabase_admin');
  const [organization] = await before<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id
  `;
  if (!organization) throw new Error('no organization');
  // Each inner block that writes takes a transaction id of its own.
  await before.unsafe(`
    create temporary table burnt (n integer);
    do $$ begin
      for n in 1..40000 loop
        begin insert into burnt values (n); exception when division_by_zero then null; end;
      end loop;
    end $$;
  `);
  await before`select private.register_event_consumer('half-way')`;
  for (const n of [1, 2, 3, 4]) await emit(before, organization.id, n);
  const read = async (sql: postgres.Sql, limit: number) =>
    (
      await sql<{ n: number }[]>`select (payload ->> 'n')::integer as n from private.read_events('half-way', ${limit})`
    ).map(({ n }) => n);
  // A transaction of another file, open between two of these, holds the horizon back; each read moves the position.
  await expect
    .poll(async () => before`select from public.events where xact < pg_snapshot_xmin(pg_current_snapshot())`)
    .toHaveLength(4);
  expect(await read(before, 2)).toEqual([1, 2]);
  const [position] = await before<{ epoch: number; xact: string; id: string }[]>`
    select epoch, xact::text, id from private.event_consumers where name = 'half-way'
  `;
  if (!position) throw new Error('no position');

  // Data only, as pg_dump --data-only and psql would carry it.
  await restored`set session_replication_role = replica`;
  await restored`delete from private.event_epochs where true`;
  for (const table of ['public.organizations', 'private.event_epochs', 'private.event_consumers', 'public.events']) {
    const rows = await before.unsafe(`select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text as rows from ${table} as t`);
    await restored.begin(async (sql) => {
      await sql`set local session_replication_role = replica`;
      await sql.unsafe(
        `delete from ${table} where true;
         insert into ${table} overriding system value
         select r.* from jsonb_populate_recordset(null::${table}, $ft$${rows[0]?.rows}$ft$) as r`,
      );
    });
  }
  await restored`select setval(pg_get_serial_sequence('public.events', 'id'), (select max(id) from public.events))`;
  const [here] = await restored<{ xact: string }[]>`select pg_current_xact_id()::text as xact`;
  expect(Number(here?.xact), 'the new cluster is younger').toBeLessThan(Number(position.xact));

  // Two first writers at once: one makes the epoch, both carry it.
  await Promise.all([emit(restored, organization.id, 5), emit(restored, organization.id, 6)]);
  await emit(restored, organization.id, 7);
  expect(await restored`select epoch from private.event_epochs order by epoch`).toEqual([{ epoch: 0 }, { epoch: 1 }]);

  const rest = await read(restored, 100);
  expect(rest.slice(0, 2)).toEqual([3, 4]);
  expect(rest.slice(2).toSorted()).toEqual([5, 6, 7]);
  expect(rest.at(-1)).toBe(7);
  expect(await read(restored, 100)).toEqual([]);

  const stream = await restored<{ n: number }[]>`
    select (payload ->> 'n')::integer as n
    from private.read_log(${position.epoch}::smallint, ${position.xact}::xid8, ${position.id}::bigint, 100)
  `;
  expect(stream.map(({ n }) => n)).toEqual(rest);
});

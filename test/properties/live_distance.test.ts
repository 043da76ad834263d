import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { type Fix, makeWorkingDay } from '../fixtures/tracks.ts';

let database: TestDatabase;
let organizationId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  const [organization] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', 'acme', 'Europe/Ljubljana', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
});
afterAll(() => database?.drop());

const fixes = makeWorkingDay(3, { interval_s: 15 }).fixes;

/** An open session of a new person, a working day old. */
async function openSession() {
  const sql = database.sql('postgres');
  const sessionId = randomUUID();
  const start = Date.now() - 10 * 3_600_000;
  const [employee] = await sql<{ id: string }[]>`insert into public.employees (organization_id, name)
    values (${organizationId}, 'Bob') returning id`;
  const employeeId = employee?.id ?? '';
  await sql`insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at)
    values (${organizationId}, ${sessionId}, ${employeeId}, ${new Date(start)})`;
  return {
    sessionId,
    async send(batch: readonly Fix[]) {
      const points = batch.map(({ seconds, ...fix }) => ({
        ...fix,
        recorded_at: new Date(start + seconds * 1000).toISOString(),
      }));
      await sql`select private.insert_locations(${organizationId}, ${employeeId}, ${sessionId}, ${sql.json(points)}, false)`;
    },
    async live() {
      const [row] = await sql<{ distance_m: number; is_provisional: boolean }[]>`
        select distance_m::float8, is_provisional from private.live_distances
        where organization_id = ${organizationId} and session_id = ${sessionId}`;
      return row;
    },
    /** What a recalculation of the points so far gives. */
    async recalculated() {
      const [row] = await sql<{ distance_m: number }[]>`
        select round(sum(m.leg_m)::numeric, 2)::float8 as distance_m
        from private.measure_points(${organizationId}, ${sessionId}, ${new Date(start)}, 'infinity',
          private.distance_parameters(${organizationId})) as m`;
      return row?.distance_m;
    },
    async waitingJobs() {
      const jobs = await sql`select 1 from pgboss.job
        where name = 'distance' and singleton_key = ${sessionId} and state = 'created'`;
      return jobs.length;
    },
  };
}

test('batches in order: the live distance is what a recalculation of the points so far gives, to the centimetre', async () => {
  const session = await openSession();
  expect(await session.live()).toBeUndefined();
  for (const size of [1, 2, 7, 100, 60, 100, 33, 100, 100, 100, 100]) {
    await session.send(fixes.splice(0, size));
    expect(await session.live()).toEqual({ distance_m: await session.recalculated(), is_provisional: false });
  }
  expect((await session.live())?.distance_m).toBeGreaterThan(1000);
  expect(await session.waitingJobs()).toBe(0);
});

test('so it is for a receiver without speeds, whose every step waits for the next point to confirm it', async () => {
  const mute = makeWorkingDay(7, { interval_s: 15 }).fixes.map((fix) => ({
    ...fix,
    speed_mps: null,
    heading_deg: null,
  }));
  const session = await openSession();
  for (let from = 0; from < 400; from += 5) await session.send(mute.slice(from, from + 5));
  expect(await session.live()).toEqual({ distance_m: await session.recalculated(), is_provisional: false });
  expect((await session.live())?.distance_m).toBeGreaterThan(1000);
});

test('late batches mark it provisional and ask for one job, which makes it exact; then it goes on from there', async () => {
  const day = makeWorkingDay(4, { interval_s: 15 }).fixes;
  const session = await openSession();
  const sql = database.sql('postgres');
  await session.send(day.slice(0, 80));
  await session.send(day.slice(160, 240));
  expect((await session.live())?.is_provisional).toBe(false);
  await session.send(day.slice(80, 120));
  await session.send(day.slice(120, 160));
  await session.send(day.slice(240, 300));
  expect((await session.live())?.is_provisional).toBe(true);
  expect(await session.waitingJobs()).toBe(1);
  const [job] = await sql<{ outcome: string }[]>`
    select private.compute_session_distance(${organizationId}, ${session.sessionId}) as outcome`;
  expect(job?.outcome).toBe('live');
  expect(await session.live()).toEqual({ distance_m: await session.recalculated(), is_provisional: false });
  await session.send(day.slice(300, 400));
  expect(await session.live()).toEqual({ distance_m: await session.recalculated(), is_provisional: false });
});

test('a batch that was sent before is no late one; a half-old batch is', async () => {
  const day = makeWorkingDay(5, { interval_s: 15 }).fixes;
  const session = await openSession();
  await session.send(day.slice(0, 50));
  await session.send(day.slice(0, 50));
  await session.send(day.slice(30, 90));
  expect(await session.live()).toEqual({ distance_m: await session.recalculated(), is_provisional: false });
  await session.send([...day.slice(95, 100), ...day.slice(90, 92)]);
  expect((await session.live())?.is_provisional).toBe(false);
  await session.send([...day.slice(92, 93), ...day.slice(100, 120)]);
  expect((await session.live())?.is_provisional).toBe(true);
});

test('the figures of a closed session end its live distance', async () => {
  const day = makeWorkingDay(6, { interval_s: 15 }).fixes;
  const session = await openSession();
  const sql = database.sql('postgres');
  await session.send(day.slice(0, 100));
  const before = await session.live();
  await sql`update public.attendance_sessions set status = 'CLOSED', checked_out_at = now(), checked_out_received_at = now(),
    closed_by = 'EMPLOYEE' where organization_id = ${organizationId} and id = ${session.sessionId}`;
  await sql`select private.compute_session_distance(${organizationId}, ${session.sessionId})`;
  expect(await session.live()).toBeUndefined();
  const [closed] = await sql<{ distance_m: number }[]>`select distance_m::float8 from public.attendance_sessions
    where id = ${session.sessionId}`;
  expect(closed?.distance_m).toBeCloseTo(before?.distance_m ?? 0, 1);
});

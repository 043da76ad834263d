import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { type Random, seededRandom } from '../fixtures/random.ts';
import { shuffled } from '../fixtures/tracks.ts';

// Visits follow from the set of points: whatever the order and the batches, and whatever a bad receiver makes of a phone that lies still.

// A run is a day of points sent three times over: a tenth of what other properties run.
const runs = Math.max(4, Number(process.env.PROPERTY_RUNS ?? 0) / 10);
const metresPerDegree = 111_195;

let database: TestDatabase;
let organizationId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  const sql = database.sql('postgres');
  const [organization] = await sql<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', 'acme', 'Europe/Ljubljana', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  // A circle at the origin of the plane, a smaller one 400 m east of it, and one far away.
  for (const [name, east, radius] of [
    ['Depot', 0, 50],
    ['Yard', 400, 80],
    ['Far', 50_000, 100],
  ] as const) {
    const longitude = 14.5 + east / (metresPerDegree * Math.cos((46 * Math.PI) / 180));
    await sql`insert into public.sites (organization_id, name, latitude, longitude, radius_m, area)
      values (${organizationId}, ${name}, 46, ${longitude}, ${radius},
        box(point(${longitude - 0.002}, 45.998), point(${longitude + 0.002}, 46.002)))`;
  }
});
afterAll(() => database?.drop());

type Fix = { seconds: number; east_m: number; north_m: number; accuracy_m: number; speed_mps: number | null };

const start = Math.floor(Date.now() / 1000) - 10 * 3600;
const pointOf = ({ seconds, east_m, north_m, accuracy_m, speed_mps }: Fix) => ({
  recorded_at: new Date((start + seconds) * 1000).toISOString(),
  latitude: 46 + north_m / metresPerDegree,
  longitude: 14.5 + east_m / (metresPerDegree * Math.cos((46 * Math.PI) / 180)),
  accuracy_m,
  speed_mps,
});

async function visitsOf(batches: readonly (readonly Fix[])[]) {
  const sql = database.sql('postgres');
  const sessionId = randomUUID();
  const [employee] = await sql<{ id: string }[]>`
    insert into public.employees (organization_id, name) values (${organizationId}, 'Bob') returning id`;
  const employeeId = employee?.id ?? '';
  await sql`insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at)
    values (${organizationId}, ${sessionId}, ${employeeId}, ${new Date(start * 1000)})`;
  // A call takes a hundred points at the most.
  const calls = batches.flatMap((batch) =>
    Array.from({ length: Math.ceil(batch.length / 100) }, (_, index) => batch.slice(index * 100, index * 100 + 100)),
  );
  for (const batch of calls) {
    const points = sql.json(batch.map(pointOf));
    await sql`select private.insert_locations(${organizationId}, ${employeeId}, ${sessionId}, ${points}, false)`;
  }
  return sql<{ site: string; entered_s: number; left_s: number | null }[]>`
    select s.name as site, extract(epoch from v.entered_at)::int - ${start} as entered_s,
      extract(epoch from v.left_at)::int - ${start} as left_s
    from public.visits as v join public.sites as s on s.organization_id = v.organization_id and s.id = v.site_id
    where v.organization_id = ${organizationId} and v.session_id = ${sessionId} order by v.entered_at, s.name`;
}

/** A walk between the two sites and back, with stops of random length, seen by a receiver of random quality. */
function randomDay(random: Random): Fix[] {
  const fixes: Fix[] = [];
  const sigma = random.between(3, 12);
  let east = random.between(-600, 1000);
  for (let seconds = 0; seconds < 4 * 3600; seconds += 20) {
    const isStop = Math.sin(seconds / random.between(1500, 1600)) > 0.2;
    if (!isStop) east += random.chance(0.5) ? 25 : -20;
    fixes.push({
      seconds,
      east_m: east + sigma * random.gaussian(),
      north_m: sigma * random.gaussian(),
      accuracy_m: Math.round(sigma),
      speed_mps: random.chance(0.3) ? null : isStop ? 0 : 1.2,
    });
  }
  return fixes;
}

test('batches of any size in any order give the visits that the points give in order', async () => {
  for (let run = 0; run < runs; run += 1) {
    const random = seededRandom(`visits:${run}`);
    const fixes = randomDay(random);
    const expected = await visitsOf([fixes]);
    const batches: Fix[][] = [];
    for (let at = 0; at < fixes.length; ) {
      const size = 1 + random.below(60);
      batches.push(shuffled(fixes.slice(at, at + size), random));
      at += size;
    }
    expect([...(await visitsOf(batches))], `run ${run}, in order`).toEqual([...expected]);
    expect([...(await visitsOf(shuffled(batches, random)))], `run ${run}, shuffled`).toEqual([...expected]);
  }
}, 300_000);

test('a phone that lies in a site for eight hours, with noise and wild fixes, leaves it never', async () => {
  for (let run = 0; run < runs; run += 1) {
    const random = seededRandom(`parked:${run}`);
    const sigma = [5, 10, 20][run % 3] ?? 20;
    const every_s = [5, 15, 30][random.below(3)] ?? 15;
    const hasSpeed = random.chance(0.7);
    const fixes = Array.from({ length: (8 * 3600) / every_s }, (_, index): Fix => {
      const isWild = random.chance(0.01);
      const angle = random.between(0, 2 * Math.PI);
      return {
        seconds: index * every_s,
        east_m: (isWild ? 200 * Math.cos(angle) : 0) + sigma * random.gaussian(),
        north_m: (isWild ? 200 * Math.sin(angle) : 0) + sigma * random.gaussian(),
        accuracy_m: isWild ? 2 : sigma,
        speed_mps: hasSpeed ? 0 : null,
      };
    });
    // The first fix inside may be the second: noise of 20 m reaches over 50 m now and then.
    const visits = await visitsOf([fixes]);
    expect(
      visits.map(({ site, left_s }) => ({ site, left_s })),
      `run ${run}: sigma ${sigma}, every ${every_s} s`,
    ).toEqual([{ site: 'Depot', left_s: null }]);
  }
}, 300_000);

test('who leaves is seen to leave with the second fix outside, and who drives by is at no site', async () => {
  const stay = Array.from(
    { length: 40 },
    (_, index): Fix => ({
      seconds: index * 15,
      east_m: 0,
      north_m: 5,
      accuracy_m: 5,
      speed_mps: 0,
    }),
  );
  const away = [100, 130].map(
    (north_m, index): Fix => ({ seconds: 600 + index * 15, east_m: 0, north_m, accuracy_m: 5, speed_mps: 2 }),
  );
  expect((await visitsOf([stay, away.slice(0, 1)])).map(({ left_s }) => left_s)).toEqual([null]);
  expect((await visitsOf([stay, away])).map(({ left_s }) => left_s)).toEqual([600]);
  const drive = Array.from(
    { length: 60 },
    (_, index): Fix => ({
      seconds: index * 5,
      east_m: -1000 + index * 60,
      north_m: 0,
      accuracy_m: 5,
      speed_mps: 12,
    }),
  );
  expect([...(await visitsOf([drive]))]).toEqual([]);
});

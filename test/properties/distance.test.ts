import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import geodesic from 'geographiclib-geodesic';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { seededRandom } from '../fixtures/random.ts';
import { type Fix, makeTruth, observe, shuffled } from '../fixtures/tracks.ts';

let database: TestDatabase;
let organizationId: string;
let employeeId: string;
const start = Date.parse('2026-11-10T08:00:00Z');

beforeAll(async () => {
  database = await createTestDatabase();
  const sql = database.sql('postgres');
  const [organization] = await sql<{ id: string }[]>`insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', 'acme', 'Europe/Ljubljana', 'EUR') returning id`;
  organizationId = organization?.id ?? '';
  const [employee] = await sql<{ id: string }[]>`insert into public.employees (organization_id, name)
    values (${organizationId}, 'Bob') returning id`;
  employeeId = employee?.id ?? '';
});
afterAll(() => database?.drop());

beforeAll(async () => {
  // The tracks' month stays the same while the clock goes on.
  await database.sql('postgres')`select private.create_location_partitions('2026-11-10', '2026-11-11')`;
});

type Measured = { distance_m: number; flags: string };

/** Stores the fixes in the given batches and measures them with the organization's parameters; leaves nothing behind. */
async function measure(batches: readonly (readonly Fix[])[]): Promise<Measured> {
  const sql = database.sql('postgres');
  const sessionId = randomUUID();
  let measured: Measured | undefined;
  await sql
    .begin(async (trx) => {
      await trx`insert into public.attendance_sessions
        (organization_id, id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
        values (${organizationId}, ${sessionId}, ${employeeId}, 'CLOSED', ${new Date(start)},
          ${new Date(start + 10 * 3_600_000)}, now(), 'EMPLOYEE')`;
      for (const batch of batches) {
        const points = batch.map((fix) => ({
          ...fix,
          recorded_at: new Date(start + fix.seconds * 1000).toISOString(),
        }));
        await trx`insert into public.gps_locations
          (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m, speed_mps, heading_deg)
          select ${organizationId}, ${sessionId}, ${employeeId}, p.recorded_at, p.latitude, p.longitude, p.accuracy_m,
            p.speed_mps, p.heading_deg
          from jsonb_to_recordset(${sql.json(points)})
            as p (recorded_at timestamptz, latitude double precision, longitude double precision, accuracy_m real,
              speed_mps real, heading_deg real)
          on conflict do nothing`;
      }
      const [row] = await trx<Measured[]>`
        select coalesce(sum(m.leg_m order by m.recorded_at), 0) as distance_m,
          md5(string_agg(m.recorded_at || m.flag || m.leg_m || m.is_gap, ',' order by m.recorded_at)) as flags
        from private.measure_points(${organizationId}, ${sessionId}, ${new Date(start)}, ${new Date(start + 36e6)},
          private.distance_parameters(${organizationId})) as m`;
      measured = row;
      throw new Rollback();
    })
    .catch((error: unknown) => {
      if (!(error instanceof Rollback)) throw error;
    });
  if (measured === undefined) throw new Error('nothing was measured');
  return measured;
}

class Rollback extends Error {}

const fixAt = (seconds: number, metresNorth: number, accuracy_m = 5): Fix => ({
  seconds,
  latitude: 46 + metresNorth / 111_150,
  longitude: 14.5,
  accuracy_m,
  speed_mps: null,
  heading_deg: null,
});

test('the result is a function of the set of points: no order, batch or repetition changes a byte', async () => {
  const fixes = observe(makeTruth('city', 5), { sigma_m: 10, interval_s: 15, noise: 'drift', seed: 5 });
  const expected = await measure([fixes]);
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 60 }), async (seed, size) => {
      const random = seededRandom(seed);
      const mixed = shuffled([...fixes, ...fixes.filter(() => random.chance(0.3))], random);
      const batches: Fix[][] = [];
      for (let from = 0; from < mixed.length; from += size) batches.push(mixed.slice(from, from + size));
      expect(await measure(batches)).toEqual(expected);
    }),
    { numRuns: 15, seed: 7 },
  );
});

test('a leg is within 1e-4 of GeographicLib up to 100 km, at any latitude, over the antimeridian and the poles', async () => {
  const earth = geodesic.Geodesic.WGS84;
  const leg = fc.tuple(
    fc.oneof(fc.double({ min: -90, max: 90, noNaN: true }), fc.constantFrom(-90, 90, 89.99, -89.99, 0)),
    fc.oneof(fc.double({ min: -180, max: 180, noNaN: true }), fc.constantFrom(-180, 180, 179.9999, -179.9999)),
    fc.double({ min: 0, max: 360, noNaN: true }),
    // Shorter ones may not be clear of the error of two fixes.
    fc.double({ min: 100, max: 100_000, noNaN: true }),
  );
  const legs = fc.sample(leg, { numRuns: 1000, seed: 11 }).map(([latitude, longitude, bearing, length]) => {
    const end = earth.Direct(latitude, longitude, bearing, length);
    return { a: latitude, b: longitude, c: end.lat2 ?? 0, d: end.lon2 ?? 0, length };
  });
  const sql = database.sql('postgres');
  let rows: { length: number; ours: number }[] = [];
  await sql
    .begin(async (trx) => {
      // A person and a session for each leg, from one fix to the other at 20 m/s.
      rows = await trx`
        with leg as materialized (
          select gen_random_uuid() as person, gen_random_uuid() as session, l.*
          from jsonb_to_recordset(${sql.json(legs)})
            as l (a numeric, b numeric, c numeric, d numeric, length double precision)
        ),
        people as (
          insert into public.employees (organization_id, id, name) select ${organizationId}, l.person, 'Leg' from leg as l
        ),
        sessions as (
          insert into public.attendance_sessions (organization_id, id, employee_id, status, checked_in_at, checked_out_at,
            checked_out_received_at, closed_by)
          select ${organizationId}::uuid, l.session, l.person, 'CLOSED', ${new Date(start)}::timestamptz,
            ${new Date(start + 36e6)}::timestamptz, now(), 'EMPLOYEE' from leg as l
        ),
        points as (
          insert into public.gps_locations (organization_id, session_id, employee_id, recorded_at, latitude, longitude)
          select ${organizationId}::uuid, l.session, l.person, ${new Date(start)}::timestamptz + p.after,
            round(p.latitude, 9), round(p.longitude, 9)
          from leg as l
          cross join lateral (values (interval '0', l.a, l.b), (l.length / 20 * interval '1 s', l.c, l.d))
            as p (after, latitude, longitude)
        )
        select l.session, l.length from leg as l`;
      rows = await trx`
        select l.length, (
          select sum(m.leg_m) from private.measure_points(${organizationId}, l.session, ${new Date(start)},
            ${new Date(start + 36e6)}, private.distance_parameters(${organizationId})) as m) as ours
        from jsonb_to_recordset(${sql.json(rows)}) as l (session uuid, length double precision)`;
      throw new Rollback();
    })
    .catch((error: unknown) => {
      if (!(error instanceof Rollback)) throw error;
    });
  expect(rows).toHaveLength(1000);
  expect(Math.max(...rows.map(({ length, ours }) => Math.abs(ours / length - 1)))).toBeLessThan(1e-4);
});

test('points that are all but on the equator and the prime meridian are measured like others', async () => {
  const track = Array.from({ length: 10 }, (_, index) => ({
    ...fixAt(index * 10, 0),
    latitude: index * 0.003,
    longitude: 0,
  }));
  expect((await measure([track])).distance_m).toBeCloseTo(9 * 0.003 * 110_574, -2);
});

test('a track over the antimeridian, and one over a pole, measures what it does elsewhere', async () => {
  const track = (place: (metres: number) => { latitude: number; longitude: number }) =>
    Array.from({ length: 41 }, (_, index) => ({ ...fixAt(index * 10, 0), ...place((index - 20) * 200) }));
  const perDegree = (latitude: number) => 111_320 * Math.cos((latitude * Math.PI) / 180);
  const east = (metres: number) => metres / perDegree(-17);
  const over = [
    track((metres) => ({ latitude: -17, longitude: east(metres) < 0 ? 180 + east(metres) : -180 + east(metres) })),
    // Up one meridian and down the other side.
    track((metres) => ({ latitude: 90 - Math.abs(metres) / 111_694, longitude: metres < 0 ? 14.5 : -165.5 })),
    track((metres) => ({ latitude: -90 + Math.abs(metres) / 111_694, longitude: metres < 0 ? 0 : 180 })),
  ];
  for (const fixes of over) expect(Math.abs((await measure([fixes])).distance_m / 8000 - 1)).toBeLessThan(0.005);
});

describe('what the world does to a track', () => {
  test('a parked phone drives nowhere in eight hours (sigma 5 m, drifting)', async () => {
    const distances: number[] = [];
    for (const seed of [21, 22, 23, 24, 25]) {
      const fixes = observe(makeTruth('parked', seed), { sigma_m: 5, interval_s: 15, noise: 'drift', seed });
      distances.push((await measure([fixes])).distance_m);
    }
    expect(Math.max(...distances)).toBeLessThan(50);
  });

  test.each([
    ['walk', 15, 8],
    ['walk', 60, 8],
    ['city', 1, 3],
    ['city', 15, 3],
    ['motorway', 60, 3],
    ['train', 15, 3],
  ] as const)(
    '%s, a fix every %d s, sigma 5 m: within %d per cent of what was travelled',
    async (motion, interval_s, goal) => {
      const errors: number[] = [];
      for (const seed of [31, 32, 33]) {
        const truth = makeTruth(motion, seed);
        const fixes = observe(truth, { sigma_m: 5, interval_s, noise: 'drift', seed });
        const at = (fix: Fix | undefined) => truth.samples[fix?.seconds ?? 0]?.travelled_m ?? 0;
        errors.push(Math.abs((await measure([fixes])).distance_m / (at(fixes.at(-1)) - at(fixes[0])) - 1) * 100);
      }
      errors.sort((a, b) => a - b);
      expect(errors[1]).toBeLessThan(goal);
    },
  );

  test('a receiver whose speed is always zero, or none, costs no distance', async () => {
    const driving = Array.from({ length: 60 }, (_, index) => fixAt(index * 10, index * 120));
    const expected = 59 * 120;
    for (const speed_mps of [null, 0]) {
      const { distance_m } = await measure([driving.map((fix) => ({ ...fix, speed_mps }))]);
      expect(Math.abs(distance_m / expected - 1)).toBeLessThan(0.01);
    }
  });

  test('a speed beyond what the way allows adds no more than the corners could', async () => {
    const driving = Array.from({ length: 60 }, (_, index) => ({
      ...fixAt(index * 10, index * 120),
      speed_mps: 60,
      heading_deg: 0,
    }));
    const { distance_m } = await measure([driving]);
    // Twelve metres of travel a second are reported as sixty: each leg gets the error of its ends, no more.
    expect(distance_m).toBeLessThan(59 * (120 + 7.2));
  });

  test('a corner between two fixes is driven round, not cut', async () => {
    // 300 m north, 400 m east, in a minute; the straight line is 500 m.
    const east = (metres: number) => 14.5 + metres / (111_320 * Math.cos((46 * Math.PI) / 180));
    const corner: Fix[] = [
      { ...fixAt(0, 0), speed_mps: 12, heading_deg: 0 },
      { ...fixAt(60, 300), longitude: east(400), speed_mps: 12, heading_deg: 90 },
      { ...fixAt(120, 300), longitude: east(1100), speed_mps: 12, heading_deg: 90 },
    ];
    const { distance_m } = await measure([corner]);
    expect(distance_m).toBeGreaterThan(1390);
    expect(distance_m).toBeLessThan(1400 + 2 * 7.2 + 5);
  });

  test('a jump of a parked phone adds nothing, a minute between fixes and without a reported speed', async () => {
    for (const speed_mps of [null, 0]) {
      const still = Array.from({ length: 30 }, (_, index) => ({ ...fixAt(index * 60, index % 3), speed_mps }));
      const jumped = still.map((fix, index) => (index === 15 ? { ...fixAt(fix.seconds, 900), speed_mps } : fix));
      expect((await measure([jumped])).distance_m).toBe(0);
    }
  });

  test('a spike of a moving car is cut too, although the car is elsewhere when it is over', async () => {
    const driving = Array.from({ length: 30 }, (_, index) => fixAt(index * 10, index * 100));
    const spiked = driving.map((fix, index) => (index === 15 ? { ...fix, longitude: fix.longitude + 0.005 } : fix));
    const [clean, cut] = [await measure([driving]), await measure([spiked])];
    expect(cut.distance_m).toBeCloseTo(clean.distance_m, 0);
  });

  test('a phone at rest is where its points are on the whole, not where the first one was', async () => {
    // The first fix lies 15 m off; later ones about the true place stray 12 m to the other side.
    const still = Array.from({ length: 120 }, (_, index) =>
      fixAt(index * 10, index === 0 ? 15 : index > 60 && index % 10 === 0 ? -12 : 0),
    );
    expect((await measure([still])).distance_m).toBe(0);
  });

  test('a spike, one point away and back, adds nothing; a fast leg that goes on is kept', async () => {
    const still = Array.from({ length: 20 }, (_, index) => fixAt(index * 10, 0));
    const spiked = still.map((fix, index) => (index === 10 ? fixAt(fix.seconds, 400) : fix));
    expect((await measure([spiked])).distance_m).toBe(0);
    const driving = Array.from({ length: 20 }, (_, index) => fixAt(index * 10, index * 400));
    expect((await measure([driving])).distance_m).toBeCloseTo(19 * 400, -2);
  });

  test('after a tunnel the straight leg counts once', async () => {
    const before = Array.from({ length: 10 }, (_, index) => fixAt(index * 10, index * 200));
    const after = Array.from({ length: 10 }, (_, index) => fixAt(700 + index * 10, 15_000 + index * 200));
    const { distance_m } = await measure([[...before, ...after]]);
    expect(Math.abs(distance_m / 16_800 - 1)).toBeLessThan(0.002);
  });

  test('a walk of one-second legs counts, although no leg exceeds the error of its points', async () => {
    const walk = Array.from({ length: 1800 }, (_, index) => fixAt(index, index * 1.4));
    const { distance_m } = await measure([walk]);
    expect(Math.abs(distance_m / (1799 * 1.4) - 1)).toBeLessThan(0.02);
  });

  test('a wrong first fix does not lock the rest out', async () => {
    const track = [fixAt(0, 500_000), ...Array.from({ length: 20 }, (_, index) => fixAt(10 + index * 10, index * 200))];
    const { distance_m } = await measure([track]);
    expect(distance_m).toBeGreaterThan(16 * 200);
    expect(distance_m).toBeLessThan(20 * 200);
  });
});

test('a simplified line passes every point within about its tolerance, also one that turns back', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const random = seededRandom(seed);
    const line: { x: number; y: number }[] = [];
    let [x, y, heading] = [0, 0, 0];
    for (let index = 0; index < 400; index += 1) {
      heading += random.chance(0.05) ? random.between(90, 270) : random.between(-8, 8);
      x += 12 * Math.sin((heading * Math.PI) / 180);
      y += 12 * Math.cos((heading * Math.PI) / 180);
      line.push({ x, y });
    }
    const [row] = await database.sql('postgres')<{ kept: number[] }[]>`select private.simplify_line(
      ${line.map((p) => p.y / 111_195)}::float8[], ${line.map((p) => p.x / 111_195)}::float8[], 5) as kept`;
    const kept = (row?.kept ?? []).map((index) => index - 1);
    expect(kept[0]).toBe(0);
    expect(kept.at(-1)).toBe(line.length - 1);
    expect(kept.length).toBeLessThan(line.length / 2);
    for (const [place, to] of kept.entries()) {
      const from = kept[place - 1] ?? 0;
      for (let index = from; index < to; index += 1) {
        expect(distanceTo(line[index], line[from], line[to])).toBeLessThan(2 * 5);
      }
    }
  }
});

type Place = { x: number; y: number };
function distanceTo(p: Place | undefined, a: Place | undefined, b: Place | undefined): number {
  if (!p || !a || !b) throw new Error('a point is missing');
  const length = (b.x - a.x) ** 2 + (b.y - a.y) ** 2;
  const share = length === 0 ? 0 : ((p.x - a.x) * (b.x - a.x) + (p.y - a.y) * (b.y - a.y)) / length;
  const at = Math.min(1, Math.max(0, share));
  return Math.hypot(p.x - a.x - at * (b.x - a.x), p.y - a.y - at * (b.y - a.y));
}

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
          (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m)
          select ${organizationId}, ${sessionId}, ${employeeId}, p.recorded_at, p.latitude, p.longitude, p.accuracy_m
          from jsonb_to_recordset(${sql.json(points)})
            as p (recorded_at timestamptz, latitude double precision, longitude double precision, accuracy_m real)
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
}, 60_000);

test('a leg is within 1e-4 of GeographicLib up to 100 km, at any latitude, over the antimeridian and the poles', async () => {
  const earth = geodesic.Geodesic.WGS84;
  const leg = fc.tuple(
    fc.oneof(fc.double({ min: -90, max: 90, noNaN: true }), fc.constantFrom(-90, 90, 89.99, -89.99, 0)),
    fc.oneof(fc.double({ min: -180, max: 180, noNaN: true }), fc.constantFrom(-180, 180, 179.9999, -179.9999)),
    fc.double({ min: 0, max: 360, noNaN: true }),
    fc.double({ min: 1, max: 100_000, noNaN: true }),
  );
  const legs = fc.sample(leg, { numRuns: 5000, seed: 11 }).map(([latitude, longitude, bearing, length]) => {
    const end = earth.Direct(latitude, longitude, bearing, length);
    return { a: latitude, b: longitude, c: end.lat2 ?? 0, d: end.lon2 ?? 0, length };
  });
  const rows = await database.sql('postgres')<{ length: number; ours: number }[]>`
    select l.length, private.geodesic_distance_m(l.a, l.b, l.c, l.d) as ours
    from jsonb_to_recordset(${database.sql('postgres').json(legs)})
      as l (a double precision, b double precision, c double precision, d double precision, length double precision)`;
  expect(rows).toHaveLength(5000);
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

describe('what the world does to a track', () => {
  test('a parked phone drives nowhere in eight hours (sigma 5 m, drifting): under 50 m in four of five', async () => {
    const distances: number[] = [];
    for (const seed of [21, 22, 23, 24, 25]) {
      const fixes = observe(makeTruth('parked', seed), { sigma_m: 5, interval_s: 15, noise: 'drift', seed });
      distances.push((await measure([fixes])).distance_m);
    }
    distances.sort((a, b) => a - b);
    expect(distances[2]).toBeLessThan(50);
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

import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { makeWorkingDay } from '../../../fixtures/tracks.ts';
import { median } from '../../quantile.ts';
import type { Bench } from '../../section.ts';
import type { TrackStore } from './track-store.ts';

/** Batches of an open session in order, each with the live distance that it updates: the late ones cost what the first did. */
export async function measureLive(bench: Bench, store: TrackStore): Promise<void> {
  const batches = bench.quick ? 60 : 500;
  const batchSize = 20;
  const { organizationId } = store;
  // One connection, as a phone's batches meet a warm pool: the first calls of each would plan anew.
  const sql = await store.sql.reserve();
  const sessionId = randomUUID();
  const start = Date.now() - 15 * 3_600_000;
  const [employee] = await sql<{ id: string }[]>`insert into public.employees (organization_id, name)
    values (${organizationId}, 'Bob') returning id`;
  await sql`insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at)
    values (${organizationId}, ${sessionId}, ${employee?.id ?? ''}, ${new Date(start)})`;
  const day = [1, 2].flatMap((seed) => makeWorkingDay(seed, { interval_s: 1 }).fixes);
  const times: number[] = [];
  const advanceTimes: number[] = [];
  for (let index = 0; index < batches; index += 1) {
    const points = day.slice(index * batchSize, (index + 1) * batchSize).map(({ seconds: _, ...fix }, offset) => ({
      ...fix,
      recorded_at: new Date(start + (index * batchSize + offset) * 5000).toISOString(),
    }));
    const from = performance.now();
    await sql`select private.insert_locations(${organizationId}, ${employee?.id ?? ''}, ${sessionId}, ${store.sql.json(points)}, true)`;
    times.push(performance.now() - from);
  }
  const [state] = await sql<{ last: Date }[]>`select (l.state).last_recorded_at as last from private.live_distances as l
    where l.organization_id = ${organizationId} and l.session_id = ${sessionId}`;
  // The step alone: the same batch again over its points, as insert_locations runs it.
  for (let index = 0; index < 30; index += 1) {
    const from = performance.now();
    await sql`select private.advance_live_distance(s, ${state?.last ?? new Date()}::timestamptz + interval '1 ms',
        ${state?.last ?? new Date()}::timestamptz + interval '2 ms')
      from public.attendance_sessions as s where s.organization_id = ${organizationId} and s.id = ${sessionId}`;
    advanceTimes.push(performance.now() - from);
  }
  sql.release();
  const around = (middle: number) => median(times.slice(Math.max(0, middle - 15), middle + 15));
  // The first calls of a connection plan; the fifth batch is compared without them.
  const early = around(25);
  const late = around(batches - 15);
  const [live] = await store.sql<{ distance_m: number }[]>`
    select distance_m::float8 from private.live_distances
    where organization_id = ${organizationId} and session_id = ${sessionId}`;
  const [exact] = await store.sql<{ distance_m: number }[]>`select sum(m.leg_m) as distance_m
    from private.measure_points(${organizationId}, ${sessionId}, ${new Date(start)}, 'infinity',
      private.distance_parameters(${organizationId})) as m`;
  const apart = Math.abs((live?.distance_m ?? 0) / (exact?.distance_m ?? 1) - 1) * 100;
  bench.table(
    [`batches of ${batchSize} points`, 'ms'],
    [
      ['around the 25th', early.toFixed(2)],
      [`around the ${batches - 15}th`, late.toFixed(2)],
      ['the live step without new points', median(advanceTimes).toFixed(2)],
    ],
  );
  bench.report({
    name: 'live: a late batch beside an early one',
    value: late / early,
    unit: 'x',
    goal: { atMost: 1.25 },
  });
  bench.report({ name: 'live: distance apart from the recalculated', value: apart, unit: '%', goal: { atMost: 1 } });
}

import { makeTruth, observe } from '../../../fixtures/tracks.ts';
import type { Bench } from '../../section.ts';
import { createTrackStore, median, type TrackStore } from './track-store.ts';

/** Recalculation of a long session beside a bare scan of the same points with the window sort. */
export async function measureCost(bench: Bench): Promise<void> {
  const count = bench.quick ? 5000 : 50_000;
  const store = await createTrackStore(bench);
  const parked = observe(makeTruth('parked', 1), { sigma_m: 5, interval_s: 1, noise: 'drift', seed: 1 });
  const driven = ['city', 'motorway', 'train', 'walk'].flatMap(() =>
    observe(makeTruth('city', 1), { sigma_m: 5, interval_s: 1, noise: 'drift', seed: 1 }),
  );
  // One after the other, a second apart.
  const fixes = [...driven, ...parked, ...driven, ...driven].slice(0, count);
  const sessionId = await store.add(fixes.map((fix, index) => ({ ...fix, seconds: index })));
  await store.sql`vacuum analyze public.gps_locations`;
  const scan = await time(() => bareScan(store, sessionId));
  const measured = await time(() => store.measure(sessionId));
  bench.table(
    ['50,000 points', 'ms'],
    [
      ['bare scan with the window sort', scan.toFixed(1)],
      ['measure_points', measured.toFixed(1)],
    ],
  );
  bench.report({ name: 'recalculation beside a bare scan', value: measured / scan, unit: 'x', goal: { atMost: 5 } });
  bench.report({ name: 'points per second', value: (fixes.length / measured) * 1000, unit: 'points/s' });
}

async function time(run: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 7; i += 1) {
    const from = performance.now();
    await run();
    times.push(performance.now() - from);
  }
  return median(times);
}

/** The least that any algorithm must do: read the points in order, each beside the one before it. */
function bareScan({ sql, organizationId }: TrackStore, sessionId: string): Promise<unknown> {
  return sql`select sum(w.latitude - w.before) from (
    select g.latitude, lag(g.latitude) over (order by g.recorded_at) as before
    from public.gps_locations as g where g.organization_id = ${organizationId} and g.session_id = ${sessionId}) as w`;
}

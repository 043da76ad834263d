import { performance } from 'node:perf_hooks';
import { type Fix, makeTruth, makeWorkingDay, observe } from '../../../fixtures/tracks.ts';
import { median } from '../../quantile.ts';
import type { Bench } from '../../section.ts';
import type { TrackStore } from './track-store.ts';

/** Recalculation of a long session beside a bare scan of the same points with the window sort. */
export async function measureCost(bench: Bench, store: TrackStore): Promise<void> {
  const count = bench.quick ? 5000 : 50_000;
  const days = [1, 2, 3, 4].flatMap((seed) => makeWorkingDay(seed, { interval_s: 1 }).fixes);
  const motorway = Array.from({ length: 19 }, (_, seed) =>
    observe(makeTruth('motorway', seed), { sigma_m: 5, interval_s: 1, noise: 'drift', seed }),
  ).flat();
  const lines: (string | number)[][] = [];
  for (const { name, fixes, goal } of [
    { name: 'working day', fixes: days, goal: { atMost: 5 } },
    // Every point moves: no day is like this, it is the upper end.
    { name: 'nothing but motorway', fixes: motorway },
  ]) {
    const { scan, recalculation } = await cost(store, fixes.slice(0, count));
    lines.push([name, Math.min(count, fixes.length), scan.toFixed(1), recalculation.toFixed(1)]);
    bench.report({
      name: `recalculation beside a bare scan, ${name}`,
      value: recalculation / scan,
      unit: 'x',
      ...(goal ? { goal } : {}),
    });
    bench.report({ name: `recalculation, ${name}`, value: (count / recalculation) * 1000, unit: 'points/s' });
  }
  bench.table(['session', 'points', 'bare scan ms', 'recalculation ms'], lines);
}

async function cost(store: TrackStore, fixes: readonly Fix[]): Promise<{ scan: number; recalculation: number }> {
  const { sql, organizationId } = store;
  // One after the other, a second apart.
  const sessionId = await store.add(fixes.map((fix, seconds) => ({ ...fix, seconds })));
  await sql`vacuum analyze public.gps_locations`;
  const scans: number[] = [];
  const recalculations: number[] = [];
  // In turns, so that a noisy minute of the machine meets both.
  for (let i = 0; i < 15; i += 1) {
    scans.push(
      await time(
        () => sql`select sum(w.latitude - w.before) from (
          select g.latitude, lag(g.latitude) over (order by g.recorded_at) as before
          from public.gps_locations as g where g.organization_id = ${organizationId} and g.session_id = ${sessionId}) as w`,
      ),
    );
    // The whole of what the distance job runs: legs, days, the session's row.
    recalculations.push(
      await time(() => sql`select private.compute_session_distance(${organizationId}, ${sessionId})`),
    );
  }
  return { scan: median(scans), recalculation: median(recalculations) };
}

async function time(run: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await run();
  return performance.now() - from;
}

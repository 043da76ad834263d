// npm run demo: a working day against a running `npm start`, through the public API only.

import { readOptions } from '../../scripts/options.ts';
import { makeWorkingDay } from '../fixtures/tracks.ts';
import { type Day, playDay } from './day.ts';
import { type FullDay, playFullDay } from './full-day.ts';
import { plainSum } from './geodesic.ts';
import { readGpx } from './gpx.ts';
import { playLive } from './live.ts';
import { runningStack } from './running-stack.ts';

const help = `npm run demo                      a generated day: streets, lights, noise that drifts
npm run demo -- --seed 7          another one
npm run demo -- --gpx FILE        replays a recorded track (GPX with times)
npm run demo -- --full            offline hours, expenses, a forced check-out, a correction
npm run demo -- --live            a company of thirty in two cities, moving while you look at it in the console
npm run demo -- --live --minutes 2

Needs a running stack: npm start, in another terminal.`;

const config = {
  options: {
    gpx: { type: 'string' },
    full: { type: 'boolean', default: false },
    live: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', short: 'h' },
  },
} as const;
const { values } = readOptions(config, help);

if (values.help) {
  console.log(help);
} else {
  try {
    if (values.live) {
      const minutes = Number(values.minutes);
      if (!(minutes > 0 && minutes <= 120)) throw new Error('--minutes takes a number from 1 to 120.');
      const company = await playLive(runningStack(), { minutes, say: console.log });
      process.once('SIGINT', company.stop);
      await company.ended;
    } else if (values.full) {
      reportFull(await playFullDay(runningStack(), console.log));
    } else {
      const day = values.gpx === undefined ? makeWorkingDay(values.seed) : undefined;
      const fixes = day?.fixes ?? readGpx(values.gpx ?? '');
      const played = await playDay(runningStack(), fixes, console.log);
      report(played, plainSum(fixes), day?.distance_m);
    }
  } catch (error) {
    console.error(`\n${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

function report({ route, strangerSees }: Day, plain: number, truth: number | undefined): void {
  const flags = new Map<string, number>();
  for (const point of route.points) flags.set(point.flag, (flags.get(point.flag) ?? 0) + 1);
  const metres = (value: number) => `${value.toFixed(2).padStart(12)} m`;
  console.log('\nWhat the administrator reads');
  console.log(`  distance            ${metres(route.distance_m ?? 0)}`);
  console.log(`  duration            ${String(route.duration_s).padStart(12)} s`);
  console.log(`  points              ${[...flags].map(([flag, count]) => `${count} ${flag}`).join(', ')}`);
  console.log(`  from                ${route.points.at(0)?.recorded_at}`);
  console.log(`  to                  ${route.points.at(-1)?.recorded_at}`);
  if (truth !== undefined) console.log(`  truly travelled     ${metres(truth)}`);
  console.log(`  plain sum           ${metres(plain)}  (GeographicLib, every leg, nothing left out)`);
  console.log(explain(route, plain));
  console.log('\nWhat another organization sees');
  console.log(
    `  ${strangerSees.sessions} sessions, ${strangerSees.points} points; the route answers ${strangerSees.routeError}`,
  );
}

function reportFull({ offline, expenses, corrected, audit }: FullDay): void {
  console.log('\nWhat the administrator reads');
  console.log(
    `  Otto, offline       ${offline.distance_m} m in ${offline.duration_s} s, from ${offline.inserted} points`,
  );
  for (const { status, approved_amount } of expenses)
    console.log(`  expense             ${status} ${approved_amount ?? ''}`);
  console.log(`  Eva, corrected      ${corrected.duration_s} s (first closed at ${corrected.original_checked_out_at})`);
  console.log(`  audit log           ${audit.join(', ')}`);
}

/** The plain sum counts the wander of a receiver that stands still; ours counts only what clearly was movement. */
function explain(route: Route, plain: number): string {
  const standing = route.points.filter((point) => point.leg_m === 0).length - 1;
  const difference = plain - (route.distance_m ?? 0);
  return `  Why they differ: ${standing} of ${route.points.length} points moved less than their own uncertainty or were flagged, so
  they add nothing here; the plain sum adds every one of them, ${difference.toFixed(2)} m in all.`;
}

type Route = Day['route'];

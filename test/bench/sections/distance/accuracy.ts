import {
  disturb,
  type Fix,
  type Motion,
  makeTruth,
  motions,
  type NoiseKind,
  observe,
  type Truth,
} from '../../../fixtures/tracks.ts';
import { median, quantile } from '../../quantile.ts';
import type { Bench } from '../../section.ts';
import { plainFilter_m, plainSum_m, straightLine_m } from './others.ts';
import type { TrackStore } from './track-store.ts';

const sigmas_m = [3, 5, 10, 30];
const intervals_s = [1, 5, 15, 60];
const noises: NoiseKind[] = ['white', 'drift'];
/** mute: a receiver that reports neither speed nor heading. */
const worlds = ['clean', 'jumps', 'duplicates', 'shuffle', 'gaps', 'mute'] as const;
export type World = (typeof worlds)[number];

export const methods = ['plain', 'filter', 'ours'] as const;
export type Method = (typeof methods)[number];

export interface Row {
  motion: Motion;
  world: World;
  noise: NoiseKind;
  sigma_m: number;
  interval_s: number;
  /** Per cent of what was travelled; metres for a parked phone, which travels nothing. One a seed. */
  errors: Record<Method, number[]>;
  /** The same against the whole truth, silences included. */
  wholeErrors: Record<Method, number[]>;
}

export const size = (errors: readonly number[]): number => median(errors.map(Math.abs));
export const p95 = (errors: readonly number[]): number => quantile(errors.map(Math.abs), 0.95);

export async function measureAccuracy(bench: Bench, store: TrackStore, gap_s: number): Promise<Row[]> {
  const seeds = bench.quick ? 1 : 9;
  // The ones that have goals, without the intervals that make most of the points.
  const wantedSigmas_m = bench.quick ? sigmas_m.filter((sigma_m) => sigma_m === 5 || sigma_m === 10) : sigmas_m;
  const wantedIntervals_s = bench.quick ? intervals_s.slice(1) : intervals_s;
  const rows = new Map<string, Row>();
  for (const motion of motions) {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const truth = makeTruth(motion, seed);
      for (const noise of bench.quick ? noises.slice(1) : noises) {
        for (const sigma_m of wantedSigmas_m) {
          const tracks: { row: Row; fixes: Fix[]; ordered: Fix[] }[] = [];
          for (const interval_s of wantedIntervals_s) {
            const seen = observe(truth, { sigma_m, interval_s, noise, seed });
            for (const world of worlds) {
              const fixes = inWorld(seen, world, seed);
              const key = [motion, world, noise, sigma_m, interval_s].join();
              const row = rows.get(key) ?? { motion, world, noise, sigma_m, interval_s, ...noErrors() };
              rows.set(key, row);
              tracks.push({ row, fixes, ordered: inOrder(fixes) });
            }
          }
          const ours = await store.measureAll(tracks.map(({ fixes }) => fixes));
          for (const [index, { row, ordered }] of tracks.entries()) {
            const measured = { plain: plainSum_m(ordered), filter: plainFilter_m(ordered), ours: ours[index] ?? 0 };
            const whole = travelled_m(truth, ordered);
            const asked = row.world === 'gaps' ? whole - hiddenBySilence_m(truth, ordered, gap_s) : whole;
            for (const method of methods) {
              row.errors[method].push(error(measured[method], asked));
              row.wholeErrors[method].push(error(measured[method], whole));
            }
          }
        }
      }
    }
    bench.note(`  ${motion} measured`);
  }
  return [...rows.values()];
}

const noErrors = (): Pick<Row, 'errors' | 'wholeErrors'> => ({
  errors: { plain: [], filter: [], ours: [] },
  wholeErrors: { plain: [], filter: [], ours: [] },
});

/** In per cent; in metres where nothing was travelled. */
const error = (measured_m: number, truth_m: number): number =>
  truth_m === 0 ? measured_m : (measured_m / truth_m - 1) * 100;

function inWorld(fixes: readonly Fix[], world: World, seed: number): Fix[] {
  if (world === 'clean') return [...fixes];
  if (world === 'mute') return fixes.map((fix) => ({ ...fix, speed_mps: null, heading_deg: null }));
  return disturb(fixes, world, seed);
}

/** As every product stores them: by time, each time once. */
function inOrder(fixes: readonly Fix[]): Fix[] {
  const byTime = new Map(fixes.toReversed().map((fix) => [fix.seconds, fix]));
  return [...byTime.values()].sort((a, b) => a.seconds - b.seconds);
}

/** From the first fix to the last: what comes before and after is nobody's to know. */
function travelled_m(truth: Truth, ordered: readonly Fix[]): number {
  const first = truth.samples[ordered[0]?.seconds ?? 0];
  const last = truth.samples[ordered.at(-1)?.seconds ?? 0];
  return (last?.travelled_m ?? 0) - (first?.travelled_m ?? 0);
}

/** What the way was longer than the straight line in every silence that is reported as a gap. */
function hiddenBySilence_m(truth: Truth, ordered: readonly Fix[], gap_s: number): number {
  let hidden = 0;
  for (const [index, fix] of ordered.entries()) {
    const before = ordered[index - 1];
    if (before === undefined || fix.seconds - before.seconds <= gap_s) continue;
    const from = truth.samples[before.seconds];
    const to = truth.samples[fix.seconds];
    if (from && to) hidden += to.travelled_m - from.travelled_m - straightLine_m(from, to);
  }
  return hidden;
}

export interface Verdict {
  walking_pct: number;
  driving_pct: number;
  parked_m: number;
  /** At sigma 10 m: rows in which ours is more than one point worse than the better of the others. */
  rowsBehind: number;
  rowsBehindWhole: number;
  medianOurs: number;
  medianOthers: number;
}

/** The goals, over every world but the mute one; the worst row's median error counts. */
export function judge(rows: readonly Row[]): Verdict {
  const judged = rows.filter(({ world }) => world !== 'mute');
  const at5 = judged.filter(({ sigma_m }) => sigma_m === 5);
  const at10 = judged.filter(({ sigma_m }) => sigma_m === 10);
  const worst = (wanted: readonly Motion[]) =>
    Math.max(...at5.filter(({ motion }) => wanted.includes(motion)).map(({ errors }) => size(errors.ours)));
  const others = ({ plain, filter }: Row['errors']) => Math.min(size(plain), size(filter));
  return {
    walking_pct: worst(['walk']),
    driving_pct: worst(['city', 'motorway', 'train']),
    parked_m: worst(['parked']),
    rowsBehind: at10.filter(({ errors }) => size(errors.ours) > others(errors) + 1).length,
    rowsBehindWhole: at10.filter(({ wholeErrors }) => size(wholeErrors.ours) > others(wholeErrors) + 1).length,
    medianOurs: median(at10.filter(({ motion }) => motion !== 'parked').map(({ errors }) => size(errors.ours))),
    medianOthers: median(at10.filter(({ motion }) => motion !== 'parked').map(({ errors }) => others(errors))),
  };
}

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { makeWorkingDay } from '../fixtures/tracks.ts';
import { playDay } from './day.ts';
import { playFullDay } from './full-day.ts';
import { plainSum } from './geodesic.ts';
import { readGpx } from './gpx.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ worker: true });
});
afterAll(() => stack?.stop());

test('a generated day ends within 3 % of what was truly travelled, and a stranger sees nothing', async () => {
  const day = makeWorkingDay(1);
  const { route, sent, strangerSees } = await playDay(stack, day.fixes);
  expect(sent.inserted).toBe(day.fixes.length);
  expect(sent.duplicates).toBeGreaterThan(0);
  expect(sent.rejected).toBe(0);
  expect(route.points).toHaveLength(day.fixes.length);
  expect(Math.abs((route.distance_m ?? 0) / day.distance_m - 1)).toBeLessThan(0.03);
  expect(strangerSees).toEqual({ sessions: 0, points: 0, routeError: 'session_not_found' });
});

test('offline hours, expenses, a forced check-out and a correction end as they should', async () => {
  const day = await playFullDay(stack);
  expect(day.offline.inserted).toBe(1000);
  expect(day.offline.duration_s).toBe(8 * 3600);
  // 999 steps of 0.0018 degrees of latitude, some 200 m each.
  expect(day.offline.distance_m).toBeGreaterThan(199_000);
  expect(day.offline.distance_m).toBeLessThan(201_000);
  expect(day.expenses.map(({ status, approved_amount }) => [status, approved_amount])).toEqual([
    ['APPROVED', 20],
    ['REJECTED', null],
  ]);
  expect(day.forced.closed_by).toBe('ADMIN');
  expect(day.corrected.duration_s).toBe(8 * 3600);
  expect(day.corrected.original_checked_out_at).not.toBeNull();
  expect(day.audit).toEqual([
    'organization.founded',
    'employee.invited',
    'invitation.accepted',
    'employee.invited',
    'invitation.accepted',
    'expense.approved',
    'expense.rejected',
    'session.force_checked_out',
    'session.corrected',
  ]);
});

// A track that a person recorded; it lies beside the repository, not in it.
const recorded = join(repositoryDir, '..', 'shared', 'data', 'gps', 'cerknicko-jezero.gpx');
if (existsSync(recorded)) {
  test('the recorded track ends within 1 % of its GeographicLib sum after filtering, and pauses explain the rest', async () => {
    const fixes = readGpx(recorded);
    const plain = plainSum(fixes);
    expect(plain).toBeCloseTo(13_675.76, 2);
    const { route } = await playDay(stack, fixes);
    const distance = route.distance_m ?? 0;
    const flagged = fixes.map((fix, index) => ({ ...fix, flag: route.points[index]?.flag }));
    expect(Math.abs(distance / plainSum(flagged.filter(({ flag }) => flag === 'ok')) - 1)).toBeLessThan(0.01);
    // Point by point: what the plain sum has more lies between two places that were reached, where points wander about.
    const placesAt = flagged.flatMap(({ flag }, index) => (flag === 'ok' ? [index] : []));
    const wandered = placesAt.slice(1).flatMap((to, place) => {
      const from = placesAt[place] ?? 0;
      const way = plainSum(fixes.slice(from, to + 1));
      return to > from + 1 ? [way - (route.points[to]?.leg_m ?? 0)] : [];
    });
    const sum = (metres: readonly number[]) => metres.reduce((total, more) => total + more, 0);
    expect(Math.abs(plain - distance - sum(wandered))).toBeLessThan(plain * 0.002);
    // Ten pauses, up to eight minutes long, are nearly all of it.
    expect(sum(wandered.toSorted((a, b) => b - a).slice(0, 10))).toBeGreaterThan((plain - distance) * 0.85);
  });
}

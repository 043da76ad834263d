import geodesic from 'geographiclib-geodesic';
import type { Fix } from '../fixtures/tracks.ts';

/** The plain sum of all legs on WGS84 by GeographicLib: what a product without any filter would report. Metres. */
export function plainSum(fixes: readonly Fix[]): number {
  const earth = geodesic.Geodesic.WGS84;
  let sum = 0;
  for (const [index, fix] of fixes.entries()) {
    const before = fixes[index - 1];
    if (before !== undefined) {
      sum += earth.Inverse(before.latitude, before.longitude, fix.latitude, fix.longitude).s12 ?? 0;
    }
  }
  return sum;
}

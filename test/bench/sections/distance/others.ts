import type { Fix } from '../../../fixtures/tracks.ts';

/** Earth-centred metres: the length of a difference is a leg, short of the arc by less than a millimetre up to 10 km. */
type Place = { x: number; y: number; z: number };

const radians = Math.PI / 180;

function place({ latitude, longitude }: { latitude: number; longitude: number }): Place {
  const sine = Math.sin(latitude * radians);
  const n = 6378137 / Math.sqrt(1 - 0.0066943799901413165 * sine * sine);
  const r = n * Math.cos(latitude * radians);
  return {
    x: r * Math.cos(longitude * radians),
    y: r * Math.sin(longitude * radians),
    z: n * (1 - 0.0066943799901413165) * sine,
  };
}

export function straightLine_m(
  from: { latitude: number; longitude: number },
  to: { latitude: number; longitude: number },
): number {
  const a = place(from);
  const b = place(to);
  return Math.hypot(a.x - b.x, a.y - b.y, a.z - b.z);
}

/** Every leg of the points in order of time, whatever they claim. */
export function plainSum_m(ordered: readonly Fix[]): number {
  let sum = 0;
  for (const [index, fix] of ordered.entries()) {
    const before = ordered[index - 1];
    if (before !== undefined) sum += straightLine_m(before, fix);
  }
  return sum;
}

/**
 * What Traccar documents as filter.accuracy and filter.maxSpeed, with our organization's defaults: a point is left out when
 * it claims a worse accuracy, or when the speed from the last one that was kept is higher.
 */
export function plainFilter_m(ordered: readonly Fix[], maxAccuracy_m = 100, maxSpeed_mps = 70): number {
  let sum = 0;
  let kept: Fix | undefined;
  for (const fix of ordered) {
    if (fix.accuracy_m !== null && fix.accuracy_m > maxAccuracy_m) continue;
    if (kept !== undefined) {
      const leg = straightLine_m(kept, fix);
      if (leg > maxSpeed_mps * (fix.seconds - kept.seconds)) continue;
      sum += leg;
    }
    kept = fix;
  }
  return sum;
}

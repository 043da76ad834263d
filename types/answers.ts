import { z } from 'zod';

// What RPCs answer as jsonb, which the generated types know as Json only. Times are ISO 8601, distances in metres, durations in
// seconds. The demo and the tests read through these, strictly, so a field that is added or left out shows there.

const id = z.uuid();
const time = z.iso.datetime({ offset: true });
const longitudeLatitude = z.tuple([z.number(), z.number()]);

/** record_locations and record_location. */
export const recordedBatch = z.strictObject({
  session_id: id,
  received: z.int(),
  inserted: z.int(),
  duplicates: z.int(),
  rejected: z.array(z.strictObject({ index: z.int(), code: z.string(), message: z.string() })),
});

/** get_session_route. Of an open session the figures at the end of a session are null. */
export const sessionRoute = z.strictObject({
  session_id: id,
  employee_id: id,
  status: z.enum(['ACTIVE', 'CLOSED']),
  checked_in_at: time,
  checked_out_at: time.nullable(),
  duration_s: z.int().nullable(),
  distance_m: z.number().nullable(),
  distance_status: z.string(),
  points_used: z.int().nullable(),
  points_rejected: z.int().nullable(),
  algorithm_version: z.int().nullable(),
  distance_parameters: z.record(z.string(), z.number()).nullable(),
  points: z.array(
    z.strictObject({
      recorded_at: time,
      latitude: z.number(),
      longitude: z.number(),
      accuracy_m: z.number().nullable(),
      flag: z.enum(['ok', 'jitter', 'low_accuracy', 'impossible_speed', 'outside_session']),
      leg_m: z.number(),
      is_gap: z.boolean(),
    }),
  ),
  line: z.strictObject({ type: z.literal('LineString'), coordinates: z.array(longitudeLatitude) }).nullable(),
  line_tolerance_m: z.number(),
  stops: z.array(z.strictObject({ latitude: z.number(), longitude: z.number(), from: time, to: time })),
  gaps: z.array(z.strictObject({ from: time, to: time, straight_m: z.number() })),
  totals: z.strictObject({
    distance_m: z.number(),
    duration_s: z.int().nullable(),
    stopped_s: z.number(),
    gaps_m: z.number(),
    points: z.record(z.string(), z.int()),
  }),
});

export type SessionRoute = z.infer<typeof sessionRoute>;

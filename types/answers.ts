import { z } from 'zod';

// What RPCs answer as jsonb, which the catalog knows as json only. Times are ISO 8601, distances in metres, durations in seconds.
// `npm run generate` names these types in types/database.ts, so `supabase.rpc(…)` knows its answer. The demo and the tests read
// through these, strictly, so a field that is added or left out shows there.

const id = z.uuid();
const time = z.iso.datetime({ offset: true });
const day = z.iso.date();
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

/** Days are both included. */
const range = { from_day: day, to_day: day };
const work = { sessions: z.int(), duration_s: z.int(), distance_m: z.number() };
const expenseCounts = { expenses_pending: z.int(), expenses_approved: z.int(), expenses_rejected: z.int() };
/** In the organization's currency. */
const amounts = { currency: z.string(), claimed_amount: z.number(), approved_amount: z.number() };

const expenseSums = {
  currency: z.string(),
  pending: z.int(),
  approved: z.int(),
  rejected: z.int(),
  pending_amount: z.number(),
  approved_amount: z.number(),
  rejected_amount: z.number(),
};

const newApiKey = {
  id,
  key: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  expires_at: time.nullable(),
  requests_per_minute: z.int(),
};

const newDeviceToken = z.strictObject({ id, employee_id: id, name: z.string(), token: z.string() });

const site = z.strictObject({
  organization_id: id,
  id,
  name: z.string(),
  external_id: z.string().nullable(),
  latitude: z.number(),
  longitude: z.number(),
  /** Of a circle; of a polygon null. */
  radius_m: z.int().nullable(),
  polygon: z.array(longitudeLatitude).nullable(),
  is_active: z.boolean(),
  created_at: time,
  updated_at: time,
});

/** Sites as GeoJSON. */
const siteCollection = z.strictObject({
  type: z.literal('FeatureCollection'),
  features: z.array(
    z.strictObject({
      type: z.literal('Feature'),
      geometry: z.union([
        z.strictObject({ type: z.literal('Point'), coordinates: longitudeLatitude }),
        z.strictObject({ type: z.literal('Polygon'), coordinates: z.array(z.array(longitudeLatitude)) }),
      ]),
      properties: z.strictObject({
        id,
        name: z.string(),
        external_id: z.string().optional(),
        radius_m: z.int().optional(),
        is_active: z.boolean(),
      }),
    }),
  ),
});

/** Each RPC that answers jsonb, but export_employee_data and system_health: the one is for its reader, the other for operators. */
export const answers = {
  create_api_key: z.strictObject(newApiKey),
  create_device_token: newDeviceToken,
  create_receipt_path: z.strictObject({ bucket: z.string(), path: z.string(), mime_type: z.string() }),
  create_site: site,
  create_stream_ticket: z.strictObject({ ticket: z.string(), expires_at: time }),
  create_webhook: z.strictObject({
    organization_id: id,
    id,
    url: z.string(),
    events: z.array(z.string()),
    description: z.string().nullable(),
    is_active: z.boolean(),
    max_in_flight: z.int(),
    disabled_at: time.nullable(),
    disabled_reason: z.string().nullable(),
    created_at: time,
    updated_at: time,
    secret: z.string(),
  }),
  erase_employee: z.strictObject({ employee_id: id, is_done: z.boolean(), receipts: z.array(z.string()) }),
  export_sites: siteCollection,
  get_dashboard: z.strictObject({
    as_of: time,
    people: z.strictObject({ active: z.int(), recent: z.int(), inactive: z.int() }),
    today: z.strictObject({ day, ...work }),
    pending_expenses: z.int(),
    pending_amounts: z.record(z.string(), z.number()),
    trend: z.array(z.strictObject({ day, employees: z.int(), ...work })),
    leaders: z.array(z.strictObject({ rank: z.int(), employee_id: id, name: z.string(), distance_m: z.number() })),
  }),
  get_my_api_key: z.strictObject({
    id,
    organization_id: id,
    name: z.string(),
    scopes: z.array(z.string()),
    expires_at: time.nullable(),
    requests_per_minute: z.int(),
    created_at: time,
  }),
  get_expense_summary: z.strictObject({
    ...range,
    pending: z.int(),
    approved: z.int(),
    rejected: z.int(),
    currencies: z.array(z.strictObject(expenseSums)),
    categories: z.array(z.strictObject({ ...expenseSums, category: z.string() })),
    waiting: z.array(
      z.strictObject({
        employee_id: id,
        name: z.string(),
        employee_code: z.string(),
        currency: z.string(),
        pending: z.int(),
        pending_amount: z.number(),
        oldest_submitted_at: time,
        latest_spent_on: z.iso.date(),
      }),
    ),
  }),
  get_leaderboard: z.strictObject({
    metric: z.enum(['distance', 'duration', 'sessions', 'expenses']),
    unit: z.string().nullable(),
    ...range,
    entries: z.array(
      z.strictObject({ rank: z.int(), employee_id: id, name: z.string(), value: z.number().nullable() }),
    ),
    me: z.strictObject({ rank: z.int(), value: z.number() }).nullable(),
  }),
  get_live_map: z.strictObject({
    as_of: time,
    people: z.array(
      z.strictObject({
        employee_id: id,
        name: z.string(),
        activity: z.enum(['ACTIVE', 'RECENT']),
        checked_in_at: time,
        checked_out_at: time.nullable(),
        session_id: id,
        recorded_at: time,
        latitude: z.number(),
        longitude: z.number(),
        accuracy_m: z.number().nullable(),
        speed_mps: z.number().nullable(),
        heading_deg: z.number().nullable(),
        battery_pct: z.int().nullable(),
        distance_m: z.number().nullable(),
      }),
    ),
  }),
  get_my_profile: z.strictObject({
    employee_id: id,
    name: z.string(),
    employee_code: z.string(),
    phone: z.string().nullable(),
    app_role: z.enum(['ADMIN', 'EMPLOYEE']),
    created_at: time,
    open_session_id: id.nullable(),
    organization: z.strictObject({
      id,
      name: z.string(),
      slug: z.string(),
      time_zone: z.string(),
      currency: z.string(),
      late_upload_grace_hours: z.int(),
    }),
  }),
  get_my_summary: z.strictObject({ ...range, ...work, ...expenseCounts }),
  get_org_summary: z.strictObject({ ...range, ...work, person_days: z.int(), ...expenseCounts, ...amounts }),
  get_session_route: sessionRoute,
  get_user_summary: z.strictObject({
    employee_id: id,
    name: z.string(),
    employee_code: z.string(),
    is_active: z.boolean(),
    ...range,
    days: z.int(),
    ...work,
    average_session_s: z.number(),
    average_session_m: z.number(),
    ...expenseCounts,
    ...amounts,
  }),
  import_sites: z.strictObject({ created: z.int(), updated: z.int() }),
  invite_employee: z.strictObject({ invitation_id: id, employee_id: id, token: z.string(), expires_at: time }),
  my_device_token: newDeviceToken,
  queue_stats: z.array(
    z.strictObject({
      queue: z.string(),
      waiting: z.int(),
      active: z.int(),
      failed: z.int(),
      oldest_waiting_s: z.number(),
    }),
  ),
  reconcile_snapshot_tables: z.record(z.string(), z.int()).nullable(),
  record_location: recordedBatch,
  record_locations: recordedBatch,
  replay_retry_intents: z.strictObject({ replayed: z.int(), left: z.int() }),
  replay_webhook_events: z.strictObject({ queued: z.int(), continue_from: time.nullable() }),
  rotate_api_key: z.strictObject({ ...newApiKey, old_key_expires_at: time }),
  rotate_webhook_secret: z.strictObject({ webhook_id: id, secret: z.string(), previous_expires_at: time }),
  update_site: site,
};

export type Answers = { [name in keyof typeof answers]: z.infer<(typeof answers)[name]> };

import { z } from 'zod';

// The event log's contract: each type with the shape of its payload. The triggers of the events chapter write these shapes (a
// test compares them), webhooks deliver them as `data`, the live stream sends them. Times are ISO 8601, amounts in the row's
// currency, distances in metres, durations in seconds.

const id = z.uuid();
const time = z.iso.datetime({ offset: true });
const position = z.strictObject({
  latitude: z.number(),
  longitude: z.number(),
  accuracy_m: z.number().nullable(),
});

const session = { session_id: id, employee_id: id };

const expense = {
  expense_id: id,
  employee_id: id,
  amount: z.number(),
  currency: z.string(),
  category: z.string(),
  spent_on: z.iso.date(),
};

const employee = {
  employee_id: id,
  name: z.string(),
  employee_code: z.string(),
  app_role: z.enum(['ADMIN', 'EMPLOYEE']),
  team_id: id.nullable(),
  is_active: z.boolean(),
};

const device = { device_id: id, employee_id: id };

const visit = { ...session, site_id: id, entered_at: time };

const team = { team_id: id, name: z.string(), manager_ids: z.array(id) };

const review = {
  ...expense,
  approved_amount: z.number().nullable(),
  review_comment: z.string().nullable(),
  reviewed_at: time,
};

const payment = { ...expense, approved_amount: z.number(), payment_reference: z.string().nullable() };
const hours = {
  checked_in_at: time,
  checked_out_at: time.nullable(),
  closed_by: z.enum(['EMPLOYEE', 'ADMIN', 'API_KEY', 'AUTO']).nullable(),
  duration_s: z.number().int().nullable(),
  counts: z.boolean(),
  needs_review: z.boolean(),
  review_reasons: z.array(z.enum(['too_long', 'overlap', 'before_employment', 'earlier_employment'])),
};

const correction = {
  correction_request_id: z.uuid(),
  employee_id: z.uuid(),
  session_id: z.uuid().nullable(),
  kind: z.enum(['CREATE', 'CORRECT', 'VOID']),
  checked_in_at: time.nullable(),
  checked_out_at: time.nullable(),
};

const correctionReview = { ...correction, review_comment: z.string().nullable(), reviewed_at: time };

/** Payload of each type of event. */
export const eventPayloads = {
  'session.checked_in': z.strictObject({ ...session, checked_in_at: time, position: position.nullable() }),
  'session.checked_out': z.strictObject({
    ...session,
    checked_in_at: time,
    checked_out_at: time,
    closed_by: z.enum(['EMPLOYEE', 'ADMIN', 'API_KEY', 'AUTO']),
    duration_s: z.number().int(),
    position: position.nullable(),
  }),
  'session.created': z.strictObject({ ...session, ...hours, opened_by: z.enum(['ADMIN', 'API_KEY']) }),
  'session.updated': z.strictObject({ ...session, ...hours, previous: z.strictObject(hours) }),
  'session.reviewed': z.strictObject({ ...session, ...hours }),
  'session.voided': z.strictObject({ ...session, ...hours, reason: z.string() }),
  'correction.requested': z.strictObject({ ...correction, reason: z.string() }),
  'correction.approved': z.strictObject(correctionReview),
  'correction.rejected': z.strictObject(correctionReview),
  'session.corrected': z.strictObject({
    ...session,
    checked_in_at: time,
    checked_out_at: time,
    duration_s: z.number().int(),
    previous: z.strictObject({ checked_in_at: time, checked_out_at: time.nullable() }),
  }),
  'session.recalculated': z.strictObject({
    ...session,
    distance_m: z.number(),
    duration_s: z.number().int(),
    points_used: z.number().int(),
    points_rejected: z.number().int(),
    algorithm_version: z.number().int(),
  }),
  'expense.submitted': z.strictObject(expense),
  'expense.updated': z.strictObject(expense),
  'expense.withdrawn': z.strictObject(expense),
  'expense.reopened': z.strictObject(expense),
  'expense.paid': z.strictObject(payment),
  'expense.payment_undone': z.strictObject(payment),
  'expense.approved': z.strictObject(review),
  'expense.rejected': z.strictObject(review),
  'employee.created': z.strictObject(employee),
  'employee.updated': z.strictObject({
    ...employee,
    changed: z.array(z.enum(['name', 'phone', 'employee_code', 'app_role', 'team_id', 'user_id'])).min(1),
  }),
  'employee.activated': z.strictObject(employee),
  'employee.deactivated': z.strictObject(employee),
  'team.created': z.strictObject(team),
  'team.updated': z.strictObject(team),
  'team.deleted': z.strictObject(team),
  'visit.started': z.strictObject(visit),
  'visit.ended': z.strictObject({ ...visit, left_at: time }),
  'device.clock_changed': z.strictObject({ ...device, clock_offset_s: z.number().int().nullable() }),
  'device.points_lost': z.strictObject({
    ...device,
    points: z.number().int(),
    refused_by_reason: z.record(z.string(), z.number().int()),
    last_stored_at: time.nullable(),
  }),
  'device.state_changed': z.strictObject({
    ...device,
    phone_state: z.record(z.string(), z.union([z.string(), z.boolean()])),
    setup_problem: z.string().nullable(),
  }),
  'consumer.dropped': z.strictObject({ consumer: z.string() }),
  'organization.updated': z.strictObject({ organization_id: id, changed: z.array(z.string()).min(1) }),
  'organization.unlocked': z.strictObject({
    organization_id: id,
    locked_until: z.iso.date().nullable(),
    previous: z.iso.date(),
  }),
  'api_key.expiring': z.strictObject({ api_key_id: id, name: z.string(), created_by: id.nullable(), expires_at: time }),
  'webhook.test': z.strictObject({ webhook_id: id }),
  'webhook.disabled': z.strictObject({
    webhook_id: id,
    reason: z.enum(['GONE', 'FAILING']),
    failing_since: time.nullable(),
  }),
} as const satisfies Record<string, z.ZodType>;

export type EventType = keyof typeof eventPayloads;

export type EventPayload<T extends EventType> = z.infer<(typeof eventPayloads)[T]>;

/** What a webhook delivers. `data` is the payload of its type. */
export const webhookBody = z.looseObject({
  type: z.string(),
  timestamp: time,
  /** The event's place in the log, as the live stream and Realtime give it. */
  id: z.string().regex(/^\d+\.\d+\.\d+$/),
  organization_id: id,
  actor: z.looseObject({
    type: z.enum(['employee', 'api_key', 'device', 'worker', 'service', 'system']),
    id: id.nullable(),
  }),
  data: z.looseObject({}),
});

/** The `data:` of an event in the live stream; `id` is the place to resume from. */
export const streamEvent = z.looseObject({
  id: z.string(),
  type: z.string(),
  timestamp: time,
  actor: z.looseObject({
    type: z.enum(['employee', 'api_key', 'device', 'worker', 'service', 'system']),
    id: id.nullable(),
  }),
  data: z.looseObject({}),
});

/** The `data:` of a location message in the live stream: where somebody is who is, or was, at work. */
export const positionMessage = z.looseObject({
  employee_id: id,
  session_id: id,
  is_checked_in: z.boolean(),
  recorded_at: time,
  latitude: z.number(),
  longitude: z.number(),
  accuracy_m: z.number().nullable(),
  speed_mps: z.number().nullable(),
  heading_deg: z.number().nullable(),
  battery_pct: z.number().nullable(),
  is_mock: z.boolean().nullable(),
  distance_m: z.number().nullable(),
  distance_is_provisional: z.boolean().nullable(),
});

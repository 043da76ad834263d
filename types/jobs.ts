import { z } from 'zod';

/** The trace of the request that caused the job. private.enqueue puts it beside the ids. */
const traceparent = z.string().optional();
const session = z.strictObject({ organization_id: z.uuid(), session_id: z.uuid(), traceparent });
/** employee_id null: the organization's day. */
const day = z.strictObject({
  organization_id: z.uuid(),
  employee_id: z.uuid().nullable(),
  day: z.iso.date(),
  traceparent,
});

/** Payloads of the queues: ids only. The handler reads everything else again, so a late job never writes stale values. */
export const jobPayloads = {
  distance: session,
  'distance-dead': session,
  analytics: day,
  'analytics-dead': day,
  schedule: z.strictObject({ name: z.string(), traceparent }),
} as const satisfies Record<string, z.ZodType>;

export type QueueName = keyof typeof jobPayloads;
export type JobPayload<Q extends QueueName> = z.infer<(typeof jobPayloads)[Q]>;

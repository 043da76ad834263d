import { z } from 'zod';

/** Payloads of the queues: ids only. The handler reads everything else again, so a late job never writes stale values. */
export const jobPayloads = {
  distance: z.strictObject({ organization_id: z.uuid(), session_id: z.uuid() }),
  'distance-dead': z.strictObject({ organization_id: z.uuid(), session_id: z.uuid() }),
  /** employee_id null: the organization's day. */
  analytics: z.strictObject({ organization_id: z.uuid(), employee_id: z.uuid().nullable(), day: z.iso.date() }),
  'analytics-dead': z.strictObject({ organization_id: z.uuid(), employee_id: z.uuid().nullable(), day: z.iso.date() }),
  schedule: z.strictObject({ name: z.string() }),
} as const satisfies Record<string, z.ZodType>;

export type QueueName = keyof typeof jobPayloads;
export type JobPayload<Q extends QueueName> = z.infer<(typeof jobPayloads)[Q]>;

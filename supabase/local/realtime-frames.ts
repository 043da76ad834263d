import { z } from 'zod';

/** One message of the Phoenix protocol that Realtime speaks, whichever of its two forms it came in. */
export type Frame = {
  joinRef: string | null;
  ref: string | null;
  topic: string;
  event: string;
  payload: unknown;
};

export type Version = '1.0.0' | '2.0.0';

const ref = z.union([z.string(), z.number().transform(String)]).nullish();
const objectForm = z.looseObject({
  topic: z.string(),
  event: z.string(),
  payload: z.unknown().optional(),
  ref,
  join_ref: ref,
});
const listForm = z.tuple([ref, ref, z.string(), z.string(), z.unknown()]);

/** Undefined for what is no frame. */
export function readFrame(version: Version, data: Buffer, isBinary: boolean): Frame | undefined {
  if (isBinary) return version === '2.0.0' ? readPush(data) : undefined;
  let json: unknown;
  try {
    json = JSON.parse(data.toString('utf8'));
  } catch {
    return undefined;
  }
  if (version === '1.0.0') {
    const { success, data: frame } = objectForm.safeParse(json);
    if (!success) return undefined;
    const { topic, event, payload } = frame;
    return { topic, event, payload, ref: frame.ref ?? null, joinRef: frame.join_ref ?? null };
  }
  const { success, data: list } = listForm.safeParse(json);
  if (!success) return undefined;
  const [joinRef, own, topic, event, payload] = list;
  return { joinRef: joinRef ?? null, ref: own ?? null, topic, event, payload };
}

/** A client's broadcast in the binary form: its lengths, then join ref, ref, topic and event. Its payload is not read here. */
function readPush(data: Buffer): Frame | undefined {
  const USER_BROADCAST_PUSH = 3;
  const HEADER_BYTES = 7;
  if (data.length < HEADER_BYTES || data[0] !== USER_BROADCAST_PUSH) return undefined;
  const parts: string[] = [];
  let offset = HEADER_BYTES;
  for (const length of data.subarray(1, 5)) {
    parts.push(data.toString('utf8', offset, offset + length));
    offset += length;
  }
  const [joinRef = '', own = '', topic = '', event = ''] = parts;
  return {
    joinRef: joinRef || null,
    ref: own || null,
    topic,
    event: 'broadcast',
    payload: { type: 'broadcast', event },
  };
}

export function writeFrame(version: Version, frame: Frame): string {
  const { joinRef, ref: own, topic, event, payload } = frame;
  if (version === '2.0.0') return JSON.stringify([joinRef, own, topic, event, payload]);
  return JSON.stringify({ topic, event, payload, ref: own, join_ref: joinRef });
}

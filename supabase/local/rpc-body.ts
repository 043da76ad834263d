import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';

const BLANKS = new Set([0x20, 0x09, 0x0a, 0x0d]);
const MAX_BLANKS = 64 * 1024;

/** Whether a body begins as a JSON array. What was read for it is put back. */
export async function isArray(incoming: IncomingMessage): Promise<boolean> {
  const seen: Buffer[] = [];
  let length = 0;
  let first: number | undefined;
  while (first === undefined && length < MAX_BLANKS) {
    const chunk: Buffer | null = incoming.read();
    if (chunk) {
      seen.push(chunk);
      length += chunk.length;
      first = chunk.find((byte) => !BLANKS.has(byte));
    } else if (incoming.readableEnded || incoming.destroyed) break;
    else await Promise.race([once(incoming, 'readable'), once(incoming, 'end'), once(incoming, 'close')]);
  }
  // Once it has ended nothing can be put back, and all there was is blanks.
  if (seen.length > 0 && !incoming.readableEnded) incoming.unshift(Buffer.concat(seen));
  return first === 0x5b;
}

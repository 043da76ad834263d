import { refusal } from './refusal.ts';

/** The whole body, or `body_too_large` once more than `maxBytes` came, whatever content-length said. */
export async function readBody(request: Request, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    refusal('body_too_large', `A body has at most ${maxBytes} bytes.`, { hint: 'Send it in several calls.' });
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) throw tooLarge();
  if (!request.body) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}

const DISCARD_MAX_BYTES = 64 * 1024;
const DISCARD_MAX_MS = 500;

/**
 * Reads away a body that nobody wanted; false if it is not at its end then. Deno ends the connection of a request whose body
 * was not read, without saying so: the next request that a proxy sends on it is lost (tried: one in three was).
 */
export async function discardBody(request: Request): Promise<boolean> {
  if (!request.body) return true;
  // Somebody began to read it and stopped.
  if (request.bodyUsed || Number(request.headers.get('content-length') ?? 0) > DISCARD_MAX_BYTES) return false;
  const reader = request.body.getReader();
  const deadline = performance.now() + DISCARD_MAX_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeOver = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, DISCARD_MAX_MS);
  });
  try {
    for (let size = 0; size <= DISCARD_MAX_BYTES && performance.now() < deadline; ) {
      const chunk = await Promise.race([reader.read(), timeOver]);
      if (!chunk) return false;
      if (chunk.done) return true;
      size += chunk.value.byteLength;
    }
    return false;
  } catch {
    // The caller left.
    return false;
  } finally {
    clearTimeout(timer);
  }
}

export function parseText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refusal('body_invalid', 'The body is not UTF-8.');
  }
}

export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(parseText(bytes));
  } catch {
    throw refusal('body_invalid', 'The body is not JSON.');
  }
}

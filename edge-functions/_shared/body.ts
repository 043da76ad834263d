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

import { refusal } from '../_shared/refusal.ts';

/** A body as the app wrote it: unpacked where it is packed, whether the header says so or not, and never beyond the limit. */
export async function unpack(
  body: Uint8Array<ArrayBuffer>,
  encoding: string | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const isGzip = body[0] === 0x1f && body[1] === 0x8b;
  const isDeflate = !isGzip && /deflate/i.test(encoding ?? '');
  if (!isGzip && !isDeflate) return body;
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream(isGzip ? 'gzip' : 'deflate'));
    for await (const chunk of stream) {
      size += chunk.byteLength;
      if (size > maxBytes) break;
      chunks.push(chunk);
    }
  } catch {
    throw refusal('body_invalid', 'The body is packed and cannot be unpacked.');
  }
  if (size > maxBytes) throw refusal('body_too_large', `A body has at most ${maxBytes} bytes when it is unpacked.`);
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}

/** The fields of a form of several parts; undefined for any other body. */
export async function fieldsOf(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<[string, string][] | undefined> {
  if (!/^multipart\/form-data/i.test(contentType.trim())) return undefined;
  try {
    const form = await new Response(body, { headers: { 'content-type': contentType } }).formData();
    return [...form].flatMap(([name, value]) => (typeof value === 'string' ? [[name, value] as [string, string]] : []));
  } catch {
    throw refusal('body_invalid', 'The body is no form of several parts.');
  }
}

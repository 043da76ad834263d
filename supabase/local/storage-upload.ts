import { createHash } from 'node:crypto';
import { refusals } from './storage-refusal.ts';

export type Upload = {
  bytes: Uint8Array<ArrayBuffer>;
  mimetype: string;
  cacheControl: string;
  userMetadata: Record<string, unknown> | null;
};

/** A multipart body has a few fields beside the file. */
const MULTIPART_OVERHEAD_BYTES = 64 * 1024;

/** What was sent: the body itself, or (storage-js sends a Blob so) the one file of a form. */
export async function readUpload(request: Request, limitBytes: number): Promise<Upload> {
  const type = request.headers.get('content-type') ?? 'application/octet-stream';
  if (!type.startsWith('multipart/form-data')) {
    return {
      bytes: await readBody(request, limitBytes),
      mimetype: type,
      cacheControl: request.headers.get('cache-control') ?? 'no-cache',
      userMetadata: parseMetadata(request.headers.get('x-metadata'), 'base64'),
    };
  }
  const body = await readBody(request, limitBytes + MULTIPART_OVERHEAD_BYTES);
  const form = await new Response(body, { headers: { 'content-type': type } }).formData().catch(() => {
    throw refusals.invalidRequest('The form of the upload cannot be read');
  });
  const file = [...form.values()].find((value) => typeof value !== 'string');
  if (!file) throw refusals.invalidRequest('The form of the upload has no file');
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes.length > limitBytes) throw refusals.entityTooLarge();
  const seconds = Number(form.get('cacheControl'));
  return {
    bytes,
    mimetype: file.type || 'application/octet-stream',
    cacheControl: seconds > 0 ? `max-age=${seconds}` : 'no-cache',
    userMetadata: parseMetadata(stringOf(form.get('metadata')), 'utf8'),
  };
}

export function checkMimeType(mimetype: string, allowed: string[] | null): void {
  if (!allowed || allowed.length === 0) return;
  const [base = ''] = mimetype.toLowerCase().split(';');
  const type = base.trim();
  const fits = allowed.some((one) => one === type || (one.endsWith('/*') && type.startsWith(one.slice(0, -1))));
  if (!fits) throw refusals.invalidMimeType(mimetype);
}

export function etagOf(bytes: Uint8Array): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`;
}

/** Stops reading at the limit: a body says how long it is only if it wants to. */
async function readBody(request: Request, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(request.headers.get('content-length') ?? 0) > limitBytes) {
    await request.body?.cancel();
    throw refusals.entityTooLarge();
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > limitBytes) throw refusals.entityTooLarge();
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function parseMetadata(text: string | null, encoding: 'base64' | 'utf8'): Record<string, unknown> | null {
  if (!text) return null;
  try {
    return JSON.parse(Buffer.from(text, encoding).toString('utf8'));
  } catch {
    throw refusals.invalidRequest('The metadata of the upload is no JSON');
  }
}

function stringOf(value: File | string | null): string | null {
  return typeof value === 'string' ? value : null;
}

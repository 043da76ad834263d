import { ask, type Database } from './database.ts';
import type { Context } from './kernel.ts';
import { type Refusal, refusal } from './refusal.ts';

/** The two parts of an API key that matter once its checksum was right. */
export type ParsedKey = { keyId: string; secret: string };

const FORM = /^(ft_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})$/;

/** Undefined for what cannot be a key, told without asking anybody: the form, then the checksum. */
export function parseKey(text: string): ParsedKey | undefined {
  const [, body, keyId, secret, checksum] = FORM.exec(text) ?? [];
  if (!body || !keyId || !secret || crc32Base62(body) !== checksum) return undefined;
  return { keyId, secret };
}

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc >>> 0;
});

/** CRC-32 as six digits and letters: private.crc32_base62 in the database. */
export function crc32Base62(ascii: string): string {
  let crc = 0xffffffff;
  for (let i = 0; i < ascii.length; i += 1) {
    crc = (crcTable[(crc ^ ascii.charCodeAt(i)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  let rest = (crc ^ 0xffffffff) >>> 0;
  let text = '';
  for (let digit = 0; digit < 6; digit += 1) {
    text = (ALPHABET[rest % 62] ?? '') + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

export async function hashSecret(secret: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret)));
}

/** What private.verify_api_key answers. */
export type KeyVerdict =
  | { refusal: 'unknown' | 'revoked' | 'expired' }
  | {
      refusal: null;
      organizationId: string;
      apiKeyId: string;
      scopes: string[];
      /** Seconds since 1970; null: never. */
      expiresAtS: number | null;
      requestsPerMinute: number;
      granted: number;
      remaining: number;
    };

export type VerifyKey = (context: Context, keyId: string, secretHash: Uint8Array, calls: number) => Promise<KeyVerdict>;

export function createKeyVerifier(database: Database): VerifyKey {
  return async ({ log }, keyId, secretHash, calls) => {
    const [row] = await ask(
      log,
      database<KeyVerdict[]>`
        select v.refusal, v.organization_id as "organizationId", v.api_key_id as "apiKeyId", to_json(v.scopes) as scopes,
          extract(epoch from v.expires_at)::float8 as "expiresAtS", v.requests_per_minute as "requestsPerMinute",
          v.granted, v.remaining
        from private.verify_api_key(${keyId}, ${secretHash}, ${calls}) as v`,
    );
    return row ?? { refusal: 'unknown' };
  };
}

/** The key that a request shows, or its refusal: nobody has been asked yet. */
export function keyOf(request: Request): ParsedKey {
  const sent = request.headers.get('x-api-key');
  if (sent === null) throw invalidKey('There is no header x-api-key.');
  const key = parseKey(sent);
  if (!key) throw invalidKey('It is not a whole key: the form or the checksum is wrong.');
  return key;
}

export function refusedKey(why: 'unknown' | 'revoked' | 'expired'): Refusal {
  return invalidKey({ unknown: 'It was never issued.', revoked: 'It was revoked.', expired: 'It has expired.' }[why]);
}

function invalidKey(details: string): Refusal {
  return refusal('api_key_invalid', 'This API key is not valid.', {
    details,
    hint: 'Send a key as header x-api-key; an administrator makes one with create_api_key.',
  });
}

export function tooManyCalls(message: string, retryAfterS: number): Refusal {
  return refusal('rate_limited', message, {
    hint: 'Wait as Retry-After says, then send it again.',
    headers: { 'retry-after': String(Math.max(1, Math.ceil(retryAfterS))) },
  });
}

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

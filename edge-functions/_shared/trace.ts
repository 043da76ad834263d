export type Trace = { traceparent: string; traceId: string };

/** W3C trace context: what the caller brought, if it is well formed, or the beginning of a new one. */
export function traceOf(header: string | null): Trace {
  const [, traceId] =
    /^(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.exec(header ?? '') ?? [];
  if (header && traceId) return { traceparent: header, traceId };
  const made = randomHex(16);
  return { traceparent: `00-${made}-${randomHex(8)}-00`, traceId: made };
}

function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );
}

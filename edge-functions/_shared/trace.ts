import { isSpanContextValid, type Span, SpanKind, trace } from '@opentelemetry/api';

// Deno makes the spans (OTEL_DENO=true): one for each request that Deno.serve answers, one for each fetch. Without it everything
// here hands on what the caller brought, and the library does nothing: it is only the way to Deno's own.

export type Trace = {
  /** W3C trace context to hand on. */
  traceparent: string;
  traceId: string;
  /** Headers for a request onward: none where Deno's fetch adds its own. A second traceparent would make both invalid. */
  headers: { traceparent?: string };
};

/** The request's own span, where Deno makes one; what the caller brought, if it is well formed; or a new beginning. */
export function traceOf(header: string | null): Trace {
  const active = contextOf(trace.getActiveSpan());
  if (active) return { ...active, headers: {} };
  const [, traceId] =
    /^(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.exec(header ?? '') ?? [];
  if (header && traceId) return { traceparent: header, traceId, headers: { traceparent: header } };
  const made = randomHex(16);
  const traceparent = `00-${made}-${randomHex(8)}-00`;
  return { traceparent, traceId: made, headers: { traceparent } };
}

/** Names the request's span by what is known of it: never by its address, which may hold a token or a position. */
export function nameSpan(method: string, route: string): void {
  const span = trace.getActiveSpan();
  span?.updateName(`${method} ${route}`);
  span?.setAttribute('http.route', route);
}

/** Runs a call of a function of the database as a span, which is the parent of what the call causes. */
export async function callTraced<T>(
  functionName: string,
  outer: string,
  call: (traceparent: string) => Promise<T>,
): Promise<T> {
  const attributes = { 'db.system.name': 'postgresql', 'db.stored_procedure.name': functionName };
  return trace
    .getTracer('fieldtrack')
    .startActiveSpan(functionName, { kind: SpanKind.CLIENT, attributes }, async (span) => {
      try {
        return await call(contextOf(span)?.traceparent ?? outer);
      } finally {
        span.end();
      }
    });
}

/** Paths that hold names only. Ours may hold a device's token. */
const CLEAN_PATH = /^\/(rest\/v1\/(rpc\/)?\w*|auth\/v1\/[\w./-]*)$/;

/**
 * Deno writes addresses and errors' messages into its spans: device tokens, tickets and positions among them. There is no
 * option to leave them out, so the one class that all its spans are of is taught to.
 */
export function keepSpansClean(): void {
  // Never ended, so never sent.
  const span = trace.getTracer('fieldtrack').startSpan('probe');
  if (!span.isRecording()) return;
  const kind: Pick<Span, 'setAttribute' | 'setStatus'> = Object.getPrototypeOf(span);
  const { setAttribute, setStatus } = kind;
  kind.setAttribute = function (this: Span, name, value) {
    const isClean = name === 'url.path' ? CLEAN_PATH.test(String(value)) : !isRisky(name);
    return isClean ? setAttribute.call(this, name, value) : this;
  };
  kind.setStatus = function (this: Span, { code }) {
    return setStatus.call(this, { code });
  };
}

const isRisky = (name: string): boolean =>
  ['url.full', 'url.query', 'exception.message', 'exception.stacktrace'].includes(name);

function contextOf(span: Span | undefined): { traceparent: string; traceId: string } | undefined {
  const context = span?.spanContext();
  // Of the library alone, without Deno's own, it is all zeros.
  if (!context || !isSpanContextValid(context)) return undefined;
  const { traceId, spanId, traceFlags } = context;
  return { traceparent: `00-${traceId}-${spanId}-0${traceFlags & 1}`, traceId };
}

function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );
}

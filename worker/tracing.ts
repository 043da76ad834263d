// Traces: W3C trace context through jobs and webhooks, and spans to an OTLP collector where one is configured.
//
// Without a collector nothing of OpenTelemetry is loaded (its SDK takes a quarter of a second and 20 MB); the context that a
// request brought is handed on all the same, so that the receiver of a webhook sees the caller's trace.

export type TraceContext = {
  /** What to hand on: the span's own context, or the parent's where nothing records. */
  traceparent: string | null;
  /** For log lines; empty outside a trace. */
  ids: { trace_id?: string; span_id?: string };
};

export type Attributes = Record<string, string | number>;

export interface Tracing {
  /** Runs the work as a span of the parent's trace, or of a new one. A throw marks the span and goes on. */
  span<T>(
    options: { name: string; kind: 'consumer' | 'client'; parent: string | null; attributes: Attributes },
    work: (trace: TraceContext) => Promise<T>,
  ): Promise<T>;
  close(): Promise<void>;
}

/** A collector that is away must not hold the worker's stop. */
const closeTimeoutMs = 2000;
/** Spans that wait for export; more are dropped, never waited for. */
const maxWaitingSpans = 2048;

/** Passes the context through. */
export const noTracing: Tracing = {
  span: (options, work) => work(contextOf(options.parent)),
  close: async () => {},
};

function contextOf(traceparent: string | null): TraceContext {
  const [, traceId, spanId] = traceparent?.split('-') ?? [];
  return { traceparent, ids: traceId && spanId ? { trace_id: traceId, span_id: spanId } : {} };
}

/** Spans go to `<endpoint>/v1/traces` over HTTP; headers for it are OTEL_EXPORTER_OTLP_HEADERS, read by the exporter. */
export async function startTracing(options: {
  endpoint: string;
  serviceName: string;
  revision: string;
}): Promise<Tracing> {
  const [
    api,
    { BatchSpanProcessor, ParentBasedSampler, AlwaysOnSampler, TracerProvider },
    { OTLPTraceExporter },
    resources,
  ] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const exporter = new OTLPTraceExporter({
    url: `${options.endpoint.replace(/\/$/, '')}/v1/traces`,
    timeoutMillis: 5000,
  });
  const provider = new TracerProvider({
    resource: resources.resourceFromAttributes({
      'service.name': options.serviceName,
      'service.version': options.revision,
    }),
    // Whoever began the trace decides whether it is recorded.
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanProcessors: [new BatchSpanProcessor({ exporter, maxQueueSize: maxWaitingSpans, scheduledDelayMillis: 1000 })],
  });
  const tracer = provider.getTracer('fieldtrack-worker');
  const kinds = { consumer: api.SpanKind.CONSUMER, client: api.SpanKind.CLIENT };

  function parentContext(traceparent: string | null) {
    const [, traceId, spanId, flags] = traceparent?.split('-') ?? [];
    if (!traceId || !spanId || !flags) return api.ROOT_CONTEXT;
    const spanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
    return api.isSpanContextValid(spanContext)
      ? api.trace.setSpanContext(api.ROOT_CONTEXT, spanContext)
      : api.ROOT_CONTEXT;
  }

  return {
    async span({ name, kind, parent, attributes }, work) {
      // The parent is given, never taken from what happens to run: jobs and deliveries run side by side.
      const span = tracer.startSpan(name, { kind: kinds[kind], attributes }, parentContext(parent));
      const { traceId, spanId, traceFlags } = span.spanContext();
      const traceparent = `00-${traceId}-${spanId}-${(traceFlags & 1).toString(16).padStart(2, '0')}`;
      try {
        return await work({ traceparent, ids: { trace_id: traceId, span_id: spanId } });
      } catch (error) {
        // The kind of error only: a message can quote a row.
        span.setStatus({ code: api.SpanStatusCode.ERROR });
        span.setAttribute('error.type', error instanceof Error ? error.name : typeof error);
        throw error;
      } finally {
        span.end();
      }
    },
    async close() {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, closeTimeoutMs);
      await Promise.race([provider.shutdown().catch(() => {}), late]);
      clearTimeout(timer);
    },
  };
}

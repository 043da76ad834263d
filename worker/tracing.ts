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

export type SpanOptions = {
  name: string;
  kind: 'consumer' | 'client';
  parent: string | null;
  attributes: Attributes;
};

/** A request's transaction, as the database wrote it down (chapter 001550 of the migrations). Times are microseconds since 1970. */
export type RequestSpan = {
  trace_id: string;
  span_id: string;
  parent_span_id: string;
  /** Method and path: `POST /rpc/check_out`. */
  name: string;
  started_us: number;
  ended_us: number;
};

export interface Tracing {
  /** Runs the work as a span of the parent's trace, or of a new one. A throw marks the span and goes on. */
  span<T>(options: SpanOptions, work: (trace: TraceContext) => Promise<T>): Promise<T>;
  /** Hands spans on that began and ended elsewhere, with the ids that they have. */
  requests(spans: readonly RequestSpan[]): void;
  close(): Promise<void>;
}

/** The name in traces of what PostgREST runs: the transaction of a request. */
const databaseServiceName = 'fieldtrack-database';
/** A collector that is away must not hold the worker's stop. */
const closeTimeoutMs = 2000;
/** Spans that wait for export; more are dropped, never waited for. */
const maxWaitingSpans = 2048;

/** Passes the context through. */
export const noTracing: Tracing = {
  span: (options, work) => work(contextOf(options.parent)),
  requests: () => {},
  close: async () => {},
};

function contextOf(traceparent: string | null): TraceContext {
  const [, traceId, spanId] = traceparent?.split('-') ?? [];
  return { traceparent, ids: traceId && spanId ? { trace_id: traceId, span_id: spanId } : {} };
}

/** A call of a function of the database, by OpenTelemetry's semantic conventions. */
export function databaseCall(functionName: string, parent: string | null): SpanOptions {
  const attributes = { 'db.system.name': 'postgresql', 'db.stored_procedure.name': functionName };
  return { name: functionName, kind: 'client', parent, attributes };
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
  /** The id of the next span of the database, which has one before it is told here; startSpan asks in the same tick. */
  let givenSpanId = '';
  const providerOf = (service: string, idGenerator?: import('@opentelemetry/sdk-trace').IdGenerator) =>
    new TracerProvider({
      resource: resources.resourceFromAttributes({ 'service.name': service, 'service.version': options.revision }),
      // Whoever began the trace decides whether it is recorded.
      sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new OTLPTraceExporter({
            url: `${options.endpoint.replace(/\/$/, '')}/v1/traces`,
            timeoutMillis: 5000,
          }),
          maxQueueSize: maxWaitingSpans,
          scheduledDelayMillis: 1000,
        }),
      ],
      ...(idGenerator ? { idGenerator } : {}),
    });
  const provider = providerOf(options.serviceName);
  const tracer = provider.getTracer('fieldtrack-worker');
  // The requests are not the worker's: a service of their own, or the maps that collectors draw would be wrong.
  const databaseProvider = providerOf(databaseServiceName, {
    // Unused: such a span always has a parent.
    generateTraceId: () => '0'.repeat(32),
    generateSpanId: () => givenSpanId,
  });
  const databaseTracer = databaseProvider.getTracer('fieldtrack-database');
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
    requests(spans) {
      for (const { trace_id, span_id, parent_span_id, name, started_us, ended_us } of spans) {
        const [method = '', path = ''] = name.split(' ');
        givenSpanId = span_id;
        const attributes = {
          'http.request.method': method,
          'http.route': path,
          'db.system.name': 'postgresql',
          ...(path.startsWith('/rpc/') ? { 'db.stored_procedure.name': path.slice('/rpc/'.length) } : {}),
        };
        databaseTracer
          .startSpan(
            name,
            { kind: api.SpanKind.SERVER, startTime: highResolution(started_us), attributes },
            parentContext(`00-${trace_id}-${parent_span_id}-01`),
          )
          .end(highResolution(ended_us));
      }
    },
    async close() {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, closeTimeoutMs);
      await Promise.race([Promise.allSettled([provider.shutdown(), databaseProvider.shutdown()]), late]);
      clearTimeout(timer);
    },
  };
}

const highResolution = (us: number): [number, number] => [Math.floor(us / 1e6), (us % 1e6) * 1000];

import { z } from 'zod';

const bearerToken = z.string().regex(/^[\x21-\x7e]{16,200}$/, 'must have 16 to 200 visible ASCII characters');

/** Every setting of the worker; docs/operations.md has the same list, and a test compares. */
export const schema = z.object({
  /** Login of the role fieldtrack_worker: a direct connection or a session pooler (pg-boss keeps session state). */
  DATABASE_URL: z.url({
    protocol: /^postgres(ql)?$/,
    error: 'is needed: postgresql://fieldtrack_worker:…@host:5432/database',
  }),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  /** Connections for jobs (26 at once by the options in jobs/; what is more waits) and webhooks (2); pg-boss opens a pool besides. */
  DATABASE_POOL_SIZE: z.coerce.number().int().min(2).max(100).default(14),
  /** Where the operators' pages are served: this machine only, unless something else protects them (a container's network). */
  HTTP_HOST: z.string().min(1).default('127.0.0.1'),
  /** Port of /health, /ready, /metrics and /internal; 0 takes any free one and logs which. */
  HTTP_PORT: z.coerce.number().int().min(0).max(65_535).default(9464),
  /** Bearer token for /metrics; without it whoever reaches the port may read. */
  METRICS_TOKEN: bearerToken.optional(),
  /** Bearer token for /internal; without it these pages do not exist. */
  OPERATOR_TOKEN: bearerToken.optional(),
  /** Where traces go: an OTLP collector's HTTP address, such as http://collector:4318. Without it nothing is traced. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
  /** Headers for it, as key=value,key=value: a collector's token. */
  OTEL_EXPORTER_OTLP_HEADERS: z.string().optional(),
  /** The worker's name in traces. */
  OTEL_SERVICE_NAME: z.string().min(1).default('fieldtrack-worker'),
  /** What is running, for build_info: a commit or a tag. */
  REVISION: z.string().max(100).default('unknown'),
});

export type WorkerEnv = z.infer<typeof schema>;

/**
 * Reads the environment; on problems throws one error that names all of them, and never a value: it may be a secret. An empty
 * variable is one that is not set: a compose file cannot leave one out.
 */
export function readEnv(env: NodeJS.ProcessEnv): WorkerEnv {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`The environment is not complete:\n${problems.join('\n')}`);
}

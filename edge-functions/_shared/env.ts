import { z } from 'zod';

const commaList = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
);

/** What every function reads. docs/edge-functions.md has the table. */
const shared = {
  /** The project's own address, where /rest/v1 and /auth/v1 answer. Hosted projects set it. */
  SUPABASE_URL: z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, '')),
  /** Login of the role fieldtrack_edge. Port 6543 is taken for a transaction pooler: no prepared statements there. */
  FIELDTRACK_EDGE_DATABASE_URL: z.url({
    protocol: /^postgres(ql)?$/,
    error: 'is needed: postgresql://fieldtrack_edge:…@host:5432/database',
  }),
  /** Connections of this function to the database. */
  FIELDTRACK_EDGE_POOL_SIZE: z.coerce.number().int().min(1).max(50).default(4),
  /** The shared secret of access tokens (HS256). Without it tokens are checked against the project's JWKS. */
  FIELDTRACK_JWT_SECRET: z.string().min(32).optional(),
  /** The `iss` of access tokens, where it is not SUPABASE_URL/auth/v1. */
  FIELDTRACK_JWT_ISSUER: z.url().optional(),
  /** Origins whose pages may call, with commas between. None by default. */
  FIELDTRACK_ALLOWED_ORIGINS: commaList
    .refine((origins) => !origins.includes('*'), 'names origins such as https://app.example.com; * is not one')
    .refine((origins) => origins.every(isOrigin), 'names origins: scheme, host and port, no path')
    .default([]),
  FIELDTRACK_TRUSTED_PROXIES: z.coerce.number().int().min(0).max(10).default(1),
  FIELDTRACK_LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
};

const sharedSchema = z.object(shared);

export type SharedEnv = z.infer<typeof sharedSchema>;

/** Reads the environment; on problems throws one error that names all of them, and never a value: it may be a secret. */
export function readEnv<T extends z.ZodRawShape>(env: Record<string, string>, own: T) {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = sharedSchema.extend(own).safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`The environment is not complete:\n${problems.join('\n')}`);
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}

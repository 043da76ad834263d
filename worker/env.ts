import { z } from 'zod';

const schema = z.object({
  /** Login of the role fieldtrack_worker: a direct connection or a session pooler (pg-boss keeps session state). */
  DATABASE_URL: z.url({
    protocol: /^postgres(ql)?$/,
    error: 'is needed: postgresql://fieldtrack_worker:…@host:5432/database',
  }),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  /** Connections for the jobs in hand (at most 12, see the options in jobs/); pg-boss opens a pool of its own besides. */
  DATABASE_POOL_SIZE: z.coerce.number().int().min(2).max(100).default(12),
});

export type WorkerEnv = z.infer<typeof schema>;

/** Reads the environment; on problems throws one error that names all of them, and never a value: it may be a secret. */
export function readEnv(env: NodeJS.ProcessEnv): WorkerEnv {
  const result = schema.safeParse(env);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Error(`The environment is not complete:\n${problems.join('\n')}`);
}

import { type Logger, pino } from 'pino';

/** JSON lines with time, level and msg. Ids only: payloads, coordinates, tokens and addresses never reach a log. */
export function createLogger(level: string): Logger {
  return pino({
    level,
    base: { service: 'worker' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    // A safety net, not a plan: nothing of ours logs these.
    redact: {
      paths: ['*.password', '*.token', '*.secret', '*.connectionString', 'err.detail', 'err.where'],
      remove: true,
    },
  });
}

/** What of an error may be logged: its kind and code. A message of PostgreSQL can quote a row. */
export function describeError(error: unknown): { name: string; code?: string } {
  // pg-boss tells of an error by a copy that is none, with its code.
  const isObject = typeof error === 'object' && error !== null;
  const code = isObject && 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { name: error instanceof Error ? error.name : typeof error, ...code };
}

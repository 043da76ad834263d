import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './http.ts';
import { describeError } from './log.ts';
import type { Operators } from './operators.ts';

/** Some schedules run every minute: when none ran for a quarter of an hour, nothing runs them. */
const silenceMs = 15 * 60_000;

/** The migration that this code was written against: the newest file beside it. Null where the folder is not shipped. */
export function expectedMigration(): string | null {
  try {
    const files = readdirSync(join(import.meta.dirname, '..', 'supabase', 'migrations'));
    const versions = files.flatMap((file) => /^(\d{14})_.*\.sql$/.exec(file)?.[1] ?? []);
    return versions.sort().at(-1) ?? null;
  } catch {
    // Not shipped: then the check says so instead of guessing.
    return null;
  }
}

export function createReadiness(options: {
  operators: Operators;
  /** The registry of jobs, and what of it is being worked. */
  queues: readonly string[];
  worked: () => readonly string[];
  isWorking: () => boolean;
}): () => Promise<Record<string, Check>> {
  const expected = expectedMigration();
  const bootedAt = Date.now();

  return async () => {
    const worker: Check = options.isWorking() ? { ok: true } : { ok: false, detail: 'starting or stopping' };
    let found: Awaited<ReturnType<Operators['installation']>>;
    try {
      found = await options.operators.installation();
    } catch (error) {
      const { name, code } = describeError(error);
      return { worker, database: { ok: false, detail: code ?? name } };
    }
    const missing = options.queues.filter((queue) => !found.queues.includes(queue));
    // A queue that exists and that nobody works would hold its jobs for ever while everything else looks well.
    const worked = options.worked();
    const unworked = options.isWorking() ? options.queues.filter((queue) => !worked.includes(queue)) : [];
    const lastSign = Math.max(bootedAt, found.scheduleRanAt?.getTime() ?? 0);
    return {
      worker,
      database: { ok: true },
      migrations: migrationCheck(expected, found.migration),
      queues: queueCheck(missing, unworked),
      schedules:
        Date.now() - lastSign < silenceMs ? { ok: true } : { ok: false, detail: 'no schedule ran for 15 minutes' },
    };
  };
}

function queueCheck(missing: readonly string[], unworked: readonly string[]): Check {
  if (missing.length > 0) return { ok: false, detail: `missing: ${missing.join(', ')}` };
  if (unworked.length > 0) return { ok: false, detail: `not worked: ${unworked.join(', ')}` };
  return { ok: true };
}

/** A newer database is fine: migrations come before the code that needs them. */
function migrationCheck(expected: string | null, applied: string | null): Check {
  if (expected === null) return { ok: true, detail: 'supabase/migrations is not shipped; not compared' };
  if (applied === null) return { ok: false, detail: 'no migration is recorded' };
  return applied >= expected ? { ok: true } : { ok: false, detail: `at ${applied}, needs ${expected}` };
}

// pgTAP files against one database, through psql: on the Debian leg it is there, and `supabase test db` needs Docker.
// Every file rolls back what it did, so they may share the database.
import { globSync } from 'node:fs';
import { runCommand } from './run-command.ts';

export type TapResult = { file: string; passed: number; failures: string[]; seconds: number };

export async function runTapFiles(databaseUrl: string): Promise<TapResult[]> {
  const results: TapResult[] = [];
  const support = ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--file=supabase/tests/support.sql', databaseUrl];
  const loaded = await runCommand('psql', support);
  if (!loaded.ok) throw new Error(`supabase/tests/support.sql does not load: ${loaded.stderr.trim()}`);
  for (const file of globSync('supabase/tests/**/*.test.sql').sort()) {
    const startedAt = performance.now();
    const psql = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1', `--file=${file}`];
    const { ok, stdout, stderr } = await runCommand('psql', [...psql, databaseUrl]);
    const lines = stdout.split('\n');
    const planned = Number(/^1\.\.(\d+)$/m.exec(stdout)?.[1] ?? Number.NaN);
    const passed = lines.filter((line) => /^ok \d+/.test(line)).length;
    const failures: string[] = [];
    if (lines.some((line) => /^not ok \d+/.test(line)))
      failures.push(lines.filter((line) => /^(not ok|#)/.test(line)).join('\n'));
    if (!ok) failures.push(`psql failed: ${stderr.trim()}`);
    // A file that ends early, or that never planned anything, has passed nothing.
    else if (failures.length === 0 && passed !== planned) failures.push(`planned ${planned} tests, ${passed} passed`);
    results.push({ file, passed, failures, seconds: (performance.now() - startedAt) / 1000 });
  }
  return results;
}

// npm run check: everything that can be said about the repository without running its tests.
// All steps run even when one fails, so that one run tells everything there is to mend.
import { globSync } from 'node:fs';
import { withMigratedDatabase } from './database.ts';
import { differenceFrom, type GeneratedFile, generatedFiles } from './generated.ts';
import { runCommand } from './run-command.ts';
import { sqlLayoutProblems } from './sql-layout.ts';

/** Answers what is wrong, or null. */
type Step = { name: string; run: () => Promise<string | null> };

const tool =
  (command: string, ...args: string[]) =>
  async () => {
    const { ok, stdout, stderr } = await runCommand(command, args);
    return ok ? null : `${stdout}${stderr}`.trim();
  };

/** Debian's prometheus package, which .ci/run installs. Elsewhere it may be missing; in CI that is a failure. */
const promtool =
  (...args: string[]) =>
  async () => {
    if (process.env.CI === undefined && !(await runCommand('promtool', ['--version']).catch(() => undefined)))
      return null;
    return tool('promtool', ...args)();
  };

const migrations = globSync('supabase/migrations/*.sql').sort();
const functionEntries = globSync('edge-functions/*/index.ts').sort();

const steps: Step[] = [
  // A registry that lacks another platform's binary makes npm write a lock file that npm ci then refuses.
  { name: 'npm ci accepts package-lock.json', run: tool('npm', 'ci', '--dry-run') },
  { name: 'biome (format and lint)', run: tool('biome', 'check', '--error-on-warnings', '.') },
  { name: 'tsc (supabase/local, worker, types, test, docs/examples, .ci)', run: tool('tsc', '--project', '.') },
  { name: 'tsc (console)', run: tool('tsc', '--project', 'console') },
  { name: 'tsc (console: build and tests)', run: tool('tsc', '--project', 'console/tsconfig.tools.json') },
  {
    name: 'deno check (edge-functions)',
    run: tool('deno', 'check', '--config', 'edge-functions/deno.json', ...functionEntries),
  },
  { name: 'squawk (migrations)', run: tool('squawk', '--reporter=gcc', ...migrations) },
  {
    name: 'postgrestools (SQL and PL/pgSQL syntax)',
    run: tool('postgrestools', 'check', '--disable-db', 'supabase', '.ci'),
  },
  { name: 'promtool check rules', run: promtool('check', 'rules', 'docs/operations/alerts.yml') },
  // Syntax only: the token's file is on the operator's machine.
  {
    name: 'promtool check config',
    run: promtool('check', 'config', '--syntax-only', 'docs/operations/prometheus.yml'),
  },
  { name: 'promtool test rules', run: promtool('test', 'rules', 'docs/operations/alerts.test.yml') },
  { name: 'SQL layout', run: async () => sqlLayoutProblems().join('\n') || null },
];

function stepsOnDatabase(databaseUrl: string): Step[] {
  return (Object.keys(generatedFiles) as GeneratedFile[]).map((file) => ({
    name: `${file} is what the migrations make`,
    run: async () => differenceFrom(file, await generatedFiles[file](databaseUrl)),
  }));
}

const failed: string[] = [];

async function runStep({ name, run }: Step): Promise<void> {
  const startedAt = performance.now();
  // A tool that cannot even start is one failed step, not the end of the others.
  const problem = await run().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${problem === null ? 'ok  ' : 'FAIL'} ${seconds.padStart(6)} s  ${name}`);
  if (problem === null) return;
  failed.push(name);
  console.log(`${problem.replace(/^/gm, '    ')}\n`);
}

for (const step of steps) await runStep(step);
await runStep({
  name: 'migrations apply to an empty PostgreSQL 17',
  run: async () => {
    await withMigratedDatabase(async ({ url }) => {
      for (const step of stepsOnDatabase(url)) await runStep(step);
    });
    return null;
  },
});

if (failed.length > 0) {
  console.log(`\nnpm run check: ${failed.length} failed:\n${failed.map((name) => `  ${name}`).join('\n')}`);
  process.exitCode = 1;
} else {
  console.log('\nnpm run check: all is well.');
}

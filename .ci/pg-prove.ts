// Runs the claims as `supabase test db` does, which itself needs Docker: the same program with the same arguments.
import { runCommand } from './run-command.ts';

export type Proof = { passed: number; failed: number; problem: string | null };

export async function proveClaims(databaseUrl: string): Promise<Proof> {
  const { hostname, port, username, password, pathname } = new URL(databaseUrl);
  const { ok, stdout, stderr } = await runCommand(
    'pg_prove',
    ['--ext', '.pg', '--ext', '.sql', '-r', 'supabase/tests'],
    {
      env: {
        PGHOST: hostname,
        PGPORT: port,
        PGUSER: username,
        PGPASSWORD: password,
        PGDATABASE: pathname.slice(1),
        // What `create … if not exists` says is no news.
        PGOPTIONS: '-c client_min_messages=warning',
      },
    },
  );
  const tests = Number(/^Files=\d+, Tests=(\d+),/m.exec(stdout)?.[1] ?? 0);
  if (ok) return { passed: tests, failed: 0, problem: null };
  // "Failed 2/33 subtests" of each file; a file that broke off or planned wrongly fails without a number.
  const failed = [...stdout.matchAll(/Failed (\d+)\/\d+ subtests/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  const lines = stdout.split('\n').filter((line) => !/\.+ ok$/.test(line));
  return {
    passed: Math.max(0, tests - failed),
    failed: Math.max(1, failed),
    problem: `${lines.join('\n')}\n${stderr}`.trim(),
  };
}

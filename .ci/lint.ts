// `supabase db lint`: plpgsql_check over every PL/pgSQL function of public and private. Not pgboss: that is generated code
// of another project, which our tests of the queue exercise.
import { z } from 'zod';
import { runCommand } from './run-command.ts';

const findings = z.array(
  z.object({
    function: z.string(),
    issues: z.array(
      z.looseObject({
        level: z.string(),
        message: z.string(),
        sqlState: z.string().optional(),
        hint: z.string().optional(),
        statement: z.looseObject({ lineNumber: z.string(), text: z.string() }).optional(),
      }),
    ),
  }),
);

/**
 * "Control reached end of function without RETURN": plpgsql_check cannot know that private.fail() never returns, so it
 * says this of every function that ends in a refusal. One that really ended so would be an error when it is called.
 */
const functionEndedWithoutReturn = '2F005';

export async function lintProblems(databaseUrl: string): Promise<string | null> {
  const remote = `--remote=${databaseUrl}?sslmode=disable`;
  const args = ['db', 'lint', '--schema=public,private', '--level=warning', '--fail-on=none', remote, '--yes'];
  const { ok, stdout, stderr } = await runCommand('supabase', args);
  if (!ok) return `${stdout}${stderr}`.trim();
  // Nothing at all on stdout is how the command says that it found nothing.
  const found = stdout.trim() === '' ? [] : findings.parse(JSON.parse(stdout));
  const problems = found.flatMap(({ function: name, issues }) =>
    issues
      .filter(({ sqlState }) => sqlState !== functionEndedWithoutReturn)
      .map(({ level, message, hint, statement }) => {
        const place = statement ? `, line ${statement.lineNumber} of its body (${statement.text})` : '';
        return `${name}${place}: ${level}: ${message}${hint ? ` (${hint})` : ''}`;
      }),
  );
  return problems.length === 0 ? null : problems.join('\n');
}

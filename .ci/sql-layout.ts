// The part of the SQL style a machine can hold without rewriting anything: width, blanks, case of keywords.
// The formatters at hand change meaning or lose line breaks (docs/decisions.md), so nothing here formats.
import { globSync, readFileSync } from 'node:fs';

const maxColumns = 150;
// Words that are keywords wherever they stand in capitals outside strings and comments.
const capitalKeyword =
  /\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE|JOIN|CREATE|ALTER|DROP|GRANT|REVOKE|TABLE|FUNCTION|RETURNS|BEGIN|END|DECLARE|NULL|NOT|AND|OR|VALUES|INTO|RETURN|POLICY|TRIGGER|INDEX)\b/;

export function sqlLayoutProblems(): string[] {
  const files = globSync(['supabase/**/*.sql', '.ci/**/*.sql'], {
    exclude: ['supabase/schema.sql', 'supabase/migrations/*_pgboss_schema.sql'],
  });
  return files.sort().flatMap(problemsOf);
}

function problemsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const problems: string[] = [];
  text.split('\n').forEach((line, index) => {
    const at = `${file}:${index + 1}`;
    // A long literal (a regular expression) cannot be wrapped without becoming another program.
    if ([...line].length > maxColumns && !/'[^']{100,}'/.test(line))
      problems.push(`${at}: longer than ${maxColumns} characters`);
    if (/[ \t]$/.test(line)) problems.push(`${at}: blank at the end of the line`);
    if (line.includes('\t')) problems.push(`${at}: tab`);
  });
  if (!text.endsWith('\n') || text.endsWith('\n\n')) problems.push(`${file}: must end with one newline`);
  blankOut(text)
    .split('\n')
    .forEach((line, index) => {
      const found = capitalKeyword.exec(line);
      if (found) problems.push(`${file}:${index + 1}: keyword in capitals: ${found[0]}`);
      // An empty search_path finds built-in functions first, and the temporary schema never holds functions.
      if (file.includes('/migrations/') && /\bpg_catalog\.[a-z_0-9]+\(/.test(line))
        problems.push(`${file}:${index + 1}: built-in functions are bare, relations and types are qualified`);
      if (/; *(comment on|create|grant) /.test(line))
        problems.push(`${file}:${index + 1}: a statement begins a line of its own`);
    });
  return problems;
}

/** The text without comments, strings and quoted names (dollar-quoted bodies are code and stay); lines keep their number. */
function blankOut(text: string): string {
  return text.replace(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"[^"\n]*"/g, (part) => part.replace(/[^\n]/g, ' '));
}

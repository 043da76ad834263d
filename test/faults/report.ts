import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { repositoryDir } from '../../supabase/local/paths.ts';

/** Puts what a long run found into its place of docs/reliability.md; the other places stay as they are. */
export function report(place: 'everything at once' | 'webhooks', text: string): void {
  const path = join(repositoryDir, 'docs', 'reliability.md');
  const page = readFileSync(path, 'utf8');
  const between = new RegExp(`(<!-- ${place} -->\\n)[\\s\\S]*?(<!-- end -->)`);
  if (!between.test(page)) throw new Error(`docs/reliability.md has no place for ${place}`);
  const measured = `Measured ${new Date().toISOString().slice(0, 10)} on ${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}.`;
  writeFileSync(
    path,
    page.replace(between, (_, begin: string, end: string) => `${begin}\n${text}\n\n${measured}\n${end}`),
  );
}

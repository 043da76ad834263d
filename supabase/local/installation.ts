import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { newKey, newSecret } from './keys.ts';
import { Refusal } from './refusal.ts';

const secretsSchema = z.object({
  jwtSecret: z.string().min(32),
  publishableKey: z.string().startsWith('sb_publishable_'),
  secretKey: z.string().startsWith('sb_secret_'),
  passwords: z.object({
    supabase_admin: z.string(),
    postgres: z.string(),
    authenticator: z.string(),
    supabase_auth_admin: z.string(),
    // A file from before these two had a login is read too: a password is set at each start.
    supabase_storage_admin: z.string().default(() => newSecret()),
    supabase_realtime_admin: z.string().default(() => newSecret()),
    fieldtrack_worker: z.string(),
    fieldtrack_edge: z.string(),
  }),
});

export type Secrets = z.infer<typeof secretsSchema>;
export type Installation = { dataDir: string; secrets: Secrets; isNew: boolean };

const RESET = 'Run `npm start -- --reset` to begin anew; that deletes the local data.';

/** The data folder and its secrets: both are there and whole, or neither is and they are made. */
export function openInstallation(folder: string, majorVersion: number): Installation {
  const dataDir = join(folder, 'postgres');
  const secretsFile = join(folder, 'secrets.json');
  if (!existsSync(dataDir)) {
    // Secrets without data belong to nothing: a start was cut short between the two.
    return { dataDir, secrets: writeSecrets(folder, secretsFile), isNew: true };
  }
  for (const file of ['PG_VERSION', 'postgresql.conf', join('global', 'pg_control')]) {
    if (!existsSync(join(dataDir, file))) {
      throw new Refusal(`The data folder ${dataDir} is incomplete: ${file} is missing.\n${RESET}`);
    }
  }
  const version = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  if (version !== String(majorVersion)) {
    throw new Refusal(`The data folder ${dataDir} was made by PostgreSQL ${version}, not ${majorVersion}.\n${RESET}`);
  }
  return { dataDir, secrets: readSecrets(secretsFile), isNew: false };
}

export function removeInstallation(folder: string): void {
  for (const name of ['postgres', 'postgres.unfinished', 'storage', 'secrets.json', 'postgres.log', 'postgrest.log']) {
    rmSync(join(folder, name), { recursive: true, force: true });
  }
}

function readSecrets(file: string): Secrets {
  try {
    return secretsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    // Not the parser's words: they could quote the file.
    throw new Refusal(`${file} is missing or damaged, and without it the data folder cannot be opened.\n${RESET}`);
  }
}

function writeSecrets(folder: string, file: string): Secrets {
  const secrets: Secrets = {
    jwtSecret: newSecret(),
    publishableKey: newKey('publishable'),
    secretKey: newKey('secret'),
    passwords: {
      supabase_admin: newSecret(),
      postgres: newSecret(),
      authenticator: newSecret(),
      supabase_auth_admin: newSecret(),
      supabase_storage_admin: newSecret(),
      supabase_realtime_admin: newSecret(),
      fieldtrack_worker: newSecret(),
      fieldtrack_edge: newSecret(),
    },
  };
  mkdirSync(folder, { recursive: true });
  // Written aside and renamed: a cut-short start leaves no half of it.
  writeFileSync(`${file}.unfinished`, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.unfinished`, file);
  return secrets;
}

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import postgres from 'postgres';
import { npmBinary } from './binaries.ts';
import { migrationsDir } from './paths.ts';

const run = promisify(execFile);

export function migrationVersions(folder = migrationsDir): string[] {
  const files = readdirSync(folder).filter((file) => /^\d+_.*\.sql$/.test(file));
  return files.map((file) => file.slice(0, file.indexOf('_'))).sort();
}

export type MigrationState = {
  pending: string[];
  /** Applied once, but no longer in the folder: the database is another branch's, or the file was renamed. */
  foreign: string[];
};

/** What the database has seen of the folder. The CLI asks the same, but takes a second to start. */
export async function migrationState(url: string, folder = migrationsDir): Promise<MigrationState> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    const local = migrationVersions(folder);
    const [history] = await sql`select to_regclass('supabase_migrations.schema_migrations') is not null as exists`;
    if (!history?.exists) return { pending: local, foreign: [] };
    const rows = await sql<{ version: string }[]>`select version from supabase_migrations.schema_migrations`;
    const applied = new Set(rows.map((row) => row.version));
    return {
      pending: local.filter((version) => !applied.has(version)),
      foreign: [...applied].filter((version) => !local.includes(version)),
    };
  } finally {
    await sql.end();
  }
}

/** Applies what is pending with the supabase CLI, exactly as for a hosted project, as the role of the URL. */
export async function pushMigrations(url: string, folder = migrationsDir): Promise<void> {
  // A project folder of its own: beside supabase/ the CLI would keep state of a linked project, and might use it.
  const workdir = mkdtempSync(join(tmpdir(), 'fieldtrack-push-'));
  try {
    mkdirSync(join(workdir, 'supabase'));
    writeFileSync(join(workdir, 'supabase', 'config.toml'), 'project_id = "fieldtrack"\n');
    symlinkSync(folder, join(workdir, 'supabase', 'migrations'));
    const args = ['db', 'push', `--remote=${url}`, '--yes', '--skip-vault', '--agent', 'no', '--workdir', workdir];
    const env = { ...process.env, HOME: workdir, DO_NOT_TRACK: '1', SUPABASE_TELEMETRY_DISABLED: '1' };
    await run(npmBinary('supabase'), args, { env, cwd: workdir, maxBuffer: 16 * 1024 * 1024 });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    throw new Error(`The migrations could not be applied:\n${said.replaceAll(new URL(url).password, '…').trim()}`);
  } finally {
    rmSync(workdir, { recursive: true, force: true });
  }
}

import { join } from 'node:path';

export const repositoryDir = join(import.meta.dirname, '..', '..');
export const supabaseDir = join(repositoryDir, 'supabase');
export const migrationsDir = join(supabaseDir, 'migrations');

/** Everything an installation keeps between runs. The environment variable exists so that tests own their folder. */
export function localDir(env: NodeJS.ProcessEnv = process.env): string {
  return env.FIELDTRACK_LOCAL_DIR ?? join(repositoryDir, '.local');
}

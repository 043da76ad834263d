import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cluster, databaseUrl, initCluster, startCluster, superuser } from '../supabase/local/cluster.ts';
import { freePort } from '../supabase/local/free-port.ts';
import { pushMigrations } from '../supabase/local/migrations.ts';
import { applyPlatform, setPasswords } from '../supabase/local/platform.ts';

// The cluster lives for seconds on 127.0.0.1, with nothing of anybody's in it.
const password = 'checks';

export type MigratedDatabase = {
  cluster: Cluster;
  /** As the role that migrations run as: no superuser. */
  url: string;
  superuserUrl: string;
};

/**
 * A new cluster in a temporary folder whose database is as a new Supabase project's after `db push`. PostgreSQL 17 from
 * npm, or the binaries FIELDTRACK_POSTGRES_BIN names. Gone when `use` is over, however it ends.
 */
export async function withMigratedDatabase(
  use: (database: MigratedDatabase) => Promise<void>,
  options: { settings?: Record<string, string>; beforeMigrations?: (superuserUrl: string) => Promise<void> } = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fieldtrack-checks-'));
  // Root's clusters run under another account, which must be able to pass this folder.
  chmodSync(folder, 0o711);
  const dataDir = join(folder, 'data');
  try {
    await initCluster(dataDir, password);
    const port = await freePort();
    const settings = { fsync: 'off', ...options.settings };
    const cluster = await startCluster({ dataDir, port, superuserPassword: password, settings, onLine: () => {} });
    // Ctrl-C must not leave a server behind.
    const stopAndLeave = () => void cluster.part.stop().finally(() => process.exit(130));
    process.once('SIGINT', stopAndLeave).once('SIGTERM', stopAndLeave);
    try {
      const superuserUrl = databaseUrl(port, superuser, password, 'postgres');
      await applyPlatform(superuserUrl);
      await setPasswords(superuserUrl, { postgres: password });
      await options.beforeMigrations?.(superuserUrl);
      const url = databaseUrl(port, 'postgres', password, 'postgres');
      await pushMigrations(url);
      await use({ cluster, url, superuserUrl });
    } finally {
      process.off('SIGINT', stopAndLeave).off('SIGTERM', stopAndLeave);
      await cluster.part.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

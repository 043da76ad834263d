import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import type { TestProject } from 'vitest/node';
import { databaseUrl, initCluster, startCluster, superuser } from '../supabase/local/cluster.ts';
import { freePort } from '../supabase/local/free-port.ts';
import { newSecret } from '../supabase/local/keys.ts';
import { pushMigrations } from '../supabase/local/migrations.ts';
import { applyPlatform, setPasswords } from '../supabase/local/platform.ts';
import { installPgtap } from './fixtures/pgtap.ts';

/** What a test file needs to know of the run's cluster. */
export type TestCluster = { adminUrl: string; rolePassword: string; template: string; pgtapTemplate: string };

declare module 'vitest' {
  interface ProvidedContext {
    cluster: TestCluster;
  }
}

/**
 * One cluster a run: npm's PostgreSQL 17 in a temporary folder, or the one whose superuser URL is given
 * (FIELDTRACK_TEST_DATABASE_URL). Its migrated template is what every test file clones.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.FIELDTRACK_TEST_DATABASE_URL;
  const server = given ? { adminUrl: given, stop: async () => {} } : await startTestCluster();
  try {
    const cluster = await buildTemplates(server.adminUrl);
    project.provide('cluster', cluster);
    return async () => {
      if (given) await dropTemplates(cluster);
      await server.stop();
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function startTestCluster() {
  const folder = mkdtempSync(join(tmpdir(), 'fieldtrack-test-'));
  // As root, PostgreSQL runs under another account and must be able to pass this folder.
  chmodSync(folder, 0o711);
  const password = newSecret();
  const port = await freePort();
  const dataDir = join(folder, 'data');
  await initCluster(dataDir, password);
  const { part } = await startCluster({
    dataDir,
    port,
    superuserPassword: password,
    // Nothing here outlives the run, so nothing waits for the disk.
    settings: {
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      max_connections: '200',
      log_min_messages: 'panic',
    },
    onLine: () => {},
  });
  return {
    adminUrl: databaseUrl(port, superuser, password, 'postgres'),
    async stop() {
      await part.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function buildTemplates(adminUrl: string): Promise<TestCluster> {
  const suffix = newSecret(4);
  const cluster: TestCluster = {
    adminUrl,
    rolePassword: newSecret(),
    template: `ft_template_${suffix}`,
    pgtapTemplate: `ft_template_pgtap_${suffix}`,
  };
  const admin = postgres(adminUrl, { max: 1, onnotice: () => {} });
  try {
    const [self] = await admin`select current_user as name, rolsuper from pg_roles where rolname = current_user`;
    if (self?.name === 'postgres' || !self?.rolsuper) {
      throw new Error(
        'FIELDTRACK_TEST_DATABASE_URL must name a superuser other than postgres: here postgres is no superuser, as on ' +
          'Supabase. Make the cluster with `initdb --username=supabase_admin`.',
      );
    }
    await admin.unsafe(`create database ${cluster.template}`);
    const templateUrl = inDatabase(adminUrl, cluster.template);
    await applyPlatform(templateUrl);
    await setPasswords(adminUrl, { postgres: cluster.rolePassword });
    await pushMigrations(roleUrl(templateUrl, 'postgres', cluster.rolePassword));
    const logins = ['postgres', 'authenticator', 'supabase_auth_admin', 'fieldtrack_worker', 'fieldtrack_edge'];
    await setPasswords(adminUrl, Object.fromEntries(logins.map((role) => [role, cluster.rolePassword])));
    await admin.unsafe(`create database ${cluster.pgtapTemplate} template ${cluster.template} owner postgres`);
    await installPgtap(inDatabase(adminUrl, cluster.pgtapTemplate));
    for (const name of [cluster.template, cluster.pgtapTemplate]) {
      await admin.unsafe(`alter database ${name} with is_template true allow_connections false`);
    }
  } finally {
    await admin.end();
  }
  return cluster;
}

async function dropTemplates(cluster: TestCluster): Promise<void> {
  const admin = postgres(cluster.adminUrl, { max: 1, onnotice: () => {} });
  for (const name of [cluster.pgtapTemplate, cluster.template]) {
    await admin.unsafe(`alter database ${name} with is_template false`);
    await admin.unsafe(`drop database ${name} with (force)`);
  }
  await admin.end();
}

function inDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

function roleUrl(url: string, role: string, password: string): string {
  const changed = new URL(url);
  changed.username = role;
  changed.password = password;
  return changed.href;
}

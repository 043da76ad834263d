import type { TestProject } from 'vitest/node';
import { buildTemplates, dropTemplates, startThrowAwayCluster, type TestCluster } from './fixtures/cluster.ts';

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
  // Nothing here outlives the run, so nothing waits for the disk.
  const server = given
    ? { adminUrl: given, stop: async () => {} }
    : await startThrowAwayCluster({ fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' });
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

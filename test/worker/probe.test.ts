import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { eventually } from '../fixtures/organization.ts';
import { hasBlackboxExporter, startServer } from '../fixtures/prometheus.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

const folder = join(repositoryDir, 'docs', 'operations');
const { scrape_configs: jobs } = parse(readFileSync(join(folder, 'prometheus.yml'), 'utf8')) as {
  scrape_configs: { job_name: string; static_configs: { targets: string[]; labels?: { module: string } }[] }[];
};
const probes = jobs.find(({ job_name }) => job_name === 'fieldtrack-api')?.static_configs ?? [];

describe.runIf(hasBlackboxExporter)('the probe from outside, with a real blackbox exporter', () => {
  let stack: TestStack;
  let exporter: { url: string; stop: () => Promise<void> };
  beforeAll(async () => {
    stack = await startTestStack();
    exporter = await startServer({
      command: 'prometheus-blackbox-exporter',
      args: ['--config.file=blackbox.yml'],
      files: {
        'blackbox.yml': readFileSync(join(folder, 'blackbox.yml'), 'utf8').replaceAll(
          'PUBLISHABLE_KEY',
          stack.publishableKey,
        ),
      },
      healthPath: '/-/healthy',
    });
  });
  afterAll(async () => {
    await exporter?.stop();
    await stack?.stop();
  });

  /** What a scrape of the module's target yields, but on this stack. */
  async function probe(module: string): Promise<{ success: number; status: number }> {
    const target = probes.find(({ labels }) => labels?.module === module)?.targets[0] ?? '';
    const here = target.replace('https://PROJECT.supabase.co', stack.url);
    expect(here).not.toBe(target);
    const page = await fetch(`${exporter.url}/probe?module=${module}&target=${encodeURIComponent(here)}`);
    const body = await page.text();
    const value = (name: string) => Number(new RegExp(`^${name} (.+)$`, 'm').exec(body)?.[1]);
    return { success: value('probe_success'), status: value('probe_http_status_code') };
  }

  test('the data API refuses as it should, which takes the database; Auth is well', async () => {
    expect(await probe('fieldtrack_api')).toEqual({ success: 1, status: 401 });
    expect(await probe('fieldtrack_auth')).toEqual({ success: 1, status: 200 });
  });

  test('a database that lets nobody in is a 5xx, until it does again', async () => {
    // Of this database only: other tests' are in the same cluster.
    const [row] = await stack.admin<{ name: string }[]>`select quote_ident(current_database()) as name`;
    await stack.admin.unsafe(`alter database ${row?.name} connection limit 0`);
    try {
      await stack.admin`select pg_terminate_backend(pid) from pg_stat_activity
        where usename = 'authenticator' and datname = current_database()`;
      await eventually('a 5xx', async () => {
        const { success, status } = await probe('fieldtrack_api');
        return success === 0 && status >= 500;
      });
    } finally {
      await stack.admin.unsafe(`alter database ${row?.name} connection limit -1`);
    }
    await eventually('well again', async () => (await probe('fieldtrack_api')).success === 1);
  });
});

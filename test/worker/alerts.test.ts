import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../supabase/local/free-port.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { databaseFamilies } from '../../worker/metrics.ts';
import { eventually, foundOrganization } from '../fixtures/organization.ts';
import { hasPrometheus, startServer } from '../fixtures/prometheus.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { pagesOf, type RunningWorker, spawnWorker } from '../fixtures/worker.ts';

const folder = join(repositoryDir, 'docs', 'operations');
const rules = readFileSync(join(folder, 'alerts.yml'), 'utf8');
const alerts = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name ?? '');

describe('every alert', () => {
  test('fires and is cleared in a test of its own, and has a runbook', () => {
    const tests = readFileSync(join(folder, 'alerts.test.yml'), 'utf8');
    const tested = [...tests.matchAll(/^ {2}- name: (\w+)$/gm)].map(([, name]) => name);
    expect(tested.sort()).toEqual(alerts.toSorted());
    for (const name of alerts) {
      expect([...tests.matchAll(new RegExp(`ALERTS\\{alertname="${name}"`, 'g'))], name).toHaveLength(2);
    }
    const runbooks = readFileSync(join(repositoryDir, 'docs', 'operations.md'), 'utf8');
    const written = [...runbooks.matchAll(/^\*\*(\w+)\*\*/gm)].map(([, name]) => name);
    expect(written.sort()).toEqual(alerts.toSorted());
  });

  test('reads metrics that the worker has', () => {
    const ownedByTheProcess = ['database_up', 'jobs_total', 'worker_pool_connections', 'webhook_attempts_total'];
    const known = new Set([...Object.keys(databaseFamilies), ...ownedByTheProcess]);
    const used = [...rules.matchAll(/fieldtrack_(\w+)/g)].map(([, name]) => name ?? '');
    expect(used.filter((name) => !known.has(name))).toEqual([]);
  });

  test('so does the dashboard', () => {
    const dashboard = readFileSync(join(folder, 'dashboard.json'), 'utf8');
    JSON.parse(dashboard);
    const known = Object.keys(databaseFamilies);
    const process = [
      'build_info',
      'database_up',
      'jobs_total',
      'job_duration_seconds_bucket',
      'worker_pool_connections',
    ];
    const webhooks = ['webhook_attempts_total', 'webhook_attempts_in_flight'];
    const used = new Set([...dashboard.matchAll(/fieldtrack_(\w+)/g)].map(([, name]) => name ?? ''));
    expect([...used].filter((name) => ![...known, ...process, ...webhooks].includes(name))).toEqual([]);
  });

  test.runIf(hasPrometheus)('and Prometheus can parse each of its queries', () => {
    const { panels } = JSON.parse(readFileSync(join(folder, 'dashboard.json'), 'utf8')) as {
      panels: { targets?: { expr: string }[] }[];
    };
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    expect(queries.length).toBeGreaterThan(20);
    const asRules = {
      groups: [{ name: 'dashboard', rules: queries.map((expr, n) => ({ record: `query_${n}`, expr })) }],
    };
    const home = mkdtempSync(join(tmpdir(), 'ft-dashboard-'));
    // JSON is YAML too.
    writeFileSync(join(home, 'rules.yml'), JSON.stringify(asRules));
    const { status, stderr } = spawnSync('promtool', ['check', 'rules', 'rules.yml'], { cwd: home, encoding: 'utf8' });
    rmSync(home, { recursive: true });
    expect(status, stderr).toBe(0);
  });
});

describe.runIf(hasPrometheus)('against a real worker and a real Prometheus', () => {
  let stack: TestStack;
  let endpoint: Receiver;
  let worker: RunningWorker;
  let prometheus: { url: string; stop: () => Promise<void> };
  let workerPort: number;

  async function startWorker(): Promise<void> {
    worker = spawnWorker({
      DATABASE_URL: stack.database.url('fieldtrack_worker'),
      HTTP_PORT: String(workerPort),
    });
    await pagesOf(() => worker.lines.join(''));
  }

  beforeAll(async () => {
    stack = await startTestStack();
    endpoint = await startReceiver();
    workerPort = await freePort();
    await startWorker();
    prometheus = await startPrometheus(`127.0.0.1:${workerPort}`);
  });
  afterAll(async () => {
    await prometheus?.stop();
    worker?.child.kill('SIGTERM');
    await worker?.ended;
    await endpoint?.stop();
    await stack?.stop();
  });

  const firing = async (): Promise<string[]> => {
    const response = await fetch(`${prometheus.url}/api/v1/alerts`);
    const { data } = (await response.json()) as {
      data: { alerts: { state: string; labels: { alertname: string } }[] };
    };
    return data.alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname);
  };
  const fires = (name: string) => eventually(`${name} fires`, async () => (await firing()).includes(name), 20_000);
  const clears = (name: string) =>
    eventually(`${name} is cleared`, async () => !(await firing()).includes(name), 20_000);

  test('it scrapes the worker, and nothing fires while all is well', async () => {
    await eventually('the worker is scraped', async () => {
      const response = await fetch(`${prometheus.url}/api/v1/query?query=fieldtrack_build_info`);
      const { data } = (await response.json()) as { data: { result: { metric: Record<string, string> }[] } };
      return data.result[0]?.metric.job === 'fieldtrack-worker';
    });
    await eventually('quiet', async () => (await firing()).length === 0);
  });

  test('a stalled event reader, a dead job, an overdue schedule, a missing partition: each fires and is cleared', async () => {
    const { admin } = await foundOrganization(stack, 'acme');
    // A reader that stands still: the founding's events lie ten minutes back and nobody has read them.
    await stack.admin`insert into private.event_consumers (name, epoch, xact, id)
      select 'stalled-test', epoch, '0', 0 from private.event_epochs`;
    await stack.admin`update public.events set occurred_at = now() - interval '10 minutes'`;
    await stack.admin`insert into public.retry_intents (organization_id, queue, payload, reason, next_attempt_at)
      select organization_id, 'distance', '{"session_id": "00000000-0000-4000-8000-000000000000"}', 'test',
        now() + interval '1 day' from public.employees where id = ${admin.employeeId}`;
    await stack.admin`update private.schedule_states set registered_at = now() - interval '1 day', last_succeeded_at = null
      where schedule_name = 'location-retention'`;
    const [partition] = await stack.admin<{ name: string }[]>`
      select c.relname as name from pg_inherits join pg_class as c on c.oid = inhrelid
      where inhparent = 'public.gps_locations'::regclass order by 1 limit 1 offset 3`;
    await stack.admin.unsafe(`alter table gps.${partition?.name} rename to hidden`);

    await Promise.all(['EventConsumerStalled', 'DeadJobs', 'ScheduleOverdue', 'PartitionsMissing'].map(fires));

    await stack.admin`select count(*) from private.read_events('stalled-test', 1000)`;
    await stack.admin`update public.retry_intents set state = 'DISCARDED', settled_at = now(), next_attempt_at = null`;
    await stack.admin`select private.run_schedule('location-retention')`;
    await stack.admin.unsafe(`alter table gps.hidden rename to ${partition?.name}`);
    await Promise.all(['EventConsumerStalled', 'DeadJobs', 'ScheduleOverdue', 'PartitionsMissing'].map(clears));
  });

  test('a dead endpoint opens its circuit and fires; when it answers again, it is cleared', async () => {
    const { admin } = await foundOrganization(stack, 'hooked');
    await stack.admin`update private.webhook_settings set allow_localhost = true`;
    endpoint.answers.set('*', (_, response) => response.writeHead(500).end());
    const created = await admin.client.rpc('create_webhook', { url: endpoint.url, events: ['organization.updated'] });
    expect(created.error).toBeNull();
    for (const hours of [10, 11, 12, 13, 14, 15]) {
      await admin.client.rpc('update_organization', { changes: { max_session_hours: hours } });
    }
    await fires('WebhookCircuitsOpen');
    endpoint.answers.clear();
    // What waiting for the pause would bring about.
    await stack.admin`update public.webhook_circuits set paused_until = now()`;
    await stack.admin`update public.webhook_deliveries set next_attempt_at = now() where state = 'PENDING'`;
    await clears('WebhookCircuitsOpen');
  });

  test('a snapshot that something corrupted is repaired and fires; repaired, it is cleared', async () => {
    const { admin } = await foundOrganization(stack, 'drifted');
    await stack.admin`select private.run_schedule('reconcile')`;
    await stack.admin`update public.employee_metrics_snapshot set sessions = 99 where employee_id = ${admin.employeeId}`;
    await stack.admin`update public.employee_last_state set is_checked_in = true where employee_id = ${admin.employeeId}`;
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await stack.admin`select private.run_schedule('reconcile')`;
    await fires('SnapshotsDrift');
    await clears('SnapshotsDrift');
  });

  test('a worker that is killed fires, and the next one clears it; a database that does not answer too', async () => {
    worker.child.kill('SIGKILL');
    await worker.ended;
    await fires('WorkerDown');
    await startWorker();
    await clears('WorkerDown');

    await stack.admin`revoke execute on function private.metric_samples() from fieldtrack_worker`;
    await fires('DatabaseUnreachable');
    await stack.admin`grant execute on function private.metric_samples() to fieldtrack_worker`;
    await clears('DatabaseUnreachable');
  });
});

/** Prometheus with the repository's rules, but for their patience: what must last minutes, or is looked back at, is seconds. */
const startPrometheus = (target: string) =>
  startServer({
    command: 'prometheus',
    args: ['--config.file=prometheus.yml', '--storage.tsdb.path=data'],
    files: {
      'alerts.yml': rules.replaceAll(/^ +for: .*\n/gm, '').replaceAll('[15m]', '[8s]'),
      'prometheus.yml': `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: fieldtrack-worker
    static_configs: [{ targets: ['${target}'] }]
`,
    },
    healthPath: '/-/ready',
  });

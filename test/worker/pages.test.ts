import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { databaseFamilies } from '../../worker/metrics.ts';
import { addEmployee, eventually, foundOrganization, readClock, workAnHour } from '../fixtures/organization.ts';
import { hasPrometheus } from '../fixtures/prometheus.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { workerPages } from '../fixtures/worker.ts';

const metricsToken = 'a-scraper-of-metrics';
const operatorToken = 'an-operator-of-this';

let stack: TestStack;
let url: string;
beforeAll(async () => {
  stack = await startTestStack({
    worker: true,
    workerEnv: { METRICS_TOKEN: metricsToken, OPERATOR_TOKEN: operatorToken, REVISION: 'test-revision' },
  });
  url = await workerPages(stack);
  const { admin } = await foundOrganization(stack, 'acme');
  const bob = await addEmployee(stack, admin, 'bob');
  const sessionId = await workAnHour(bob);
  await eventually('DONE', async () => {
    const [row] = await stack.admin`select distance_status from public.attendance_sessions where id = ${sessionId}`;
    return row?.distance_status === 'DONE';
  });
  const anHourAhead = readClock()(-60);
  const bad = [{ recorded_at: anHourAhead, latitude: 46, longitude: 14.5 }, { recorded_at: 'never' }];
  await bob.client.rpc('record_locations', { session_id: sessionId, points: bad });
  // Refused as a whole and rolled back, and counted all the same.
  await bob.client.rpc('record_locations', { session_id: sessionId, points: bad, strict: true });
  await stack.admin`select private.enqueue('schedule', '{"name": "location-partitions"}')`;
  await eventually('a schedule ran', async () => {
    const [row] = await stack.admin`select 1 from private.schedule_runs`;
    return row !== undefined;
  });
  // The statistics of PostgreSQL reach the views when a backend has been idle for a second.
  await eventually('the statistics are there', async () => {
    const [row] = await stack.admin<{ n: number }[]>`
      select sum(n_tup_ins)::int as n from pg_stat_all_tables where schemaname = 'gps'`;
    return (row?.n ?? 0) >= 60;
  });
});
afterAll(() => stack?.stop());

const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
  fetch(`${url}${path}`, { headers, method });
const scrape = async (accept = 'text/plain') => {
  const response = await get('/metrics', { authorization: `Bearer ${metricsToken}`, accept });
  expect(response.status).toBe(200);
  return { type: response.headers.get('content-type') ?? '', body: await response.text() };
};

describe('health and readiness', () => {
  test('/health says that the process lives, /ready that it can work', async () => {
    const health = await get('/health');
    expect(health.status).toBe(200);
    expect(health.headers.get('cache-control')).toBe('no-store');
    expect(await health.json()).toMatchObject({ status: 'ok' });
    const ready = await get('/ready');
    expect(await ready.json()).toEqual({
      status: 'ready',
      checks: Object.fromEntries(
        ['worker', 'database', 'migrations', 'queues', 'schedules'].map((name) => [name, { ok: true }]),
      ),
    });
    expect(ready.status).toBe(200);
  });

  test('/ready names a migration that is behind', async () => {
    const newest = await stack.admin<{ version: string }[]>`
      select max(version) as version from supabase_migrations.schema_migrations`;
    await stack.admin`update supabase_migrations.schema_migrations set version = '20261124000001'
      where version = ${newest[0]?.version ?? ''}`;
    try {
      const ready = await get('/ready');
      expect(ready.status).toBe(503);
      const { checks } = (await ready.json()) as { checks: Record<string, { ok: boolean; detail?: string }> };
      expect(checks.migrations).toMatchObject({
        ok: false,
        detail: expect.stringContaining(`needs ${newest[0]?.version}`),
      });
      expect(checks.database).toEqual({ ok: true });
    } finally {
      await stack.admin`update supabase_migrations.schema_migrations set version = ${newest[0]?.version ?? ''}
        where version = '20261124000001'`;
    }
    expect((await get('/ready')).status).toBe(200);
  });

  test('what is no page is refused: other paths, methods, and pages of the prototype', async () => {
    expect((await get('/')).status).toBe(404);
    expect((await get('/health', {}, 'POST')).status).toBe(405);
    expect((await get('/internal/toString', { authorization: `Bearer ${operatorToken}` })).status).toBe(404);
    const head = await get('/health', {}, 'HEAD');
    expect(head.status).toBe(200);
    expect(await head.text()).toBe('');
  });
});

describe('tokens', () => {
  test('metrics and operators have a token each, and one does not open the other', async () => {
    for (const [path, wrong] of [
      ['/metrics', operatorToken],
      ['/internal/queues', metricsToken],
    ] as const) {
      expect((await get(path)).status).toBe(401);
      expect((await get(path, { authorization: 'Bearer nonsense' })).status).toBe(401);
      expect((await get(path, { authorization: `Bearer ${wrong}` })).status).toBe(401);
    }
  });

  test('operators read queues and schedules', async () => {
    const authorization = `Bearer ${operatorToken}`;
    const queues = (await (await get('/internal/queues', { authorization })).json()) as object[];
    expect(queues).toContainEqual({ queue: 'distance', state: 'failed', jobs: '0', oldest_s: null });
    const schedules = (await (await get('/internal/schedules', { authorization })).json()) as { name: string }[];
    const snapshots = await (await get('/internal/snapshots', { authorization })).json();
    expect(snapshots).toMatchObject({ reconciliations: expect.any(Array), stale_dashboards: expect.any(Number) });
    expect(schedules.find(({ name }) => name === 'location-partitions')).toMatchObject({
      runs_succeeded: expect.stringMatching(/^[1-9]/),
      last_error: null,
      is_overdue: false,
    });
  });
});

describe('metrics', () => {
  test('jobs, points and schedules are counted', async () => {
    const { type, body } = await scrape();
    expect(type).toContain('text/plain; version=0.0.4');
    expect(body).toMatch(/^fieldtrack_build_info\{revision="test-revision",node="v[^"]+"\} 1$/m);
    expect(body).toMatch(/^fieldtrack_database_up 1$/m);
    expect(body).toMatch(/^fieldtrack_jobs_total\{queue="distance",outcome="done"\} [1-9]/m);
    expect(body).toMatch(/^fieldtrack_job_duration_seconds_count\{queue="distance"\} [1-9]/m);
    expect(body).toMatch(/^fieldtrack_queue_jobs\{queue="distance",state="created"\} 0$/m);
    expect(body).toMatch(/^fieldtrack_locations_ingested_total\{partition="gps_locations_\d{4}_\d\d"\} /m);
    expect(body).toMatch(/^fieldtrack_locations_rejected_total\{reason="point_time_invalid"\} 2$/m);
    expect(body).toMatch(/^fieldtrack_locations_rejected_total\{reason="point_in_future"\} 2$/m);
    expect(body).toMatch(
      /^fieldtrack_schedule_runs_total\{outcome="succeeded",schedule="location-partitions"\} [1-9]/m,
    );
    expect(body).toMatch(/^fieldtrack_location_partitions_missing 0$/m);
    expect(body).not.toMatch(/organization_id|[0-9a-f]{8}-[0-9a-f]{4}-4/);
    const ingested = [...body.matchAll(/^fieldtrack_locations_ingested_total\{.*\} (\d+)$/gm)];
    expect(ingested.reduce((sum, [, value]) => sum + Number(value), 0)).toBe(60);
  });

  test('OpenMetrics where the scraper asks for it', async () => {
    const { type, body } = await scrape('application/openmetrics-text; version=1.0.0');
    expect(type).toContain('application/openmetrics-text; version=1.0.0');
    expect(body).toMatch(/# EOF\n$/);
    expect(body).toMatch(/^# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total /m);
    expect(body).toMatch(/^# TYPE fieldtrack_jobs counter\nfieldtrack_jobs_total/m);
  });

  test('every name that the database answers is declared, with its labels, and every declared one is answered', async () => {
    // So that every family has a sample: a consumer, and a transaction that holds the horizon.
    await stack.admin`select private.register_event_consumer('test-consumer')`;
    const rows = await stack.admin.begin(async (trx) => {
      await trx`select pg_current_xact_id()`;
      return stack.database.sql('fieldtrack_worker')<{ name: string; labels: Record<string, string> }[]>`
        select name, labels from private.metric_samples()`;
    });
    await stack.admin`delete from private.event_consumers where name = 'test-consumer'`;
    const answered = new Map(rows.map(({ name, labels }) => [name, Object.keys(labels).sort()]));
    const declared = new Map(
      Object.entries(databaseFamilies).map(([name, { labels }]) => [name, [...labels].sort() as string[]]),
    );
    expect(answered).toEqual(declared);
  });

  test('a database that is away is told, and none of its figures is invented', async () => {
    await stack.admin`revoke execute on function private.metric_samples() from fieldtrack_worker`;
    try {
      await eventually('down', async () => (await scrape()).body.includes('fieldtrack_database_up 0'), 10_000);
      const { body } = await scrape();
      expect(body).not.toMatch(/^fieldtrack_location_partitions_missing /m);
      expect(body).toMatch(/^fieldtrack_jobs_total/m);
    } finally {
      await stack.admin`grant execute on function private.metric_samples() to fieldtrack_worker`;
    }
    await eventually('up', async () => (await scrape()).body.includes('fieldtrack_database_up 1'), 10_000);
  });

  test('what the dashboard and the alerts ask for is there', async () => {
    const { body } = await scrape();
    const folder = join(repositoryDir, 'docs', 'operations');
    const asked = ['dashboard.json', 'alerts.yml'].flatMap((file) =>
      [...readFileSync(join(folder, file), 'utf8').matchAll(/\b(?:fieldtrack|process|nodejs)_\w+/g)].map(
        ([name]) => name,
      ),
    );
    const there = new Set([...body.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
    // Names of the probe's modules and of the database's own metrics are not the worker's.
    const missing = [...new Set(asked)].filter((name) => !there.has(name.replace(/_bucket$/, '')));
    expect(missing.filter((name) => !/^fieldtrack_(api|auth)$/.test(name))).toEqual([]);
  });

  test.runIf(hasPrometheus)('promtool finds nothing to complain about', async () => {
    const { body } = await scrape();
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
    // Node's own metrics come from prom-client, whose names are not ours to choose.
    const complaints = `${stdout}${stderr}`.split('\n').filter((line) => /^fieldtrack_|error/i.test(line));
    expect(complaints).toEqual([]);
    expect(status, `${stdout}${stderr}`).not.toBe(1);
  });
});

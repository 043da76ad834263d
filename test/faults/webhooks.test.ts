// Deliveries survive whatever ends in the middle of them. `npm test` plays 50 deliveries, `npm run test:faults` 1,000.

import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import postgres from 'postgres';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTemplates, startThrowAwayCluster, type ThrowAwayCluster } from '../fixtures/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { eventually } from '../fixtures/organization.ts';
import { seededRandom } from '../fixtures/random.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { type RunningWorker, spawnWorker } from '../fixtures/worker.ts';
import { report } from './report.ts';

const isLong = process.env.FIELDTRACK_FAULTS === 'long';
const scale = isLong ? { deliveries: 1000, kills: 25, crashes: 5 } : { deliveries: 50, kills: 4, crashes: 1 };

let cluster: ThrowAwayCluster;
let database: TestDatabase;
let receiver: Receiver;
let worker: RunningWorker | undefined;
let sql: postgres.Sql;

beforeAll(async () => {
  // Its own cluster: the other files' must not crash with it. What is lost in a crash without fsync is lost by the machine,
  // not by PostgreSQL, and this machine stays up.
  cluster = await startThrowAwayCluster({ fsync: 'off' });
  const templates = await buildTemplates(cluster.adminUrl);
  database = await createTestDatabase({ cluster: templates });
  receiver = await startReceiver();
  // Through a crash of the server, so with a connection a statement.
  sql = postgres(database.url('supabase_admin'), { max: 2, idle_timeout: 1, connect_timeout: 2, onnotice: () => {} });
});
afterAll(async () => {
  worker?.child.kill('SIGKILL');
  await worker?.ended;
  await sql?.end({ timeout: 1 });
  await cluster?.stop();
  await receiver?.stop();
});

async function endpoint(
  organizationId: string,
  path: string,
  maxInFlight: number,
): Promise<{ id: string; secret: string }> {
  const [row] = await sql<{ id: string; secret: string }[]>`
    with hook as (
      insert into public.webhooks (organization_id, url, events, max_in_flight)
      values (${organizationId}, ${receiver.url + path}, '{*}', ${maxInFlight})
      returning organization_id, id
    ),
    circuit as (
      insert into public.webhook_circuits (organization_id, webhook_id, last_success_at)
      select organization_id, id, now() from hook
    )
    insert into private.webhook_secrets (organization_id, webhook_id, secret)
    select organization_id, id, 'whsec_' || encode(extensions.gen_random_bytes(32), 'base64') from hook
    returning webhook_id as id, secret`;
  if (!row) throw new Error('no webhook');
  return row;
}

async function startWorker(): Promise<RunningWorker> {
  const started = spawnWorker({ DATABASE_URL: database.url('fieldtrack_worker') });
  await eventually('worker ready', async () => started.lines.join('').includes('worker ready'), 30_000);
  return started;
}

test(
  `${scale.deliveries} deliveries arrive although the worker is killed ${scale.kills} times and PostgreSQL crashes`,
  async () => {
    const random = seededRandom('webhooks under fire');
    const organizationId = randomUUID();
    await sql`update private.webhook_settings set allow_localhost = true`;
    await sql`insert into public.organizations (id, name, slug, time_zone, currency)
      values (${organizationId}, 'Acme', 'acme', 'UTC', 'EUR')`;
    const oneByOne = await endpoint(organizationId, '/one-by-one', 1);
    const several = await endpoint(organizationId, '/several', 10);
    // Slow enough that a kill meets deliveries under way, at every stage of theirs.
    receiver.answers.set('*', (_request, response) => {
      void setTimeout(random.between(2, 40)).then(() => response.writeHead(204).end());
    });

    const disruptions = [
      ...Array.from({ length: scale.kills }, () => 'kill' as const),
      ...Array.from({ length: scale.crashes }, () => 'crash' as const),
    ].sort(() => random.between(-1, 1));
    // Each event goes to both endpoints.
    const events = scale.deliveries / 2;
    const perRound = Math.ceil(events / disruptions.length);
    let emitted = 0;
    for (const disruption of disruptions) {
      worker ??= await startWorker();
      const now = Math.min(perRound, events - emitted);
      await sql`
        select private.emit_event(${organizationId}, 'session.checked_in', 'session', gen_random_uuid(), null, '{}')
        from generate_series(1, ${now})`;
      emitted += now;
      await setTimeout(random.between(20, 300));
      if (disruption === 'crash') {
        await cluster.crashAndRestart();
        continue;
      }
      worker.child.kill('SIGKILL');
      await worker.ended;
      worker = undefined;
      // What the end of the leases would bring about, without the wait.
      await sql`update private.webhook_leases set expires_at = now() where true`;
    }
    expect(emitted).toBe(events);
    worker ??= await startWorker();
    await eventually(
      'all are delivered',
      async () => {
        // What waits for another try or for a circuit does not wait here; a lease that a crash left over does.
        await sql`update public.webhook_deliveries set next_attempt_at = now()
          where state = 'PENDING' and next_attempt_at > now()`;
        await sql`update public.webhook_circuits set paused_until = null where paused_until > now()`;
        const [row] = await sql<{ waiting: number }[]>`
          select count(*)::int as waiting from public.webhook_deliveries where state <> 'DELIVERED'`;
        return row?.waiting === 0;
      },
      60_000,
    );

    const deliveries = await sql<{ id: string; webhook_id: string; attempts: number }[]>`
      select id, webhook_id, attempts from public.webhook_deliveries`;
    expect(deliveries).toHaveLength(scale.deliveries);
    const arrivals = new Map<string, number>();
    for (const { path, headers, body } of receiver.received) {
      const { secret } = path === '/several' ? several : oneByOne;
      // The receiver's clock is ours, and nothing was sent longer than five minutes ago.
      if (!isLong) expect(new Webhook(secret).verify(body, headers)).toMatchObject({ type: 'session.checked_in' });
      const id = headers['webhook-id'] ?? '';
      arrivals.set(id, (arrivals.get(id) ?? 0) + 1);
    }
    expect([...arrivals.keys()].sort()).toEqual(deliveries.map(({ id }) => id).sort());
    const doubled = (webhookId: string) =>
      deliveries
        .filter(({ webhook_id }) => webhook_id === webhookId)
        .map(({ id }) => (arrivals.get(id) ?? 0) - 1)
        .reduce((sum, extra) => sum + extra, 0);
    // At most what was under way when something ended: one, or ten.
    expect(doubled(oneByOne.id)).toBeLessThanOrEqual(disruptions.length);
    expect(doubled(several.id)).toBeLessThanOrEqual(10 * disruptions.length);
    // What arrived is what the database says, down to the last attempt.
    expect(await sql`select from private.webhook_leases`).toHaveLength(0);
    for (const { id, attempts } of deliveries) {
      expect(attempts).toBeLessThanOrEqual(arrivals.get(id) ?? 0);
      expect(attempts).toBeGreaterThanOrEqual(1);
    }
    const [log] = await sql<{ successes: number; attempts: number }[]>`
      select count(*) filter (where error is null)::int as successes, count(*)::int as attempts from public.webhook_attempts`;
    expect(log?.successes).toBe(scale.deliveries);
    expect(log?.attempts).toBe(deliveries.reduce((sum, { attempts }) => sum + attempts, 0));
    if (isLong) {
      report(
        'webhooks',
        `| deliveries | worker killed | PostgreSQL crashes | arrived | lost | came twice, one at a time | came twice, ten at a time |
|---:|---:|---:|---:|---:|---:|---:|
| ${scale.deliveries} | ${scale.kills} | ${scale.crashes} | ${arrivals.size} | ${scale.deliveries - arrivals.size} | ${doubled(oneByOne.id)} | ${doubled(several.id)} |`,
      );
    }
  },
  isLong ? 600_000 : 90_000,
);

import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type postgres from 'postgres';
import { Agent, request } from 'undici';
import { realNetwork } from '../../../worker/webhooks/connect.ts';
import { createSender, signatures } from '../../../worker/webhooks/send.ts';
import type { TestDatabase } from '../../fixtures/database.ts';
import { type RunningWorker, spawnWorker } from '../../fixtures/worker.ts';
import { median, quantile } from '../quantile.ts';
import type { Bench, Section } from '../section.ts';
import { type ReceiverProcess, startReceiverProcess } from './webhooks/receiver-process.ts';

/** With the ten that an endpoint may have under way by default, these keep one worker busy (it has 256 sockets). */
const organizations = 5;
const endpoints = 25;
const concurrency = 250;

/** How much of what the network allows is left when each delivery is claimed and recorded durably; and who delays whom. */
export const webhooks: Section = {
  name: 'webhooks',
  question: 'How fast are events delivered, and does a dead endpoint delay the others?',
  async run(bench) {
    const receiver = await startReceiverProcess();
    try {
      await throughput(bench, receiver);
      await oneDead(bench, receiver);
      await fanOut(bench);
    } finally {
      await receiver.stop();
    }
  },
};

async function throughput(bench: Bench, receiver: ReceiverProcess): Promise<void> {
  const deliveries = bench.quick ? 1000 : 10_000;
  const database = await bench.createDatabase();
  const sql = database.sql('supabase_admin');
  const each = endpoints / organizations;
  for (let number = 0; number < organizations; number += 1) {
    const organizationId = await foundOrganization(sql);
    const paths = Array.from({ length: each }, (_, index) => `/${number * each + index}`);
    await createEndpoints(sql, organizationId, receiver, paths);
    await emit(sql, organizationId, deliveries / endpoints);
  }
  const bodies = await sql<{ body: string }[]>`
    select private.webhook_body(type, occurred_at, payload) as body from public.events`;

  const texts = bodies.map(({ body }) => body);
  const worker = await startWorker(database);
  const rates = { bare: [] as number[], own: [] as number[], worker: [] as number[] };
  try {
    for (let run = 0; run <= (bench.quick ? 1 : 5); run += 1) {
      const bare = await bareLoop(receiver, texts, deliveries);
      const own = await senderLoop(receiver, texts, deliveries);
      const byWorker = await workerRun(sql, receiver, deliveries);
      // The first time round nothing is compiled yet, here or there: a worker runs for weeks.
      if (run === 0) continue;
      rates.bare.push(bare);
      rates.own.push(own);
      rates.worker.push(byWorker);
    }
  } finally {
    worker.child.kill('SIGTERM');
    await worker.ended;
  }
  bench.table(
    [`deliveries to ${endpoints} endpoints, per s`, 'bare loop', 'own sender', 'worker'],
    rates.bare.map((bare, index) => [
      `run ${index + 1} of ${deliveries}`,
      ...[bare, rates.own[index] ?? 0, rates.worker[index] ?? 0].map(Math.round),
    ]),
  );
  bench.report({ name: 'bare undici loop, same signing', value: median(rates.bare), unit: 'deliveries/s' });
  bench.report({ name: "the worker's sender in a loop, no database", value: median(rates.own), unit: 'deliveries/s' });
  bench.report({ name: 'delivered, claimed and recorded', value: median(rates.worker), unit: 'deliveries/s' });
  bench.report({
    name: 'ratio',
    // Run by run, so that whatever else the machine does befalls both.
    value: median(rates.worker.map((rate, index) => rate / (rates.bare[index] ?? Number.NaN))),
    unit: 'x',
    goal: { atLeast: 0.4 },
  });
}

/** The ceiling: the same requests with the same signatures, as many at once, and nothing written down. */
async function bareLoop(receiver: ReceiverProcess, bodies: readonly string[], deliveries: number): Promise<number> {
  const agent = new Agent({ connections: null, pipelining: 1 });
  const secrets = [`whsec_${Buffer.alloc(32, 1).toString('base64')}`];
  const rate = await atOnce(receiver, bodies, deliveries, async (path, body) => {
    const id = randomUUID();
    const timestamp = String(Math.floor(Date.now() / 1000));
    const answer = await request(receiver.url + path, {
      dispatcher: agent,
      method: 'POST',
      body,
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': signatures(id, timestamp, body, secrets),
      },
    });
    await answer.body.dump();
  });
  await agent.close();
  return rate;
}

/** The worker's own sender in such a loop: what the checks and the clock of each attempt cost, without the database. */
async function senderLoop(receiver: ReceiverProcess, bodies: readonly string[], deliveries: number): Promise<number> {
  const sender = createSender(realNetwork);
  const secrets = [`whsec_${Buffer.alloc(32, 1).toString('base64')}`];
  const rate = await atOnce(receiver, bodies, deliveries, async (path, body) => {
    const { error } = await sender.send({
      organization_id: '',
      delivery_id: randomUUID(),
      webhook_id: '',
      lease: '',
      attempt: 1,
      claimed_at_s: Math.floor(Date.now() / 1000),
      url: receiver.url + path,
      body,
      secrets,
      traceparent: null,
      allow_localhost: true,
    });
    if (error !== null) throw new Error(error);
  });
  await sender.close();
  return rate;
}

async function atOnce(
  receiver: ReceiverProcess,
  bodies: readonly string[],
  deliveries: number,
  send: (path: string, body: string) => Promise<void>,
): Promise<number> {
  receiver.reset();
  let next = 0;
  const lane = async () => {
    while (next < deliveries) {
      const turn = next;
      next += 1;
      await send(`/${turn % endpoints}`, bodies[turn % bodies.length] ?? '');
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return rateOf(receiver);
}

/** All deliveries, written anew while the webhooks are off, are due at once when they are switched on. */
async function workerRun(sql: postgres.Sql, receiver: ReceiverProcess, deliveries: number): Promise<number> {
  await sql`update public.webhooks set is_active = false where true`;
  await sql`update public.webhook_deliveries set state = 'PENDING', next_attempt_at = now(), attempts = 0 where true`;
  await sql`delete from public.webhook_attempts where true`;
  await sql`vacuum analyze public.webhook_deliveries, public.webhook_attempts`;
  await sql`checkpoint`;
  receiver.reset();
  await sql`update public.webhooks set is_active = true where true`;
  // The receiver is asked, not the database, which has enough to do.
  await until(async () => (await receiver.count()) >= deliveries);
  await until(async () => (await countWaiting(sql)) === 0);
  const count = await receiver.count();
  if (count !== deliveries) throw new Error(`${count} arrived instead of ${deliveries}`);
  return rateOf(receiver);
}

async function oneDead(bench: Bench, receiver: ReceiverProcess): Promise<void> {
  const seconds = bench.quick ? 2 : 30;
  const p95s = new Map<string, number>();
  for (const tenth of ['/alive', '/dead']) {
    const database = await bench.createDatabase();
    const sql = database.sql('supabase_admin');
    const organizationId = await foundOrganization(sql);
    const others = Array.from({ length: 9 }, (_, index) => `/${index}`);
    await createEndpoints(sql, organizationId, receiver, [...others, tenth]);
    const worker = await startWorker(database);
    receiver.reset();
    for (let tick = 0; tick < seconds * 20; tick += 1) {
      await emit(sql, organizationId, 1);
      await setTimeout(50);
    }
    await setTimeout(1000);
    const { waits } = await receiver.report();
    const those = waits.filter(({ path }) => path !== tenth).map(({ ms }) => ms);
    p95s.set(tenth, quantile(those, 0.95));
    bench.table(
      [`tenth endpoint ${tenth.slice(1)}: the other nine`, 'ms'],
      [
        ['p50', Math.round(median(those))],
        ['p95', Math.round(quantile(those, 0.95))],
        ['max', Math.round(Math.max(...those))],
        ['deliveries', those.length],
      ],
    );
    worker.child.kill('SIGKILL');
    await worker.ended;
  }
  const alive = p95s.get('/alive') ?? Number.NaN;
  const dead = p95s.get('/dead') ?? Number.NaN;
  bench.report({ name: 'event to arrival, p95, ten endpoints alive', value: alive, unit: 'ms' });
  bench.report({ name: 'the same of nine beside a dead one', value: dead, unit: 'ms' });
  bench.report({ name: 'dead beside alive', value: dead / alive, unit: 'x', goal: { atMost: 1.2 } });
}

/** What every business transaction pays. */
async function fanOut(bench: Bench): Promise<void> {
  const events = bench.quick ? 500 : 20_000;
  const database = await bench.createDatabase();
  const sql = database.sql('supabase_admin');
  const organizationId = await foundOrganization(sql);
  const cost = async (): Promise<number> => {
    const began = performance.now();
    await emit(sql, organizationId, events);
    return ((performance.now() - began) * 1000) / events;
  };
  const measured = async (): Promise<number> =>
    median([await cost(), await cost(), await cost(), await cost(), await cost()]);
  await sql`alter table public.events disable trigger _100_fan_out`;
  await cost();
  const without = await measured();
  await sql`alter table public.events enable trigger _100_fan_out`;
  const idle = await measured();
  await sql`insert into public.webhooks (organization_id, url, events)
    values (${organizationId}, 'https://hooks.example.test/', '{*}')`;
  const subscribed = await measured();
  bench.report({ name: 'an event, without the fan-out', value: without, unit: 'us' });
  bench.report({ name: 'the fan-out where there is no webhook', value: idle - without, unit: 'us' });
  bench.report({ name: 'the fan-out to one webhook', value: subscribed - without, unit: 'us' });
}

async function foundOrganization(sql: postgres.Sql): Promise<string> {
  await sql`update private.webhook_settings set allow_localhost = true where id`;
  const [row] = await sql<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency)
    values ('Acme', ${`acme-${randomUUID()}`}, 'UTC', 'EUR') returning id`;
  if (!row) throw new Error('no organization');
  return row.id;
}

async function createEndpoints(
  sql: postgres.Sql,
  organizationId: string,
  receiver: ReceiverProcess,
  paths: readonly string[],
): Promise<void> {
  await sql`
    with hook as (
      insert into public.webhooks (organization_id, url, events)
      select ${organizationId}, ${receiver.url} || path, '{*}' from unnest(${[...paths]}::text[]) as path
      returning organization_id, id
    ),
    circuit as (
      insert into public.webhook_circuits (organization_id, webhook_id, last_success_at)
      select organization_id, id, now() from hook
    )
    select private.new_webhook_secret(organization_id, id) from hook`;
}

async function emit(sql: postgres.Sql, organizationId: string, events: number): Promise<void> {
  await sql`
    select private.emit_event(${organizationId}, 'session.checked_in', 'session', gen_random_uuid(), null,
      jsonb_build_object('session_id', gen_random_uuid(), 'employee_id', gen_random_uuid(), 'checked_in_at', now(),
        'position', jsonb_build_object('latitude', 46.05, 'longitude', 14.5, 'accuracy_m', 8)))
    from generate_series(1, ${events})`;
}

async function countWaiting(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ waiting: number }[]>`
    select count(*)::int as waiting from public.webhook_deliveries where state = 'PENDING'`;
  return row?.waiting ?? 0;
}

async function startWorker(database: TestDatabase): Promise<RunningWorker> {
  const worker = spawnWorker({ DATABASE_URL: database.url('fieldtrack_worker') });
  await until(async () => worker.lines.join('').includes('worker ready'));
  return worker;
}

async function rateOf(receiver: ReceiverProcess): Promise<number> {
  const { count, firstMs, lastMs } = await receiver.report();
  return (count * 1000) / (lastMs - firstMs);
}

async function until(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await setTimeout(50);
}

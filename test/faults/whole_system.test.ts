// Everything at once: 20 clients that retry as docs/api.md tells them, while what they talk to is killed. Afterwards every
// acknowledged write is there, once. `npm test` plays each fault once; `npm run test:faults` ten times, and writes the
// table of docs/reliability.md.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../supabase/local/free-port.ts';
import type { Part } from '../../supabase/local/part.ts';
import { settle, type Worker } from '../bench/sections/ingest/field.ts';
import { buildTemplates, startThrowAwayCluster, type ThrowAwayCluster } from '../fixtures/cluster.ts';
import { startEdgeProcess } from '../fixtures/edge-process.ts';
import { canLimitFileSizes } from '../fixtures/file-size-limit.ts';
import { eventually } from '../fixtures/organization.ts';
import { seededRandom } from '../fixtures/random.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { type RunningWorker, spawnWorker } from '../fixtures/worker.ts';
import { report } from './report.ts';

const isLong = process.env.FIELDTRACK_FAULTS === 'long';
const rounds = isLong ? 10 : 1;
const RECOVERY_LIMIT_MS = 15_000;
const HOUR_MS = 3_600_000;
const DISK_REFUSES_MS = 1500;
/** As small as can be, so that tables outgrow it. */
const WAL_SEGMENT_MB = 1;

type Fault =
  | 'none'
  | 'worker killed'
  | 'PostgreSQL crashes'
  | 'backends terminated'
  | 'pool exhausted'
  | 'edge process killed'
  | 'webhook receiver fails'
  | 'disk takes no write'
  | 'tables cannot grow';

/** What a client was told is done: the fault at the time, and the key by which the row is found. */
type Acknowledged = { fault: Fault; key: string };
type Session = { id: string; beganAtMs: number };

const acknowledged = {
  'check-ins': [] as Acknowledged[],
  'check-outs': [] as Acknowledged[],
  points: [] as Acknowledged[],
  expenses: [] as Acknowledged[],
  reviews: [] as Acknowledged[],
};
const retries = new Map<Fault, number>();
const recoveriesMs = new Map<Fault, number[]>();
const closed: Session[] = [];
let fault: Fault = 'none';
let isOver = false;
/** Calls through the edge function that were acknowledged, by when they began. */
let lastEdgeCallBeganAtMs = 0;

let cluster: ThrowAwayCluster;
let stack: TestStack;
let receiver: Receiver;
let worker: RunningWorker;
let edge: Part;
let edgePort: number;
let sql: postgres.Sql;
let people: Worker[];
const tokens = new Map<string, string>();
const keys = new Map<string, string>();
const administrators = new Map<string, string>();

beforeAll(async () => {
  // Its own cluster: the other files' must not crash with it. The machine stays up, so fsync would prove nothing.
  cluster = await startThrowAwayCluster({ fsync: 'off' }, [`--wal-segsize=${WAL_SEGMENT_MB}`]);
  const templates = await buildTemplates(cluster.adminUrl);
  stack = await startTestStack({ cluster: templates });
  receiver = await startReceiver();
  // Through a crash of the server: no connection is kept for long.
  sql = postgres(stack.database.url('supabase_admin'), {
    max: 6,
    idle_timeout: 1,
    connect_timeout: 2,
    // By itself it waits longer after each failure, up to 20 s, and that would be measured as the system's recovery.
    backoff: () => 0.1,
    onnotice: () => {},
  });
  people = await settle(stack.database, 2, 11, false);
  for (const person of people) tokens.set(person.employeeId, await stack.signer.sign(JSON.parse(person.claims), '2h'));
  for (const [index, person] of people.entries()) {
    if (index % 11 !== 0) continue;
    await sql`update public.employees set app_role = 'ADMIN' where id = ${person.employeeId}`;
    const token = tokens.get(person.employeeId) ?? '';
    administrators.set(person.organizationId, token);
    const key = await call(token, 'create_api_key', {
      name: 'phones',
      scopes: ['locations:write'],
      requests_per_minute: 60_000,
    });
    keys.set(person.organizationId, String(key.key));
    await addWebhook(person.organizationId);
  }
  await sql`update private.webhook_settings set allow_localhost = true`;
  // Tables that fill few bytes of a page are soon as large as those of a year, and a disk can refuse to let them grow.
  await sql.unsafe(`do $$ declare v_table regclass; begin
    for v_table in select c.oid from pg_class as c where c.relkind = 'r' and c.relispartition
        and c.relnamespace = 'gps'::regnamespace or c.oid = 'public.events'::regclass loop
      execute format('alter table %s set (fillfactor = 10)', v_table);
    end loop;
  end $$`);
  edgePort = await freePort();
  [worker] = await Promise.all([startWorker(), startEdge()]);
}, 120_000);

afterAll(async () => {
  worker?.child.kill('SIGKILL');
  await worker?.ended;
  await edge?.stop();
  await sql?.end({ timeout: 1 });
  await stack?.stop().catch(() => {});
  await cluster?.stop();
  await receiver?.stop();
});

async function startWorker(): Promise<RunningWorker> {
  const started = spawnWorker({ DATABASE_URL: stack.database.url('fieldtrack_worker') });
  await eventually('worker ready', async () => started.lines.join('').includes('worker ready'), 30_000);
  return started;
}

async function startEdge(): Promise<void> {
  edge = await startEdgeProcess(stack, {
    name: 'api',
    port: edgePort,
    env: {
      SUPABASE_ANON_KEY: stack.publishableKey,
      SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: stack.publishableKey }),
    },
    stopSignal: 'SIGKILL',
  });
}

async function addWebhook(organizationId: string): Promise<void> {
  await sql`
    with hook as (
      insert into public.webhooks (organization_id, url, events, max_in_flight)
      values (${organizationId}, ${`${receiver.url}/${organizationId}`}, '{*}', 10)
      returning organization_id, id
    ),
    circuit as (
      insert into public.webhook_circuits (organization_id, webhook_id, last_success_at)
      select organization_id, id, now() from hook
    )
    insert into private.webhook_secrets (organization_id, webhook_id, secret)
    select organization_id, id, 'whsec_' || encode(extensions.gen_random_bytes(32), 'base64') from hook`;
}

class Refused extends Error {
  readonly code: string;
  readonly details: string;
  readonly serverTimeMs: number;
  readonly attempts: number;
  constructor(text: string, status: number, serverTimeMs: number, attempts: number) {
    super(`${status} ${text}`);
    const body = text.startsWith('{') ? JSON.parse(text) : {};
    this.code = String(body.code);
    this.details = String(body.details);
    this.serverTimeMs = serverTimeMs;
    this.attempts = attempts;
  }
}

/** As docs/api.md tells clients: the same body again after no answer, a 5xx, an answer with an empty code, conflict_retry, or (later) a 429. */
async function call(token: string, name: string, body: object, viaKey?: string): Promise<Record<string, unknown>> {
  for (let attempt = 0; ; attempt += 1) {
    let waitMs = Math.min(100 * 2 ** attempt, 1000);
    const beganAtMs = performance.now();
    try {
      const answer = await fetch(
        viaKey ? `http://127.0.0.1:${edgePort}/api/rpc/${name}` : `${stack.url}/rest/v1/rpc/${name}`,
        {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            ...(viaKey ? { 'x-api-key': viaKey } : { apikey: stack.publishableKey, authorization: `Bearer ${token}` }),
          },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(10_000),
        },
      );
      const text = await answer.text();
      if (answer.ok) {
        if (viaKey) lastEdgeCallBeganAtMs = Math.max(lastEdgeCallBeganAtMs, beganAtMs);
        return JSON.parse(text) as Record<string, unknown>;
      }
      const isRetryable = answer.status === 429 || answer.status >= 500 || /"code":"(conflict_retry)?"/.test(text);
      if (!isRetryable) {
        throw new Refused(text, answer.status, Date.parse(answer.headers.get('date') ?? ''), attempt);
      }
      if (answer.status === 429) waitMs = Number(answer.headers.get('retry-after') ?? 1) * 1000;
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    retries.set(fault, (retries.get(fault) ?? 0) + 1);
    await pause(waitMs);
  }
}

/** A person's phone, day in, day out. Its clock may be wrong. */
async function work(person: Worker, clockErrorMs: number, viaEdge: boolean): Promise<void> {
  const token = tokens.get(person.employeeId) ?? '';
  const random = seededRandom(person.employeeId);
  let offsetMs = clockErrorMs;
  let lastMs = 0;
  // Never twice the same.
  const now = (): string => {
    lastMs = Math.max(lastMs + 1, Date.now() + offsetMs);
    return new Date(lastMs).toISOString();
  };
  for (let turn = 0; !isOver; turn += 1) {
    const beganAtMs = performance.now();
    const session = await checkIn();
    const id = String(session.id);
    acknowledged['check-ins'].push({ fault, key: id });
    for (let batch = 0; batch < 3; batch += 1) {
      const points = Array.from({ length: 5 }, () => ({
        recorded_at: now(),
        latitude: 46 + random.next() / 10,
        longitude: 14 + random.next() / 10,
        accuracy_m: 5,
      }));
      const body = { points, session_id: id };
      const answer = await call(token, 'record_locations', body, viaEdge ? keys.get(person.organizationId) : undefined);
      expect(answer.rejected).toEqual([]);
      acknowledged.points.push(
        ...points.map(({ recorded_at }) => ({ fault, key: `${id} ${Date.parse(recorded_at)}` })),
      );
      await pause(random.between(10, 150));
    }
    // A claim each fourth time stays below the limit of ten a minute.
    if (turn % 4 === 0) await claim(token);
    await call(token, 'check_out', { checked_out_at: now(), client_request_id: randomUUID() });
    acknowledged['check-outs'].push({ fault, key: id });
    closed.push({ id, beganAtMs });
    await pause(random.between(10, 300));
  }

  async function checkIn(): Promise<Record<string, unknown>> {
    try {
      return await call(token, 'check_in', { checked_in_at: now(), client_request_id: randomUUID() });
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== 'time_in_future') throw error;
      // The phone runs ahead: from now on by the server's clock, which each answer's Date tells.
      offsetMs = error.serverTimeMs - Date.now();
      lastMs = 0;
      return call(token, 'check_in', { checked_in_at: now(), client_request_id: randomUUID() });
    }
  }

  async function claim(own: string): Promise<void> {
    const expense = await call(own, 'submit_expense', {
      amount: 12.5,
      description: 'Parking',
      client_request_id: randomUUID(),
    });
    const key = String(expense.id);
    acknowledged.expenses.push({ fault, key });
    const review = { expense_id: key, status: 'APPROVED' };
    await call(administrators.get(person.organizationId) ?? '', 'review_expense', review).catch((error: unknown) => {
      // Sent again after an answer that was lost: the first one did it.
      if (!(error instanceof Refused && error.code === 'expense_already_reviewed' && error.attempts > 0)) throw error;
    });
    acknowledged.reviews.push({ fault, key });
  }
}

/** A reader of the log that keeps what it saw in the transaction that moves its position. */
async function consume(name: string, isDone: () => boolean): Promise<void> {
  while (!isDone()) {
    const seen = await sql`
      insert into proof.seen (consumer, event_id)
      select ${name}, e.id from private.read_events(${name}, 100) as e returning 1`.catch(() => []);
    if (seen.length === 0) await pause(100);
  }
}

/** A fault that lasts for a while answers when it ended: recovery is measured from then, else from the stroke. */
const faults: Record<Exclude<Fault, 'none'>, () => Promise<number | undefined>> = {
  async 'worker killed'() {
    worker.child.kill('SIGKILL');
    await worker.ended;
    // What ends a job's or a delivery's lease after a minute, without the wait.
    await sql`update pgboss.job set heartbeat_on = now() - interval '5 minutes' where state = 'active'`;
    await sql`update private.webhook_leases set expires_at = now() where true`;
    worker = await startWorker();
    return undefined;
  },
  async 'PostgreSQL crashes'() {
    await cluster.crashAndRestart();
    return undefined;
  },
  async 'backends terminated'() {
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`;
    return undefined;
  },
  async 'pool exhausted'() {
    // Every connection of PostgREST waits for the lock, and so does who waits for a connection.
    await sql.begin(async (trx) => {
      await trx`lock table public.attendance_sessions in access exclusive mode`;
      await pause(2000);
    });
    return performance.now();
  },
  async 'edge process killed'() {
    await edge.stop();
    await startEdge();
    return undefined;
  },
  async 'webhook receiver fails'() {
    receiver.answers.set('*', (_request, response) => response.writeHead(503).end());
    await pause(1500);
    receiver.answers.clear();
    return performance.now();
  },
  // PostgreSQL cannot write its log, crashes, cannot recover while it lasts, and ends.
  'disk takes no write': () => cluster.refuseWrites(0, DISK_REFUSES_MS),
  // The log goes on, what needs another page of a large table fails.
  'tables cannot grow': () => cluster.refuseWrites(WAL_SEGMENT_MB * 1024 * 1024, DISK_REFUSES_MS),
};
/** Where the machine cannot do it, it is left out, and the report says so. */
const possible = (Object.keys(faults) as (keyof typeof faults)[]).filter(
  (name) => canLimitFileSizes || !['disk takes no write', 'tables cannot grow'].includes(name),
);

/** Something that began after the fault has gone the whole way: checked in and out, and the worker measured it. */
async function recovered(sinceMs: number): Promise<boolean> {
  const ids = closed.filter(({ beganAtMs }) => beganAtMs > sinceMs).map(({ id }) => id);
  if (ids.length === 0 || lastEdgeCallBeganAtMs <= sinceMs) return false;
  const done = await sql`
    select from public.attendance_sessions where id = any (${ids}::uuid[]) and distance_status = 'DONE' limit 1`.catch(
    () => [],
  );
  return done.length > 0;
}

test(
  'nothing that was acknowledged is lost or doubled, whatever dies in the middle',
  async () => {
    await sql.unsafe('create schema proof; create table proof.seen (consumer text, event_id bigint)');
    const consumers = ['proof_one', 'proof_two'];
    for (const name of consumers) await sql`select private.register_event_consumer(${name})`;
    const [start] = await sql<{ id: string }[]>`select coalesce(max(id), 0) as id from public.events`;
    let isRead = false;
    const reading = consumers.map((name) => consume(name, () => isRead));

    const clients = people
      .filter((_, index) => index % 11 !== 0)
      .map((person, index) => work(person, [0, 0, -5 * HOUR_MS, 3 * HOUR_MS][index % 4] ?? 0, index % 5 === 0));
    // One that is refused where it should not be ends the test at once.
    const working = Promise.all(clients);
    working.catch(() => {
      isOver = true;
    });
    await eventually('all work', () => recovered(0), 30_000);
    const random = seededRandom('whole system');
    for (let round = 0; round < rounds; round += 1) {
      const inOrder = [...possible].sort(() => random.between(-1, 1));
      for (const name of inOrder) {
        fault = name;
        const strokeMs = performance.now();
        const sinceMs = (await faults[name]()) ?? strokeMs;
        await Promise.race([eventually(`recovery: ${name}`, () => recovered(sinceMs), 60_000), working]);
        recoveriesMs.set(name, [...(recoveriesMs.get(name) ?? []), performance.now() - sinceMs]);
        fault = 'none';
      }
    }
    isOver = true;
    await working;

    await eventually(
      'queues and deliveries are empty',
      async () => {
        // What a circuit or a lease would wait for, without the wait.
        await sql`update public.webhook_deliveries set next_attempt_at = now() where state = 'PENDING'`;
        await sql`update public.webhook_circuits set paused_until = null where paused_until > now()`;
        await sql`update pgboss.job set heartbeat_on = now() - interval '5 minutes'
          where state = 'active' and heartbeat_on < now() - interval '20 seconds'`;
        await sql`update pgboss.job set start_after = now() where state = 'retry'`;
        const [left] = await sql<{ jobs: number; deliveries: number; sessions: number; dead: number }[]>`
          select
            (select count(*)::int from pgboss.job where state < 'completed' and name <> 'schedule'
              and name not like '\\_\\_pgboss%') as jobs,
            (select count(*)::int from public.webhook_deliveries where state <> 'DELIVERED') as deliveries,
            (select count(*)::int from public.attendance_sessions where distance_status <> 'DONE') as sessions,
            (select count(*)::int from public.retry_intents) as dead`;
        return left?.jobs === 0 && left.deliveries === 0 && left.sessions === 0 && left.dead === 0;
      },
      90_000,
    );
    const [log] = await sql<{ events: number }[]>`
      select count(*)::int as events from public.events where id > ${start?.id ?? 0}`;
    await eventually(
      'consumers are through',
      async () => {
        const rows = await sql<
          { seen: number }[]
        >`select count(distinct event_id)::int as seen from proof.seen group by consumer`;
        return rows.length === 2 && rows.every(({ seen }) => seen >= (log?.events ?? 0));
      },
      30_000,
    );
    isRead = true;
    await Promise.all(reading);

    // What the database holds, by the same keys.
    const stored: Record<keyof typeof acknowledged, string[]> = {
      'check-ins': await keysOf(sql`select id::text as key from public.attendance_sessions`),
      'check-outs': await keysOf(sql`select id::text as key from public.attendance_sessions where status = 'CLOSED'`),
      points: await keysOf(sql`
        select session_id || ' ' || (extract(epoch from recorded_at) * 1000)::bigint as key from public.gps_locations`),
      expenses: await keysOf(sql`select id::text as key from public.expenses`),
      reviews: await keysOf(sql`select id::text as key from public.expenses where status = 'APPROVED'`),
    };
    const lost = new Map<Fault, number>();
    for (const [kind, writes] of Object.entries(acknowledged) as [keyof typeof acknowledged, Acknowledged[]][]) {
      const there = new Set(stored[kind]);
      for (const write of writes) {
        if (!there.has(write.key)) lost.set(write.fault, (lost.get(write.fault) ?? 0) + 1);
      }
      // Every call ended acknowledged, so what is there beyond that was written twice.
      expect(stored[kind].length, `${kind} that nobody made`).toBe(new Set(writes.map(({ key }) => key)).size);
      expect(writes.length, `${kind}: enough of them`).toBeGreaterThan(10);
    }
    expect([...lost]).toEqual([]);

    const seen = await sql<{ consumer: string; total: number; different: number }[]>`
      select consumer, count(*)::int as total, count(distinct event_id)::int as different
      from proof.seen group by consumer order by consumer`;
    expect(seen).toEqual(consumers.map((consumer) => ({ consumer, total: log?.events, different: log?.events })));
    const [facts] = await sql<{ checked_in: number; checked_out: number; submitted: number }[]>`
      select count(*) filter (where type = 'session.checked_in')::int as checked_in,
        count(*) filter (where type = 'session.checked_out')::int as checked_out,
        count(*) filter (where type = 'expense.submitted')::int as submitted
      from public.events`;
    expect(facts).toEqual({
      checked_in: acknowledged['check-ins'].length,
      checked_out: acknowledged['check-outs'].length,
      submitted: acknowledged.expenses.length,
    });
    const deliveries = await keysOf(sql`select id::text as key from public.webhook_deliveries`);
    const arrived = new Set(receiver.received.map(({ headers }) => headers['webhook-id'] ?? ''));
    expect(deliveries.filter((id) => !arrived.has(id))).toEqual([]);
    expect(deliveries.length).toBeGreaterThan(0);

    const repaired = await stack.database.sql('service_role')`select public.reconcile_snapshot_tables() as repaired`;
    const drift = Object.values(repaired[0]?.repaired as Record<string, number>).reduce((sum, count) => sum + count, 0);
    expect(drift, JSON.stringify(repaired[0]?.repaired)).toBe(0);
    if (canLimitFileSizes) expect(retries.get('disk takes no write') ?? 0, 'the disk refused').toBeGreaterThan(0);
    for (const [name, times] of recoveriesMs) {
      expect(Math.max(...times), `recovery: ${name}`).toBeLessThan(RECOVERY_LIMIT_MS);
    }
    if (isLong) writeReport(lost, log?.events ?? 0, deliveries.length);
  },
  isLong ? 900_000 : 180_000,
);

async function keysOf(query: postgres.PendingQuery<postgres.Row[]>): Promise<string[]> {
  return (await query).map(({ key }) => String(key));
}

function writeReport(lost: ReadonlyMap<Fault, number>, events: number, deliveries: number): void {
  const all = Object.values(acknowledged).flat();
  const lines = (['none', ...possible] as Fault[]).map((name) => {
    const times = recoveriesMs.get(name) ?? [];
    const writes = all.filter((write) => write.fault === name).length;
    const slowest = times.length > 0 ? `${(Math.max(...times) / 1000).toFixed(1)} s` : '';
    return `| ${name} | ${times.length || ''} | ${writes} | ${retries.get(name) ?? 0} | ${lost.get(name) ?? 0} | ${slowest} |`;
  });
  report(
    'everything at once',
    `Twenty clients in two organizations check in, send points (a fifth of them through the edge function with an API key), claim
expenses that administrators review, and check out, without a pause. They retry as docs/api.md tells them. A quarter of the phones has a
clock that is five hours slow, a quarter one that is three hours fast. Meanwhile one part after another fails; the next fault
comes when a session that began after the last one has gone the whole way: checked in, points through the edge, checked out,
measured by the worker.

| fault | times | acknowledged writes meanwhile | calls repeated | lost | slowest recovery |
|---|---:|---:|---:|---:|---:|
${lines.join('\n')}

- Nothing was doubled: the database holds the rows that clients were told of and no other. Calls are repeated after failures, and
  after 429 where a claim came too early.
- Each of ${events} events reached each of two consumers once, though their connections died too.
- Each of ${deliveries} webhook deliveries arrived, at least once.
- The snapshots equal what the reconciliation computes from the base tables: no row differed. The queues are empty, no job is dead.

How long recovery takes is measured from the fault, for a pool that is exhausted (a lock of two seconds on the sessions), a
receiver that fails (1.5 s of 503) and a disk that refuses from its end. A supervisor is taken to start the worker and the edge process again at once, and the
lease of a dead worker's jobs (60 s) is ended by the test instead of waited for; so are the pauses before a webhook is tried again.
PostgreSQL is ended by SIGQUIT, which is a crash of the server, not of the machine: fsync is off. The disk refuses for 1.5 s, by a
limit on the size of files in PostgreSQL's running processes: all writes, so that the server cannot write its log and ends, or
those that let a table grow beyond a megabyte (${
      canLimitFileSizes ? 'prlimit' : 'left out: this machine has no prlimit'
    }).`,
  );
}

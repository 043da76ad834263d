import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { npmBinary } from '../../../supabase/local/binaries.ts';
import { freePort } from '../../../supabase/local/free-port.ts';
import { startPart } from '../../../supabase/local/part.ts';
import { repositoryDir } from '../../../supabase/local/paths.ts';
import { emit, idsInLog, type OpenStream, openEventStream } from '../../fixtures/event-stream.ts';
import { seededRandom } from '../../fixtures/random.ts';
import type { TestStack } from '../../fixtures/stack.ts';
import type { Bench, Section } from '../section.ts';

const EVENTS_PER_SECOND = 100;

type Tenant = { organizationId: string; token: string };

/** The live stream as a plain Deno process; the clients run in this process and share the machine with it and the database. */
export const stream: Section = {
  name: 'stream',
  question: 'How soon does a client hear what was committed, what does it cost, and is anything lost?',
  async run(bench) {
    const stack = await bench.startStack();
    const { url, pid, stop } = await startStreamProcess(stack);
    try {
      const tenants = await makeTenants(stack, 20);
      await measureLatency(bench, stack, url, pid, tenants);
      await measureReconnects(bench, stack, url, tenants);
    } finally {
      await stop();
    }
  },
};

async function measureLatency(bench: Bench, stack: TestStack, url: string, pid: () => number, tenants: Tenant[]) {
  const clients = bench.quick ? 100 : 500;
  const seconds = bench.quick ? 5 : 30;
  const before = residentKiB(pid());
  const streams: OpenStream[] = [];
  for (let index = 0; index < clients; index += 1) {
    const tenant = tenants[index % tenants.length];
    if (tenant) streams.push(await openEventStream(stack, { url, token: tenant.token }));
  }
  await allReady(streams);
  await pause(1000);
  const after = residentKiB(pid());

  const sentAt = new Map<number, number>();
  const latencies: number[] = [];
  for (const { messages } of streams) {
    // Each message's moment is taken as it is parsed.
    const push = messages.push.bind(messages);
    messages.push = (...more) => {
      const now = performance.now();
      for (const { data } of more) {
        const at = sentAt.get((data.data as { number?: number } | undefined)?.number ?? -1);
        if (at !== undefined) latencies.push(now - at);
      }
      return push(...more);
    };
  }
  const random = seededRandom('stream');
  const written = await writeEvents(stack, tenants, seconds, random.below, sentAt);
  await pause(2000);
  for (const one of streams) one.close();

  const expected = streams.reduce((sum, _, index) => sum + (written[index % tenants.length] ?? 0), 0);
  latencies.sort((a, b) => a - b);
  const quantile = (q: number) => latencies[Math.floor(q * (latencies.length - 1))] ?? Number.NaN;
  bench.note(`${clients} clients in ${tenants.length} organizations, ${EVENTS_PER_SECOND} events/s for ${seconds} s`);
  bench.note(`measured from before the writing statement is sent, so that the commit is in it`);
  bench.report({ name: 'write to client p50', value: quantile(0.5), unit: 'ms', goal: { atMost: 150 } });
  bench.report({ name: 'write to client p99', value: quantile(0.99), unit: 'ms', goal: { atMost: 400 } });
  bench.report({ name: 'deliveries missing', value: expected - latencies.length, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'memory per client', value: (after - before) / clients, unit: 'KiB' });
}

async function measureReconnects(bench: Bench, stack: TestStack, url: string, tenants: Tenant[]) {
  const perClient = bench.quick ? 10 : 50;
  const random = seededRandom('reconnects');
  const starts = new Map<string, string[]>();
  for (const { organizationId } of tenants) starts.set(organizationId, await idsInLog(stack, organizationId));
  let isOver = false;
  const writing = (async () => {
    while (!isOver) await writeEvents(stack, tenants, 1, random.below, new Map());
  })();
  const receivedBy = await Promise.all(
    tenants.map(async ({ organizationId, token }) => {
      const received: string[] = [];
      // The newest event is where each client begins.
      let lastEventId = starts.get(organizationId)?.at(-1) ?? '';
      for (let round = 0; round < perClient; round += 1) {
        const one = await openEventStream(stack, { url, token, lastEventId });
        await pause(random.below(500));
        one.close();
        await one.ended;
        const events = one.messages.filter(({ event }) => event === 'organization.updated');
        received.push(...events.map(({ id }) => id ?? ''));
        lastEventId = events.at(-1)?.id ?? lastEventId;
      }
      return { organizationId, token, received, lastEventId };
    }),
  );
  isOver = true;
  await writing;
  let lost = 0;
  let doubled = 0;
  let total = 0;
  for (const { organizationId, token, received, lastEventId } of receivedBy) {
    const last = await openEventStream(stack, { url, token, lastEventId });
    await allReady([last]);
    received.push(...last.messages.filter(({ event }) => event === 'organization.updated').map(({ id }) => id ?? ''));
    last.close();
    const known = new Set(starts.get(organizationId));
    const expected = (await idsInLog(stack, organizationId)).filter((id) => !known.has(id));
    const seen = new Set(received);
    total += expected.length;
    lost += expected.filter((id) => !seen.has(id)).length;
    doubled += received.length - seen.size;
  }
  bench.note(`${tenants.length * perClient} reconnects at random moments, ${total} events`);
  bench.report({ name: 'reconnects', value: tenants.length * perClient, unit: '' });
  bench.report({ name: 'events lost over them', value: lost, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'events twice over them', value: doubled, unit: '', goal: { atMost: 0 } });
}

/** Evenly, to organizations at random. Answers how many each got. */
async function writeEvents(
  stack: TestStack,
  tenants: readonly Tenant[],
  seconds: number,
  below: (bound: number) => number,
  sentAt: Map<number, number>,
): Promise<number[]> {
  const written = tenants.map(() => 0);
  const startedAt = performance.now();
  const pending: Promise<void>[] = [];
  for (let number = 0; number < seconds * EVENTS_PER_SECOND; number += 1) {
    const dueAt = startedAt + (number * 1000) / EVENTS_PER_SECOND;
    if (dueAt > performance.now()) await pause(dueAt - performance.now());
    const index = below(tenants.length);
    const tenant = tenants[index];
    if (!tenant) continue;
    written[index] = (written[index] ?? 0) + 1;
    sentAt.set(number, performance.now());
    pending.push(emit(stack, tenant.organizationId, number));
  }
  await Promise.all(pending);
  return written;
}

async function makeTenants(stack: TestStack, count: number): Promise<Tenant[]> {
  const tenants: Tenant[] = [];
  for (let index = 0; index < count; index += 1) {
    const userId = randomUUID();
    await stack.admin`insert into auth.users (id, email) values (${userId}, ${`admin-${index}@example.test`})`;
    const [organization] = await stack.admin<{ id: string }[]>`
      insert into public.organizations (name, slug, time_zone, currency) values ('Bench', ${`bench-${index}`}, 'UTC', 'EUR') returning id`;
    if (!organization) throw new Error('no organization');
    await stack.admin`
      insert into public.employees (organization_id, user_id, name, app_role)
      values (${organization.id}, ${userId}, 'Admin', 'ADMIN')`;
    const claims = { role: 'authenticated', aud: 'authenticated', sub: userId, iss: `${stack.url}/auth/v1` };
    tenants.push({ organizationId: organization.id, token: await stack.signer.sign(claims, '1h') });
  }
  return tenants;
}

/** As docs/live-stream.md says to run it. */
async function startStreamProcess(stack: TestStack) {
  const port = await freePort();
  const marker = `tcp:127.0.0.1:${port}`;
  const part = startPart({
    name: 'admin-events',
    command: npmBinary('deno'),
    args: [
      'run',
      '--no-prompt',
      '--cached-only',
      `--config=${join(repositoryDir, 'edge-functions', 'deno.json')}`,
      '--allow-env',
      '--allow-net',
      '--allow-sys',
      `--allow-read=${repositoryDir}`,
      join(repositoryDir, 'edge-functions', 'admin-events', 'index.ts'),
    ],
    env: {
      DENO_SERVE_ADDRESS: marker,
      SUPABASE_URL: stack.url,
      FIELDTRACK_JWT_SECRET: stack.jwtSecret,
      FIELDTRACK_EDGE_DATABASE_URL: stack.database.url('fieldtrack_edge'),
      FIELDTRACK_STREAM_SECONDS: '3600',
      FIELDTRACK_LOG_LEVEL: 'warn',
      DENO_NO_UPDATE_CHECK: '1',
    },
    onLine: (line) => console.log(`  admin-events: ${line}`),
  });
  const url = `http://127.0.0.1:${port}/admin-events`;
  for (let tries = 0; ; tries += 1) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) break;
    if (tries > 400) throw new Error('the stream process does not answer');
    await pause(50);
  }
  return { url, pid: () => pidWith(`DENO_SERVE_ADDRESS=${marker}`), stop: part.stop };
}

/** Of the processes with this in their environment (npm's launcher is one) the biggest: Deno itself. */
function pidWith(variable: string): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const ours = pids.filter((pid) => readOr(`/proc/${pid}/environ`, '').split('\0').includes(variable)).map(Number);
  const [biggest] = ours.sort((a, b) => residentKiB(b) - residentKiB(a));
  if (biggest === undefined) throw new Error('the stream process is not there');
  return biggest;
}

function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readOr(`/proc/${pid}/status`, ''))?.[1] ?? 0);
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

async function allReady(streams: readonly OpenStream[]): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!streams.every(({ messages }) => messages.some(({ event }) => event === 'ready'))) {
    if (performance.now() > deadline) throw new Error('not all streams became ready');
    await pause(20);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

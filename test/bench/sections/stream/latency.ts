import { performance } from 'node:perf_hooks';
import { emit, type OpenStream, openEventStream } from '../../../fixtures/event-stream.ts';
import { seededRandom } from '../../../fixtures/random.ts';
import type { TestStack } from '../../../fixtures/stack.ts';
import { median, quantile } from '../../quantile.ts';
import type { Bench } from '../../section.ts';
import type { StreamProcess } from './process.ts';
import type { Tenant } from './tenants.ts';
import { allReady, functionTimes, pause, waitUntil } from './waiting.ts';

const EVENTS_PER_SECOND = 100;

/** From the write to each client that hears it, with many clients. */
export async function measureLatency(
  bench: Bench,
  stack: TestStack,
  { url, residentKiB, cpuSeconds }: StreamProcess,
  tenants: readonly Tenant[],
): Promise<void> {
  const clients = bench.quick ? 50 : 500;
  const seconds = bench.quick ? 2 : 30;
  const before = residentKiB();
  const streams: OpenStream[] = [];
  for (let index = 0; index < clients; index += 1) {
    const tenant = tenants[index % tenants.length];
    if (tenant) streams.push(await openEventStream(stack, { url, token: tenant.token }));
  }
  await allReady(streams);
  await pause(1000);
  const after = residentKiB();

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
  const reads = await functionTimes(stack.admin, 'read_log');
  const cpuBefore = cpuSeconds();
  const written = await writeEvents(stack, tenants, seconds, seededRandom('stream').below, sentAt);
  const cpu = cpuSeconds() - cpuBefore;
  const expected = streams.reduce((sum, _, index) => sum + (written[index % tenants.length] ?? 0), 0);
  await waitUntil(() => latencies.length >= expected, 5000);
  const readsAfter = await functionTimes(stack.admin, 'read_log');
  for (const one of streams) one.close();

  bench.note(`${clients} clients in ${tenants.length} organizations, ${EVENTS_PER_SECOND} events/s for ${seconds} s`);
  bench.note('measured from before the writing statement is sent, so that the commit is in it');
  bench.report({ name: 'write to client p50', value: median(latencies), unit: 'ms', goal: { atMost: 150 } });
  bench.report({ name: 'write to client p99', value: quantile(latencies, 0.99), unit: 'ms', goal: { atMost: 400 } });
  bench.report({ name: 'deliveries missing', value: expected - latencies.length, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'memory per client', value: (after - before) / clients, unit: 'KiB' });
  bench.report({ name: 'processor, of one core', value: (cpu / seconds) * 100, unit: '%' });
  bench.report({
    name: 'database, a read of the log',
    value: (readsAfter.ms - reads.ms) / (readsAfter.calls - reads.calls),
    unit: 'ms',
  });
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

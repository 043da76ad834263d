import { startBreakingProxy } from '../../../fixtures/breaking-proxy.ts';
import { followByEventSource, idsInLog, writeOverlapping } from '../../../fixtures/event-stream.ts';
import { seededRandom } from '../../../fixtures/random.ts';
import type { TestStack } from '../../../fixtures/stack.ts';
import type { Bench } from '../../section.ts';
import type { StreamProcess } from './process.ts';
import type { Tenant } from './tenants.ts';
import { pause, waitUntil } from './waiting.ts';

const CLIENTS_AN_ORGANIZATION = 5;
const MAX_LIFE_MS = 1000;

/**
 * npm eventsource over connections that break at random moments (while it connects, while it is sent what it missed, live;
 * reset, closed, or within a message), and writers whose transactions overlap. What each client heard is compared with the log.
 */
export async function measureReconnects(
  bench: Bench,
  stack: TestStack,
  { url }: StreamProcess,
  tenants: readonly Tenant[],
): Promise<void> {
  const wanted = bench.quick ? 25 : 1000;
  const random = seededRandom('reconnects');
  const proxy = await startBreakingProxy(url, random.below);
  const known = new Map<string, Set<string>>();
  for (const { organizationId } of tenants) {
    known.set(organizationId, new Set(await idsInLog(stack, organizationId)));
  }
  const clients = await Promise.all(
    tenants.flatMap(({ organizationId, token }) =>
      Array.from({ length: CLIENTS_AN_ORGANIZATION }, async () => ({
        organizationId,
        follower: await followByEventSource(proxy.url, token, known.get(organizationId) ?? new Set()),
      })),
    ),
  );
  let isOver = false;
  const organizationIds = tenants.map(({ organizationId }) => organizationId);
  const writing = writeOverlapping(stack, organizationIds, { writers: 4, pauseMs: 50, random, isOver: () => isOver });
  proxy.breakAll(MAX_LIFE_MS);
  const reconnects = () => clients.reduce((sum, { follower }) => sum + follower.connections() - 1, 0);
  while (reconnects() < wanted) await pause(50);
  proxy.spare();
  isOver = true;
  await writing;
  const written = new Map<string, string[]>();
  for (const organizationId of organizationIds) {
    const ids = await idsInLog(stack, organizationId);
    written.set(
      organizationId,
      ids.filter((id) => !known.get(organizationId)?.has(id)),
    );
  }
  const expectedOf = (organizationId: string) => written.get(organizationId) ?? [];
  // Whoever is away now comes back after at most 3 s and reads what it missed; then time for what should not come.
  await waitUntil(
    () =>
      clients.every(({ organizationId, follower }) => follower.received.length >= expectedOf(organizationId).length),
    10_000,
  );
  await pause(500);

  let [lost, twice, disordered, total, resets] = [0, 0, 0, 0, 0];
  for (const organizationId of organizationIds) {
    const expected = expectedOf(organizationId);
    total += expected.length;
    for (const { follower } of clients.filter((client) => client.organizationId === organizationId)) {
      const heard = new Set(follower.received);
      const inOrder = expected.filter((id) => heard.has(id));
      lost += expected.length - inOrder.length;
      twice += follower.received.length - heard.size;
      disordered += [...heard].filter((id, index) => id !== inOrder[index]).length;
      resets += follower.resets();
      follower.close();
    }
  }
  const { reset, closed, 'cut short': cutShort } = proxy.broken;
  bench.note(`${clients.length} EventSources heard ${total} events in ${organizationIds.length} organizations`);
  bench.note(`connections broken: ${reset} reset, ${closed} closed, ${cutShort} within what was being sent`);
  await proxy.stop();
  bench.report({ name: 'reconnects of npm eventsource', value: reconnects(), unit: '', goal: { atLeast: wanted } });
  bench.report({ name: 'events lost over them', value: lost, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'events twice over them', value: twice, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'events out of order or reset', value: disordered + resets, unit: '', goal: { atMost: 0 } });
}

import { performance } from 'node:perf_hooks';
import postgres from 'postgres';
import { type OpenStream, openEventStream } from '../../../fixtures/event-stream.ts';
import { seededRandom } from '../../../fixtures/random.ts';
import type { TestStack } from '../../../fixtures/stack.ts';
import { median, quantile } from '../../quantile.ts';
import type { Bench } from '../../section.ts';
import { settle, takePoints, type Worker } from '../ingest/field.ts';
import type { StreamProcess } from './process.ts';
import { addAdministrator } from './tenants.ts';
import { allReady, functionTimes, pause, waitUntil } from './waiting.ts';

const ORGANIZATIONS = 20;
const CLIENTS = 50;
const CALLS_PER_SECOND = 100;

/** From record_locations to the maps that show it, with a thousand people who move. */
export async function measurePositions(
  bench: Bench,
  stack: TestStack,
  { url, cpuSeconds }: StreamProcess,
): Promise<void> {
  const seconds = bench.quick ? 2 : 30;
  // Of each organization.
  const people = bench.quick ? 10 : 50;
  const workers = await settle(stack.database, ORGANIZATIONS, people, true);
  const organizationIds = [...new Set(workers.map(({ organizationId }) => organizationId))];
  const phones = postgres(stack.database.url('authenticator'), {
    max: 4,
    onnotice: () => {},
    connection: { role: 'authenticated' },
  });
  /** When a point was sent, by person and its time. */
  const sentAt = new Map<string, number>();
  const report = async (worker: Worker) => {
    const [point] = takePoints(worker, 1);
    if (!point) throw new Error('no point');
    const recordedAt = Date.parse(point.recorded_at);
    sentAt.set(`${worker.employeeId} ${recordedAt}`, performance.now());
    await phones`
      select public.record_locations(${JSON.stringify([point])}::text::jsonb)
      from (select set_config('request.jwt.claims', ${worker.claims}, true) as claims) as c where c.claims <> ''`;
    return recordedAt;
  };
  await Promise.all(workers.map(report));
  await stack.admin.unsafe('analyze');

  const streams: OpenStream[] = [];
  /** What each client's map shows: when the point was recorded, of each person. */
  const maps = Array.from({ length: CLIENTS }, () => new Map<string, number>());
  const latencies: number[] = [];
  let messages = 0;
  const organizationOf = (client: number) => organizationIds[client % organizationIds.length] ?? '';
  for (const [index, map] of maps.entries()) {
    const token = await addAdministrator(stack, organizationOf(index));
    const stream = await openEventStream(stack, { url, token, query: '?locations=1' });
    const push = stream.messages.push.bind(stream.messages);
    stream.messages.push = (...more) => {
      const now = performance.now();
      for (const { event, data } of more) {
        if (event !== 'location') continue;
        const [person, at] = [String(data.employee_id), Date.parse(String(data.recorded_at))];
        messages += 1;
        map.set(person, at);
        const sent = sentAt.get(`${person} ${at}`);
        if (sent !== undefined) latencies.push(now - sent);
      }
      return push(...more);
    };
    streams.push(stream);
  }
  await allReady(streams);
  await pause(2500);

  const random = seededRandom('positions');
  const newest = new Map<string, number>();
  const [reads, cpuBefore] = [await functionTimes(stack.admin, 'read_positions_at_work'), cpuSeconds()];
  messages = 0;
  latencies.length = 0;
  const startedAt = performance.now();
  const pending: Promise<void>[] = [];
  for (let call = 0; call < seconds * CALLS_PER_SECOND; call += 1) {
    const dueAt = startedAt + (call * 1000) / CALLS_PER_SECOND;
    if (dueAt > performance.now()) await pause(dueAt - performance.now());
    const worker = workers[random.below(workers.length)];
    if (!worker) continue;
    pending.push(
      report(worker).then((recordedAt) => {
        newest.set(worker.employeeId, Math.max(recordedAt, newest.get(worker.employeeId) ?? 0));
      }),
    );
  }
  await Promise.all(pending);
  const cpu = cpuSeconds() - cpuBefore;
  const isShown = (client: number, { organizationId, employeeId }: Worker) =>
    organizationId !== organizationOf(client) ||
    !newest.has(employeeId) ||
    maps[client]?.get(employeeId) === newest.get(employeeId);
  await waitUntil(() => maps.every((_, client) => workers.every((worker) => isShown(client, worker))), 5000);
  const readsAfter = await functionTimes(stack.admin, 'read_positions_at_work');
  for (const stream of streams) stream.close();
  await phones.end();

  const stale = maps.reduce((sum, _, client) => sum + workers.filter((worker) => !isShown(client, worker)).length, 0);
  bench.note(
    `${workers.length} people at work in ${ORGANIZATIONS} organizations report ${CALLS_PER_SECOND} points a second, ${CLIENTS} clients`,
  );
  bench.note('the stream reads positions once a second and sends the newest of each person');
  bench.report({ name: 'positions: report to client p50', value: median(latencies), unit: 'ms' });
  bench.report({ name: 'positions: report to client p99', value: quantile(latencies, 0.99), unit: 'ms' });
  bench.report({ name: 'positions: wrong on a map at the end', value: stale, unit: '', goal: { atMost: 0 } });
  bench.report({ name: 'positions: messages sent', value: messages / seconds, unit: '1/s' });
  bench.report({ name: 'positions: processor, of one core', value: (cpu / seconds) * 100, unit: '%' });
  bench.report({
    name: `positions: database, a read of ${workers.length.toLocaleString('en')} people`,
    value: (readsAfter.ms - reads.ms) / (readsAfter.calls - reads.calls),
    unit: 'ms',
  });
}

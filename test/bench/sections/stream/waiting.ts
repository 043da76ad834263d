import { performance } from 'node:perf_hooks';
import type { Sql } from 'postgres';
import type { OpenStream } from '../../../fixtures/event-stream.ts';

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export async function allReady(streams: readonly OpenStream[]): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!streams.every(({ messages }) => messages.some(({ event }) => event === 'ready'))) {
    if (performance.now() > deadline) throw new Error('not all streams became ready');
    await pause(20);
  }
}

/** Until it holds, but no longer than the time for it; what is missing then is for the caller to find. */
export async function waitUntil(holds: () => boolean, atMostMs: number): Promise<void> {
  const deadline = performance.now() + atMostMs;
  while (!holds() && performance.now() < deadline) await pause(20);
}

/** What functions of the database took since the database was made: calls and milliseconds. Wants track_functions. */
export async function functionTimes(sql: Sql, name: string): Promise<{ calls: number; ms: number }> {
  const [row] = await sql<{ calls: string; ms: number }[]>`
    select coalesce(sum(calls), 0) as calls, coalesce(sum(total_time), 0)::float8 as ms
    from pg_stat_user_functions where schemaname = 'private' and funcname = ${name}`;
  return { calls: Number(row?.calls), ms: Number(row?.ms) };
}

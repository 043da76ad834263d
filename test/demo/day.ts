// A working day through the public API only, as an app, an administrator and a stranger would see it.

import { randomUUID } from 'node:crypto';
import { recordedBatch, type SessionRoute, sessionRoute } from '../../types/answers.ts';
import { seededRandom } from '../fixtures/random.ts';
import { type Fix, shuffled } from '../fixtures/tracks.ts';
import { addMember, answer, type Client, found, type Stack } from './actors.ts';

export interface Day {
  route: SessionRoute;
  sent: { batches: number; points: number; inserted: number; duplicates: number; rejected: number };
  strangerSees: { sessions: number; points: number; routeError: string };
}

const batchSize = 50;
/** One second of queue polling and a computation of milliseconds; ten times that before we say that the worker is not there. */
const distanceTimeoutMs = 20_000;

export async function playDay(
  stack: Stack,
  fixes: readonly Fix[],
  say: (line: string) => void = () => {},
): Promise<Day> {
  const { admin, organization } = await found(stack, 'Ada Admin');
  say(`Ada founds ${organization.name}.`);
  const { client: employee } = await addMember(stack, admin, 'Eva Employee');
  say('She invites Eva, who accepts.');

  // The day ended ten minutes ago; the phone reports times, not the server's clock.
  const last = fixes.at(-1);
  if (last === undefined) throw new Error('A day without points cannot be played.');
  const start = Date.now() - 600_000 - last.seconds * 1000;
  const at = (seconds: number) => new Date(start + seconds * 1000).toISOString();

  const session = await answer(employee.rpc('check_in', { checked_in_at: at(-60), client_request_id: randomUUID() }));
  say(`Eva checks in at ${session.checked_in_at}.`);

  const points = fixes.map(({ seconds, ...fix }) => ({ recorded_at: at(seconds), ...fix }));
  const batches: (typeof points)[] = [];
  for (let from = 0; from < points.length; from += batchSize) batches.push(points.slice(from, from + batchSize));

  // What phones do: the last batch waits for a signal until after the check-out, every fourth is sent twice, every third
  // comes in disorder, and the second and third trade places.
  const random = seededRandom('demo');
  const late = batches.length > 1 ? batches.splice(-1) : [];
  const [second, third] = [batches[1], batches[2]];
  if (second !== undefined && third !== undefined) batches.splice(1, 2, third, second);
  const sent = { batches: 0, points: 0, inserted: 0, duplicates: 0, rejected: 0 };
  const send = async (batch: typeof points) => {
    const reply = recordedBatch.parse(
      await answer(employee.rpc('record_locations', { session_id: session.id, points: batch })),
    );
    sent.batches += 1;
    sent.points += reply.received;
    sent.inserted += reply.inserted;
    sent.duplicates += reply.duplicates;
    sent.rejected += reply.rejected.length;
  };
  for (const [index, batch] of batches.entries()) {
    await send(index % 3 === 2 ? shuffled(batch, random) : batch);
    if (index % 4 === 3) await send(batch);
  }
  await answer(employee.rpc('check_out', { checked_out_at: at(last.seconds + 60), client_request_id: randomUUID() }));
  say(`Her phone sends ${sent.batches} batches, some twice, some in disorder; she checks out.`);
  for (const batch of late) await send(batch);
  if (late.length > 0) say('One batch arrives after the check-out.');
  say(
    `${sent.points} points received: ${sent.inserted} new, ${sent.duplicates} duplicates, ${sent.rejected} rejected.`,
  );

  const route = await readRoute(admin, session.id);
  const { admin: stranger } = await found(stack, 'Mallory', 'UTC');
  const sessions = await answer(stranger.from('attendance_sessions').select('id'));
  const strangerPoints = await answer(
    stranger.from('gps_locations').select('recorded_at').eq('session_id', session.id),
  );
  const refused = await stranger.rpc('get_session_route', { session_id: session.id });
  return {
    route,
    sent,
    strangerSees: {
      sessions: sessions.length,
      points: strangerPoints.length,
      routeError: refused.error?.code ?? 'none',
    },
  };
}

async function readRoute(admin: Client, sessionId: string): Promise<SessionRoute> {
  const deadline = Date.now() + distanceTimeoutMs;
  for (;;) {
    const route = sessionRoute.parse(await answer(admin.rpc('get_session_route', { session_id: sessionId })));
    if (route.distance_status === 'DONE') return route;
    if (Date.now() > deadline) {
      throw new Error(
        `The distance is still ${route.distance_status} after ${distanceTimeoutMs / 1000} s: is the worker running?`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

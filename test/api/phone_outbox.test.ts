import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type Act,
  createOutbox,
  type Entry,
  type OutboxOptions,
  type Point,
  type Store,
} from '../../docs/examples/outbox.ts';
import { startBreakingProxy } from '../fixtures/breaking-proxy.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { seededRandom } from '../fixtures/random.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
let people = 0;
let bob: Member;
beforeAll(async () => {
  stack = await startTestStack({ worker: true });
  ({ admin } = await foundOrganization(stack, 'acme'));
});
beforeEach(async () => {
  people += 1;
  bob = await addEmployee(stack, admin, `bob${people}`);
});
afterAll(() => stack?.stop());

/** The phone's disk: it outlives the app. */
function disk(): Store & { entries: Entry[] } {
  let next = 0;
  let session: string | null = null;
  const entries: Entry[] = [];
  return {
    entries,
    async add(act: Act) {
      next += 1;
      entries.push({ ...act, key: next });
    },
    first: async (count) => entries.slice(0, count),
    sessionId: async () => session,
    async remove(keys, sessionId) {
      if (sessionId !== undefined) session = sessionId;
      for (const key of keys)
        entries.splice(
          entries.findIndex((entry) => entry.key === key),
          1,
        );
    },
  };
}

function outboxOf(store: Store, refused: string[], options: Partial<OutboxOptions> = {}) {
  return createOutbox({
    url: stack.url,
    publishableKey: stack.publishableKey,
    store,
    accessToken: async () => bob.accessToken,
    refresh: async () => false,
    onRefused: (entry, { code }) => refused.push(`${entry.kind === 'call' ? entry.name : 'point'} ${code}`),
    ...options,
  });
}

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
const pointAt = (seconds: number): Point => ({
  recorded_at: ago(seconds),
  latitude: 46 + (20_000 - seconds) * 1e-5,
  longitude: 14.5,
  accuracy_m: 5,
});

async function sessionsOf(member: Member) {
  const { data } = await admin.client
    .from('attendance_sessions')
    .select('id, status, gps_locations(count)')
    .eq('employee_id', member.employeeId);
  return data ?? [];
}

describe('the outbox of docs/phone-app.md', () => {
  test('a day on a network that breaks, in an app that is killed: nothing lost, nothing twice', async () => {
    const random = seededRandom('outbox');
    const proxy = await startBreakingProxy(stack.url, random.below);
    const store = disk();
    const refused: string[] = [];
    const attempts = { calls: 0, runs: 0 };
    try {
      const written = outboxOf(store, refused);
      await written.checkIn(ago(20_010));
      for (let seconds = 20_000; seconds > 2000; seconds -= 6) await written.point(pointAt(seconds));
      await written.checkOut(ago(1900));
      await written.claim({ amount: 12.5, description: 'Parking', category: 'TRAVEL' });
      const sent = store.entries.length;
      expect(sent).toBe(3003);

      proxy.breakAll(60);
      for (let state = ''; state !== 'empty'; attempts.runs += 1) {
        // A new app on the old disk each time, and a signal that comes back now and then.
        if (attempts.runs === 60) proxy.spare();
        const app = outboxOf(store, refused, {
          url: proxy.url,
          accessToken: async () => {
            attempts.calls += 1;
            return bob.accessToken;
          },
        });
        ({ state } = await app.flush());
      }
    } finally {
      await proxy.stop();
    }
    expect(refused).toEqual([]);
    expect(store.entries).toEqual([]);
    expect(proxy.broken.reset + proxy.broken.closed + proxy.broken['cut short']).toBeGreaterThan(5);
    expect(attempts.calls).toBeGreaterThan(33);
    expect(await sessionsOf(bob)).toEqual([
      { id: expect.any(String), status: 'CLOSED', gps_locations: [{ count: 3000 }] },
    ]);
    const { count } = await admin.client
      .from('expenses')
      .select('*', { count: 'exact', head: true })
      .eq('employee_id', bob.employeeId);
    expect(count).toBe(1);
  });

  test('what is refused for good is told and stands in nobody’s way', async () => {
    const store = disk();
    const refused: string[] = [];
    const outbox = outboxOf(store, refused);
    await outbox.checkOut(ago(300));
    await outbox.checkIn(ago(200));
    await outbox.point({ ...pointAt(100), latitude: 91 });
    await outbox.point(pointAt(100));
    await outbox.claim({ amount: -1, description: 'Parking' });
    expect(await outbox.flush()).toEqual({ state: 'empty' });
    expect(refused).toEqual([
      'check_out no_open_session',
      'point point_position_invalid',
      'submit_expense invalid_argument',
    ]);
    expect(await sessionsOf(bob)).toMatchObject([{ status: 'ACTIVE', gps_locations: [{ count: 1 }] }]);
  });

  test('a session that was closed meanwhile still takes the points of it', async () => {
    const store = disk();
    const refused: string[] = [];
    const outbox = outboxOf(store, refused);
    await outbox.checkIn(ago(600));
    expect(await outbox.flush()).toEqual({ state: 'empty' });
    for (const seconds of [500, 400, 300]) await outbox.point(pointAt(seconds));
    await outbox.checkOut(ago(250));
    const { error } = await admin.client.rpc('force_check_out', { employee_id: bob.employeeId, reason: 'No signal' });
    expect(error).toBeNull();
    expect(await outbox.flush()).toEqual({ state: 'empty' });
    expect(store.entries).toEqual([]);
    expect(await sessionsOf(bob)).toMatchObject([{ status: 'CLOSED', gps_locations: [{ count: 3 }] }]);
  });

  test('a check-in beside an open session is told, and its points go there', async () => {
    const store = disk();
    const refused: string[] = [];
    const other = outboxOf(disk(), refused);
    await other.checkIn(ago(600));
    await other.flush();
    const outbox = outboxOf(store, refused);
    await outbox.checkIn();
    await outbox.point(pointAt(0));
    expect(await outbox.flush()).toEqual({ state: 'empty' });
    expect(refused).toEqual(['check_in session_already_open']);
    expect(await sessionsOf(bob)).toMatchObject([{ status: 'ACTIVE', gps_locations: [{ count: 1 }] }]);
  });

  test('a token that is over is refreshed once, whatever its code; without a new one everything waits', async () => {
    const store = disk();
    const refused: string[] = [];
    const expired = await stack.signer.sign({ role: 'authenticated', sub: bob.userId }, '-1h');
    let token = expired;
    const outbox = outboxOf(store, refused, {
      accessToken: async () => token,
      refresh: async () => {
        token = bob.accessToken;
        return true;
      },
    });
    await outbox.checkIn(ago(60));
    const lost = outboxOf(store, refused, { accessToken: async () => expired });
    expect(await lost.flush()).toEqual({ state: 'sign_in' });
    expect(store.entries).toHaveLength(1);
    expect(await outbox.flush()).toEqual({ state: 'empty' });
    expect(refused).toEqual([]);
    expect(await sessionsOf(bob)).toHaveLength(1);
  });

  test('calls that come too fast wait as long as the server says', async () => {
    const store = disk();
    const outbox = outboxOf(store, []);
    for (let i = 0; i < 15; i += 1) await outbox.claim({ amount: 1, description: `Parking ${i}` });
    const flushed = await outbox.flush();
    expect(flushed).toMatchObject({ state: 'later', afterMs: expect.any(Number) });
    expect(store.entries.length).toBeGreaterThan(0);
    expect(store.entries.length).toBeLessThan(15);
  });
});

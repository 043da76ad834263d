import { createClient, type RealtimeChannel } from '@supabase/supabase-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startBreakingProxy } from '../fixtures/breaking-proxy.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

type Heard = { event: string; id: string; type: string };

let stack: TestStack;
let organizationId: string;
let alice: Member;
let bob: Member;
let mallory: Member;
let other: string;
const opened: RealtimeChannel[] = [];

beforeAll(async () => {
  stack = await startTestStack();
  ({ organizationId, admin: alice } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, alice, 'bob');
  ({ organizationId: other, admin: mallory } = await foundOrganization(stack, 'other'));
});
afterEach(async () => {
  for (const channel of opened.splice(0)) await channel.unsubscribe();
});
afterAll(() => stack?.stop());

type Subscription = { channel: RealtimeChannel; heard: Heard[]; states: string[]; reasons: string[] };

/** What docs/live-stream.md shows, with everything that the callbacks are told. */
function subscribe(client: Member['client'], topic = `org:${organizationId}`, config = {}): Subscription {
  const channel = client.channel(topic, { config: { private: true, ...config } });
  const subscription: Subscription = { channel, heard: [], states: [], reasons: [] };
  channel
    .on('broadcast', { event: '*' }, ({ event, payload }) => {
      subscription.heard.push({ event, ...(payload as Omit<Heard, 'event'>) });
    })
    .on('system', {}, ({ message }: { message?: string }) => {
      if (message) subscription.reasons.push(message);
    })
    .subscribe((state, error) => {
      subscription.states.push(state);
      if (error) subscription.reasons.push(error.message);
    });
  opened.push(channel);
  return subscription;
}

const isSubscribed = (subscription: Subscription) =>
  expect.poll(() => subscription.states, { timeout: 10_000 }).toContain('SUBSCRIBED');

/** Straight into the table, as submit_expense writes it: the API counts what a person claims in a minute. */
async function claim(person: Member, organization = organizationId): Promise<void> {
  await stack.admin`
    insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
    values (${organization}, ${person.employeeId}, current_date, 1, 'EUR', 'Parking', gen_random_uuid())`;
}

/** The log as an administrator reads it, from a position on. */
async function log(organization: string) {
  return stack.admin<{ id: string; type: string }[]>`
    select format('%s.%s.%s', epoch, xact, id) as id, type from public.events
    where organization_id = ${organization} order by epoch, xact, id`;
}

describe('an administrator', () => {
  test('hears all events of the own organization, in the order of the log, within 300 ms of the commit', async () => {
    const subscription = subscribe(alice.client);
    await isSubscribed(subscription);
    const before = (await log(organizationId)).length;
    const late: number[] = [];
    await bob.client.rpc('check_in', {
      checked_in_at: new Date().toISOString(),
      client_request_id: crypto.randomUUID(),
    });
    for (let n = 0; n < 20; n += 1) {
      const count = subscription.heard.length;
      await claim(bob);
      const committed = performance.now();
      await expect.poll(() => subscription.heard.length, { interval: 5, timeout: 5000 }).toBeGreaterThan(count);
      late.push(performance.now() - committed);
    }
    await claim(mallory, other);
    await bob.client.rpc('check_out', {
      checked_out_at: new Date().toISOString(),
      client_request_id: crypto.randomUUID(),
    });
    const happened = (await log(organizationId)).slice(before);
    await expect.poll(() => subscription.heard.length).toBe(happened.length);
    expect(subscription.heard.map(({ id, type }) => ({ id, type }))).toEqual(
      happened.map(({ id, type }) => ({ id, type })),
    );
    expect(subscription.heard.map(({ event }) => event)).toEqual(happened.map(({ type }) => type));
    expect(new Set(happened.map(({ type }) => type))).toContain('session.checked_in');
    late.sort((a, b) => a - b);
    expect(late[10]).toBeLessThan(300);
  });

  test('hears what was committed right after SUBSCRIBED, and again after leaving and joining', async () => {
    for (let n = 0; n < 3; n += 1) {
      const subscription = subscribe(alice.client);
      await isSubscribed(subscription);
      await claim(bob);
      await expect.poll(() => subscription.heard.map(({ event }) => event)).toEqual(['expense.submitted']);
      expect(await alice.client.removeChannel(subscription.channel)).toBe('ok');
      await expect.poll(() => subscription.states).toContain('CLOSED');
    }
  });

  test('hears an event that commits late, before those that began after it: none is passed over', async () => {
    const subscription = subscribe(alice.client);
    await isSubscribed(subscription);
    const insert = (sql: typeof stack.admin, amount: number) => sql`
      insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
      values (${organizationId}, ${bob.employeeId}, current_date, ${amount}, 'EUR', 'Overlapping', gen_random_uuid())
      returning id`;
    let early = '';
    let late = '';
    await stack.admin.begin(async (tx) => {
      // Its transaction begins first, and commits last. The daily figures are somebody else's: another person, no waiting.
      early = (await tx`select pg_current_xact_id()::text as id`)[0]?.id;
      await stack.admin.begin(async (other) => {
        late = (await other`select pg_current_xact_id()::text as id`)[0]?.id;
        await insert(other as unknown as typeof stack.admin, 2);
      });
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(subscription.heard).toEqual([]);
      await tx`insert into public.expenses
        (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
        values (${organizationId}, ${alice.employeeId}, current_date, 1, 'EUR', 'Overlapping', gen_random_uuid())`;
    });
    await expect.poll(() => subscription.heard.map(({ id }) => id.split('.')[1])).toEqual([early, late]);
  });

  test('with protocol 1.0.0 too', async () => {
    const client = createClient(stack.url, stack.publishableKey, {
      auth: { persistSession: false, autoRefreshToken: false },
      realtime: { vsn: '1.0.0' },
    });
    await client.auth.signInWithPassword({ email: alice.email, password: alice.password });
    const subscription = subscribe(client as unknown as Member['client']);
    await isSubscribed(subscription);
    await claim(bob);
    await expect.poll(() => subscription.heard.map(({ event }) => event)).toEqual(['expense.submitted']);
  });
});

describe('refusals reach the callback in words', () => {
  const refused = async (subscription: Subscription, reason: RegExp) => {
    await expect.poll(() => subscription.reasons.join('\n'), { timeout: 10_000 }).toMatch(reason);
    expect(subscription.states[0]).toBe('CHANNEL_ERROR');
    expect(subscription.heard).toEqual([]);
  };

  test("an employee, another organization's administrator and nobody at all", async () => {
    const reason = /You do not have permissions to read from this Channel topic: org:/;
    await refused(subscribe(bob.client), reason);
    await refused(subscribe(mallory.client), reason);
    await refused(subscribe(stack.anon()), reason);
    await refused(subscribe(alice.client, 'org:nothing'), reason);
  });

  test('postgres_changes, presence and replay', async () => {
    const client = alice.client;
    const changes = client
      .channel('changes', { config: { private: true } })
      .on('postgres_changes', { event: '*', schema: 'public', table: 'expenses' }, () => {});
    opened.push(changes);
    const reason = await new Promise<string>((resolve) => {
      changes.subscribe((_, error) => error && resolve(error.message));
    });
    expect(reason).toMatch(/no table is in the publication supabase_realtime/);
    await refused(subscribe(client, 'p', { presence: { enabled: true, key: 'alice' } }), /Presence/);
    await refused(subscribe(client, 'r', { broadcast: { replay: { since: 0 } } }), /Read the table events/);
  });

  test("a client's own broadcast and presence: nobody hears them", async () => {
    const listening = subscribe(alice.client);
    await isSubscribed(listening);
    const sent = await listening.channel.send({ type: 'broadcast', event: 'x', payload: { n: 1 } });
    expect(['ok', 'error']).toContain(sent);
    await expect.poll(() => listening.reasons.join()).toMatch(/Clients send no broadcasts/);
    expect(await listening.channel.track({ here: true })).toBe('error');
    await expect(listening.channel.httpSend('x', { n: 1 })).rejects.toThrow(/Clients send no broadcasts/);
    expect(listening.heard).toEqual([]);
  });

  test('who leaves out `private` may listen to the name, and hears nothing of what is private', async () => {
    const listening = [
      subscribe(stack.anon(), undefined, { private: false }),
      subscribe(bob.client, undefined, { private: false }),
    ];
    const admin = subscribe(alice.client);
    for (const subscription of [...listening, admin]) await isSubscribed(subscription);
    await claim(bob);
    await expect.poll(() => admin.heard.length).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(listening.map(({ heard }) => heard)).toEqual([[], []]);
  });

  test('a WebSocket without a key is not opened', async () => {
    for (const query of ['', '?apikey=sb_publishable_unknown']) {
      const socket = new WebSocket(`${stack.url.replace('http', 'ws')}/realtime/v1/websocket${query}`);
      await new Promise<void>((resolve) => socket.addEventListener('error', () => resolve()));
    }
  });
});

describe('rights that end', () => {
  const renewed = async (person: Member) => {
    const { error } = await person.client.auth.refreshSession();
    return error;
  };

  test('a demoted administrator hears nothing after the renewal of the token', async () => {
    const carol = await addEmployee(stack, alice, 'carol', 'ADMIN');
    const subscription = subscribe(carol.client);
    await isSubscribed(subscription);
    await alice.client.rpc('update_employee', { employee_id: carol.employeeId, changes: { app_role: 'EMPLOYEE' } });
    await renewed(carol);
    await expect.poll(() => subscription.states).toContain('CLOSED');
    expect(subscription.reasons.join()).toMatch(/You do not have permissions to read/);
    const count = subscription.heard.length;
    await claim(bob);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(subscription.heard).toHaveLength(count);
  });

  test('a deactivated one, who renews nothing, hears nothing once the policy is asked again', async () => {
    const own = await startTestStack({ realtimeRecheckMs: 500 });
    try {
      const { admin, organizationId: id } = await foundOrganization(own, 'asking');
      const dave = await addEmployee(own, admin, 'dave', 'ADMIN');
      const subscription = subscribe(dave.client, `org:${id}`);
      await isSubscribed(subscription);
      // Who may hear stays, however often it is asked.
      await new Promise((resolve) => setTimeout(resolve, 1200));
      expect(subscription.states).toEqual(['SUBSCRIBED']);
      await admin.client.rpc('set_employee_active', { employee_id: dave.employeeId, is_active: false });
      await expect.poll(() => subscription.states, { timeout: 10_000 }).toContain('CLOSED');
      expect(subscription.reasons.join()).toMatch(/You do not have permissions to read/);
      const again = subscribe(dave.client, `org:${id}`);
      await expect.poll(() => again.reasons.join()).toMatch(/You do not have permissions to read/);
      await dave.client.removeAllChannels();
    } finally {
      await own.stop();
    }
  });

  test('an expired token closes the channel, and opens none', async () => {
    const client = stack.anon();
    const claims = { sub: alice.userId, role: 'authenticated', aud: 'authenticated' };
    await client.realtime.setAuth(await stack.signer.sign(claims, '2s'));
    const subscription = subscribe(client);
    await isSubscribed(subscription);
    await expect.poll(() => subscription.states, { timeout: 10_000 }).toContain('CLOSED');
    expect(subscription.reasons.join()).toMatch(/Token has expired/);
    const late = stack.anon();
    await late.realtime.setAuth(await stack.signer.sign(claims, '-1m'));
    const again = subscribe(late);
    await expect.poll(() => again.reasons.join()).toMatch(/Token has expired/);
  });
});

test('1,000 events while the connection breaks: what was missed is read from `events` after the last position, 0 lost', async () => {
  const { admin, organizationId: id } = await foundOrganization(stack, 'busy');
  const proxy = await startBreakingProxy(stack.url, (bound) => Math.floor(Math.random() * bound));
  const client = createClient(proxy.url, stack.publishableKey, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { reconnectAfterMs: () => 50 },
  });
  await client.auth.signInWithPassword({ email: admin.email, password: admin.password });
  const known = new Set<string>();
  const [last] = (await log(id)).slice(-1);
  let position = last?.id ?? '0.0.0';

  /** The rule of docs/live-stream.md: at each SUBSCRIBED read what came after the last position. */
  async function catchUp(): Promise<void> {
    for (;;) {
      const [epoch, xact, eventId] = position.split('.');
      const { data, error } = await admin.client
        .from('events')
        .select('epoch,xact,id,type')
        .or(
          `epoch.gt.${epoch},and(epoch.eq.${epoch},xact.gt.${xact}),and(epoch.eq.${epoch},xact.eq.${xact},id.gt.${eventId})`,
        )
        .order('epoch')
        .order('xact')
        .order('id')
        .limit(500);
      if (error) throw error;
      for (const row of data) {
        position = `${row.epoch}.${row.xact}.${row.id}`;
        known.add(position);
      }
      if (data.length < 500) return;
    }
  }

  const before = (await log(id)).length;
  const channel = client.channel(`org:${id}`, { config: { private: true } });
  let subscriptions = 0;
  let reading = Promise.resolve();
  channel
    .on('broadcast', { event: '*' }, ({ payload }) => known.add(payload.id))
    .subscribe((state) => {
      if (state !== 'SUBSCRIBED') return;
      subscriptions += 1;
      reading = reading.then(catchUp);
    });
  await expect.poll(() => subscriptions, { timeout: 10_000 }).toBe(1);
  for (let n = 0; n < 10; n += 1) {
    // Ten people's worth of claims at once, straight into the database as the API writes them.
    await stack.admin`
      insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
      select ${id}, ${admin.employeeId}, current_date, 1, 'EUR', 'Parking', gen_random_uuid() from generate_series(1, 100)`;
    if (n % 4 === 1) proxy.breakAll(100);
    if (n % 4 === 3) proxy.spare();
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  proxy.spare();
  await expect.poll(() => subscriptions, { timeout: 20_000 }).toBeGreaterThan(1);
  const happened = (await log(id)).slice(before);
  expect(happened.length).toBeGreaterThanOrEqual(1000);
  await expect
    .poll(
      async () => {
        await reading;
        return happened.filter((event) => !known.has(event.id)).length;
      },
      { timeout: 20_000 },
    )
    .toBe(0);
  await client.removeAllChannels();
  await proxy.stop();
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readTime } from '../../edge-functions/ingest/time.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { overlandBatch, ownTracksLocation, traccarForm } from '../fixtures/phone-apps.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

// Phones whose clock is wrong, queues as the apps keep them, and what is told of a phone.

let stack: TestStack;
let admin: Member;
beforeAll(async () => {
  stack = await startTestStack({ functions: true });
  ({ admin } = await foundOrganization(stack, 'acme'));
});
afterAll(() => stack?.stop());

type Device = { id: string; token: string };

async function onDuty(name: string, hours = 8): Promise<{ person: Member; device: Device; sessionId: string }> {
  const person = await addEmployee(stack, admin, name);
  const { data: device } = await person.client.rpc('my_device_token', { name: 'Phone' }).throwOnError();
  const { data: session } = await person.client
    .rpc('check_in', {
      checked_in_at: new Date(Date.now() - hours * 3_600_000).toISOString(),
      client_request_id: randomUUID(),
    })
    .throwOnError();
  return { person, device: device as Device, sessionId: session.id };
}

const post = (path: string, body: unknown) =>
  fetch(`${stack.url}/functions/v1/ingest${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const overland = (device: Device, times: number[]) => {
  const [feature] = overlandBatch('').locations;
  const locations = times.map((ms) => ({
    ...feature,
    properties: { ...feature?.properties, timestamp: new Date(ms).toISOString() },
  }));
  return post(`/overland/${device.token}`, { locations });
};

async function healthOf(person: Member) {
  const { data } = await person.client.rpc('get_device_health').single().throwOnError();
  return data;
}

async function pointsOf(sessionId: string): Promise<number[]> {
  const rows = await stack.admin<{ at: Date }[]>`
    select recorded_at as at from public.gps_locations where session_id = ${sessionId} order by recorded_at`;
  return rows.map(({ at }) => at.getTime());
}

async function eventsOf(device: Device): Promise<string[]> {
  const rows = await stack.admin<{ type: string }[]>`
    select type from public.events where subject_id = ${device.id} order by id`;
  return rows.map(({ type }) => type);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('a clock five minutes ahead loses no point of a day: they are stored as it should show, and it is told once', async () => {
  const { person, device, sessionId } = await onDuty('ahead');
  const began = Date.now();
  for (let post = 0; post < 30; post += 1) {
    expect(await (await overland(device, [Date.now() + 300_000])).json()).toEqual({ result: 'ok' });
  }
  const stored = await pointsOf(sessionId);
  expect(stored).toHaveLength(30);
  for (const at of stored) {
    expect(at).toBeGreaterThan(began - 10_000);
    expect(at).toBeLessThan(Date.now() + 10_000);
  }
  const health = await healthOf(person);
  expect(health).toMatchObject({ points_stored: 30, points_refused: 0, points_corrected: 30 });
  expect(Math.abs((health?.clock_offset_s ?? 0) - 300)).toBeLessThan(10);
  expect((await eventsOf(device)).filter((type) => type === 'device.clock_changed').length).toBeLessThanOrEqual(2);
  // A retry of what was delivered is the same points.
  expect((await overland(device, [Date.now() + 300_000])).status).toBe(200);
  // Set right: from then on nothing is corrected.
  await overland(device, [Date.now() - 1000]);
  expect(await healthOf(person)).toMatchObject({ clock_offset_s: null, points_refused: 0 });
  const newest = (await pointsOf(sessionId)).at(-1) ?? 0;
  expect(Date.now() - newest).toBeLessThan(60_000);
});

test('a clock an hour behind is recognised by its steady delay, and from then on no point is lost', async () => {
  const { person, device, sessionId } = await onDuty('behind', 0.5);
  const sendNow = () => overland(device, [Date.now() - 3_600_000]);
  for (let i = 0; i < 4; i += 1) {
    await sendNow();
    await pause(3700);
  }
  const recognised = await healthOf(person);
  expect(Math.abs((recognised?.clock_offset_s ?? 0) + 3600)).toBeLessThan(15);
  const before = (await pointsOf(sessionId)).length;
  for (let i = 0; i < 10; i += 1) await sendNow();
  expect((await pointsOf(sessionId)).length).toBe(before + 10);
  expect(await eventsOf(device)).toContain('device.clock_changed');
});

test('a backlog that is sent fast is no wrong clock, nor is a single wild time among good ones', async () => {
  const { person, device, sessionId } = await onDuty('backlog');
  const start = Date.now() - 7 * 3_600_000;
  for (let i = 0; i < 40; i += 1) await overland(device, [start + i * 15_000]);
  await overland(device, [Date.now() - 30_000, Date.now() - 15_000, Date.now() + 3 * 3_600_000]);
  expect(await healthOf(person)).toMatchObject({
    points_stored: 42,
    points_corrected: 0,
    clock_offset_s: null,
    refused_by_reason: { point_in_future: 1 },
  });
  expect((await pointsOf(sessionId))[0]).toBe(start);
});

test.each([
  ['one rollover of the GPS week', 619_315_200],
  ['two rollovers', 1_238_630_400],
  ['seconds since 2001', 978_307_200],
])('%s is undone', async (_, seconds) => {
  const { person, device, sessionId } = await onDuty(`w${seconds}`);
  const at = Date.now() - 60_000;
  expect((await overland(device, [at - seconds * 1000])).status).toBe(200);
  expect(await pointsOf(sessionId)).toEqual([at]);
  expect(await healthOf(person)).toMatchObject({ points_stored: 1, points_corrected: 1 });
});

test('thirty refused points are an event and stand by reason in the health of the device, for the person and administrators', async () => {
  const { person, device } = await onDuty('refused');
  for (let i = 0; i < 30; i += 1) {
    const query = new URLSearchParams({ lat: '0', lon: '0', timestamp: String(Date.now()) });
    expect((await fetch(`${stack.url}/functions/v1/ingest/osmand/${device.token}?${query}`)).status).toBe(200);
  }
  expect(await healthOf(person)).toMatchObject({
    points_refused: 30,
    refused_by_reason: { point_position_invalid: 30 },
    lost_in_a_row: 30,
    last_stored_at: null,
  });
  const { data } = await admin.client.rpc('get_device_health', { employee_id: person.employeeId }).throwOnError();
  expect(data).toHaveLength(1);
  expect(await eventsOf(device)).toEqual(['device.points_lost']);
});

test('the state that an app tells is kept, changes by its parts and is an event', async () => {
  const { person, device } = await onDuty('state');
  await post(`/osmand/${device.token}`, { provider: { enabled: false, status: 3 } });
  await post(`/osmand/${device.token}`, { provider: { enabled: false, status: 3 } });
  expect(await healthOf(person)).toMatchObject({ phone_state: { location: 'off', permission: 'always' } });
  await post(`/owntracks/${device.token}`, { _type: 'status', iOS: { authorizationStatus: 'Denied' } });
  expect(await healthOf(person)).toMatchObject({ phone_state: { location: 'off', permission: 'denied' } });
  expect(await eventsOf(device)).toEqual(['device.state_changed', 'device.state_changed']);
});

test('record_locations and ingest read a time alike', async () => {
  const { person, sessionId } = await onDuty('reader');
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const iso = (ms: number) => new Date(ms).toISOString();
  const forms = [
    iso(minute - 60_000).replace('.000Z', 'Z'),
    iso(minute - 120_000).replace('.000Z', 'z'),
    iso(minute - 180_000).replace(':00.000Z', 'Z'),
    iso(minute - 240_000).replace('.000Z', ',250Z'),
    iso(minute - 300_000).replace('.000Z', '.123456Z'),
    iso(minute - 360_000).replace('.000Z', '.123456789Z'),
    iso(minute - 420_000).replace('T', ' '),
    iso(minute - 480_000 + 3_600_000).replace('.000Z', '+01:00'),
    iso(minute - 540_000 + 3_600_000).replace('.000Z', '+0100'),
    iso(minute - 600_000 + 3_600_000).replace('.000Z', '+01'),
    iso(minute - 660_000 - 16_200_000).replace('.000Z', '-04:30'),
    iso(minute - 780_000).replace(':00.000Z', ':60Z'),
  ];
  const { data } = await person.client
    .rpc('record_locations', { points: forms.map((recorded_at) => ({ recorded_at, latitude: 46, longitude: 14 })) })
    .throwOnError();
  expect(data).toMatchObject({ inserted: forms.length });
  const rows = await stack.admin<{ at: string }[]>`
    select to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
    from public.gps_locations where session_id = ${sessionId} order by recorded_at`;
  const read = forms.map((form) => (readTime(form) ?? '').replace(/\.(\d{3})Z$/, '.$1000Z')).sort();
  expect(rows.map(({ at }) => at)).toEqual(read);
});

/** A queue as an app keeps it: what it does with its head after each answer. */
type Queue = { drops: (status: number) => boolean; waits: (status: number, retryAfterS: number) => number };
const queues: [string, Queue][] = [
  // Connection.m: 2xx and 4xx take the head off, anything else leaves it.
  ['OwnTracks iOS', { drops: (status) => status < 500, waits: (_, s) => Math.min(s, 1) }],
  // HttpMessageProcessorEndpoint: only 2xx takes it off.
  ['OwnTracks Android', { drops: (status) => status < 300, waits: () => 1 }],
];

test.each(queues)(
  'a backlog that uses up the burst loses no point on the queue of %s',
  async (name, queue) => {
    const { device, sessionId } = await onDuty(name.replaceAll(' ', '').toLowerCase());
    const start = Math.floor(Date.now() / 1000) * 1000 - 7 * 3_600_000;
    const times = Array.from({ length: 300 }, (_, index) => start + index * 5000);
    // 100 of the burst are left; what refills it is waited for, much faster than in life.
    await post(`/owntracks/${device.token}`, { _type: 'lwt', tst: 1 });
    const refill = () => stack.admin`update private.rate_buckets set tokens = 100, refilled_at = now()
      where subject_id = ${device.id}`;
    await refill();
    let refusals = 0;
    while (times.length > 0) {
      const head = times[0] ?? 0;
      const { status } = await post(`/owntracks/${device.token}`, ownTracksLocation(new Date(head).toISOString()));
      if (queue.drops(status)) times.shift();
      if (status >= 300) {
        refusals += 1;
        await refill();
      }
    }
    expect((await pointsOf(sessionId)).length).toBe(300);
    expect(refusals).toBeGreaterThan(0);
  },
  120_000,
);

test('a backlog of 3,000 points in one request of an app without a limit is kept', async () => {
  const { device, sessionId } = await onDuty('atonce');
  const start = Date.now() - 7 * 3_600_000;
  const location = Array.from({ length: 3000 }, (_, index) => ({
    timestamp: new Date(start + index * 5000).toISOString(),
    coords: { latitude: 46.05, longitude: 14.5, accuracy: 5, speed: 3 },
    extras: { note: 'x'.repeat(400) },
  }));
  expect((await post(`/osmand/${device.token}`, { location })).status).toBe(200);
  expect((await pointsOf(sessionId)).length).toBe(3000);
});

test('a form of Traccar Client with the clock ahead, and the same again, is one point', async () => {
  const { device, sessionId } = await onDuty('form');
  const at = new Date(Math.floor(Date.now() / 1000) * 1000 + 600_000).toISOString();
  for (let i = 0; i < 2; i += 1) {
    await fetch(`${stack.url}/functions/v1/ingest/osmand?${traccarForm(device.token, at)}`);
  }
  expect(await pointsOf(sessionId)).toHaveLength(1);
});

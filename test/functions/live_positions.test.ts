// Positions on the live stream, and the stream for API keys, through the running stack.

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../fixtures/api-keys.ts';
import { describedEvents } from '../fixtures/description.ts';
import { emit, type OpenStream, openEventStream, type StreamRequest } from '../fixtures/event-stream.ts';
import { addEmployee, eventually, foundOrganization, type Member, readClock } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ functions: true, functionEnv: { FIELDTRACK_STREAM_RECHECK_SECONDS: '1' } });
});
afterAll(() => stack?.stop());

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const secondsAgo = (seconds: number) => readClock()(seconds / 60);
const locationsOf = ({ messages }: OpenStream) => messages.filter(({ event }) => event === 'location');
const newestOf = (stream: OpenStream) => locationsOf(stream).at(-1)?.data;

async function openReady(request: StreamRequest): Promise<OpenStream> {
  const stream = await openEventStream(stack, request);
  await eventually('ready', async () => stream.messages.some(({ event }) => event === 'ready'));
  return stream;
}

async function checkIn(person: Member): Promise<string> {
  const { data, error } = await person.client.rpc('check_in', {
    checked_in_at: readClock()(30),
    client_request_id: randomUUID(),
  });
  if (error) throw error;
  return data.id;
}

async function sendPoint(person: Member, recordedAt: string, latitude: number): Promise<void> {
  const { error } = await person.client.rpc('record_locations', {
    points: [{ recorded_at: recordedAt, latitude, longitude: 14.5, accuracy_m: 5, battery_pct: 80, is_mock: false }],
  });
  if (error) throw error;
}

describe.concurrent('positions', () => {
  test('come at once and then within two seconds, one a second for each person, to those who asked and to no other organization', async () => {
    const [acme, other] = await Promise.all([foundOrganization(stack, 'acme'), foundOrganization(stack, 'other')]);
    const [bob, carol, eve] = await Promise.all([
      addEmployee(stack, acme.admin, 'bob'),
      addEmployee(stack, acme.admin, 'carol'),
      addEmployee(stack, other.admin, 'eve'),
    ]);
    const sessionId = await checkIn(bob);
    await Promise.all([checkIn(carol), checkIn(eve)]);
    await Promise.all([sendPoint(bob, secondsAgo(60), 46), sendPoint(eve, secondsAgo(60), 10)]);

    const token = acme.admin.accessToken;
    const [ours, silent, theirs] = await Promise.all([
      openReady({ token, query: '?locations=1' }),
      openReady({ token }),
      openReady({ token: other.admin.accessToken, query: '?locations=1&types=expense.*' }),
    ]);
    await eventually('the positions as they are', async () => locationsOf(ours).length > 0, 2000);
    for (const { data } of locationsOf(ours)) describedEvents('Position')(data);
    // Carol is at work and has sent nothing: there is no place to show.
    expect(locationsOf(ours)).toEqual([
      {
        id: undefined,
        event: 'location',
        data: {
          employee_id: bob.employeeId,
          session_id: sessionId,
          is_checked_in: true,
          recorded_at: expect.stringMatching(/^\d{4}-.*T/),
          latitude: 46,
          longitude: 14.5,
          accuracy_m: 5,
          speed_mps: null,
          heading_deg: null,
          battery_pct: 80,
          is_mock: false,
          distance_m: 0,
          distance_is_provisional: false,
        },
      },
    ]);

    const startedAt = performance.now();
    let sent = 0;
    while (performance.now() - startedAt < 2500) {
      sent += 1;
      await sendPoint(bob, secondsAgo(50 - sent), 46 + sent / 10_000);
      await pause(100);
    }
    await eventually('the last one', async () => newestOf(ours)?.latitude === 46 + sent / 10_000, 2000);
    const seconds = (performance.now() - startedAt) / 1000;
    expect(sent).toBeGreaterThan(8);
    expect(locationsOf(ours).length - 1).toBeGreaterThan(1);
    expect(locationsOf(ours).length - 1).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
    expect(newestOf(ours)).toMatchObject({ is_checked_in: true, distance_m: expect.any(Number) });
    const latitudes = locationsOf(ours).map(({ data }) => Number(data.latitude));
    expect(latitudes).toEqual(latitudes.toSorted((a, b) => a - b));

    // Who comes later gets it as it is now, once; who moved nothing is sent nothing.
    const before = locationsOf(ours).length;
    const late = await openReady({ token, query: '?locations=1' });
    await pause(2200);
    expect(locationsOf(late)).toHaveLength(1);
    expect(newestOf(late)).toEqual(newestOf(ours));
    expect(locationsOf(ours)).toHaveLength(before);

    expect(locationsOf(silent)).toEqual([]);
    expect(locationsOf(theirs).map(({ data }) => data.employee_id)).toEqual([eve.employeeId]);
    for (const stream of [ours, silent, theirs, late]) stream.close();
  });

  test('never move back for a late point, and end with the session', async () => {
    const { admin } = await foundOrganization(stack, 'late');
    const bob = await addEmployee(stack, admin, 'bob');
    const sessionId = await checkIn(bob);
    await sendPoint(bob, secondsAgo(120), 46);
    await sendPoint(bob, secondsAgo(20), 46.01);
    const stream = await openReady({ token: admin.accessToken, query: '?locations=1' });
    await eventually('the position', async () => newestOf(stream)?.latitude === 46.01, 5000);
    const recordedAt = newestOf(stream)?.recorded_at;

    await sendPoint(bob, secondsAgo(90), 46.2);
    await eventually('the mark', async () => newestOf(stream)?.distance_is_provisional === true, 5000);
    expect(newestOf(stream)).toMatchObject({ latitude: 46.01, recorded_at: recordedAt });

    const dismissed = await admin.client.rpc('set_employee_active', { employee_id: bob.employeeId, is_active: false });
    expect(dismissed.error).toBeNull();
    await eventually('the end', async () => newestOf(stream)?.is_checked_in === false, 5000);
    expect(newestOf(stream)).toMatchObject({
      employee_id: bob.employeeId,
      session_id: sessionId,
      latitude: 46.01,
      recorded_at: recordedAt,
      distance_m: null,
    });
    const before = locationsOf(stream).length;
    const next = await openReady({ token: admin.accessToken, query: '?locations=1' });
    await pause(2200);
    expect(locationsOf(next)).toEqual([]);
    expect(locationsOf(stream)).toHaveLength(before);
    for (const one of [stream, next]) one.close();
  });

  test('do not move the place to resume from', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'place');
    const bob = await addEmployee(stack, admin, 'bob');
    await checkIn(bob);
    await sendPoint(bob, secondsAgo(20), 46);
    const token = admin.accessToken;
    const first = await openReady({ token, query: '?locations=1' });
    await emit(stack, organizationId, 1);
    await eventually('the event', async () => first.messages.some(({ event }) => event === 'organization.updated'));
    const lastEventId = first.messages.findLast(({ id }) => id !== undefined)?.id ?? '';
    await sendPoint(bob, secondsAgo(10), 46.01);
    await eventually('the position', async () => newestOf(first)?.latitude === 46.01, 5000);
    first.close();
    await emit(stack, organizationId, 2);
    const second = await openReady({ token, lastEventId, query: '?locations=1' });
    await eventually('the position', async () => newestOf(second) !== undefined, 5000);
    // The second event comes as one that was missed or as a live one; the first does not come again.
    const updates = second.messages.filter(({ event }) => event === 'organization.updated');
    expect(updates.map(({ data }) => data.data)).toEqual([expect.objectContaining({ number: 2 })]);
    expect(second.messages.filter(({ event }) => event === 'reset')).toEqual([]);
    second.close();
  });
});

describe.concurrent('an API key', () => {
  const refusalOf = async ({ response }: OpenStream) => {
    const { code, details } = (await response.json()) as { code: string; details: string | null };
    return [response.status, code, details];
  };

  test('hears what its scopes allow, in its organization, until it is revoked', async () => {
    const [acme, other] = await Promise.all([foundOrganization(stack, 'keys'), foundOrganization(stack, 'keys2')]);
    const bob = await addEmployee(stack, acme.admin, 'bob');
    await checkIn(bob);
    await sendPoint(bob, secondsAgo(20), 46);
    const [events, both, wrong] = await Promise.all([
      createKey(acme.admin, acme.organizationId, ['events:read']),
      createKey(acme.admin, acme.organizationId, ['events:read', 'locations:read']),
      createKey(acme.admin, acme.organizationId, ['locations:read', 'sessions:read']),
    ]);
    expect(await refusalOf(await openEventStream(stack, { apiKey: wrong.key }))).toEqual([
      403,
      'scope_missing',
      'events:read',
    ]);
    expect(await refusalOf(await openEventStream(stack, { apiKey: events.key, query: '?locations=1' }))).toEqual([
      403,
      'scope_missing',
      'locations:read',
    ]);
    const stream = await openReady({ apiKey: events.key });
    const withLocations = await openReady({ apiKey: both.key, query: '?locations=1' });
    await emit(stack, other.organizationId, 1);
    await emit(stack, acme.organizationId, 2);
    for (const one of [stream, withLocations]) {
      await eventually('the event', async () => one.messages.some(({ event }) => event === 'organization.updated'));
      const numbers = one.messages.flatMap(({ data }) => (data.data as { number?: number } | undefined)?.number ?? []);
      expect(numbers).toEqual([2]);
    }
    await eventually('the position', async () => locationsOf(withLocations).length === 1, 5000);
    expect(locationsOf(stream)).toEqual([]);

    const { error } = await acme.admin.client.rpc('revoke_api_key', { api_key_id: events.id });
    expect(error).toBeNull();
    expect(await stream.ended).toBe(true);
    expect(stream.comments.at(-1)).toBe('the API key is not valid any more');
    expect(await refusalOf(await openEventStream(stack, { apiKey: events.key }))).toEqual([
      401,
      'api_key_invalid',
      'It was revoked.',
    ]);
    await emit(stack, acme.organizationId, 3);
    await eventually('the other key', async () =>
      withLocations.messages.some(({ data }) => (data.data as { number?: number } | undefined)?.number === 3),
    );
    withLocations.close();
  });

  test('that is none is refused, and one that expires ends its stream', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'expiry');
    const { id, key } = await createKey(admin, organizationId, ['events:read']);
    for (const apiKey of ['nonsense', `${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`]) {
      expect((await refusalOf(await openEventStream(stack, { apiKey }))).slice(0, 2)).toEqual([401, 'api_key_invalid']);
    }
    // Beside a valid token too: a caller says one thing.
    const both = await openEventStream(stack, { apiKey: 'nonsense', token: admin.accessToken });
    expect(both.response.status).toBe(401);
    const [row] = await stack.admin<{ expires_at: Date }[]>`
      update public.api_keys set expires_at = clock_timestamp() + interval '4 seconds' where id = ${id} returning expires_at`;
    const stream = await openReady({ apiKey: key });
    expect(await stream.ended).toBe(true);
    expect(Date.now()).toBeGreaterThanOrEqual(row?.expires_at.getTime() ?? Number.POSITIVE_INFINITY);
    expect((await refusalOf(await openEventStream(stack, { apiKey: key })))[2]).toBe('It has expired.');
  });

  test('has its calls counted when it opens a stream', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'limit');
    const { key } = await createKey(admin, organizationId, ['events:read'], { requests_per_minute: 1 });
    const stream = await openReady({ apiKey: key });
    const refused = await openEventStream(stack, { apiKey: key });
    expect(await refusalOf(refused)).toEqual([429, 'rate_limited', null]);
    expect(refused.response.headers.get('retry-after')).toBe('60');
    stream.close();
  });
});

test('a switch that is none is refused', async () => {
  const { admin } = await foundOrganization(stack, 'switch');
  const { response } = await openEventStream(stack, { token: admin.accessToken, query: '?locations=yes' });
  const { details } = (await response.json()) as { details: string };
  expect([response.status, details]).toEqual([400, 'locations']);
});

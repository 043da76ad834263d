import { afterAll, beforeAll, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member, readClock } from '../fixtures/organization.ts';
import { overlandBatch, ownTracksLocation, traccarForm, traccarJson } from '../fixtures/phone-apps.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let admin: Member;
beforeAll(async () => {
  stack = await startTestStack({ functions: true });
  ({ admin } = await foundOrganization(stack, 'acme'));
});
afterAll(() => stack?.stop());

type Device = { id: string; token: string };

async function deviceOf(person: Member): Promise<Device> {
  const { data, error } = await person.client.rpc('my_device_token', { name: 'Work phone' });
  if (error) throw error;
  return data as Device;
}

const send = (path: string, init: RequestInit = {}) => fetch(`${stack.url}/functions/v1/ingest${path}`, init);
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  send(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const traccar = ({ token }: Device, at: string) => post('/osmand', traccarJson(token, at));

async function countsOf({ id }: Device) {
  const { data } = await admin.client
    .from('device_tokens')
    .select('points_stored, points_without_session, points_refused, last_protocol')
    .eq('id', id)
    .single();
  return data;
}

async function checkIn(person: Member, at: string): Promise<string> {
  const { data, error } = await person.client.rpc('check_in', {
    checked_in_at: at,
    client_request_id: crypto.randomUUID(),
  });
  if (error) throw error;
  return data.id;
}

test('every app reports into the open session, with what it knows; the same again is no error', async () => {
  const minutesAgo = readClock();
  const bob = await addEmployee(stack, admin, 'bob');
  const device = await deviceOf(bob);
  const sessionId = await checkIn(bob, minutesAgo(30));
  const times = [minutesAgo(20), minutesAgo(19), minutesAgo(18), minutesAgo(17)].map((time) =>
    time.replace(/\.\d+/, '.000'),
  );
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const basic = { authorization: `Basic ${btoa(`bob:${device.token}`)}` };
  const requests = () => [
    send(`/osmand?${traccarForm(device.token, times[0] ?? '')}`),
    send('/osmand', { method: 'POST', headers: form, body: traccarForm(device.token, times[0] ?? '') }),
    post('/osmand', traccarJson(device.token, times[1] ?? '')),
    post('/owntracks', ownTracksLocation(times[2] ?? ''), basic),
    post('/overland', overlandBatch(times[3] ?? ''), { authorization: `Bearer ${device.token}` }),
  ];
  for (const request of [...requests(), ...requests()]) expect((await request).status).toBe(200);
  const { data } = await bob.client
    .from('gps_locations')
    .select('recorded_at, latitude, speed_mps, battery_pct')
    .eq('session_id', sessionId)
    .order('recorded_at');
  expect(data?.map((point) => [new Date(point.recorded_at).toISOString(), point.battery_pct])).toEqual([
    [times[0], 83],
    [times[1], 83],
    [times[2], 41],
    [times[3], 89],
  ]);
  expect(data?.map(({ speed_mps }) => speed_mps)).toEqual([0, 3.2, 15, 4]);
  expect(await countsOf(device)).toMatchObject({ points_stored: 4, points_without_session: 0, points_refused: 0 });
});

test('points without a session are answered as delivered, kept nowhere, and counted', async () => {
  const minutesAgo = readClock();
  const carol = await addEmployee(stack, admin, 'carol');
  const device = await deviceOf(carol);
  expect((await traccar(device, minutesAgo(5))).status).toBe(200);
  expect(await (await post(`/owntracks/${device.token}`, ownTracksLocation(minutesAgo(4)))).json()).toEqual([]);
  expect(await (await post(`/overland/${device.token}`, overlandBatch(minutesAgo(3)))).json()).toEqual({
    result: 'ok',
  });
  expect(await countsOf(device)).toEqual({
    points_stored: 0,
    points_without_session: 3,
    points_refused: 0,
    last_protocol: 'overland',
  });
  const { data } = await carol.client.from('gps_locations').select('recorded_at');
  expect(data).toEqual([]);
});

test('a check-in that was taken back at once hides no session that began with it', async () => {
  const hana = await addEmployee(stack, admin, 'hana');
  const device = await deviceOf(hana);
  const minutesAgo = readClock();
  const at = minutesAgo(30);
  const checkInThen = () =>
    hana.client.rpc('check_in', { checked_in_at: at, client_request_id: crypto.randomUUID() }).throwOnError();
  await checkInThen();
  await hana.client.rpc('check_out', { checked_out_at: at, client_request_id: crypto.randomUUID() }).throwOnError();
  const { data: session } = await checkInThen();
  expect((await traccar(device, minutesAgo(20))).status).toBe(200);
  expect(await countsOf(device)).toMatchObject({ points_stored: 1, points_without_session: 0 });
  const { data } = await hana.client.from('gps_locations').select('session_id');
  expect(data).toEqual([{ session_id: session.id }]);
});

test('a backlog that comes after the check-out falls into the session it was recorded in, a thousand points at once', async () => {
  const minutesAgo = readClock();
  const dan = await addEmployee(stack, admin, 'dan');
  const device = await deviceOf(dan);
  const sessionId = await checkIn(dan, minutesAgo(60));
  await dan.client.rpc('check_out', { checked_out_at: minutesAgo(20), client_request_id: crypto.randomUUID() });
  const [feature] = overlandBatch('').locations;
  const locations = Array.from({ length: 1000 }, (_, index) => ({
    ...feature,
    // Three seconds apart; the first 39 minutes are the session's, then the phone went on.
    properties: { ...feature?.properties, timestamp: minutesAgo(59.02 - index * 0.05) },
  }));
  expect(await (await post(`/overland/${device.token}`, { locations })).json()).toEqual({ result: 'ok' });
  const counts = await countsOf(device);
  expect(counts?.points_stored).toBe(781);
  expect(counts?.points_without_session).toBe(219);
  const { count } = await dan.client
    .from('gps_locations')
    .select('*', { count: 'exact', head: true })
    .eq('session_id', sessionId);
  expect(count).toBe(781);
});

test('where the organization wants it, the first point of a day checks in, as the device; after the check-out none does', async () => {
  const { admin: boss } = await foundOrganization(stack, 'auto');
  await boss.client.rpc('update_organization', { changes: { device_checks_in: true } });
  const eva = await addEmployee(stack, boss, 'eva');
  const device = await deviceOf(eva);
  const minutesAgo = readClock();
  expect((await traccar(device, minutesAgo(0.2))).status).toBe(200);
  const session = await eva.client.from('attendance_sessions').select('id, status, check_in_latitude').single();
  expect(session.data).toMatchObject({ status: 'ACTIVE', check_in_latitude: 46.05 });
  const points = await eva.client.from('gps_locations').select('session_id');
  expect(points.data).toEqual([{ session_id: session.data?.id }]);
  const event = await boss.client
    .from('events')
    .select('actor_type, actor_id')
    .eq('type', 'session.checked_in')
    .single();
  expect(event.data).toEqual({ actor_type: 'device', actor_id: device.id });
  await eva.client.rpc('check_out', {
    checked_out_at: new Date().toISOString(),
    client_request_id: crypto.randomUUID(),
  });
  await traccar(device, readClock()(-0.5));
  expect((await eva.client.from('attendance_sessions').select('status')).data).toEqual([{ status: 'CLOSED' }]);
  // As if that had been yesterday.
  await stack.admin`
    update public.attendance_sessions
    set checked_in_at = checked_in_at - interval '1 day', checked_out_at = checked_out_at - interval '1 day'
    where id = ${session.data?.id ?? ''}`;
  await traccar(device, readClock()(-0.5));
  const both = await eva.client.from('attendance_sessions').select('status').order('checked_in_at');
  expect(both.data).toEqual([{ status: 'CLOSED' }, { status: 'ACTIVE' }]);
});

test('two first points at once open one session', async () => {
  const { admin: boss } = await foundOrganization(stack, 'race');
  await boss.client.rpc('update_organization', { changes: { device_checks_in: true } });
  const device = await deviceOf(boss);
  const minutesAgo = readClock();
  const answers = await Promise.all([0.5, 0.4, 0.3, 0.2, 0.1].map((minutes) => traccar(device, minutesAgo(minutes))));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect((await boss.client.from('attendance_sessions').select('status')).data).toHaveLength(1);
});

test('a revoked token, and one of a person who was deactivated, are refused at once', async () => {
  const now = new Date().toISOString();
  const fay = await addEmployee(stack, admin, 'fay');
  const [first, second] = [await deviceOf(fay), await deviceOf(fay)];
  await fay.client.rpc('revoke_device_token', { device_token_id: first.id });
  expect((await traccar(first, now)).status).toBe(401);
  expect((await traccar(second, now)).status).toBe(200);
  await admin.client.rpc('set_employee_active', { employee_id: fay.employeeId, is_active: false });
  const refused = await traccar(second, now);
  expect([refused.status, await refused.json()]).toMatchObject([401, { code: 'device_token_invalid' }]);
});

test('a backlog of single points drains 600 at once, then waits as Retry-After says', async () => {
  const now = new Date().toISOString();
  const gus = await addEmployee(stack, admin, 'gus');
  const device = await deviceOf(gus);
  await traccar(device, now);
  // Refilled from an hour ahead: that is not at all, however slow the calls are.
  await stack.admin`update private.rate_buckets set tokens = 1.5, refilled_at = now() + interval '1 hour'
    where subject_id = ${device.id}`;
  expect((await traccar(device, now)).status).toBe(200);
  const waits = await traccar(device, now);
  expect([waits.status, waits.headers.get('retry-after')]).toEqual([429, '1']);
  const [limit] = await stack.admin`select * from private.rate_limit('ingest')`;
  expect(limit).toEqual({ per_second: 2, burst: 600 });
});

test('a device token opens nothing else, and no other key opens this', async () => {
  const { token } = await deviceOf(admin);
  const headers = { apikey: stack.publishableKey, authorization: `Bearer ${token}` };
  expect((await fetch(`${stack.url}/rest/v1/employees`, { headers })).status).toBe(401);
  const api = await fetch(`${stack.url}/functions/v1/api/employees`, { headers: { 'x-api-key': token } });
  expect(api.status).toBe(401);
  const bearer = { authorization: `Bearer ${admin.accessToken}` };
  expect((await post('/overland', overlandBatch(new Date().toISOString()), bearer)).status).toBe(401);
  expect((await send(`/osmand/${token}/../../api/employees`)).status).toBe(404);
});

test('a body that was refused unread does not end the connection under the next request of the proxy', async () => {
  const statuses = new Map<number, number>();
  for (let request = 0; request < 200; request += 1) {
    // Some are short enough to be read away, some are not.
    const body = 'x'.repeat(request % 10 === 0 ? 200_000 : request * 50);
    const { status } = await send('/nothing', { method: 'POST', body });
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  expect(Object.fromEntries(statuses)).toEqual({ 404: 200 });
});

test('the log of the function holds no token', () => {
  const lines = stack.lines.filter(({ part }) => part === 'ingest').map(({ line }) => line);
  expect(lines.filter((line) => line.includes('"points"')).length).toBeGreaterThan(10);
  expect(lines.join()).not.toMatch(/ft_device_\w/);
});

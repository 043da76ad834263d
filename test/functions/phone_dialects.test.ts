import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { createAbuseLog } from '../../edge-functions/_shared/abuse.ts';
import { createKernel } from '../../edge-functions/_shared/kernel.ts';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { refusal } from '../../edge-functions/_shared/refusal.ts';
import { createHandler, type Told } from '../../edge-functions/ingest/handler.ts';
import type { Point } from '../../edge-functions/ingest/point.ts';
import { readTime } from '../../edge-functions/ingest/time.ts';
import { overlandBatch, ownTracksLocation, traccarForm, traccarJson } from '../fixtures/phone-apps.ts';
import { seededRandom } from '../fixtures/random.ts';

// What phones really send: the same point in every dialect is the same point, and what is no point is counted.

const token = `ft_device_${'t'.repeat(43)}`;
const at = '2026-11-24T08:00:00.000Z';

function door(refuse?: 'device_token_invalid' | 'rate_limited') {
  const points: Point[] = [];
  const told: Told[] = [];
  const now = () => performance.now();
  const abuse = createAbuseLog({ now });
  const log = createLogger({ service: 'ingest', level: 'silent', write: () => undefined });
  const kernel = createKernel({
    log,
    abuse,
    allowedOrigins: [],
    trustedProxies: 1,
    newRequestId: () => 'made-here',
    now,
  });
  const handler = createHandler({
    kernel,
    abuse,
    async ingest(_, __, taken, more) {
      if (refuse) throw refusal(refuse, 'Not now.', { headers: { 'retry-after': '1' } });
      points.push(...taken);
      told.push(more);
      return { device_id: 'device-1', stored: taken.length, duplicates: 0, refused: 0, without_session: 0 };
    },
  });
  const call = (path: string, init: RequestInit = {}) => handler(new Request(`http://functions/ingest${path}`, init));
  const send = (
    path: string,
    body: string | Uint8Array<ArrayBuffer> | FormData,
    headers: Record<string, string> = {},
  ) => call(path, { method: 'POST', body, headers });
  return { points, told, call, send };
}

const place = { recorded_at: at, latitude: 46.05, longitude: 14.5 };

test.each([
  ['2026-11-24T08:00:00Z', at],
  ['2026-11-24T08:00:00z', at],
  ['2026-11-24T08:00Z', at],
  ['2026-11-24 08:00:00', at],
  ['2026-11-24T09:00:00+0100', at],
  ['2026-11-24T09:00:00 0100', at],
  ['2026-11-24T09:00:00 01:00', at],
  ['2026-11-24T09:00:00+01', at],
  ['2026-11-24T13:30:00+05:30', at],
  ['2026-11-24T08:00:00,250Z', '2026-11-24T08:00:00.250Z'],
  ['2026-11-24T08:00:00.123456Z', '2026-11-24T08:00:00.123456Z'],
  ['2026-11-24T08:00:00.123456789Z', '2026-11-24T08:00:00.123457Z'],
  ['2026-11-24T07:59:60Z', at],
  ['20261124T080000Z', at],
  ['20261124080000', at],
  ['1795507200', at],
  ['1795507200.25', '2026-11-24T08:00:00.250Z'],
  ['1795507200,25', '2026-11-24T08:00:00.250Z'],
  ['1795507200000', at],
  ['1795507200000000', at],
  ['1795507200000000000', at],
  [1795507200, at],
  [1795507200.5, '2026-11-24T08:00:00.500Z'],
  [1795507200123, '2026-11-24T08:00:00.123Z'],
  ['2026-02-30T08:00:00Z', undefined],
  ['2026-11-24T24:00:00Z', undefined],
  ['2026-11-24T08:00:00+15:00', undefined],
  ['-1', undefined],
  ['', undefined],
  [null, undefined],
  [true, undefined],
])('the time %j is %j', (sent, read) => expect(readTime(sent)).toBe(read));

test('an instant is the same in every form, at any fraction (10,000 random ones)', () => {
  const random = seededRandom(16);
  for (let i = 0; i < 10_000; i += 1) {
    const ms = 1.6e12 + Math.floor(random.next() * 4e11);
    const iso = new Date(ms).toISOString();
    const minutes = Math.floor(random.next() * 27 - 13) * 60 + (random.next() < 0.3 ? 30 : 0);
    const shifted = new Date(ms + minutes * 60_000).toISOString().slice(0, -1);
    const [sign, size] = [minutes < 0 ? '-' : '+', Math.abs(minutes)];
    const [hh, mm] = [Math.floor(size / 60), size % 60].map((part) => String(part).padStart(2, '0'));
    const forms = [
      ms,
      String(ms),
      `${ms}000`,
      `${ms}000000`,
      (ms / 1000).toFixed(3),
      iso.replace('.', ','),
      iso.toLowerCase(),
    ];
    forms.push(`${shifted}${sign}${hh}:${mm}`, `${shifted}${sign}${hh}${mm}`, iso.replace('T', ' '), iso.slice(0, -1));
    if (sign === '+') forms.push(`${shifted} ${hh}${mm}`);
    for (const form of forms) expect(readTime(form), `${form}`).toBe(iso);
  }
});

test.each([
  ['location=46.05,14.5', [46.05, 14.5]],
  ['location=46,05,14,5', [46.05, 14.5]],
  ['location=-46,05,-14,5', [-46.05, -14.5]],
  ['location=46,05;14,5', [46.05, 14.5]],
  ['location=46,05%2014,5', [46.05, 14.5]],
  ['location=46.05,14.5,300', [46.05, 14.5]],
  ['lat=46,05&lon=14,5', [46.05, 14.5]],
  ['latitude=46.05&longitude=14.5', [46.05, 14.5]],
  ['lat=46.05&long=14.5', [46.05, 14.5]],
  ['LAT=46.05&LON=14.5', [46.05, 14.5]],
])('the place %s', async (query, expected) => {
  const { points, call } = door();
  expect((await call(`/osmand/${token}?timestamp=1795507200&${query}`)).status).toBe(200);
  expect(points.map(({ latitude, longitude }) => [latitude, longitude])).toEqual([expected]);
});

test.each([
  ['lat=0&lon=0', 'point_position_invalid'],
  ['lat=0.0&lon=-0.0', 'point_position_invalid'],
  ['location=46,05,14', 'point_position_invalid'],
  ['location=46,05,14,5,300', 'point_position_invalid'],
  ['location=46', 'point_position_invalid'],
  ['lat=0x2e&lon=14.5', 'point_position_invalid'],
  ['lat=46.05', 'point_position_invalid'],
  ['lat=46.05&lon=14.5&accuracy=-1', 'point_marked_invalid'],
  ['lat=46.05&lon=14.5&accuracy=-1,0', 'point_marked_invalid'],
  ['lat=46.05&lon=14.5&valid=False', 'point_marked_invalid'],
  ['lat=46.05&lon=14.5&valid=0', 'point_marked_invalid'],
  ['lat=46.05&lon=14.5&timestamp=soon', 'point_time_invalid'],
])('%s is delivered, kept nowhere and counted as %s', async (query, reason) => {
  const { points, told, call } = door();
  expect((await call(`/osmand/${token}?timestamp=1795507200&${query}`)).status).toBe(200);
  expect(points).toEqual([]);
  expect(told[0]?.unreadable).toEqual({ [reason]: 1 });
});

test('a negative accuracy is no position, whichever app sends it', async () => {
  const { points, told, send } = door();
  const [feature] = overlandBatch(at).locations;
  const invalid = { ...feature, properties: { ...feature?.properties, horizontal_accuracy: -1 } };
  const json = traccarJson(token, at);
  json.location.coords.accuracy = -1;
  await send(`/overland/${token}`, JSON.stringify({ locations: [invalid] }));
  await send('/osmand', JSON.stringify(json));
  await send(`/owntracks/${token}`, JSON.stringify({ ...ownTracksLocation(at), acc: -1 }));
  expect(points).toEqual([]);
  expect(told.map(({ unreadable }) => unreadable)).toEqual(Array(3).fill({ point_marked_invalid: 1 }));
});

test('a body is read by what it is: no type, a wrong one, packed, of several parts', async () => {
  const { points, send } = door();
  const json = JSON.stringify(traccarJson(token, at));
  const form = traccarForm(token, at);
  const parts = new FormData();
  for (const [name, value] of new URLSearchParams(form)) parts.set(name, value);
  const bytes = (text: string) => new TextEncoder().encode(text);
  for (const body of [bytes(json), bytes(form), bytes(`\ufeff${json}`), gzipSync(json), gzipSync(form), parts]) {
    expect((await send('/osmand', body)).status).toBe(200);
  }
  expect((await send('/osmand', json, { 'content-type': 'text/plain' })).status).toBe(200);
  expect((await send('/osmand', form, { 'content-type': 'text/plain' })).status).toBe(200);
  expect((await send('/osmand', gzipSync(json), { 'content-encoding': 'gzip' })).status).toBe(200);
  expect(points).toHaveLength(9);
  for (const point of points) expect(point).toMatchObject(place);
});

test('a body that grows when it is unpacked is refused at the limit', async () => {
  const { send } = door();
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  expect((await send(`/osmand/${token}`, bomb)).status).toBe(413);
});

test.each([
  [{ location: { timestamp: at, coords: { latitude: 46.05, longitude: 14.5 } } }],
  [{ location: [{ timestamp: at, coords: { latitude: 46.05, longitude: 14.5 } }] }],
  [{ locations: [{ timestamp: at, coords: { latitude: 46.05, longitude: 14.5 } }] }],
  [{ locations: [{ timestamp: at, latitude: 46.05, longitude: 14.5 }] }],
  [[{ timestamp: at, coords: { latitude: 46.05, longitude: 14.5 } }]],
  [{ timestamp: 1795507200, latitude: 46.05, longitude: 14.5 }],
  [{ tst: 1795507200, lat: '46.05', lon: '14,5' }],
  [{ type: 'FeatureCollection', features: overlandBatch(at).locations }],
  [overlandBatch(at)],
])('JSON of any shape: %j', async (body) => {
  const { points, send } = door();
  expect((await send(`/osmand/${token}`, JSON.stringify(body))).status).toBe(200);
  expect(points).toHaveLength(1);
  expect(points[0]).toMatchObject(place);
});

test.each([
  ['batt=83', 83],
  ['batt=0.83', 83],
  ['battery=83.0', 83],
  ['batt=1', 1],
  ['batt=0', 0],
])('the battery %s is %i %%', async (query, percent) => {
  const { points, call } = door();
  await call(`/osmand/${token}?lat=1&lon=2&timestamp=1795507200&${query}`);
  expect(points[0]?.battery_pct).toBe(percent);
});

test('a made-up position says so in every form', async () => {
  const { points, call, send } = door();
  for (const mock of ['true', 'True', '1']) await call(`/osmand/${token}?lat=1&lon=2&mock=${mock}`);
  for (const mock of [true, 1, '1', 'true']) {
    await send('/osmand', JSON.stringify({ device_id: token, location: { ...traccarJson(token, at).location, mock } }));
  }
  expect(points.map(({ is_mock }) => is_mock)).toEqual(Array(7).fill(true));
});

test('Overland: visits, trips and pauses are no positions and no losses', async () => {
  const { points, told, send } = door();
  const [feature] = overlandBatch(at).locations;
  const other = (more: object) => ({ ...feature, properties: { ...feature?.properties, ...more } });
  const locations = [
    feature,
    other({ action: 'visit' }),
    other({ type: 'trip' }),
    other({ action: 'paused_location_updates' }),
  ];
  await send(`/overland/${token}`, JSON.stringify({ locations, trip: { distance: 3 } }));
  expect([points.length, told[0]?.unreadable]).toEqual([1, {}]);
});

test('OsmAnd set up by the old page: its speed is read in m/s, its accuracy is kept, and it is reported', async () => {
  const { points, told, call } = door();
  await call(`/osmand/${token}?lat=46.05&lon=14.5&timestamp=1795507200000&hdop=6.5&altitude=300.0&speed=1.4`);
  await call(
    `/osmand/${token}?lat=46.05&lon=14.5&timestamp=1795507200000&accuracy=6.5&altitude=300.0&speed_mps=1.4&bearing=90`,
  );
  await call(`/osmand?${traccarForm(token, at)}`);
  expect(points.map(({ speed_mps, accuracy_m }) => [speed_mps, accuracy_m])).toEqual([
    [1.4, 6.5],
    [1.4, 6.5],
    [0, 5],
  ]);
  expect(told.map(({ setup }) => setup)).toEqual(['osmand_speed_in_knots', null, null]);
});

test('GPSLogger with the parameters of its own example', async () => {
  const { points, call } = door();
  await call(
    `/osmand/${token}?lat=46.05&longitude=14.5&time=2026-11-24T08:00:00.000Z&s=1.4&acc=6.5&dir=90.0&batt=83.0`,
  );
  expect(points).toEqual([{ ...place, speed_mps: 1.4, accuracy_m: 6.5, heading_deg: 90, battery_pct: 83 }]);
});

test('a token with something behind it, before it, or in another place', async () => {
  const query = '?lat=46.05&lon=14.5&timestamp=1795507200';
  const { points, call } = door();
  const basic = (pair: string) => ({ headers: { authorization: `Basic ${btoa(pair)}` } });
  const ways: [string, RequestInit?][] = [
    [`/osmand/${token}/${query}`],
    [`/osmand/${token}%20${query}`],
    [`/osmand/${token}%0A${query}`],
    [`//osmand//${token}${query}`],
    [`/osmand/${query}&id=${token}%20`],
    [`/osmand/${query}&token=${token}`],
    [`/osmand${query}`, basic(`${token}:x`)],
    [`/osmand${query}`, basic(`x:${token}`)],
    [`/osmand${query}`, basic(token)],
    [`/osmand${query}`, { headers: { authorization: `Bearer ${token} ` } }],
  ];
  for (const [path, init] of ways) expect((await call(path, init)).status, path).toBe(200);
  expect(points).toHaveLength(ways.length);
});

test('a GET with a body that nobody can read is counted', async () => {
  const { told, call } = door();
  expect((await call(`/osmand/${token}`, { headers: { 'content-length': '80' } })).status).toBe(200);
  expect(told[0]?.unreadable).toEqual({ body_invalid: 1 });
});

test('what the apps say of the phone', async () => {
  const { told, call, send } = door();
  const states: [string, unknown, object][] = [
    ['osmand', { provider: { enabled: false } }, { location: 'off' }],
    [
      'osmand',
      { location: { provider: { enabled: true, gps: false, status: 3 } } },
      { location: 'off', permission: 'always' },
    ],
    [
      'osmand',
      { location: { provider: { enabled: true, gps: true, status: 2 } } },
      { location: 'on', permission: 'denied' },
    ],
    ['osmand', { location: { alarm: 'sos' } }, { alarm: 'sos' }],
    [
      'owntracks',
      { _type: 'status', iOS: { authorizationStatus: 'kCLAuthorizationStatusDenied', lowPowerMode: true } },
      { permission: 'denied', battery_saver: true },
    ],
    [
      'owntracks',
      { _type: 'status', iOS: { authorizationStatus: 'kCLAuthorizationStatusAuthorizedAlways' } },
      { permission: 'always' },
    ],
    [
      'owntracks',
      { _type: 'status', android: { hib: 0, bo: 0, loc: -4, ps: 1, wifi: 1 } },
      { permission: 'denied', battery_saver: true },
    ],
    ['owntracks', { _type: 'status', android: { loc: 0, ps: false } }, { permission: 'always', battery_saver: false }],
  ];
  for (const [name, body] of states) expect((await send(`/${name}/${token}`, JSON.stringify(body))).status).toBe(200);
  expect(told.map(({ state }) => state)).toEqual(states.map(([, , state]) => state));
  await call(`/osmand/${token}?alarm=sos`);
  expect(told.at(-1)?.state).toEqual({ alarm: 'sos' });
});

test.each(['device_token_invalid', 'rate_limited'] as const)(
  'OwnTracks throws away what is answered with 4xx: %s is 503 there, with Retry-After, and its own status elsewhere',
  async (code) => {
    const { send, call } = door(code);
    const refused = await send(`/owntracks/${token}`, JSON.stringify(ownTracksLocation(at)));
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await refused.json()).toMatchObject({ code });
    expect((await call(`/osmand/${token}?lat=1&lon=2`)).status).toBe(code === 'rate_limited' ? 429 : 401);
  },
);

test('OwnTracks: without a token 503, a photo of 2 MB is read past, and what can never be read is delivered and counted', async () => {
  const { points, told, send } = door();
  expect((await send('/owntracks', JSON.stringify(ownTracksLocation(at)))).status).toBe(503);
  const photo = { ...ownTracksLocation(at), image: 'x'.repeat(2 * 1024 * 1024) };
  expect((await send(`/owntracks/${token}`, JSON.stringify(photo))).status).toBe(200);
  expect(points).toHaveLength(1);
  for (const body of ['{', '\xff', 'x'.repeat(9 * 1024 * 1024)]) {
    expect((await send(`/owntracks/${token}`, body)).status).toBe(200);
  }
  expect(told.slice(1).map(({ unreadable }) => unreadable)).toEqual(Array(3).fill({ body_invalid: 1 }));
});

test('no request makes anything but a kept or a counted point, or a refusal with a code (5,000 random ones)', async () => {
  const random = seededRandom(17);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random.next() * values.length)] as T;
  const scraps = [
    '',
    '0',
    '-1',
    '46.05',
    '46,05',
    'NaN',
    'Infinity',
    '1e400',
    'null',
    '%',
    '\u0000',
    '٤٦',
    at,
    '1795507200',
    '[]',
    '{}',
  ];
  const junk = (): unknown =>
    pick([...scraps, null, true, 0, -1, 46.05, 1e308, [], {}, [[]], { coords: null }, { provider: 1 }]);
  const names = [
    'lat',
    'lon',
    'latitude',
    'timestamp',
    'coords',
    'location',
    'locations',
    'geometry',
    'properties',
    '_type',
    'battery',
    'accuracy',
    'valid',
    'id',
    'provider',
    'iOS',
    '__proto__',
  ];
  for (let i = 0; i < 5000; i += 1) {
    const { points, told, call, send } = door();
    const name = pick(['osmand', 'owntracks', 'overland']);
    const fields = Array.from({ length: 6 }, () => [pick(names), junk()] as const);
    const object = Object.fromEntries(fields);
    const body = pick([
      object,
      [object],
      { location: object },
      { locations: [object, object] },
      { type: 'Feature', properties: object },
    ]);
    const response =
      random.next() < 0.5
        ? await send(
            `/${name}/${token}`,
            JSON.stringify(body),
            pick([{}, { 'content-type': 'application/json' }, { 'content-type': 'multipart/form-data' }]),
          )
        : await call(
            `/osmand/${token}?${new URLSearchParams(Object.fromEntries(fields.map(([key, value]) => [key, String(value)])))}`,
          );
    expect([200, 400]).toContain(response.status);
    for (const point of points) {
      expect(point.latitude !== 0 || point.longitude !== 0).toBe(true);
      expect(Object.values(point).every((value) => value !== null && !Number.isNaN(value))).toBe(true);
    }
    if (response.status === 200) expect(told).toHaveLength(1);
  }
});

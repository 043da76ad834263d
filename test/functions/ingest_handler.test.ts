import { beforeEach, describe, expect, test } from 'vitest';
import { createAbuseLog } from '../../edge-functions/_shared/abuse.ts';
import { createKernel, type Handler } from '../../edge-functions/_shared/kernel.ts';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { refusal } from '../../edge-functions/_shared/refusal.ts';
import { createHandler, type Told } from '../../edge-functions/ingest/handler.ts';
import type { Point } from '../../edge-functions/ingest/point.ts';
import {
  overlandBatch,
  ownTracksLocation,
  ownTracksTransition,
  traccarForm,
  traccarJson,
} from '../fixtures/phone-apps.ts';

const token = `ft_device_${'t'.repeat(43)}`;

let ingest: Handler;
let received: { points: Point[]; protocol: string }[];
let told: Told[];
let refuseAll: boolean;
let lines: string[];

beforeEach(() => {
  received = [];
  told = [];
  refuseAll = false;
  lines = [];
  const now = () => performance.now();
  const abuse = createAbuseLog({ now });
  const kernel = createKernel({
    log: createLogger({ service: 'ingest', level: 'info', write: (line) => lines.push(line) }),
    abuse,
    allowedOrigins: [],
    trustedProxies: 1,
    newRequestId: () => 'made-by-the-kernel',
    now,
  });
  ingest = createHandler({
    kernel,
    abuse,
    async ingest(_, tokenHash, points, more) {
      expect(tokenHash).toHaveLength(32);
      if (refuseAll) throw refusal('device_token_invalid', 'This device token is not valid.');
      received.push({ points, protocol: more.protocol });
      told.push(more);
      return { device_id: 'device-1', stored: points.length, duplicates: 0, refused: 0, without_session: 0 };
    },
  });
});

const call = (path: string, init: RequestInit = {}) => ingest(new Request(`http://functions/ingest${path}`, init));
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const refusalOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];
const at = '2026-11-24T08:00:00.000Z';

describe('Traccar Client and OsmAnd', () => {
  test('parameters in the query, by GET or POST: knots become metres per second', async () => {
    const query = `?id=${token}&timestamp=1795507200&lat=46.05&lon=14.5&speed=10&bearing=90&altitude=300&accuracy=5&batt=83.4&charge=true&mock=true`;
    for (const method of ['GET', 'POST']) {
      const response = await call(`/osmand/${query}`, { method });
      expect([response.status, await response.text()]).toEqual([200, '']);
    }
    const point = {
      recorded_at: at,
      latitude: 46.05,
      longitude: 14.5,
      speed_mps: expect.closeTo(5.1444, 4),
      heading_deg: 90,
      accuracy_m: 5,
      battery_pct: 83,
      is_mock: true,
    };
    expect(received).toEqual([
      { points: [point], protocol: 'osmand' },
      { points: [point], protocol: 'osmand' },
    ]);
  });

  test('a form', async () => {
    const response = await call('/osmand', {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: traccarForm(token, at),
    });
    expect(response.status).toBe(200);
    expect(received[0]?.points).toMatchObject([{ recorded_at: at, latitude: 46.05, longitude: 14.5 }]);
  });

  test('JSON, as Traccar Client sends it from version 9 on', async () => {
    expect((await post('/osmand', traccarJson(token, at))).status).toBe(200);
    expect(received[0]?.points).toEqual([
      {
        recorded_at: at,
        latitude: 46.05,
        longitude: 14.5,
        accuracy_m: 5,
        speed_mps: 3.2,
        heading_deg: 90,
        battery_pct: 83,
      },
    ]);
  });

  test('times in seconds, milliseconds, ISO 8601 and as the protocol writes them', async () => {
    for (const time of ['1795507200', '1795507200000', at, '2026-11-24T09:00:00%2B0100', '2026-11-24 08:00:00']) {
      await call(`/osmand/${token}?timestamp=${time}&lat=1&lon=2`);
    }
    expect(received.map(({ points }) => points[0]?.recorded_at)).toEqual(Array(5).fill(at));
  });

  test('location=latitude,longitude', async () => {
    await call(`/osmand/${token}?timestamp=1795507200&location=46.05,14.5`);
    expect(received[0]?.points).toMatchObject([{ latitude: 46.05, longitude: 14.5 }]);
  });

  test('a message without a place, or one that the app calls not valid, is delivered and no point', async () => {
    for (const query of ['?alarm=sos&timestamp=1795507200', '?timestamp=1795507200&lat=1&lon=2&valid=false', '']) {
      expect((await call(`/osmand/${token}${query}`)).status).toBe(200);
    }
    expect(received.flatMap(({ points }) => points)).toEqual([]);
  });
});

describe('OwnTracks', () => {
  test('a location by Basic authentication: km/h become metres per second; the answer is an empty array', async () => {
    const authorization = `Basic ${btoa(`anything:${token}`)}`;
    const response = await post('/owntracks', ownTracksLocation(at), { authorization });
    expect([response.status, await response.json()]).toEqual([200, []]);
    expect(received[0]?.points).toEqual([
      {
        recorded_at: at,
        latitude: 46.05,
        longitude: 14.5,
        accuracy_m: 5,
        speed_mps: expect.closeTo(15, 9),
        heading_deg: 271,
        battery_pct: 41,
      },
    ]);
  });

  test('a transition has a place; the other types have none and are delivered', async () => {
    await post(`/owntracks/${token}`, ownTracksTransition(at));
    expect(received[0]?.points).toMatchObject([{ recorded_at: at, latitude: 46.05 }]);
    for (const _type of ['lwt', 'waypoint', 'waypoints', 'card', 'status', 'steps', 'encrypted', 'dump']) {
      expect(await (await post(`/owntracks/${token}`, { _type, lat: 1, lon: 2, tst: 3 })).json()).toEqual([]);
    }
    expect(received.flatMap(({ points }) => points)).toHaveLength(1);
  });

  test('a batch', async () => {
    await post(`/owntracks/${token}`, [ownTracksLocation(at), ownTracksTransition(at), { _type: 'lwt', tst: 1 }]);
    expect(received[0]?.points).toHaveLength(2);
  });

  test('an empty body, which the app sends when a friend is deleted, is delivered', async () => {
    const response = await call(`/owntracks/${token}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    expect([response.status, await response.json()]).toEqual([200, []]);
  });
});

describe('Overland', () => {
  test('a batch with a Bearer token; the answer is what deletes it on the phone', async () => {
    const response = await post('/overland', overlandBatch(at), { authorization: `Bearer ${token}` });
    expect([response.status, await response.json()]).toEqual([200, { result: 'ok' }]);
    expect(received[0]?.points).toEqual([
      { recorded_at: at, latitude: 46.05, longitude: 14.5, accuracy_m: 30, speed_mps: 4, battery_pct: 89 },
    ]);
  });

  test('ten thousand points are taken, more are refused', async () => {
    const [feature] = overlandBatch(at).locations;
    expect((await post(`/overland/${token}`, { locations: Array(10_000).fill(feature) })).status).toBe(200);
    expect(await refusalOf(await post(`/overland/${token}`, { locations: Array(10_001).fill(feature) }))).toEqual([
      400,
      'batch_size',
    ]);
  });
});

test('values that make no sense are left out, the point stays; without place or time it does not', async () => {
  await call(`/osmand/${token}?timestamp=1795507200&lat=1&lon=2&speed=-1&bearing=-1&accuracy=0.0&batt=-100&unknown=1`);
  expect(received[0]?.points).toEqual([{ recorded_at: at, latitude: 1, longitude: 2 }]);
  for (const query of [
    '?timestamp=1795507200&lat=91&lon=2',
    '?timestamp=1795507200&lat=NaN&lon=2',
    '?timestamp=1795507200&lat=&lon=2',
    '?timestamp=1795507200&lat=1',
    '?timestamp=yesterday&lat=1&lon=2',
    '?timestamp=99999999999999999&lat=1&lon=2',
    '?timestamp=2026-02-30T00:00:00&lat=1&lon=2',
  ]) {
    expect((await call(`/osmand/${token}${query}`)).status).toBe(200);
  }
  expect(received.slice(1).flatMap(({ points }) => points)).toEqual([]);
});

describe('refusals', () => {
  test.each([
    ['no token', '/osmand?lat=1&lon=2'],
    ['a malformed token', '/osmand/ft_device_short?lat=1&lon=2'],
    ['an API key', `/osmand/ft_live_${'k'.repeat(12)}_${'s'.repeat(43)}_000000`],
    ['a person’s identifier', '/osmand?id=123456&lat=1&lon=2'],
  ])('%s is a 401 without asking the database', async (_, path) => {
    expect(await refusalOf(await call(path))).toEqual([401, 'device_token_invalid']);
    expect(received).toEqual([]);
  });

  test('a revoked token is a 401, so that the app keeps its points until it has a new one', async () => {
    refuseAll = true;
    expect(await refusalOf(await call(`/osmand/${token}?timestamp=1&lat=1&lon=2`))).toEqual([
      401,
      'device_token_invalid',
    ]);
  });

  test.each([
    ['/', 404, 'not_found'],
    ['/traccar', 404, 'not_found'],
    [`/osmand/${token}/x`, 404, 'not_found'],
    [`/../api/${token}`, 404, 'not_found'],
    [`/owntracks/${token}`, 405, 'method_not_allowed'],
    [`/overland/${token}`, 405, 'method_not_allowed'],
  ])('GET %s is a %s', async (path, status, code) => {
    const request = new Request('http://functions/');
    Object.defineProperty(request, 'url', { value: `http://functions/ingest${path}` });
    expect(await refusalOf(await ingest(request))).toEqual([status, code]);
  });

  test('a body that is no JSON, or not what the app sends, is a 400; one of 9 MB a 413', async () => {
    const json = { 'content-type': 'application/json' };
    for (const [name, body] of [
      ['osmand', '{'],
      ['overland', '{'],
      ['overland', '{}'],
      ['overland', '[]'],
      ['osmand', '[]'],
    ]) {
      const response = await call(`/${name}/${token}`, { method: 'POST', headers: json, body: body ?? '' });
      expect(await refusalOf(response)).toEqual([400, 'body_invalid']);
    }
    const large = await call(`/overland/${token}`, {
      method: 'POST',
      headers: json,
      body: new Uint8Array(9 * 1024 * 1024),
    });
    expect(await refusalOf(large)).toEqual([413, 'body_too_large']);
  });

  test('an address that guesses waits; a phone that was known there goes on', async () => {
    const other = `ft_device_${'u'.repeat(43)}`;
    await call(`/osmand/${token}?timestamp=1&lat=1&lon=2`);
    for (let i = 0; i < 100; i += 1) await call('/osmand/guess');
    expect((await call(`/osmand/${token}?timestamp=1&lat=1&lon=2`)).status).toBe(200);
    expect(await refusalOf(await call(`/osmand/${other}?timestamp=1&lat=1&lon=2`))).toEqual([429, 'rate_limited']);
  });

  test('no line of the log holds the token or a position', async () => {
    await call(`/osmand/${token}?timestamp=1795507200&lat=46.0512&lon=14.5034`);
    expect(lines.join()).toContain('"route":"osmand"');
    expect(lines.join()).not.toMatch(/ttt|46\.05|14\.50/);
  });
});

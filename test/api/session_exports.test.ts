import { randomUUID } from 'node:crypto';
import { check, HintError } from '@placemarkio/check-geojson';
import { gpx } from '@tmcw/togeojson';
import { DOMParser } from '@xmldom/xmldom';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

/** As far as these tests look; the packages' own types need @types/geojson and the DOM's. */
interface Feature {
  geometry: { type: string; coordinates: unknown[][] } | null;
  // biome-ignore lint/suspicious/noExplicitAny: whatever a producer wrote
  properties: Record<string, any> | null;
}

let stack: TestStack;
let admin: Member;
let bob: Member;
let sessionId: string;
const start = Date.now() - 4 * 3_600_000;
/** A name that breaks whatever does not escape it. */
const name = `Bob "]]> & <trkpt lat='1'/> \u0007Ω`;

const point = (minutes: number, metresNorth: number) => ({
  recorded_at: new Date(start + minutes * 60_000).toISOString(),
  latitude: 46 + metresNorth / 111_150,
  longitude: 14.5,
  accuracy_m: 5,
});

beforeAll(async () => {
  stack = await startTestStack();
  ({ admin } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, admin, 'bob');
  await stack.admin`update public.employees set name = ${name} where id = ${bob.employeeId}`;
  const checkedIn = await bob.client.rpc('check_in', {
    checked_in_at: new Date(start - 60_000).toISOString(),
    client_request_id: randomUUID(),
  });
  sessionId = checkedIn.data?.id ?? '';
  const points = [
    // Drives, stays for ten minutes (one jump and one bad fix among them), drives, is in a tunnel for five minutes, drives.
    ...Array.from({ length: 10 }, (_, minute) => point(minute, minute * 500)),
    ...Array.from({ length: 9 }, (_, minute) => point(10 + minute, 4500 + (minute % 2) * 4)),
    { ...point(15.5, 9000) },
    { ...point(16.5, 4500), accuracy_m: 900 },
    ...Array.from({ length: 10 }, (_, minute) => point(19 + minute, 5000 + minute * 500)),
    ...Array.from({ length: 10 }, (_, minute) => point(34 + minute, 15_000 + minute * 500)),
  ];
  const { error } = await bob.client.rpc('record_locations', { points, session_id: sessionId });
  if (error) throw error;
});
afterAll(() => stack?.stop());

const ask = (name: string, accept: string, person: Member = admin) =>
  fetch(`${stack.url}/rest/v1/rpc/${name}?session_id=${sessionId}`, {
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${person.accessToken}`, accept },
  });

interface Route {
  points: { flag: string; is_gap: boolean }[];
  line: { type: string; coordinates: [number, number][] };
  stops: { latitude: number; longitude: number; from: string; to: string }[];
  gaps: { from: string; to: string; straight_m: number }[];
  totals: { distance_m: number; stopped_s: number; gaps_m: number; points: Record<string, number> };
}

test('the route has points with flags, the line, the stop, the gap and totals', async () => {
  const { data, error } = await admin.client.rpc('get_session_route', { session_id: sessionId });
  expect(error).toBeNull();
  const route = data as unknown as Route;
  expect(route.points).toHaveLength(41);
  expect(route.totals.points).toMatchObject({ low_accuracy: 1, impossible_speed: 1 });
  expect(Math.abs(route.totals.distance_m - 19_500)).toBeLessThan(40);
  expect(route.stops).toHaveLength(1);
  const [stop] = route.stops;
  expect(Math.abs((stop?.latitude ?? 0) - 46 - 4502 / 111_150) * 111_150).toBeLessThan(5);
  expect(stop?.longitude).toBe(14.5);
  expect(Date.parse(stop?.from ?? '')).toBe(start + 9 * 60_000);
  expect(Date.parse(stop?.to ?? '')).toBe(start + 18 * 60_000);
  expect(route.totals.stopped_s).toBe(540);
  expect(route.gaps).toEqual([
    expect.objectContaining({ from: expect.any(String), straight_m: expect.closeTo(5500, -2) }),
  ]);
  expect(Date.parse(route.gaps[0]?.from ?? '')).toBe(start + 28 * 60_000);
  expect(Date.parse(route.gaps[0]?.to ?? '')).toBe(start + 34 * 60_000);
  // All of it lies on one meridian: its ends are all the line needs.
  expect(route.line.type).toBe('LineString');
  expect(route.line.coordinates).toHaveLength(2);
  expect(route.line.coordinates[0]).toEqual([14.5, 46]);
});

describe('as GPX', () => {
  test('it is served as application/gpx+xml, as a file, and two public parsers read it', async () => {
    const response = await ask('export_session_gpx', 'application/gpx+xml');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/gpx\+xml/);
    expect(response.headers.get('content-disposition')).toBe(`attachment; filename="session-${sessionId}.gpx"`);
    const text = await response.text();
    expect(XMLValidator.validate(text)).toBe(true);
    const read = new XMLParser({ ignoreAttributes: false }).parse(text).gpx;
    expect(read['@_version']).toBe('1.1');
    expect(read['@_xmlns']).toBe('http://www.topografix.com/GPX/1/1');
    // The schema's order.
    expect(Object.keys(read).filter((key) => !key.startsWith('@'))).toEqual(['metadata', 'wpt', 'trk']);
    const features = readGpx(text);
    const track = features.find(({ geometry }) => geometry?.type === 'MultiLineString');
    expect(track?.properties?.name).toContain(`Bob "]]> & <trkpt lat='1'/> Ω`);
    expect(track?.properties?.coordinateProperties.times.flat()).toHaveLength(30);
    expect(features.filter(({ geometry }) => geometry?.type === 'Point')).toHaveLength(1);
  });

  test('the accounts that may not see the route get no file', async () => {
    const carol = await addEmployee(stack, admin, 'carol');
    const { admin: mallory } = await foundOrganization(stack, 'other');
    for (const person of [carol, mallory]) {
      for (const [name, accept] of [
        ['export_session_gpx', 'application/gpx+xml'],
        ['export_session_geojson', 'application/geo+json'],
      ] as const) {
        const response = await ask(name, accept, person);
        expect(response.status).toBe(404);
        expect(await response.json()).toMatchObject({ code: 'session_not_found' });
      }
    }
    expect((await ask('export_session_gpx', 'application/gpx+xml', bob)).status).toBe(200);
  });
});

test('as GeoJSON it is served as application/geo+json, and a strict checker finds nothing wrong', async () => {
  const response = await ask('export_session_geojson', 'application/geo+json');
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^application\/geo\+json/);
  const text = await response.text();
  const [way, ...stops] = readGeoJson(text);
  expect(way?.geometry?.type).toBe('MultiLineString');
  expect(way?.geometry?.coordinates.map((line) => line.length)).toEqual([20, 10]);
  expect(way?.properties?.times.map((times: string[]) => times.length)).toEqual([20, 10]);
  expect(stops.map(({ geometry }) => geometry?.type)).toEqual(['Point']);
});

function readGeoJson(text: string): Feature[] {
  try {
    return (check(text) as unknown as { features: Feature[] }).features;
  } catch (error) {
    // Its message alone does not say which.
    throw error instanceof HintError ? new Error(JSON.stringify(error.issues)) : error;
  }
}

function readGpx(text: string): Feature[] {
  const document = new DOMParser().parseFromString(text, 'text/xml');
  return gpx(document as unknown as Parameters<typeof gpx>[0]).features as unknown as Feature[];
}

test('a session in which nothing moved exports empty files that are still valid', async () => {
  const dora = await addEmployee(stack, admin, 'dora');
  const checkedIn = await dora.client.rpc('check_in', {
    checked_in_at: new Date(start).toISOString(),
    client_request_id: randomUUID(),
  });
  const id = checkedIn.data?.id ?? '';
  const get = async (path: string, accept: string) =>
    (
      await fetch(`${stack.url}/rest/v1/rpc/${path}?session_id=${id}`, {
        headers: { apikey: stack.publishableKey, authorization: `Bearer ${admin.accessToken}`, accept },
      })
    ).text();
  expect(XMLValidator.validate(await get('export_session_gpx', 'application/gpx+xml'))).toBe(true);
  const features = readGeoJson(await get('export_session_geojson', 'application/geo+json'));
  expect(features).toMatchObject([{ geometry: null }]);
});

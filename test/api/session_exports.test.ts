import { randomUUID } from 'node:crypto';
import { check, HintError } from '@placemarkio/check-geojson';
import { gpx } from '@tmcw/togeojson';
import { DOMParser } from '@xmldom/xmldom';
import { Ajv } from 'ajv';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import featureCollection from 'geojson-schema/FeatureCollection.json' with { type: 'json' };
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sessionRoute } from '../../types/answers.ts';
import { gpxProblems } from '../fixtures/gpx-schema.ts';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

/** As far as these tests look; the packages' own types need @types/geojson. */
const feature = z.object({
  geometry: z.object({ type: z.string(), coordinates: z.array(z.any()) }).nullable(),
  properties: z.record(z.string(), z.any()).nullable(),
});
const features = z.object({ features: z.array(feature) });
type Feature = z.infer<typeof feature>;

let stack: TestStack;
let admin: Member;
let bob: Member;
let sessionId: string;
const start = Date.now() - 4 * 3_600_000;
/** A name that breaks whatever does not escape it. */
const name = `Bob "]]> & <trkpt lat='1'/> Ω`;

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

test('the route has points with flags, the line, the stop, the gap and totals', async () => {
  const { data, error } = await admin.client.rpc('get_session_route', { session_id: sessionId });
  expect(error).toBeNull();
  const route = sessionRoute.parse(data);
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
  expect(route.line?.type).toBe('LineString');
  expect(route.line?.coordinates).toHaveLength(2);
  expect(route.line?.coordinates[0]).toEqual([14.5, 46]);
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
    expect(gpxProblems(text)).toEqual([]);
    const features = readGpx(text);
    const track = features.find(({ geometry }) => geometry?.type === 'MultiLineString');
    expect(track?.properties?.name).toContain(`Bob "]]> & <trkpt lat='1'/> Ω`);
    expect(track?.properties?.coordinateProperties.times.flat()).toHaveLength(30);
    expect(features.filter(({ geometry }) => geometry?.type === 'Point')).toHaveLength(1);
  });

  test('what holds it against the schema sees what is wrong', async () => {
    const text = await (await ask('export_session_gpx', 'application/gpx+xml')).text();
    const [point = ''] = /<trkpt[^>]*>.*?<\/trkpt>/.exec(text) ?? [];
    const wrong: [what: string, document: string][] = [
      ['a child before its place', text.replace(/(<time>[^<]*<\/time>)(<name>Stop<\/name>)/, '$2$1')],
      ['the track before the waypoints', text.replace(/(<wpt.*<\/wpt>)\s*(<trk>.*<\/trk>)/s, '$2$1')],
      ['a point outside a segment', text.replace('</trk>', `${point}</trk>`)],
      ['no latitude', text.replace(/ lat="[^"]*"/, '')],
      ['a number with an exponent', text.replace(/ lat="[^"]*"/, ' lat="4.6e1"')],
      ['a place that is none', text.replace(/ lon="[^"]*"/, ' lon="180"')],
      ['a time without a day', text.replace(/<time>[^<]*</, '<time>12:00:00Z<')],
      ['an attribute of its own', text.replace('<trk>', '<trk id="1">')],
      ['an element of its own', text.replace('<trk>', '<trk><speed>1</speed>')],
      ['another version', text.replace('version="1.1"', 'version="1.0"')],
      ['no creator', text.replace(/ creator="[^"]*"/, '')],
      ['another namespace', text.replace('GPX/1/1', 'GPX/1/0')],
      ['two names', text.replace('<name>Stop</name>', '<name>Stop</name><name>Stop</name>')],
      ['text between elements', text.replace('<trkseg>', '<trkseg>way')],
      ['half of it', text.slice(0, text.length / 2)],
    ];
    for (const [what, document] of wrong) {
      expect(document, what).not.toBe(text);
      expect(gpxProblems(document), what).not.toEqual([]);
    }
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

test('as GeoJSON it is served as application/geo+json, valid by its schema and for a strict checker', async () => {
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

const isFeatureCollection = new Ajv({ strict: false }).compile(featureCollection);

function readGeoJson(text: string): Feature[] {
  isFeatureCollection(JSON.parse(text));
  expect(isFeatureCollection.errors ?? []).toEqual([]);
  try {
    check(text);
    return features.parse(JSON.parse(text)).features;
  } catch (error) {
    // Its message alone does not say which.
    throw error instanceof HintError ? new Error(JSON.stringify(error.issues)) : error;
  }
}

function readGpx(text: string): Feature[] {
  const document = new DOMParser().parseFromString(text, 'text/xml');
  // togeojson asks for the browser's Document; xmldom's has all that it uses, and is what a server has.
  return features.parse(gpx(document as unknown as Parameters<typeof gpx>[0])).features;
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
  expect(gpxProblems(await get('export_session_gpx', 'application/gpx+xml'))).toEqual([]);
  const features = readGeoJson(await get('export_session_geojson', 'application/geo+json'));
  expect(features).toMatchObject([{ geometry: null }]);
});

test('a way over the 180th meridian exports places that both formats know', async () => {
  const eva = await addEmployee(stack, admin, 'eva');
  const checkedIn = await eva.client.rpc('check_in', {
    checked_in_at: new Date(start - 60_000).toISOString(),
    client_request_id: randomUUID(),
  });
  const places: [latitude: number, longitude: number][] = [
    ...Array.from({ length: 5 }, (_, index): [number, number] => [0, 179.99 + index * 0.0025]),
    ...Array.from({ length: 5 }, (_, index): [number, number] => [0.000_000_1, -179.9975 + index * 0.0025]),
  ];
  const { error } = await eva.client.rpc('record_locations', {
    session_id: checkedIn.data?.id ?? '',
    points: places.map(([latitude, longitude], index) => ({ ...point(index, 0), latitude, longitude })),
  });
  expect(error).toBeNull();
  const get = async (path: string, accept: string) =>
    (
      await fetch(`${stack.url}/rest/v1/rpc/${path}?session_id=${checkedIn.data?.id}`, {
        headers: { apikey: stack.publishableKey, authorization: `Bearer ${admin.accessToken}`, accept },
      })
    ).text();
  const document = await get('export_session_gpx', 'application/gpx+xml');
  expect(document.match(/<trkpt/g)).toHaveLength(10);
  expect(gpxProblems(document)).toEqual([]);
  expect(document).toContain('lon="-180"');
  const [way] = readGeoJson(await get('export_session_geojson', 'application/geo+json'));
  expect(way?.geometry?.coordinates.map((line) => line.length)).toEqual([5, 5]);
});

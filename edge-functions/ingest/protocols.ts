import { parseJson } from '../_shared/body.ts';
import { refusal } from '../_shared/refusal.ts';
import { type RawPoint, readBattery, readFraction, readPair, scaled } from './point.ts';
import { type DeviceState, ownTracksState, providerState } from './state.ts';

/** What a request of an app holds: its points, where a token may stand, and what it says of the phone itself. */
export type Report = {
  points: RawPoint[];
  tokens?: unknown[];
  state?: DeviceState;
  /** The app is set up by an address of ours that reads its speed wrongly; its points are read as it means them. */
  setup?: 'osmand_speed_in_knots';
};

export type Sent = {
  method: string;
  query: string;
  contentType: string;
  body: Uint8Array;
  /** The fields of a form of several parts, which the handler takes apart. */
  fields?: [string, string][];
};

export type Protocol = {
  read: (sent: Sent) => Report;
  /** What the app has to hear to take the points for delivered. */
  delivered: () => Response;
  /** The app throws away what is answered with 4xx, or stops at it for ever: docs/edge-functions.md, "What an app does". */
  needsServerErrors: boolean;
};

export type ProtocolName = keyof typeof protocols;

const KNOT_MPS = 1852 / 3600;
const KMH_MPS = 1 / 3.6;

type Json = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectIn(parent: Json, name: string): Json {
  const value = parent[name];
  return isObject(value) ? value : {};
}

/** The first of the names that is there and not empty. */
function first(parent: Json | Map<string, string>, ...names: string[]): unknown {
  for (const name of names) {
    const value = parent instanceof Map ? parent.get(name) : parent[name];
    if (value !== undefined && value !== null && value !== '') return value;
  }
  return undefined;
}

const TOKEN_NAMES = ['id', 'deviceid', 'device_id', 'token', 'access_token', 'key'];

function isJson({ contentType, body }: Sent): boolean {
  if (contentType.includes('json')) return true;
  // Some apps name no type, or text/plain. A form never begins with a brace.
  const start = new TextDecoder().decode(body.subarray(0, 64)).trimStart();
  return start.startsWith('{') || start.startsWith('[');
}

export const protocols = {
  /**
   * https://www.traccar.org/osmand/ : OsmAnd, GPSLogger and Traccar Client before 9 send parameters (query or form, GET or
   * POST), Traccar Client 9 and 10.0 JSON, 10.1 a form again; Transistorsoft's SDK sends the same JSON, one or many.
   */
  osmand: {
    needsServerErrors: false,
    read(sent) {
      if (isJson(sent)) return readJson(parseJson(sent.body));
      const form: Iterable<[string, string]> = sent.fields ?? new URLSearchParams(new TextDecoder().decode(sent.body));
      const parameters = new Map<string, string>();
      for (const [name, value] of [...new URLSearchParams(sent.query), ...form])
        parameters.set(name.toLowerCase(), value);
      return readParameters(parameters);
    },
    delivered: () => new Response(null, { status: 200 }),
  },

  /**
   * https://owntracks.org/booklet/tech/http/ and /json/ : one JSON object a POST, or an array of them; `location` and
   * `transition` have a place, `status` tells of the phone. The answer is an array of commands: none.
   */
  owntracks: {
    needsServerErrors: true,
    read({ body }) {
      if (body.byteLength === 0) return { points: [] };
      const sent = parseJson(body);
      const messages = (Array.isArray(sent) ? sent : [sent]).filter(isObject);
      const state = Object.assign({}, ...messages.map(ownTracksState));
      return {
        points: messages
          .filter(
            ({ _type, lat }) => ['location', 'transition'].includes(_type as string) || (!_type && lat !== undefined),
          )
          .map(ownTracksMessage),
        state,
      };
    },
    delivered: () => Response.json([]),
  },

  /**
   * https://github.com/aaronpk/Overland-iOS#api : a batch of GeoJSON points. Anything but {"result":"ok"} and it is sent
   * again.
   */
  overland: {
    needsServerErrors: false,
    read({ body }) {
      const sent = parseJson(body);
      if (!isObject(sent) || !Array.isArray(sent.locations)) {
        throw refusal('body_invalid', 'The body is a JSON object with an array of locations.');
      }
      return readJson(sent);
    },
    delivered: () => Response.json({ result: 'ok' }),
  },
} as const satisfies Record<string, Protocol>;

/** Whether these are the parameters of the address that this project's page gave OsmAnd users before 2026-12. */
function isOldOsmAndAddress(parameters: Map<string, string>): boolean {
  return (
    parameters.has('hdop') &&
    /^\d{13}$/.test(parameters.get('timestamp') ?? '') &&
    [...parameters.keys()].every((name) => ['lat', 'lon', 'timestamp', 'hdop', 'altitude', 'speed'].includes(name))
  );
}

function readParameters(parameters: Map<string, string>): Report {
  const tokens = TOKEN_NAMES.map((name) => parameters.get(name));
  const state: DeviceState = {};
  const alarm = first(parameters, 'alarm');
  if (typeof alarm === 'string') state.alarm = alarm.slice(0, 40);
  const location = parameters.get('location');
  const [latitude, longitude] = location
    ? (readPair(location) ?? [location, undefined])
    : [first(parameters, 'lat', 'latitude'), first(parameters, 'lon', 'lng', 'long', 'longitude')];
  // A message without a place, such as an alarm, is no point.
  if (latitude === undefined && longitude === undefined) return { points: [], tokens, state };
  const old = isOldOsmAndAddress(parameters);
  const metresPerSecond = first(parameters, 'speed_mps', 'spd', 's');
  const point: RawPoint = {
    // A message without a time is of now, as the protocol has it.
    recorded_at: first(parameters, 'timestamp', 'time', 'tst', 'fixtime', 'recorded_at') ?? Date.now(),
    latitude,
    longitude,
    accuracy_m:
      first(parameters, 'accuracy', 'acc', 'accuracy_m', 'horizontal_accuracy') ??
      (old ? parameters.get('hdop') : undefined),
    // The protocol's unit is the knot; the names of our own and of GPSLogger mean metres per second.
    speed_mps: metresPerSecond ?? (old ? parameters.get('speed') : scaled(parameters.get('speed'), KNOT_MPS)),
    heading_deg: first(parameters, 'bearing', 'heading', 'course', 'dir', 'heading_deg'),
    battery_pct: readBattery(first(parameters, 'batt', 'battery', 'battery_level', 'battery_pct', 'bat')),
    is_mock: first(parameters, 'mock', 'is_mock', 'ismock'),
    is_valid: parameters.get('valid'),
  };
  return { points: [point], tokens, state, ...(old ? { setup: 'osmand_speed_in_knots' } : {}) };
}

/** What an app calls its records: one under `location`, many under either name, or the bare record. */
function recordsOf(sent: unknown): Json[] {
  if (Array.isArray(sent)) return sent.flatMap(recordsOf);
  if (!isObject(sent)) return [];
  const inner = sent.location ?? sent.locations ?? sent.features;
  if (Array.isArray(inner) || isObject(inner)) return recordsOf(inner);
  return [sent];
}

function readJson(sent: unknown): Report {
  if (!isObject(sent) && !(Array.isArray(sent) && sent.every(isObject) && sent.length > 0)) {
    throw refusal(
      'body_invalid',
      'The body is a JSON object with location and device_id, or an array of such locations.',
    );
  }
  const records = recordsOf(sent);
  const tops = (Array.isArray(sent) ? sent : [sent]) as Json[];
  const tokens = [
    ...tops,
    ...records.slice(0, 1),
    objectIn(records[0] ?? {}, 'properties'),
    objectIn(records[0] ?? {}, 'extras'),
  ].flatMap((parent) => TOKEN_NAMES.map((name) => parent[name]));
  const state = Object.assign({}, ...[...tops, ...records].map(providerState));
  return { points: records.filter(hasPlace).map(readRecord), tokens, state };
}

/**
 * Overland's records of visits, trips and pauses bear the place that was left or the time of sending: they are about something
 * else than where the phone is. A record without any place is no point either.
 */
function hasPlace(record: Json): boolean {
  const properties = objectIn(record, 'properties');
  if (record.type === 'Feature' && (properties.action !== undefined || properties.type === 'trip')) return false;
  const { coords, geometry } = record;
  return (
    isObject(coords) || isObject(geometry) || first(record, 'lat', 'latitude', 'lon', 'lng', 'longitude') !== undefined
  );
}

function readRecord(record: Json): RawPoint {
  const coords = objectIn(record, 'coords');
  const properties = objectIn(record, 'properties');
  const { coordinates } = objectIn(record, 'geometry');
  const [longitude, latitude] = Array.isArray(coordinates) ? coordinates : [];
  const battery = objectIn(record, 'battery');
  const flat = isObject(record.coords) || isObject(record.geometry) ? {} : record;
  return {
    recorded_at: first({ ...record, ...properties }, 'timestamp', 'time', 'tst', 'recorded_at', 'timestampMs'),
    latitude: latitude ?? first(coords, 'latitude', 'lat') ?? first(flat, 'latitude', 'lat'),
    longitude: longitude ?? first(coords, 'longitude', 'lon', 'lng') ?? first(flat, 'longitude', 'lon', 'lng'),
    accuracy_m: first({ ...flat, ...coords, ...properties }, 'accuracy', 'horizontal_accuracy', 'accuracy_m', 'acc'),
    speed_mps: first({ ...flat, ...coords, ...properties }, 'speed', 'speed_mps'),
    heading_deg: first({ ...flat, ...coords, ...properties }, 'heading', 'course', 'bearing', 'heading_deg'),
    battery_pct:
      readFraction(first(battery, 'level') ?? properties.battery_level) ??
      readBattery(first(flat, 'battery', 'batt', 'battery_pct', 'battery_level')),
    is_mock: first({ ...record, ...coords, ...properties }, 'mock', 'is_mock', 'isMock', 'isFromMockProvider'),
    is_valid: first({ ...record, ...properties }, 'valid'),
  };
}

function ownTracksMessage(message: Json): RawPoint {
  return {
    recorded_at: message.tst,
    latitude: message.lat,
    longitude: message.lon,
    accuracy_m: message.acc,
    speed_mps: scaled(message.vel, KMH_MPS),
    heading_deg: message.cog,
    battery_pct: readBattery(message.batt),
    is_mock: first(message, 'mock', 'is_mock'),
  };
}

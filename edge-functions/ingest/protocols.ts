import { parseJson, parseText } from '../_shared/body.ts';
import { refusal } from '../_shared/refusal.ts';
import { type RawPoint, scaled } from './point.ts';

/** What a request of an app holds: its points, and the token where the app has no better place for one. */
export type Report = { points: RawPoint[]; token?: string | undefined };

export type Sent = { method: string; query: string; contentType: string; body: Uint8Array };

export type Protocol = {
  read: (sent: Sent) => Report;
  /** What the app has to hear to take the points for delivered. */
  delivered: () => Response;
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

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export const protocols = {
  /**
   * https://www.traccar.org/osmand/ : Traccar Client before 9 and OsmAnd send parameters (query or form, GET or POST), Traccar
   * Client from 9 sends JSON. Any 2xx counts as delivered, anything else is sent again.
   */
  osmand: {
    read({ query, contentType, body }) {
      if (contentType.includes('json')) {
        const sent = parseJson(body);
        if (!isObject(sent)) throw refusal('body_invalid', 'The body is a JSON object with location and device_id.');
        const locations = Array.isArray(sent.location) ? sent.location : [sent.location];
        return { points: locations.filter(isObject).map(osmandJson), token: text(sent.device_id) };
      }
      const form = contentType.includes('form') ? parseText(body) : '';
      const parameters = new Map([...new URLSearchParams(query), ...new URLSearchParams(form)]);
      const point = osmandParameters(parameters);
      return { points: point ? [point] : [], token: parameters.get('id') ?? parameters.get('deviceid') };
    },
    delivered: () => new Response(null, { status: 200 }),
  },

  /**
   * https://owntracks.org/booklet/tech/http/ and /json/ : one JSON object a POST, or an array of them; `location` and
   * `transition` have a place, the other types do not concern us. The answer is an array of commands: none.
   */
  owntracks: {
    read({ body }) {
      if (body.byteLength === 0) return { points: [] };
      const sent = parseJson(body);
      const messages = Array.isArray(sent) ? sent : [sent];
      const placed = messages.filter(isObject).filter(({ _type }) => _type === 'location' || _type === 'transition');
      return { points: placed.map(ownTracksMessage) };
    },
    delivered: () => Response.json([]),
  },

  /**
   * https://github.com/aaronpk/Overland-iOS#api : a batch of GeoJSON points. Anything but {"result":"ok"} and it is sent
   * again.
   */
  overland: {
    read({ body }) {
      const sent = parseJson(body);
      if (!isObject(sent) || !Array.isArray(sent.locations)) {
        throw refusal('body_invalid', 'The body is a JSON object with an array of locations.');
      }
      return { points: sent.locations.filter(isObject).map(overlandFeature) };
    },
    delivered: () => Response.json({ result: 'ok' }),
  },
} as const satisfies Record<string, Protocol>;

function osmandParameters(parameters: Map<string, string>): RawPoint | undefined {
  const [latitude, longitude] = parameters.get('location')?.split(',') ?? [
    parameters.get('lat'),
    parameters.get('lon'),
  ];
  // A message without a place, such as an alarm, is none of ours; nor is a place that the app itself calls not valid.
  if (latitude === undefined || ['false', '0'].includes(parameters.get('valid') ?? '')) return undefined;
  return {
    recorded_at: parameters.get('timestamp'),
    latitude,
    longitude,
    accuracy_m: parameters.get('accuracy'),
    // The protocol's unit is the knot.
    speed_mps: scaled(parameters.get('speed'), KNOT_MPS),
    heading_deg: parameters.get('bearing') ?? parameters.get('heading'),
    battery_pct: parameters.get('batt'),
    is_mock: parameters.get('mock'),
  };
}

function osmandJson(location: Json): RawPoint {
  const coords = objectIn(location, 'coords');
  return {
    recorded_at: location.timestamp,
    latitude: coords.latitude,
    longitude: coords.longitude,
    accuracy_m: coords.accuracy,
    speed_mps: coords.speed,
    heading_deg: coords.heading,
    battery_pct: scaled(objectIn(location, 'battery').level, 100),
    is_mock: location.mock,
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
    battery_pct: message.batt,
  };
}

function overlandFeature(feature: Json): RawPoint {
  const { coordinates } = objectIn(feature, 'geometry');
  const [longitude, latitude] = Array.isArray(coordinates) ? coordinates : [];
  const properties = objectIn(feature, 'properties');
  return {
    recorded_at: properties.timestamp,
    latitude,
    longitude,
    accuracy_m: properties.horizontal_accuracy,
    speed_mps: properties.speed,
    heading_deg: properties.course,
    battery_pct: scaled(properties.battery_level, 100),
  };
}

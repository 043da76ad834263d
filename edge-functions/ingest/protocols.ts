import { parseJson, parseText } from '../_shared/body.ts';
import { refusal } from '../_shared/refusal.ts';
import { percent, type RawPoint, scaled, type Unread } from './point.ts';

/** What a phone says of itself beside its places. What is missing was not said. */
export type DeviceState = {
  /** Whether the phone's location service is on. */
  location_on?: boolean;
  /** What the app may do: always, while it is in use, or not at all. */
  permission?: 'ALWAYS' | 'IN_USE' | 'DENIED';
  power_save?: boolean;
};

/** What a request of an app holds: its points, and the token where the app has no better place for one. */
export type Report = {
  points: RawPoint[];
  token?: string | undefined;
  /** What came beside the points and is none, by reason. */
  unread?: Partial<Record<Unread, number>>;
  state?: DeviceState;
};

export type Sent = {
  method: string;
  query: string;
  contentType: string;
  userAgent: string;
  body: Uint8Array<ArrayBuffer>;
};

export type Protocol = {
  read: (sent: Sent) => Report | Promise<Report>;
  /** What the app has to hear to take the points for delivered. */
  delivered: () => Response;
  /**
   * Whether a 4xx makes the app delete what it sent, or stand still for ever. Such an app hears 503 for whatever may succeed later, and
   * "delivered" for what never can, which is counted.
   */
  losesOnRefusal?: true;
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
   * https://www.traccar.org/osmand/ : OsmAnd, GPSLogger and Traccar Client before 9 and from 10.1 on send parameters (query or form, GET or
   * POST), Traccar Client 9 and 10.0 and Transistorsoft's plug-in send JSON. Any 2xx counts as delivered, anything else is sent again.
   */
  osmand: {
    async read({ query, contentType, userAgent, body }) {
      // Some send JSON or a form under another name or under none, so the first character decides.
      const first = String.fromCharCode(body.find((byte) => byte > 32) ?? 0);
      if (contentType.includes('json') || first === '{' || first === '[') return osmandJson(parseJson(body));
      const form = contentType.includes('multipart')
        ? await multipart(body, contentType)
        : [...new URLSearchParams(parseText(body))];
      const parameters = new Map([...new URLSearchParams(query), ...form]);
      return { ...osmandParameters(parameters, userAgent), token: parameters.get('id') ?? parameters.get('deviceid') };
    },
    delivered: () => new Response(null, { status: 200 }),
  },

  /**
   * https://owntracks.org/booklet/tech/http/ and /json/ : one JSON object a POST, or an array of them; `location` and `transition`
   * have a place, `status` says how the phone is. The answer is an array of commands: none.
   * On iOS a 4xx deletes the message (Connection.m), on Android any failure keeps it and everything behind it.
   */
  owntracks: {
    read({ body }) {
      if (body.byteLength === 0) return { points: [] };
      let sent: unknown;
      try {
        sent = parseJson(body);
      } catch {
        // It can never be read, and a refusal would delete it unseen or hold up all that follows.
        return { points: [], unread: { body_unreadable: 1 } };
      }
      const messages = (Array.isArray(sent) ? sent : [sent]).filter(isObject);
      const placed = messages.filter(({ _type }) => _type === 'location' || _type === 'transition');
      return { points: placed.map(ownTracksMessage), ...stateOf(messages.map(ownTracksState)) };
    },
    delivered: () => Response.json([]),
    losesOnRefusal: true,
  },

  /**
   * https://github.com/aaronpk/Overland-iOS#api : a batch of GeoJSON points. Anything but {"result":"ok"} and it is sent
   * again. Visits and trips stand among them, stamped with the time of sending: they are no positions.
   */
  overland: {
    read({ body }) {
      const sent = parseJson(body);
      if (!isObject(sent) || !Array.isArray(sent.locations)) {
        throw refusal('body_invalid', 'The body is a JSON object with an array of locations.');
      }
      const features = sent.locations.filter(isObject);
      const points = features.filter(isPosition);
      const others = sent.locations.length - points.length;
      return {
        points: points.map(overlandFeature),
        ...(others > 0 ? { unread: { point_not_a_position: others } } : {}),
      };
    },
    delivered: () => Response.json({ result: 'ok' }),
  },
} as const satisfies Record<string, Protocol>;

async function multipart(body: Uint8Array<ArrayBuffer>, contentType: string): Promise<[string, string][]> {
  try {
    const form = await new Response(body, { headers: { 'content-type': contentType } }).formData();
    return [...form].flatMap(([name, value]) => (typeof value === 'string' ? [[name, value] as [string, string]] : []));
  } catch {
    throw refusal('body_invalid', 'The body is not the form that its content type says.');
  }
}

/** `46.05,14.5`, or with decimal commas `46,05,14,5`. Three parts may be read in two ways, so they are in none. */
function splitPair(pair: string): [string | undefined, string | undefined] {
  const parts = pair.split(/[,;] ?/);
  if (parts.length === 4) return [`${parts[0]}.${parts[1]}`, `${parts[2]}.${parts[3]}`];
  return parts.length === 2 ? [parts[0], parts[1]] : [undefined, undefined];
}

function osmandParameters(parameters: Map<string, string>, userAgent: string): Report {
  const first = (...names: string[]) => names.map((name) => parameters.get(name)).find((value) => value !== undefined);
  const pair = parameters.get('location');
  const [latitude, longitude] =
    pair === undefined ? [first('lat', 'latitude'), first('lon', 'lng', 'longitude')] : splitPair(pair);
  if (pair === undefined && latitude === undefined && longitude === undefined) {
    // A message without a place, such as an alarm or a phone that asks whether the address is right.
    return { points: [] };
  }
  const time = first('timestamp', 'time', 'tst');
  const accuracy = first('accuracy', 'acc');
  const hdop = first('hdop');
  // OsmAnd fills hdop with its accuracy in metres and speed with metres per second, where Traccar's protocol means a factor and knots. Its
  // requests are told by its name, or by what only it sends together: hdop, and a time in milliseconds.
  const isOsmAnd =
    /osmand/i.test(userAgent) || (hdop !== undefined && accuracy === undefined && /^\d{13}$/.test(time ?? ''));
  const speed = first('speed');
  return {
    points: [
      {
        // Traccar's servers take the time of arrival where an app sends none.
        recorded_at: time ?? Date.now(),
        latitude,
        longitude,
        accuracy_m: accuracy ?? (isOsmAnd ? hdop : scaled(hdop, HDOP_M)),
        speed_mps: first('speed_mps', 'spd') ?? (isOsmAnd ? speed : scaled(speed, KNOT_MPS)),
        heading_deg: first('bearing', 'heading', 'dir', 'course'),
        battery_pct: percent(first('batt', 'battery')),
        is_mock: first('mock', 'is_mock'),
        // A place that the app itself calls not valid.
        is_invalid: /^(false|0|no|v)$/i.test(parameters.get('valid') ?? ''),
      },
    ],
  };
}

/** Metres that a dilution of precision of 1 stands for. */
const HDOP_M = 5;

function osmandJson(sent: unknown): Report {
  const messages = Array.isArray(sent) ? sent : [sent];
  const objects = messages.filter(isObject);
  if (objects.length === 0) {
    throw refusal('body_invalid', 'The body is a JSON object with location and device_id.');
  }
  const locations = objects.flatMap((message) => {
    const held = message.location ?? message.locations ?? message;
    return (Array.isArray(held) ? held : [held]).filter(isObject);
  });
  const [message] = objects as [Json];
  return {
    points: locations.flatMap(osmandLocation),
    token: text(message.device_id) ?? text(message.id) ?? text(message.deviceid),
    ...stateOf([...objects, ...locations].map(({ provider }) => providerState(provider))),
  };
}

function osmandLocation(location: Json): RawPoint[] {
  const coords = isObject(location.coords) ? location.coords : location;
  const latitude = coords.latitude ?? coords.lat;
  const longitude = coords.longitude ?? coords.lon ?? coords.lng;
  // A heartbeat or a change of a setting comes without a place.
  if (latitude === undefined && longitude === undefined) return [];
  const battery = isObject(location.battery)
    ? scaled(location.battery.level, 100)
    : percent(location.battery ?? location.batt);
  return [
    {
      recorded_at: location.timestamp ?? coords.timestamp ?? location.time ?? Date.now(),
      latitude,
      longitude,
      accuracy_m: coords.accuracy ?? coords.accuracy_m,
      speed_mps: coords.speed ?? coords.speed_mps,
      heading_deg: coords.heading ?? coords.bearing,
      battery_pct: battery,
      is_mock: location.mock ?? coords.mock ?? location.is_mock,
      is_invalid: location.valid === false || location.sample === true,
    },
  ];
}

function ownTracksMessage(message: Json): RawPoint {
  return {
    recorded_at: message.tst,
    latitude: message.lat,
    longitude: message.lon,
    accuracy_m: message.acc,
    speed_mps: scaled(message.vel, KMH_MPS),
    heading_deg: message.cog,
    battery_pct: percent(message.batt),
  };
}

function ownTracksState(message: Json): DeviceState {
  if (message._type !== 'status') return {};
  const ios = objectIn(message, 'iOS');
  const android = objectIn(message, 'android');
  const authorization = String(ios.locationManagerAuthorizationStatus ?? '');
  const permission = /Always/.test(authorization)
    ? 'ALWAYS'
    : /WhenInUse/.test(authorization)
      ? 'IN_USE'
      : /Denied|Restricted/.test(authorization)
        ? 'DENIED'
        : undefined;
  const lacks = android.loc === 0 || android.loc === -1 || android.loc === -2;
  return {
    ...(permission ? { permission } : lacks ? { permission: 'DENIED' } : {}),
    ...(android.ps === 0 || android.ps === 1 ? { power_save: android.ps === 1 } : {}),
  };
}

/** Transistorsoft's providerchange: status 0 to 4 are Apple's codes of authorization, on Android too. */
function providerState(provider: unknown): DeviceState {
  if (!isObject(provider)) return {};
  const { enabled, status } = provider;
  const permission = ({ 1: 'DENIED', 2: 'DENIED', 3: 'ALWAYS', 4: 'IN_USE' } as const)[Number(status)];
  return {
    ...(typeof enabled === 'boolean' ? { location_on: enabled } : {}),
    ...(permission ? { permission } : {}),
  };
}

/** What was said last counts. */
function stateOf(states: readonly DeviceState[]): { state?: DeviceState } {
  const state: DeviceState = Object.assign({}, ...states);
  return Object.keys(state).length > 0 ? { state } : {};
}

function isPosition(feature: Json): boolean {
  const properties = objectIn(feature, 'properties');
  return (
    feature.type !== 'trip' &&
    properties.type !== 'trip' &&
    properties.action === undefined &&
    isObject(feature.geometry)
  );
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

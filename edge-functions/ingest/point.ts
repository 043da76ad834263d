/** A point as private.ingest_locations takes it: what is there is a number in range, recorded_at a time in UTC. */
export type Point = {
  recorded_at: string;
  latitude: number;
  longitude: number;
  accuracy_m?: number;
  speed_mps?: number;
  heading_deg?: number;
  battery_pct?: number;
  is_mock?: boolean;
};

/** What an app sent, before anything of it is believed. */
export type RawPoint = { [Name in keyof Point]?: unknown };

const EARLIEST_MS = Date.UTC(1970, 0, 1);
const LATEST_MS = Date.UTC(2200, 0, 1);

/** Undefined without a place and a time. Whatever else makes no sense is left out: apps say -1 for "not known". */
export function readPoint(raw: RawPoint): Point | undefined {
  const recordedAt = readTime(raw.recorded_at);
  const latitude = readNumber(raw.latitude, -90, 90);
  const longitude = readNumber(raw.longitude, -180, 180);
  if (recordedAt === undefined || latitude === undefined || longitude === undefined) return undefined;
  const point: Point = { recorded_at: recordedAt, latitude, longitude };
  const accuracy = readNumber(raw.accuracy_m, 0, 1e7);
  const speed = readNumber(raw.speed_mps, 0, 1e4);
  const heading = readNumber(raw.heading_deg, 0, 360);
  const battery = readNumber(raw.battery_pct, 0, 100);
  if (accuracy !== undefined) point.accuracy_m = accuracy;
  if (speed !== undefined) point.speed_mps = speed;
  if (heading !== undefined) point.heading_deg = heading;
  if (battery !== undefined) point.battery_pct = Math.round(battery);
  if (raw.is_mock === true || raw.is_mock === 'true' || raw.is_mock === '1') point.is_mock = true;
  return point;
}

/** Numbers come as numbers or, from a query or form, as text. */
export function readNumber(value: unknown, low: number, high: number): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && number >= low && number <= high ? number : undefined;
}

/** A number times a factor, for units; what is no number stays as it is and is refused later. */
export function scaled(value: unknown, factor: number): unknown {
  const number = readNumber(value, -1e12, 1e12);
  return number === undefined ? value : number * factor;
}

/**
 * Seconds or milliseconds since 1970, ISO 8601 with an offset, or `yyyy-MM-dd HH:mm:ss` which the OsmAnd protocol means as
 * UTC. No time of a phone lies before 2001 in milliseconds, so 1e11 tells the two apart until the year 5138.
 */
function readTime(value: unknown): string | undefined {
  const number = readNumber(value, 0, 1e14);
  const ms =
    number !== undefined
      ? number < 1e11
        ? number * 1000
        : number
      : typeof value === 'string'
        ? parse(value)
        : Number.NaN;
  return ms >= EARLIEST_MS && ms < LATEST_MS ? new Date(ms).toISOString() : undefined;
}

const TIME = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:?\d\d)?$/;

function parse(text: string): number {
  const [, date, time, offset = 'Z'] = TIME.exec(text.trim()) ?? [];
  // Date.parse makes 2 March of 30 February.
  if (!date || new Date(Date.parse(`${date}T00:00:00Z`) || 0).toISOString().slice(0, 10) !== date) return Number.NaN;
  return Date.parse(`${date}T${time}${offset.replace(/^([+-]\d\d)(\d\d)$/, '$1:$2')}`);
}

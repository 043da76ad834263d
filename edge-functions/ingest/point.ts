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
export type RawPoint = { [Name in keyof Point]?: unknown } & {
  /** The app itself says that this is no place: "valid" false, a fix that it calls not valid. */
  is_invalid?: boolean;
};

/** Why something that an app sent is no point. Each is counted for the device, which its person and administrators see. */
export type Unread =
  | 'point_time_invalid'
  | 'point_position_invalid'
  | 'point_called_invalid'
  | 'point_not_a_position'
  | 'body_unreadable';

const EARLIEST_MS = Date.UTC(1970, 0, 1);
const LATEST_MS = Date.UTC(2200, 0, 1);
const DAY_MS = 86_400_000;

/**
 * Errors of receivers and apps that are known to the second, with what undoes them: the week counter of GPS, which begins anew
 * after 1,024 weeks, once or twice; and seconds that are counted from 2001, Apple's epoch, where 1970 is meant.
 */
const KNOWN_SHIFTS_MS = [1024 * 7 * DAY_MS, 2048 * 7 * DAY_MS, Date.UTC(2001, 0, 1)];
const SHIFTED_INTO_LAST_MS = 40 * DAY_MS;

/** A reason without a place and a time. What else makes no sense is left out: apps say -1 for "not known". */
export function readPoint(raw: RawPoint, nowMs: number): Point | Unread {
  if (raw.is_invalid) return 'point_called_invalid';
  const latitude = readNumber(raw.latitude, -90, 90);
  const longitude = readNumber(raw.longitude, -180, 180);
  if (latitude === undefined || longitude === undefined) return 'point_position_invalid';
  // What receivers without a fix send. Nobody works in the Gulf of Guinea to seven decimals.
  if (latitude === 0 && longitude === 0) return 'point_position_invalid';
  // "If this value is negative, the coordinates are invalid" (Apple's documentation of horizontalAccuracy).
  const claimed = readNumber(raw.accuracy_m, -1e12, 1e12);
  if (claimed !== undefined && claimed < 0) return 'point_position_invalid';
  const recordedAt = readTime(raw.recorded_at, nowMs);
  if (recordedAt === undefined) return 'point_time_invalid';
  const point: Point = { recorded_at: recordedAt, latitude, longitude };
  const accuracy = readNumber(raw.accuracy_m, 0, 1e7);
  const speed = readNumber(raw.speed_mps, 0, 1e4);
  const heading = readNumber(raw.heading_deg, 0, 360);
  const battery = readNumber(raw.battery_pct, 0, 100);
  if (accuracy !== undefined) point.accuracy_m = accuracy;
  if (speed !== undefined) point.speed_mps = speed;
  if (heading !== undefined) point.heading_deg = heading;
  if (battery !== undefined) point.battery_pct = Math.round(battery);
  if (/^(true|1|yes)$/i.test(String(raw.is_mock ?? ''))) point.is_mock = true;
  return point;
}

/** Numbers come as numbers or, from a query or form, as text; a phone set to German writes its commas even there. */
export function readNumber(value: unknown, low: number, high: number): number | undefined {
  const text = typeof value === 'string' ? value.trim() : undefined;
  const number =
    text === undefined
      ? value
      : text === ''
        ? undefined
        : Number(/^[+-]?\d+,\d+$/.test(text) ? text.replace(',', '.') : text);
  return typeof number === 'number' && number >= low && number <= high ? number : undefined;
}

/** A number times a factor, for units; what is no number stays as it is and is refused later. */
export function scaled(value: unknown, factor: number): unknown {
  const number = readNumber(value, -1e12, 1e12);
  return number === undefined ? value : number * factor;
}

/** Charge in percent. A broken number up to 1 is a share, as Android's own value is; 1 alone is one percent. */
export function percent(value: unknown): unknown {
  const number = readNumber(value, 0, 1);
  return number !== undefined && !Number.isInteger(number) ? number * 100 : value;
}

/**
 * Seconds, milliseconds, microseconds or nanoseconds since 1970, ISO 8601, or `yyyy-MM-dd HH:mm:ss`, which the OsmAnd protocol means
 * as UTC. Their sizes tell them apart: no time of a phone lies before 1973 in any unit.
 */
function readTime(value: unknown, nowMs: number): string | undefined {
  const number = readNumber(value, 0, 1e20);
  const ms = number !== undefined ? millisecondsOf(number) : typeof value === 'string' ? parse(value) : Number.NaN;
  if (!(ms >= EARLIEST_MS && ms < LATEST_MS)) return undefined;
  // Years ago, and days ago once a known error is undone: nobody records that by chance.
  const shift = ms < nowMs - 365 * DAY_MS ? KNOWN_SHIFTS_MS.find((by) => isRecent(ms + by, nowMs)) : undefined;
  return new Date(ms + (shift ?? 0)).toISOString();
}

const isRecent = (ms: number, nowMs: number) => ms > nowMs - SHIFTED_INTO_LAST_MS && ms < nowMs + DAY_MS;

function millisecondsOf(number: number): number {
  if (number < 1e11) return number * 1000;
  const ms = number < 1e14 ? number : number < 1e17 ? number / 1000 : number / 1e6;
  // Smaller than any time of a phone in that unit: a number of another kind.
  return ms < Date.UTC(1990, 0, 1) ? Number.NaN : ms;
}

// An unescaped + of a query arrives as a blank. A comma is ISO 8601's own decimal sign.
const TIME =
  /^(\d{4}-\d\d-\d\d)(?:[T ]| +)(\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:(z| ?utc| ?gmt)|([+ -])(\d\d)(?::?(\d\d))?)?$/i;

function parse(text: string): number {
  const [whole, date, time, seconds = '00', fraction = '', , sign = '+', hours = '00', minutes = '00'] =
    TIME.exec(text.trim()) ?? [];
  if (whole === undefined || !date) return Number.NaN;
  // Date.parse makes 2 March of 30 February.
  if (new Date(Date.parse(`${date}T00:00:00Z`) || 0).toISOString().slice(0, 10) !== date) return Number.NaN;
  // A leap second is the first instant of what follows.
  const leap = seconds === '60' ? 1000 : 0;
  const offset = `${sign === '-' ? '-' : '+'}${hours}:${minutes}`;
  const decimals = fraction === '' ? '' : `.${fraction.slice(0, 3)}`;
  return Date.parse(`${date}T${time}:${leap > 0 ? '59' : seconds}${decimals}${offset}`) + leap;
}

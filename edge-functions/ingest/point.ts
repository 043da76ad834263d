import { readTime } from './time.ts';

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
  /** What the app itself says of the place: a fix, or not. */
  is_valid?: unknown;
};

/** Why a point of an app is none. These are counted on the device, beside the reasons of the database. */
export type Unreadable = 'point_time_invalid' | 'point_position_invalid' | 'point_marked_invalid';

/**
 * The point, or why it is none. A place of 0, 0 is what an app sends that has no place, and a negative accuracy is Apple's
 * mark for "these coordinates are not valid". Whatever else makes no sense is left out: apps say -1 for "not known".
 */
export function readPoint(raw: RawPoint): Point | Unreadable {
  const recordedAt = readTime(raw.recorded_at);
  if (recordedAt === undefined) return 'point_time_invalid';
  const latitude = readNumber(raw.latitude, -90, 90);
  const longitude = readNumber(raw.longitude, -180, 180);
  if (latitude === undefined || longitude === undefined || (latitude === 0 && longitude === 0)) {
    return 'point_position_invalid';
  }
  if (isNo(raw.is_valid) || readNumber(raw.accuracy_m, -1e12, -Number.MIN_VALUE) !== undefined) {
    return 'point_marked_invalid';
  }
  const point: Point = { recorded_at: recordedAt, latitude, longitude };
  const accuracy = readNumber(raw.accuracy_m, 0, 1e7);
  const speed = readNumber(raw.speed_mps, 0, 1e4);
  const heading = readNumber(raw.heading_deg, 0, 360);
  const battery = readNumber(raw.battery_pct, 0, 100);
  // Android's "no accuracy" reads as 0.0: no receiver knows its place to the millimetre.
  if (accuracy !== undefined && accuracy > 0) point.accuracy_m = accuracy;
  if (speed !== undefined) point.speed_mps = speed;
  if (heading !== undefined) point.heading_deg = heading;
  if (battery !== undefined) point.battery_pct = Math.round(battery);
  if (isYes(raw.is_mock)) point.is_mock = true;
  return point;
}

const NUMBER = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d{1,3})?$/i;

/** Numbers come as numbers or, from a query or form, as text, with the decimal comma of half of the world's phones. */
export function readNumber(value: unknown, low: number, high: number): number | undefined {
  const text = typeof value === 'string' ? value.trim() : undefined;
  const number = text === undefined ? value : NUMBER.test(text) ? Number(text.replace(',', '.')) : undefined;
  return typeof number === 'number' && number >= low && number <= high ? number : undefined;
}

/** A number times a factor, for units; what is no number stays as it is and is left out later. */
export function scaled(value: unknown, factor: number): unknown {
  const number = readNumber(value, -1e12, 1e12);
  return number === undefined ? value : number * factor;
}

/** A battery as percent, or as a fraction of 1: no phone reports a tenth of a percent of the last one. */
export function readBattery(value: unknown): unknown {
  const number = readNumber(value, 0, 100);
  return number !== undefined && number < 1 ? number * 100 : value;
}

/** A battery of an app that always sends a fraction: there 1 is a full one. */
export function readFraction(value: unknown): unknown {
  const number = readNumber(value, 0, 100);
  return number !== undefined && number <= 1 ? number * 100 : value;
}

/**
 * `46.05,14.5`, and what a phone with decimal commas makes of it: `46,05,14,5` or `46,05;14,5`. A text that could be two
 * places is none: half a number is a place hundreds of kilometres away.
 */
export function readPair(text: string): [unknown, unknown] | undefined {
  const loose = text.trim().split(/\s*;\s*|\s*,\s+|\s+/);
  if (loose.length === 2) return [loose[0], loose[1]];
  const parts = text.split(',').map((part) => part.trim());
  if (parts.length === 2) return [parts[0], parts[1]];
  if (parts.length === 3 && parts.slice(0, 2).every((part) => part.includes('.'))) return [parts[0], parts[1]];
  if (parts.length !== 4 || !/^[+-]?\d+,\d+,[+-]?\d+,\d+$/.test(parts.join())) return undefined;
  return [`${parts[0]}.${parts[1]}`, `${parts[2]}.${parts[3]}`];
}

function isYes(value: unknown): boolean {
  return value === true || value === 1 || (typeof value === 'string' && /^\s*(true|1|yes|t|y)\s*$/i.test(value));
}

function isNo(value: unknown): boolean {
  return value === false || value === 0 || (typeof value === 'string' && /^\s*(false|0|no|f|n|v)\s*$/i.test(value));
}

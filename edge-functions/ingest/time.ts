const EARLIEST_MS = Date.UTC(1970, 0, 1);
const LATEST_MS = Date.UTC(2200, 0, 1);

/**
 * A time as UTC, to the microsecond that the database keeps. The forms of text are those that record_locations reads (a test
 * holds the two against each other); a time without an offset is UTC here, as the OsmAnd protocol means it. Numbers count
 * from 1970 in seconds, milliseconds, microseconds or nanoseconds: no time of a phone lies before 1973 in the finer unit, so
 * the size of the number tells them apart.
 */
export function readTime(value: unknown): string | undefined {
  const text = typeof value === 'string' ? value.trim() : value;
  if (typeof text === 'number') return fromNumber(text);
  if (typeof text !== 'string') return undefined;
  const [, whole, fraction = ''] = /^(\d{1,19})(?:[.,](\d+))?$/.exec(text) ?? [];
  if (whole !== undefined && !isCompactDate(whole)) return fromDigits(whole, fraction);
  return fromText(text);
}

function isCompactDate(whole: string): boolean {
  return whole.length === 14 && /^20\d\d(0[1-9]|1[0-2])/.test(whole);
}

function fromNumber(value: number): string | undefined {
  if (!(value >= 0 && value < 1e20)) return undefined;
  const [whole = '', fraction = ''] = value.toFixed(6).split('.');
  return fromDigits(whole, fraction);
}

function fromDigits(whole: string, fraction: string): string | undefined {
  const number = BigInt(whole);
  // How many digits of the number come after the microsecond's unit, negative: before it.
  const perMicrosecond = number < 10n ** 11n ? -6 : number < 10n ** 14n ? -3 : number < 10n ** 17n ? 0 : 3;
  const micros =
    perMicrosecond > 0
      ? (number + 500n) / 1000n
      : BigInt(whole + fraction.slice(0, -perMicrosecond).padEnd(-perMicrosecond, '0'));
  return fromMicros(micros);
}

function fromMicros(micros: bigint): string | undefined {
  const ms = Number(micros / 1000n);
  if (!(ms >= EARLIEST_MS && ms < LATEST_MS)) return undefined;
  const rest = String(micros % 1000n).padStart(3, '0');
  const iso = new Date(ms).toISOString();
  return rest === '000' ? iso : `${iso.slice(0, -1)}${rest}Z`;
}

const TIME =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(?:Z|z|UTC|GMT|([+-])(\d\d)(?::?(\d\d))?)?$/;

/** Without its separators: 20261124T080000Z, or 20261124080000. */
const COMPACT = /^(\d{4})(\d\d)(\d\d)[Tt]?(\d\d)(\d\d)(\d\d)/;

/** A plus that nobody escaped in a query reaches us as a blank. */
const LOST_PLUS = /^(.*\d:\d\d(?::\d\d(?:[.,]\d+)?)?) (\d\d(?::?\d\d)?)$/;

function fromText(text: string): string | undefined {
  const usual = text.replace(COMPACT, '$1-$2-$3T$4:$5:$6').replace(LOST_PLUS, '$1+$2');
  const [, year, month, day, hour, minute, second = '00', fraction = '', sign, offsetHour = '00', offsetMinute = '00'] =
    TIME.exec(usual) ?? [];
  if (year === undefined) return undefined;
  // 60 is the leap second, which the database takes for the next minute's first.
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  if (Number(offsetHour) > 14 || Number(offsetMinute) > 59) return undefined;
  const date = `${year}-${month}-${day}`;
  const midnight = Date.parse(`${date}T00:00:00Z`);
  // Date.parse makes 2 March of 30 February.
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== date) return undefined;
  const offset = (sign === '-' ? -1 : 1) * (Number(offsetHour) * 60 + Number(offsetMinute));
  const seconds = midnight / 1000 + Number(hour) * 3600 + (Number(minute) - offset) * 60 + Number(second);
  const digits = fraction.padEnd(7, '0');
  const micros = BigInt(digits.slice(0, 6)) + (digits.charAt(6) >= '5' ? 1n : 0n);
  return seconds < 0 ? undefined : fromMicros(BigInt(seconds) * 1_000_000n + micros);
}

import { language, t } from './i18n/index.ts';

const locale = () => (language.value === 'de' ? 'de-DE' : 'en-GB');
const numbers = new Map<string, Intl.NumberFormat>();

function number(value: number, options: Intl.NumberFormatOptions = {}): string {
  const key = `${locale()} ${JSON.stringify(options)}`;
  let found = numbers.get(key);
  if (!found) {
    found = new Intl.NumberFormat(locale(), options);
    numbers.set(key, found);
  }
  return found.format(value);
}

export const count = (value: number): string => number(value);

export const km = (metres: number | null | undefined): string =>
  metres === null || metres === undefined
    ? '–'
    : metres < 950 && metres > 0
      ? `${number(Math.round(metres))} m`
      : `${number(metres / 1000, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} km`;

/** For the axis of a chart. */
export const hoursShort = (hours: number): string => `${number(Math.round(hours * 10) / 10)} h`;
export const kmShort = (kilometres: number): string => `${number(Math.round(kilometres))} km`;

export const kmh = (metresPerSecond: number): string => `${number(Math.round(metresPerSecond * 3.6))} km/h`;

export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '–';
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return t().seconds(Math.max(0, Math.round(seconds)));
  if (minutes < 60) return t().minutes(minutes);
  return t().hours(Math.floor(minutes / 60), minutes % 60);
}

export const money = (amount: number, currency: string): string => {
  try {
    return number(amount, { style: 'currency', currency });
  } catch {
    return `${number(amount, { minimumFractionDigits: 2 })} ${currency}`;
  }
};

export const initials = (name: string): string => {
  const words = name.trim().split(/\s+/);
  const letter = (word: string | undefined) => [...(word ?? '')][0] ?? '';
  return (letter(words[0]) + (words.length > 1 ? letter(words.at(-1)) : '')).toUpperCase() || '?';
};

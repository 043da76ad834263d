// Every time is shown in the organization's zone, whatever the browser's, with the zone's name beside it.
import { language } from './i18n/index.ts';
import { zone } from './session.ts';

const formats = new Map<string, Intl.DateTimeFormat>();

function formatter(options: Intl.DateTimeFormatOptions, timeZone: string, locale: string): Intl.DateTimeFormat {
  const key = `${locale} ${timeZone} ${JSON.stringify(options)}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(locale, { ...options, timeZone });
    formats.set(key, found);
  }
  return found;
}

const locale = () => (language.value === 'de' ? 'de-DE' : 'en-GB');
const show = (time: string | number | Date, options: Intl.DateTimeFormatOptions): string =>
  formatter(options, zone.value, locale()).format(new Date(time));

export const clock = (time: string | number | Date): string => show(time, { hour: '2-digit', minute: '2-digit' });
export const clockSeconds = (time: string | number | Date): string =>
  show(time, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const dateTime = (time: string | number | Date): string =>
  show(time, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
export const fullDateTime = (time: string | number | Date): string =>
  show(time, { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });

/** The zone as people say it: CET, GMT+5:30. */
export const zoneName = (time: string | number | Date = Date.now()): string =>
  formatter({ timeZoneName: 'short' }, zone.value, 'en-GB')
    .formatToParts(new Date(time))
    .find(({ type }) => type === 'timeZoneName')?.value ?? zone.value;

/** A calendar day (2026-12-01) as words; days have no zone. */
export const dayName = (day: string, style: 'long' | 'short' | 'date' = 'short'): string =>
  formatter(
    style === 'date'
      ? { day: 'numeric', month: 'short', year: 'numeric' }
      : style === 'long'
        ? { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }
        : { weekday: 'short', day: 'numeric', month: 'short' },
    'UTC',
    locale(),
  ).format(new Date(`${day}T12:00:00Z`));

/** The calendar day of a time in the organization's zone. */
export function dayOf(time: string | number | Date): string {
  return localText(time).slice(0, 10);
}

export const today = (): string => dayOf(Date.now());

export function addDays(day: string, days: number): string {
  return new Date(Date.parse(`${day}T12:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

/** A time as datetime-local fields hold it, in the organization's zone. */
export function localText(time: string | number | Date): string {
  const parts = formatter(
    { year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
    zone.value,
    'en-GB',
  ).formatToParts(new Date(time));
  const of = (type: string) => parts.find((part) => part.type === type)?.value ?? '';
  return `${of('year').padStart(4, '0')}-${of('month')}-${of('day')}T${of('hour')}:${of('minute')}`;
}

/** What a datetime-local field holds, read in the organization's zone. Of an hour that comes twice it is the first. */
export function fromLocalText(text: string): string {
  const wanted = Date.parse(`${text}Z`);
  const shift = (at: number) => Date.parse(`${localText(at)}Z`) - Math.floor(at / 60_000) * 60_000;
  const guesses = [wanted - shift(wanted - 86_400_000), wanted - shift(wanted + 86_400_000)];
  const exact = guesses.filter((guess) => localText(guess) === text);
  return new Date(exact.length > 0 ? Math.min(...exact) : Math.max(...guesses)).toISOString();
}

/** The first moment of a day in the organization's zone. */
export const startOfDay = (day: string): string => fromLocalText(`${day}T00:00`);

import { computed, signal } from '@preact/signals';
import { ask, rest } from './api.ts';
import { follow, type LiveEvent, type Position } from './live.ts';

// Who is where: read once from the tables, kept up to date by the live stream.

export type Person = {
  id: string;
  name: string;
  code: string;
  isActive: boolean;
  isIn: boolean;
  since: string | null;
  sessionId: string | null;
  longitude: number | null;
  latitude: number | null;
  recordedAt: string | null;
  speed: number | null;
  battery: number | null;
  accuracy: number | null;
  isMock: boolean;
  distance: number | null;
  /** The place in the order of names, so that thousands are not compared anew at each change. */
  rank: number;
  /** `recordedAt` and `since` as numbers. */
  heardMs: number | null;
  sinceMs: number | null;
  /** Where the person was since the page was opened, newest last. */
  trail: [number, number][];
};

export type Trouble = 'silent' | 'nowhere' | 'battery' | 'mock' | 'forgotten';

const people = new Map<string, Person>();
/** Counts changes, at most a few a second: thousands of people move, and each reader draws once. */
export const changes = signal(0);
export const isLoaded = signal(false);
export const loadFailure = signal<unknown>(undefined);
export const happenings = signal<LiveEvent[]>([]);
/** Every half minute, since "how long ago" changes by itself. */
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 15_000);

const TRAIL_POINTS = 120;
const SHOWN_HAPPENINGS = 60;
/** A crowd is drawn once a second, which is as often as the stream tells of anybody. */
const DRAW_EVERY_MS = 400;
const DRAW_CROWD_EVERY_MS = 1000;
const CROWD = 500;

let isScheduled = false;
function changed(): void {
  if (isScheduled) return;
  isScheduled = true;
  setTimeout(
    () => {
      isScheduled = false;
      changes.value += 1;
    },
    people.size > CROWD ? DRAW_CROWD_EVERY_MS : DRAW_EVERY_MS,
  );
}

export const everybody = computed(() => {
  changes.value;
  return [...people.values()];
});

export const person = (id: string): Person | undefined => people.get(id);
export const nameOf = (id: unknown): string => (typeof id === 'string' && people.get(id)?.name) || '…';

export const silentAfterMs = 10 * 60_000;

export function troublesOf(who: Person, at: number): Trouble[] {
  if (!who.isIn) return [];
  const troubles: Trouble[] = [];
  const heard = who.heardMs;
  const since = who.sinceMs ?? at;
  if (heard === null || heard < since - 60_000) {
    if (at - since > 3 * 60_000) troubles.push('nowhere');
  } else if (at - heard > silentAfterMs) troubles.push('silent');
  if (who.battery !== null && who.battery <= 15) troubles.push('battery');
  if (who.isMock) troubles.push('mock');
  if (at - since > 13 * 3_600_000) troubles.push('forgotten');
  return troubles;
}

export const isMoving = (who: Person, at: number): boolean =>
  who.isIn && (who.speed ?? 0) > 1 && who.heardMs !== null && at - who.heardMs < 5 * 60_000;

const PAGE = 1000;

/** All rows of a table by its key, in pages of the API's size. */
export async function everyRow<T>(read: (after: T | undefined) => Promise<T[]>): Promise<T[]> {
  const rows: T[] = [];
  for (;;) {
    const page = await read(rows.at(-1));
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

/** What was told while the tables were being read is newer than what they said, so it is applied again after. */
let meanwhile: LiveEvent[] | undefined;
let isWantedAgain = false;

export async function loadPeople(): Promise<void> {
  if (meanwhile) {
    isWantedAgain = true;
    return;
  }
  meanwhile = [];
  try {
    await readPeople();
    for (const event of meanwhile) apply(event);
    isLoaded.value = true;
    loadFailure.value = undefined;
    changes.value += 1;
  } catch (error) {
    loadFailure.value = error;
    // A network that broke is back in a moment.
    setTimeout(() => {
      if (stop) void loadPeople();
    }, 3000);
  } finally {
    meanwhile = undefined;
    if (isWantedAgain && stop) {
      isWantedAgain = false;
      void loadPeople();
    }
  }
}

async function readPeople(): Promise<void> {
  const [employees, states] = await Promise.all([
    everyRow<{ id: string; name: string; employee_code: string; is_active: boolean }>((after) => {
      const query = rest.from('employees').select('id, name, employee_code, is_active').is('erased_at', null);
      const page = after
        ? query.or(`name.gt.${quoted(after.name)},and(name.eq.${quoted(after.name)},id.gt.${after.id})`)
        : query;
      return ask(page.order('name').order('id').limit(PAGE));
    }),
    everyRow((after: { employee_id: string } | undefined) => {
      const query = rest
        .from('employee_last_state')
        .select('*')
        .eq('is_checked_in', true)
        .order('employee_id')
        .limit(PAGE);
      return ask(after ? query.gt('employee_id', after.employee_id) : query);
    }),
  ]);
  const seen = new Set<string>();
  const inside = new Map(states.map((state) => [(state as { employee_id: string }).employee_id, state]));
  for (const { id, name, employee_code, is_active } of employees) {
    seen.add(id);
    const who = people.get(id) ?? blank(id, name);
    Object.assign(who, { name, code: employee_code, isActive: is_active });
    const state = inside.get(id) as LastState | undefined;
    if (state) {
      const isNew = who.recordedAt === null || (state.recorded_at !== null && state.recorded_at >= who.recordedAt);
      Object.assign(who, { isIn: true, since: state.last_check_in_at, sessionId: state.session_id });
      if (isNew) {
        who.longitude = state.longitude;
        who.latitude = state.latitude;
        who.recordedAt = state.recorded_at;
        who.speed = state.speed_mps;
        who.battery = state.battery_pct;
        who.accuracy = state.accuracy_m;
        who.isMock = state.is_mock ?? false;
        who.distance = state.distance_m;
      }
    } else if (who.isIn) who.isIn = false;
    people.set(id, who);
  }
  for (const id of people.keys()) if (!seen.has(id)) people.delete(id);
  const { compare } = new Intl.Collator();
  const byName = [...people.values()].sort((a, b) => compare(a.name, b.name));
  for (const [rank, who] of byName.entries()) {
    who.rank = rank;
    timesAsNumbers(who);
  }
}

function timesAsNumbers(who: Person): void {
  who.heardMs = who.recordedAt === null ? null : Date.parse(who.recordedAt);
  who.sinceMs = who.since === null ? null : Date.parse(who.since);
}

type LastState = {
  employee_id: string;
  session_id: string | null;
  last_check_in_at: string | null;
  longitude: number | null;
  latitude: number | null;
  recorded_at: string | null;
  speed_mps: number | null;
  battery_pct: number | null;
  accuracy_m: number | null;
  is_mock: boolean | null;
  distance_m: number | null;
};

/** A value inside PostgREST's filters. */
export const quoted = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;

const blank = (id: string, name: string): Person => ({
  id,
  name,
  code: '',
  isActive: true,
  isIn: false,
  since: null,
  sessionId: null,
  longitude: null,
  latitude: null,
  recordedAt: null,
  speed: null,
  battery: null,
  accuracy: null,
  isMock: false,
  distance: null,
  rank: 0,
  heardMs: null,
  sinceMs: null,
  trail: [],
});

function onPosition(at: Position): void {
  const who = people.get(at.employee_id);
  // Somebody new is told by an event, whose reload brings the name.
  if (!who) return;
  who.isIn = at.is_checked_in;
  changed();
  if (!at.is_checked_in) return;
  const last = who.trail.at(-1);
  if (!last || last[0] !== at.longitude || last[1] !== at.latitude) {
    who.trail.push([at.longitude, at.latitude]);
    if (who.trail.length > TRAIL_POINTS) who.trail.shift();
  }
  who.longitude = at.longitude;
  who.latitude = at.latitude;
  who.recordedAt = at.recorded_at;
  who.heardMs = Date.parse(at.recorded_at);
  who.speed = at.speed_mps;
  who.battery = at.battery_pct;
  who.accuracy = at.accuracy_m;
  who.isMock = at.is_mock;
  who.distance = at.distance_m;
  who.sessionId = at.session_id;
}

const listeners = new Set<(event: LiveEvent) => void>();

/** Calls back with each event of the stream, until the answer is called. */
export function onHappening(listener: (event: LiveEvent) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function onEvent(event: LiveEvent): void {
  happenings.value = [event, ...happenings.peek()].slice(0, SHOWN_HAPPENINGS);
  meanwhile?.push(event);
  apply(event);
  for (const listener of listeners) listener(event);
  changed();
}

function apply({ type, data }: LiveEvent): void {
  const who = people.get(String(data.employee_id));
  if (type === 'session.checked_in') {
    // Somebody new: the list is read anew, unless that is what is being done.
    if (!who) {
      if (!meanwhile) void loadPeople();
    } else {
      who.isIn = true;
      who.since = String(data.checked_in_at);
      who.sessionId = String(data.session_id);
      who.distance = 0;
      who.trail = [];
      who.recordedAt = null;
      who.speed = null;
      who.isMock = false;
      const at = data.position as { longitude: number; latitude: number } | null;
      timesAsNumbers(who);
      who.longitude = at?.longitude ?? null;
      who.latitude = at?.latitude ?? null;
    }
  } else if (who && (type === 'session.checked_out' || type === 'session.voided' || type === 'session.corrected')) {
    if (who.sessionId === data.session_id) who.isIn = false;
  } else if (type.startsWith('employee.') && !meanwhile) void loadPeople();
}

let stop: AbortController | undefined;

/** Begins to follow the organization; a second call changes nothing. */
export function followPeople(): void {
  if (stop) return;
  stop = new AbortController();
  void loadPeople();
  void follow({ onEvent, onPosition, onReset: () => void loadPeople() }, stop.signal);
}

export function forgetPeople(): void {
  stop?.abort();
  stop = undefined;
  people.clear();
  happenings.value = [];
  isLoaded.value = false;
  loadFailure.value = undefined;
  changes.value += 1;
}

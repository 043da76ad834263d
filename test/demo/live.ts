// A company at work, in quickened time, for whoever opens the console: what happened today until now is sent at once, as phones
// do that were offline, and then they go on moving, some faster than the law allows. Through the public API only.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type Random, seededRandom } from '../fixtures/random.ts';
import { addMember, answer, type Client, found, type Stack } from './actors.ts';
import { receiptPicture } from './receipt.ts';
import { type City, graz, ljubljana, type Position, Walker } from './streets.ts';

const zone = 'Europe/Ljubljana';
/** Twenty-nine, and Ada: an organization may invite thirty people an hour. */
const names: Record<'ljubljana' | 'graz', string[]> = {
  ljubljana: [
    'Ana Žnidaršič',
    'Luka Kovač',
    'Maja Zupan',
    'Nejc Horvat',
    'Tina Golob',
    'Jure Mlakar',
    'Špela Potočnik',
    'Rok Vidmar',
    'Katja Kralj',
    'Miha Oblak',
    'Eva Turk',
    'Gregor Hočevar',
    'Petra Rozman',
    'Matej Hribar',
    'Nika Bizjak',
    'Žiga Pirc',
  ],
  graz: [
    'Lena Hofer',
    'Jakob Wagner',
    'Sophie Gruber',
    'Felix Pichler',
    'Anna Moser',
    'Lukas Berger',
    'Marie Winkler',
    'Paul Fuchs',
    'Laura Schmid',
    'David Egger',
    'Julia Steiner',
    'Simon Wolf',
    'Clara Brunner',
  ],
};

/** What makes the day of these people worth a look. */
const stories: Record<
  string,
  'battery died' | 'silent' | 'mocked' | 'arrives late' | 'never comes' | 'low battery' | 'tunnel'
> = {
  'Luka Kovač': 'battery died',
  'Jakob Wagner': 'silent',
  'Rok Vidmar': 'mocked',
  'Matej Hribar': 'arrives late',
  'Julia Steiner': 'never comes',
  'Anna Moser': 'low battery',
  'Tina Golob': 'tunnel',
};

/** Everybody moves this much faster than the clock: a street a few seconds long, and below the 70 m/s that no car exceeds. */
const quickening = 4;
const sendEverySeconds = 4;
const hour = 3_600_000;
const minute = 60_000;

type Worker = {
  name: string;
  client: Client;
  employeeId: string;
  walker: Walker;
  random: Random;
  battery: number;
  story: (typeof stories)[string] | undefined;
  isIn: boolean;
};

export type LiveDay = {
  email: string;
  password: string;
  people: number;
  points: number;
  stop: () => void;
  ended: Promise<void>;
};

/** Plays the company; `ended` settles when everybody has gone home. */
export async function playLive(
  stack: Stack,
  options: { minutes: number; pastDays?: number; say?: (line: string) => void },
): Promise<LiveDay> {
  const { minutes, pastDays = 5, say = () => {} } = options;
  const leaving = new AbortController();
  const password = 'field-track-demo';
  const run = randomUUID().slice(0, 4);
  const email = `ada.${run}@example.test`;
  const { admin } = await found(stack, 'Ada Admin', zone, {
    name: 'Alpenblick Service',
    slug: `alpenblick-${run}`,
    email,
    password,
  });
  // Phones that were offline for days bring the days before with them.
  await answer(admin.rpc('update_organization', { changes: { late_upload_grace_hours: 720 } }));
  say('Ada founds Alpenblick Service, with people in Ljubljana and in Graz.');

  const now = Date.now();
  const hire = (city: City) => async (name: string) => {
    const { client, employeeId } = await addMember(stack, admin, name);
    const random = seededRandom(`live ${name}`);
    const walker = new Walker(city, random);
    const worker: Worker = {
      name,
      client,
      employeeId,
      walker,
      random,
      battery: 70 + random.between(0, 30),
      story: stories[name],
      isIn: false,
    };
    return worker;
  };
  const [inLjubljana, inGraz] = await Promise.all([
    inTurns(names.ljubljana, 4, hire(ljubljana)),
    inTurns(names.graz, 4, hire(graz)),
  ]);
  const workers = [...inLjubljana, ...inGraz];
  say(`${workers.length} people join; their phones send the last ${pastDays} days and this morning …`);

  let points = 0;
  const send = async (worker: Worker, batch: Position[], sessionId?: string) => {
    for (let from = 0; from < batch.length; from += 100) {
      const part = batch.slice(from, from + 100);
      await answer(
        worker.client.rpc('record_locations', { points: part, ...(sessionId ? { session_id: sessionId } : {}) }),
      );
      points += part.length;
    }
  };

  await inTurns(workers, 8, async (worker) => {
    const usual = usualStart(worker, now);
    for (let back = pastDays; back >= 1; back -= 1) {
      const start = usual - back * 24 * hour + worker.random.between(-8, 8) * minute;
      // Weekends are free; an hour later it is the same day there.
      if ([0, 6].includes(new Date(start + hour).getUTCDay())) continue;
      await workedDay(worker, start, start + worker.random.between(6.5, 8.5) * hour, send);
    }
    if (worker.story === 'arrives late' || worker.story === 'never comes') return;
    await thisMorning(worker, usual + worker.random.between(-6, 9) * minute, now, send);
  });
  await paperwork(stack, admin, workers, say);

  say(`\nOpen ${stack.url}/console/ and sign in:\n\n  ${email}\n  ${password}\n`);
  say(`It moves for ${minutes} minutes, then everybody goes home. Ctrl-C ends it sooner.`);
  const ended = moveOn(workers, { until: Date.now() + minutes * minute, send, signal: leaving.signal, say });
  return {
    email,
    password,
    people: workers.length,
    get points() {
      return points;
    },
    stop: () => leaving.abort(),
    ended,
  };
}

function usualStart({ story, random }: Worker, now: number): number {
  const isLate = story === 'arrives late' || story === 'never comes';
  return isLate ? now - 38 * minute : now - 4 * hour + random.between(-12, 12) * minute;
}

type Send = (worker: Worker, batch: Position[], sessionId?: string) => Promise<void>;

/** A whole day of before: in, about, out. */
async function workedDay(worker: Worker, start: number, end: number, send: Send): Promise<void> {
  const { client, walker } = worker;
  const checkedIn = { checked_in_at: iso(start), client_request_id: randomUUID(), ...walker.place() };
  const session = await answer(client.rpc('check_in', checkedIn));
  // A point every 100 s is enough for a line of days gone by.
  await send(worker, walker.wander(start, end, { everySeconds: 100, battery: (share) => 95 - 60 * share }), session.id);
  await answer(
    client.rpc('check_out', { checked_out_at: iso(end), client_request_id: randomUUID(), ...walker.place() }),
  );
}

async function thisMorning(worker: Worker, start: number, now: number, send: Send): Promise<void> {
  const { client, walker, story } = worker;
  await answer(
    client.rpc('check_in', { checked_in_at: iso(start), client_request_id: randomUUID(), ...walker.place() }),
  );
  const empty = story === 'battery died';
  const from = story === 'low battery' ? 38 : empty ? 41 : worker.battery;
  const to = story === 'low battery' ? 9 : story === 'silent' ? 22 : Math.max(20, from - 30);
  const day = walker.wander(start + 5000, now - 15_000, {
    everySeconds: 20,
    battery: (share) => from + (to - from) * share,
  });
  worker.battery = to;
  const at = (share: number) => start + (now - start) * share;
  const isBetween =
    (a: number, b: number) =>
    ({ recorded_at }: Position) =>
      Date.parse(recorded_at) >= a && Date.parse(recorded_at) <= b;
  let kept = day;
  if (empty) {
    // The battery runs down to nothing, the phone is off for a while, and comes back charged.
    kept = day
      .filter((point) => !isBetween(at(0.5), at(0.66))(point))
      .map((point) => {
        const share = (Date.parse(point.recorded_at) - start) / (now - start);
        return { ...point, battery_pct: Math.round(share < 0.5 ? 40 - 74 * share : 30 + 60 * (share - 0.66)) };
      });
    worker.battery = 55;
  } else if (story === 'silent') kept = day.filter(({ recorded_at }) => Date.parse(recorded_at) < now - 24 * minute);
  else if (story === 'tunnel') {
    kept = day
      .filter((point) => !isBetween(at(0.4), at(0.46))(point))
      .map((point) => (isBetween(at(0.38), at(0.4))(point) ? { ...point, accuracy_m: 85 } : point));
  } else if (story === 'mocked')
    kept = day.map((point) => (isBetween(at(0.8), now)(point) ? { ...point, is_mock: true } : point));
  await send(worker, kept);
  worker.isIn = true;
}

/** Claims with receipts, keys and webhooks: what waits on the administrator's desk. */
async function paperwork(stack: Stack, admin: Client, workers: Worker[], say: (line: string) => void): Promise<void> {
  const claims: [string, number, string, string, boolean][] = [
    ['Maja Zupan', 42.6, 'FUEL', 'Diesel, van LJ 417-KT', true],
    ['Lukas Berger', 18.9, 'MEALS', 'Lunch with the customer in Andritz', true],
    ['Sophie Gruber', 129, 'LODGING', 'Night in Maribor, machine 4 stood still', true],
    ['Nejc Horvat', 7.2, 'TRAVEL', 'Parking at the clinic', true],
    ['Clara Brunner', 64.35, 'SUPPLIES', 'Filters and seals', true],
    ['Miha Oblak', 15, 'COMMUNICATION', 'SIM card for the tablet', false],
    ['Katja Kralj', 23.4, 'MILEAGE', 'To the depot and back, own car', false],
    ['Paul Fuchs', 88.1, 'SUPPLIES', 'Drill bits', true],
    ['Eva Turk', 11.5, 'MEALS', 'Late shift', true],
  ];
  let withReceipts = true;
  const ids: string[] = [];
  for (const [name, amount, category, description, hasReceipt] of claims) {
    const worker = workers.find((one) => one.name === name);
    if (!worker) continue;
    const receipt_path = hasReceipt && withReceipts ? await uploadReceipt(worker.client, description, amount) : null;
    if (hasReceipt && !receipt_path) withReceipts = false;
    const expense = await answer(
      worker.client.rpc('submit_expense', {
        amount,
        category,
        description,
        client_request_id: randomUUID(),
        receipt_path,
      }),
    );
    ids.push(expense.id);
  }
  const [, , , , , , , drills, lunch] = ids;
  if (drills) await answer(admin.rpc('review_expense', { expense_id: drills, status: 'APPROVED' }));
  if (lunch)
    await answer(
      admin.rpc('review_expense', { expense_id: lunch, status: 'REJECTED', comment: 'The canteen was open.' }),
    );
  if (!withReceipts) say('  (without receipts: this stack has no Storage)');

  await answer(
    admin.rpc('create_api_key', { name: 'Payroll', scopes: ['sessions:read', 'employees:read', 'expenses:read'] }),
  );
  const stolen = await answer(
    admin.rpc('create_api_key', { name: 'Laptop of Gregor (stolen)', scopes: ['sessions:read', 'locations:read'] }),
  );
  await fetch(`${stack.url}/functions/v1/api/attendance_sessions?select=id&limit=1`, {
    headers: { 'x-api-key': stolen.key },
  }).catch(() => {});
  const receiver = createServer((_, response) => response.writeHead(204).end()).listen(0, '127.0.0.1');
  receiver.unref();
  await new Promise((resolve) => receiver.once('listening', resolve));
  const { port } = receiver.address() as AddressInfo;
  const hooks = [
    { url: `http://127.0.0.1:${port}/fieldtrack`, events: ['*'], description: 'Dispatch board' },
    // Nobody listens there.
    { url: 'http://127.0.0.1:59999/old-erp', events: ['expense.*', 'session.*'], description: 'Old ERP' },
  ];
  // Webhooks to this machine are allowed by `npm start` alone; elsewhere the demo does without.
  for (const hook of hooks) await admin.rpc('create_webhook', hook);
}

async function uploadReceipt(client: Client, description: string, amount: number): Promise<string | null> {
  const { path } = await answer(client.rpc('create_receipt_path', { extension: 'png' }));
  const { error } = await client.storage
    .from('receipts')
    .upload(path, receiptPicture(description, amount), { contentType: 'image/png' });
  return error ? null : path;
}

/** The part that moves while somebody looks. */
async function moveOn(
  workers: Worker[],
  options: { until: number; send: Send; signal: AbortSignal; say: (line: string) => void },
): Promise<void> {
  const { until, send, signal, say } = options;
  const began = Date.now();
  const wait = (ms: number) =>
    pause(ms, undefined, { signal }).then(
      () => true,
      () => false,
    );
  const comeHome = async (worker: Worker) => {
    if (!worker.isIn) return;
    worker.isIn = false;
    await answer(
      worker.client.rpc('check_out', {
        checked_out_at: iso(Date.now()),
        client_request_id: randomUUID(),
        ...worker.walker.place(),
      }),
    );
  };
  await Promise.all(
    workers.map(async (worker, index) => {
      const { story, client, walker, random } = worker;
      if (story === 'never comes') return;
      if (story === 'arrives late') {
        if (!(await wait(Math.min(40_000, (until - began) / 3)))) return;
        await answer(
          client.rpc('check_in', {
            checked_in_at: iso(Date.now()),
            client_request_id: randomUUID(),
            ...walker.place(),
          }),
        );
        worker.isIn = true;
        say(`${worker.name} checks in, late.`);
      }
      // Not all at the same moment, and home one after the other in the last fifth.
      const goesAt = until - (until - began) * random.between(0, 0.2);
      await wait(random.between(0, sendEverySeconds * 1000));
      walker.hurry();
      while (!signal.aborted && Date.now() < goesAt) {
        const from = Date.now() - sendEverySeconds * 1000;
        const batch = walker.quickened(from, Date.now(), quickening, Math.max(3, Math.round(worker.battery)));
        worker.battery -= 0.02;
        if (story !== 'silent')
          await send(worker, story === 'mocked' ? batch.map((point) => ({ ...point, is_mock: true })) : batch);
        if (story === undefined && index % 9 === 4 && random.between(0, 1) < 0.02) {
          const amount = Math.round(random.between(400, 4000)) / 100;
          await answer(
            client.rpc('submit_expense', {
              amount,
              category: 'MEALS',
              description: 'Lunch on the way',
              client_request_id: randomUUID(),
            }),
          );
          say(`${worker.name} claims ${amount.toFixed(2)} EUR.`);
        }
        await wait(sendEverySeconds * 1000);
      }
      await comeHome(worker);
    }),
  );
  say('Everybody has gone home. The days, routes and claims stay.');
}

const iso = (time: number) => new Date(time).toISOString();

/** Like Promise.all, with so many at a time. */
async function inTurns<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const one = async () => {
    while (next < items.length) {
      const index = next;
      next += 1;
      results[index] = await work(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return results;
}

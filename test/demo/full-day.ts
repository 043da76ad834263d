// A day on which not everything goes as planned: offline hours, expenses, a phone that was forgotten, a correction.

import { randomUUID } from 'node:crypto';
import { addMember, answer, found, type Stack } from './actors.ts';

export interface FullDay {
  offline: { inserted: number; distance_m: number | null; duration_s: number | null };
  expenses: { status: string; approved_amount: number | null }[];
  forced: { closed_by: string | null };
  corrected: { duration_s: number | null; original_checked_out_at: string | null };
  audit: string[];
}

const hours = 3_600_000;

export async function playFullDay(stack: Stack, say: (line: string) => void = () => {}): Promise<FullDay> {
  const { admin, organization } = await found(stack, 'Ada Admin');
  const eva = await addMember(stack, admin, 'Eva Employee');
  const otto = await addMember(stack, admin, 'Otto Offline');
  say(`Ada founds ${organization.name} with Eva and Otto.`);

  const now = Date.now();
  const at = (hoursAgo: number) => new Date(now - hoursAgo * hours).toISOString();

  const shift = await answer(otto.client.rpc('check_in', { checked_in_at: at(30), client_request_id: randomUUID() }));
  let inserted = 0;
  for (let call = 0; call < 10; call += 1) {
    const points = Array.from({ length: 100 }, (_, index) => ({
      recorded_at: at(29 - (100 * call + index) / 200),
      latitude: 46 + (100 * call + index) * 0.0018,
      longitude: 14.5,
      accuracy_m: 6,
    }));
    const reply = await answer(otto.client.rpc('record_locations', { session_id: shift.id, points }));
    inserted += Number((reply as { inserted: number }).inserted);
  }
  await answer(otto.client.rpc('check_out', { checked_out_at: at(22), client_request_id: randomUUID() }));
  say(`Otto had no signal for a day: his check-in, ${inserted} points in ten calls and his check-out arrive at once.`);

  const lunch = await answer(
    eva.client.rpc('submit_expense', {
      amount: 24.9,
      description: 'Lunch with a customer',
      category: 'MEALS',
      client_request_id: randomUUID(),
    }),
  );
  const taxi = await answer(
    eva.client.rpc('submit_expense', { amount: 40, description: 'Taxi home', client_request_id: randomUUID() }),
  );
  const approved = await answer(
    admin.rpc('review_expense', { expense_id: lunch.id, status: 'APPROVED', approved_amount: 20 }),
  );
  const rejected = await answer(
    admin.rpc('review_expense', { expense_id: taxi.id, status: 'REJECTED', comment: 'The bus goes there.' }),
  );
  say('Eva claims a lunch and a taxi; Ada approves 20.00 of the lunch and rejects the taxi.');

  const day = await answer(eva.client.rpc('check_in', { checked_in_at: at(9), client_request_id: randomUUID() }));
  const forced = await answer(admin.rpc('force_check_out', { employee_id: eva.employeeId, reason: 'went home' }));
  say(`Eva forgets to check out; Ada closes her session after ${((forced.duration_s ?? 0) / 3600).toFixed(1)} hours.`);
  const corrected = await answer(
    admin.rpc('correct_session', {
      session_id: day.id,
      checked_in_at: at(9),
      checked_out_at: at(1),
      reason: 'She left an hour before.',
    }),
  );
  say(`and corrects it to ${((corrected.duration_s ?? 0) / 3600).toFixed(1)} hours; the first times are kept.`);

  const offline = await computed(async () => {
    const sessions = admin.from('attendance_sessions').select('distance_m, duration_s, distance_status');
    return (await answer(sessions.eq('id', shift.id)))[0];
  });
  const audit = await answer(admin.from('audit_log').select('action').order('id'));
  return {
    offline: { inserted, distance_m: offline.distance_m, duration_s: offline.duration_s },
    expenses: [approved, rejected],
    forced,
    corrected,
    audit: audit.map(({ action }) => action),
  };
}

/** The worker answers within a second or two; ten times that before we say that it is not there. */
async function computed<T extends { distance_status: string }>(read: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const row = await read();
    if (row?.distance_status === 'DONE') return row;
    if (Date.now() > deadline) throw new Error(`The distance is still ${row?.distance_status}: is the worker running?`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

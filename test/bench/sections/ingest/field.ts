import { randomUUID } from 'node:crypto';
import type { TestDatabase } from '../../../fixtures/database.ts';
import { median, quantile } from '../../quantile.ts';

/** Somebody at work, with a phone that reports a point each five seconds since yesterday. */
export interface Worker {
  organizationId: string;
  employeeId: string;
  sessionId: string;
  /** The claims of the access token, as PostgREST hands them on. */
  claims: string;
  /** Points taken so far. */
  points: number;
}

export interface Point {
  recorded_at: string;
  latitude: number;
  longitude: number;
  accuracy_m: number;
  speed_mps: number;
  heading_deg: number;
  battery_pct: number;
  is_mock: boolean;
  sequence_number: number;
}

const STEP_MS = 5_000;
/** Sessions begin then; a day holds 17,000 points of a phone. */
const beganAtMs = Date.now() - 24 * 3_600_000;

/** Organizations with people, written by SQL; with `checkedIn` each has an open session since yesterday. */
export async function settle(
  database: TestDatabase,
  organizations: number,
  people: number,
  checkedIn: boolean,
): Promise<Worker[]> {
  const sql = database.sql('supabase_admin');
  const workers: Worker[] = [];
  for (let index = 0; index < organizations; index += 1) {
    const organizationId = randomUUID();
    const slug = `bench-${organizationId.slice(0, 8)}`;
    await sql`insert into public.organizations (id, name, slug, time_zone, currency, max_session_hours)
      values (${organizationId}, 'Bench', ${slug}, 'UTC', 'EUR', 48)`;
    const rows = await sql<{ id: string; user_id: string; session_id: string | null }[]>`
      with people as materialized (
        select gen_random_uuid() as user_id, i from generate_series(1, ${people}::int) as i
      ),
      users as (
        insert into auth.users (id, email, email_confirmed_at)
        select user_id, user_id || '@example.test', now() from people returning id
      ),
      staff as (
        insert into public.employees (organization_id, user_id, name, employee_code)
        select ${organizationId}, u.id, 'Person ' || u.id, 'E' || u.id from users as u
        returning id, user_id
      )
      select id, user_id, null as session_id from staff`;
    const sessions = new Map<string, string>();
    if (checkedIn) {
      const opened = await sql<{ id: string; employee_id: string }[]>`
        insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
        select organization_id, id, ${new Date(beganAtMs)} from public.employees where organization_id = ${organizationId}
        returning id, employee_id`;
      for (const { id, employee_id } of opened) sessions.set(employee_id, id);
    }
    for (const { id, user_id } of rows) {
      workers.push({
        organizationId,
        employeeId: id,
        sessionId: sessions.get(id) ?? '',
        claims: JSON.stringify({ role: 'authenticated', sub: user_id }),
        points: 0,
      });
    }
  }
  return workers;
}

/** What the phone took since it last reported: a drive at about 10 m/s that bends. */
export function takePoints(worker: Worker, count: number): Point[] {
  return Array.from({ length: count }, () => {
    worker.points += 1;
    const turn = worker.points / 40;
    return {
      recorded_at: new Date(beganAtMs + worker.points * STEP_MS).toISOString(),
      latitude: Number((46 + worker.points * 0.0004 + Math.sin(turn) * 0.001).toFixed(6)),
      longitude: Number((14.5 + Math.cos(turn) * 0.001).toFixed(6)),
      accuracy_m: 5 + (worker.points % 7),
      speed_mps: 10,
      heading_deg: worker.points % 360,
      battery_pct: 80,
      is_mock: false,
      sequence_number: worker.points,
    };
  });
}

export interface Load {
  calls: number;
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

/** So many clients, each calling again as soon as it has an answer. The turn counts up over all of them. */
export async function load(
  clients: number,
  seconds: number,
  call: (client: number, turn: number) => Promise<unknown>,
): Promise<Load> {
  const times: number[] = [];
  let turns = 0;
  const startedAt = performance.now();
  const end = startedAt + seconds * 1000;
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      while (performance.now() < end) {
        const from = performance.now();
        const turn = turns;
        turns += 1;
        await call(client, turn);
        times.push(performance.now() - from);
      }
    }),
  );
  const tookMs = performance.now() - startedAt;
  return {
    calls: times.length,
    perSecond: (times.length / tookMs) * 1000,
    p50Ms: median(times),
    p99Ms: quantile(times, 0.99),
  };
}

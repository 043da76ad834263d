import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import type { Fix } from '../../../fixtures/tracks.ts';
import type { Bench } from '../../section.ts';

export interface TrackStore {
  sql: postgres.Sql;
  organizationId: string;
  /** Stores the fixes as the points of a new, closed session; answers its id. */
  add: (fixes: readonly Fix[]) => Promise<string>;
  /** The distance that the database gives for a session, metres. */
  measure: (sessionId: string) => Promise<number>;
}

const start = Date.parse('2026-11-10T08:00:00Z');
const end = start + 48 * 3_600_000;

export async function createTrackStore(bench: Bench): Promise<TrackStore> {
  const database = await bench.createDatabase();
  const sql = database.sql('postgres');
  // The tracks' month stays the same while the clock goes on.
  await sql`select private.create_location_partitions(${new Date(start)}::date, ${new Date(end)}::date)`;
  const [organization] = await sql<{ id: string }[]>`insert into public.organizations (name, slug, time_zone, currency)
    values ('Bench', 'bench', 'UTC', 'EUR') returning id`;
  const organizationId = organization?.id ?? '';
  return {
    sql,
    organizationId,
    async add(fixes) {
      const sessionId = randomUUID();
      // A person each: sessions of one person may not overlap.
      await sql`with employee as (
          insert into public.employees (organization_id, name) values (${organizationId}, 'Bob') returning id
        )
        insert into public.attendance_sessions
          (organization_id, id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
        select ${organizationId}, ${sessionId}, e.id, 'CLOSED', ${new Date(start)}, ${new Date(end)}, now(), 'EMPLOYEE'
        from employee as e`;
      await sql`insert into public.gps_locations
          (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m, speed_mps, heading_deg)
        select s.organization_id, s.id, s.employee_id,
          ${new Date(start)}::timestamptz + make_interval(secs => p.seconds),
          p.latitude, p.longitude, p.accuracy_m, p.speed_mps, p.heading_deg
        from unnest(
          ${fixes.map(({ seconds }) => seconds)}::float8[], ${fixes.map(({ latitude }) => latitude)}::float8[],
          ${fixes.map(({ longitude }) => longitude)}::float8[], ${fixes.map(({ accuracy_m }) => accuracy_m)}::real[],
          ${fixes.map(({ speed_mps }) => speed_mps)}::real[], ${fixes.map(({ heading_deg }) => heading_deg)}::real[]
        ) as p (seconds, latitude, longitude, accuracy_m, speed_mps, heading_deg)
        join public.attendance_sessions as s on s.organization_id = ${organizationId} and s.id = ${sessionId}
        on conflict do nothing`;
      return sessionId;
    },
    async measure(sessionId) {
      const [row] = await sql<{ distance_m: number }[]>`
        select coalesce(sum(m.leg_m order by m.recorded_at), 0) as distance_m
        from private.measure_points(${organizationId}, ${sessionId}, ${new Date(start)}, ${new Date(end)},
          private.distance_parameters(${organizationId})) as m`;
      return row?.distance_m ?? 0;
    },
  };
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** With linear interpolation between neighbours. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}

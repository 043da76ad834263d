import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import type { Fix } from '../../../fixtures/tracks.ts';
import type { Bench } from '../../section.ts';

export interface TrackStore {
  sql: postgres.Sql;
  organizationId: string;
  /** Stores the fixes as the points of a new, closed session; answers its id. */
  add: (fixes: readonly Fix[]) => Promise<string>;
  /** The distances that the database gives for tracks, metres; keeps none of them. */
  measureAll: (tracks: readonly (readonly Fix[])[]) => Promise<number[]>;
}

const start = new Date('2026-11-10T08:00:00Z');
const end = new Date(start.getTime() + 48 * 3_600_000);

export async function createTrackStore(bench: Bench): Promise<TrackStore> {
  const database = await bench.createDatabase();
  const sql = database.sql('postgres');
  const admin = database.sql('supabase_admin');
  // The tracks' month stays the same while the clock goes on.
  await sql`select private.create_location_partitions(${start}::date, ${end}::date)`;
  const [organization] = await sql<{ id: string }[]>`insert into public.organizations (name, slug, time_zone, currency)
    values ('Bench', 'bench', 'UTC', 'EUR') returning id`;
  const organizationId = organization?.id ?? '';

  async function insertPoints(trx: postgres.ISql, sessionId: string, employeeId: string, fixes: readonly Fix[]) {
    await trx`insert into public.gps_locations
        (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m, speed_mps, heading_deg)
      select ${organizationId}, ${sessionId}, ${employeeId}, ${start}::timestamptz + make_interval(secs => p.seconds),
        p.latitude, p.longitude, p.accuracy_m, p.speed_mps, p.heading_deg
      from unnest(
        ${fixes.map(({ seconds }) => seconds)}::float8[], ${fixes.map(({ latitude }) => latitude)}::float8[],
        ${fixes.map(({ longitude }) => longitude)}::float8[], ${fixes.map(({ accuracy_m }) => accuracy_m)}::real[],
        ${fixes.map(({ speed_mps }) => speed_mps)}::real[], ${fixes.map(({ heading_deg }) => heading_deg)}::real[]
      ) as p (seconds, latitude, longitude, accuracy_m, speed_mps, heading_deg)
      on conflict do nothing`;
  }

  return {
    sql,
    organizationId,
    async add(fixes) {
      const sessionId = randomUUID();
      // A person each: sessions of one person may not overlap.
      const [employee] = await sql<{ id: string }[]>`insert into public.employees (organization_id, name)
        values (${organizationId}, 'Bob') returning id`;
      const employeeId = employee?.id ?? '';
      await sql`insert into public.attendance_sessions
          (organization_id, id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
        values (${organizationId}, ${sessionId}, ${employeeId}, 'CLOSED', ${start}, ${end}, now(), 'EMPLOYEE')`;
      await insertPoints(sql, sessionId, employeeId, fixes);
      return sessionId;
    },
    async measureAll(tracks) {
      const sessionIds = tracks.map(() => randomUUID());
      await admin.begin(async (trx) => {
        // Millions of points in all: stored past the triggers and foreign keys, which add nothing to a distance.
        await trx`set local session_replication_role = replica`;
        for (const [index, fixes] of tracks.entries()) {
          const sessionId = sessionIds[index] ?? '';
          await insertPoints(trx, sessionId, sessionId, fixes);
        }
      });
      const rows = await sql<{ distance_m: number }[]>`
        select (
          select (a.new_state).distance_m + coalesce((a.new_state).candidate_leg_m, 0)
          from private.advance_distance(${organizationId}, t.session_id, ${start}, ${end},
            private.distance_parameters(${organizationId}), null, '-infinity', 'infinity', 'state') as a
        ) as distance_m
        from unnest(${sessionIds}::uuid[]) with ordinality as t (session_id, ordinality)
        order by t.ordinality`;
      await admin`truncate public.gps_locations`;
      return rows.map(({ distance_m }) => distance_m);
    },
  };
}

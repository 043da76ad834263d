import { randomUUID } from 'node:crypto';
import type { TestDatabase } from '../../../fixtures/database.ts';

export interface Population {
  employees: number;
  /** Sessions are one a day and employee, until yesterday. */
  days: number;
  pointsPerSession: number;
}

export interface Populated {
  organizationId: string;
  /** auth.users.id of the administrator. */
  adminUserId: string;
}

/** Fills an organization by SQL, rows as the triggers and jobs would have left them. */
export async function populate(database: TestDatabase, population: Population): Promise<Populated> {
  const { employees, days, pointsPerSession } = population;
  const [organizationId, adminUserId] = [randomUUID(), randomUUID()];
  const sql = database.sql('supabase_admin');
  await sql`select private.create_location_partitions(
    current_date - ${days}::int - 1, (current_date + interval '1 month')::date)`;
  await sql.begin(async (trx) => {
    // Keys hold by construction; triggers would do in hours what is written here at once.
    await trx`set local session_replication_role = replica`;
    await trx`set local synchronous_commit = off`;
    await trx`insert into auth.users (id, email, email_confirmed_at) values (${adminUserId}, 'admin@example.test', now())`;
    await trx`insert into public.organizations (id, name, slug, time_zone, currency)
      values (${organizationId}, 'Bench', 'bench', 'UTC', 'EUR')`;
    await trx`insert into public.organization_time_zones (organization_id, valid_from, time_zone)
      values (${organizationId}, '-infinity', 'UTC')`;
    await trx`insert into public.employees (organization_id, user_id, name, employee_code, app_role)
      select ${organizationId}, case i when 1 then ${adminUserId}::uuid end, 'Person ' || i, 'EMP' || i,
        case i when 1 then 'ADMIN' else 'EMPLOYEE' end
      from generate_series(1, ${employees}) as i`;
    // Eight hours that begin between six and half past ten, so that no session touches midnight.
    await trx`insert into public.attendance_sessions
        (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by,
         distance_m, distance_status, algorithm_version)
      select e.organization_id, e.id, 'CLOSED', t, t + interval '8 hours', t + interval '8 hours', 'EMPLOYEE',
        m.m, 'DONE', 1
      from public.employees as e
      cross join generate_series(1, ${days}) as d
      cross join lateral (
        select (current_date - d)::timestamp at time zone 'UTC' + interval '6 hours'
          + make_interval(secs => hashtext(e.id::text || d) & 16383)) as v (t)
      cross join lateral (select ((hashtext(d || e.id::text) & 65535) / 2.0)::numeric(12, 2)) as m (m)`;
    // A quarter is at work now.
    await trx`insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
      select organization_id, id, now() - interval '5 minutes' - make_interval(secs => hashtext(id::text) & 63)
      from public.employees where hashtext(id::text) & 3 = 0`;
    // In the order of the key: the index grows at its end.
    await trx`insert into public.gps_locations
        (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
      select s.organization_id, s.id, s.checked_in_at + make_interval(mins => i), s.employee_id,
        46 + i * 0.001, 14.5, 5
      from (select * from public.attendance_sessions where status = 'CLOSED' order by id) as s
      cross join generate_series(1, ${pointsPerSession}) as i`;
    await trx`insert into public.gps_locations
        (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
      select organization_id, id, checked_in_at + make_interval(secs => i * 30), employee_id, 46 + i * 0.001, 14.5, 5
      from public.attendance_sessions cross join generate_series(1, 4) as i where status = 'ACTIVE'`;
    await trx`insert into public.session_days
        (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
      select organization_id, id, checked_in_at::date, employee_id, 'UTC', checked_in_at, checked_out_at, distance_m
      from public.attendance_sessions where status = 'CLOSED'`;
    // Every tenth session has a claim; those of the last two days wait.
    await trx`insert into public.expenses
        (organization_id, employee_id, spent_on, amount, currency, description, client_request_id, submitted_at, status,
         approved_amount, reviewed_at)
      select organization_id, employee_id, checked_in_at::date, 10, 'EUR', 'Parking', gen_random_uuid(), checked_out_at,
        case when waits then 'PENDING' else 'APPROVED' end, case when not waits then 10 end,
        case when not waits then checked_out_at end
      from public.attendance_sessions cross join lateral (select checked_in_at > current_date - 2) as v (waits)
      where status = 'CLOSED' and hashtext(id::text) % 10 = 0`;
    // What follows reads what was just written, and would do so by the plans of empty tables.
    await trx`analyze`;
    await trx`insert into public.employee_daily_metrics
        (organization_id, employee_id, day, time_zone, currency, sessions, duration_s, distance_m, expenses_pending,
         expenses_approved, claimed_amount, approved_amount)
      select d.organization_id, d.employee_id, d.day, 'UTC', 'EUR', 1, d.duration_s, d.distance_m, coalesce(x.pending, 0),
        coalesce(x.approved, 0), coalesce(x.claimed, 0), coalesce(x.approved, 0) * 10
      from public.session_days as d
      left join (
        select employee_id, spent_on, count(*) filter (where status = 'PENDING') as pending,
          count(*) filter (where status = 'APPROVED') as approved, sum(amount) as claimed
        from public.expenses group by 1, 2
      ) as x on x.employee_id = d.employee_id and x.spent_on = d.day`;
    await trx`insert into public.employee_monthly_metrics
        (organization_id, employee_id, month, currency, sessions, duration_s, distance_m, approved_amount)
      select organization_id, employee_id, date_trunc('month', day)::date, 'EUR', sum(sessions), sum(duration_s),
        sum(distance_m), sum(approved_amount)
      from public.employee_daily_metrics group by 1, 2, 3`;
    await trx`select private.refresh_latest_session(organization_id, id), private.refresh_active_user(organization_id, id),
      private.refresh_last_state(organization_id, id) from public.employees`;
    await trx`insert into public.pending_expenses
        (organization_id, expense_id, employee_id, amount, currency, category, spent_on, submitted_at)
      select organization_id, id, employee_id, amount, currency, category, spent_on, submitted_at
      from public.expenses where status = 'PENDING'`;
    await trx`select private.compute_organization_day(${organizationId}, d::date)
      from generate_series((current_date - ${days}::int)::timestamp, current_date::timestamp, interval '1 day') as d`;
    await trx`select private.refresh_dashboard(${organizationId})`;
    // The worker's loop would refresh it when the first of them checked out 24 hours ago; here nobody runs it.
    await trx`update public.org_dashboard_snapshot set valid_until = now() + interval '1 hour' where true`;
  });
  return { organizationId, adminUserId };
}

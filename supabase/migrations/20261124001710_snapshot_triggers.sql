-- How snapshots follow their bases: a trigger recomputes its row absolutely, in the transaction of the change.
--
-- Only the totals of employee_metrics_snapshot move by differences, because recomputing them would cost the whole history.
-- The row is locked first and the base read in a LATER statement: in one statement a distance that is written while the person
-- checks in again waited for the check-in's row and then put the session before over it (test/worker/snapshot_races.test.ts).
-- Order of locks in every transaction: the session (chapter 000700 says what comes before it), then employee_latest_sessions
-- (whoever changes sessions of a person has it before the next two), active_users, employee_last_state,
-- employee_metrics_snapshot.

-- What each row should be, from the base tables alone. Triggers write these; the reconciliation compares with them.

create function private.latest_session_of(in_organization_id uuid, in_employee_id uuid)
returns table (
  session_id uuid, is_open boolean, checked_in_at timestamptz, checked_out_at timestamptz, duration_s integer,
  distance_m numeric, distance_status text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select s.id, s.status = 'ACTIVE', s.checked_in_at, s.checked_out_at, s.duration_s, s.distance_m, s.distance_status
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.voided_at is null
  -- Of those that began together (empty ones can) the one that lasts.
  order by s.checked_in_at desc, s.checked_out_at desc nulls first, s.id desc
  limit 1;
  if not found then
    return query select null::uuid, false, null::timestamptz, null::timestamptz, null::integer, null::numeric, null::text;
  end if;
end;
$$;

comment on function private.latest_session_of(uuid, uuid) is
  'What employee_latest_sessions should hold of an employee: always one row.';

-- Sessions of a person never overlap, so the newest point is in the newest session that has any; ten are looked through. A
-- stored point that exists is kept if it is newer (points of sessions whose times were corrected). A view, so that the
-- reconciliation finds everybody's in one statement: a call for each person costs five times as much.
create view private.newest_points with (security_invoker = true) as
select e.organization_id, e.id as employee_id, p.session_id, p.recorded_at, p.latitude, p.longitude, p.accuracy_m, p.speed_mps,
  p.heading_deg, p.battery_pct, p.is_mock
from public.employees as e
cross join lateral (
  select u.*
  from (
    (
      select g.*, s.checked_in_at
      from (
        select s.id, least(s.checked_in_at, s.original_checked_in_at) as began_at, s.checked_in_at
        from public.attendance_sessions as s
        where s.organization_id = e.organization_id and s.employee_id = e.id and s.points_purged_at is null
        order by s.checked_in_at desc
        limit 10
      ) as s
      cross join lateral (
        select l.* from public.gps_locations as l
        where l.organization_id = e.organization_id and l.session_id = s.id and l.recorded_at >= s.began_at
        order by l.recorded_at desc
        limit 1
      ) as g
      order by s.checked_in_at desc
      limit 1
    )
    union all
    (
      select g.*, s.checked_in_at
      from public.employee_last_state as l
      join public.attendance_sessions as s on s.organization_id = l.organization_id and s.id = l.fix_session_id
        and s.points_purged_at is null
      join public.gps_locations as g on g.organization_id = l.organization_id and g.session_id = l.fix_session_id
        and g.recorded_at = l.recorded_at and g.employee_id = l.employee_id
      where l.organization_id = e.organization_id and l.employee_id = e.id
    )
  ) as u
  order by u.recorded_at desc, u.checked_in_at desc
  limit 1
) as p;

comment on view private.newest_points is
  'The newest point of each employee that is still there, or no row. Points of sealed sessions count as gone.';

create function private.totals_of(in_organization_id uuid, in_employee_id uuid)
returns table (
  sessions integer, duration_s bigint, distance_m numeric, expenses_submitted integer, expenses_approved integer,
  expenses_rejected integer, approved_amounts jsonb
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select s.*, e.*
  from (
    select count(*)::integer, coalesce(sum(a.duration_s), 0),
      coalesce(sum(a.distance_m), 0)
    from public.attendance_sessions as a
    where a.organization_id = in_organization_id and a.employee_id = in_employee_id and a.counts
  ) as s
  cross join (
    select coalesce(sum(c.submitted), 0)::integer, coalesce(sum(c.approved), 0)::integer,
      coalesce(sum(c.rejected), 0)::integer,
      coalesce(jsonb_object_agg(c.currency, c.approved_amount) filter (where c.approved > 0), '{}')
    from (
      select x.currency, count(*) as submitted,
        count(*) filter (where x.status = 'APPROVED') as approved,
        count(*) filter (where x.status = 'REJECTED') as rejected,
        sum(x.approved_amount) as approved_amount
      from public.expenses as x
      where x.organization_id = in_organization_id and x.employee_id = in_employee_id
      group by x.currency
    ) as c
  ) as e;
end;
$$;

comment on function private.totals_of(uuid, uuid) is
  'What employee_metrics_snapshot should hold of an employee: always one row. Costs the person''s whole history.';

-- Writing one row each, only when it differs. Lock, then read in a later statement.

create function private.refresh_latest_session(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform from public.employee_latest_sessions as l
  where l.organization_id = in_organization_id
    and l.employee_id = in_employee_id
  for no key update;
  insert into public.employee_latest_sessions as l (
    organization_id, employee_id, session_id, is_open, checked_in_at, checked_out_at, duration_s, distance_m,
    distance_status
  )
  select in_organization_id, in_employee_id, s.*
  from private.latest_session_of(in_organization_id, in_employee_id) as s
  on conflict on constraint employee_latest_sessions_pkey do update
  set session_id = excluded.session_id,
    is_open = excluded.is_open,
    checked_in_at = excluded.checked_in_at,
    checked_out_at = excluded.checked_out_at,
    duration_s = excluded.duration_s,
    distance_m = excluded.distance_m,
    distance_status = excluded.distance_status,
    updated_at = now()
  where (l.session_id, l.is_open, l.checked_in_at, l.checked_out_at, l.duration_s, l.distance_m, l.distance_status)
    is distinct from (excluded.session_id, excluded.is_open, excluded.checked_in_at, excluded.checked_out_at,
      excluded.duration_s, excluded.distance_m, excluded.distance_status);
  return found;
end;
$$;

comment on function private.refresh_latest_session(uuid, uuid) is
  'Writes an employee''s row of employee_latest_sessions if it differs from the base; says whether it did. The row stays locked: '
  'other changes of the person''s sessions wait for this transaction.';

create function private.refresh_active_user(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
begin
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    and s.status = 'ACTIVE';
  if not found then
    delete from public.active_users as u
    where u.organization_id = in_organization_id and u.employee_id = in_employee_id;
    return found;
  end if;
  -- A new session begins with a new heartbeat; within one it is left alone.
  insert into public.active_users as u (organization_id, employee_id, session_id, checked_in_at)
  values (v_session.organization_id, v_session.employee_id, v_session.id, v_session.checked_in_at)
  on conflict on constraint active_users_pkey do update
  set session_id = excluded.session_id,
    checked_in_at = excluded.checked_in_at,
    last_seen_at = case when u.session_id = excluded.session_id then u.last_seen_at else now() end
  where (u.session_id, u.checked_in_at) is distinct from (excluded.session_id, excluded.checked_in_at);
  return found;
end;
$$;

comment on function private.refresh_active_user(uuid, uuid) is
  'Writes or deletes an employee''s row of active_users if it differs from the base; says whether it did. The caller holds the '
  'row of employee_latest_sessions.';

create function private.refresh_last_state(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  -- Points and live distances write this row without holding that of employee_latest_sessions.
  perform from public.employee_last_state as l
  where l.organization_id = in_organization_id and l.employee_id = in_employee_id
  for no key update;
  insert into public.employee_last_state as l (
    organization_id, employee_id, is_checked_in, session_id, last_check_in_at, last_check_out_at, fix_session_id, recorded_at,
    latitude, longitude, accuracy_m, speed_mps, heading_deg, battery_pct, is_mock, distance_m, distance_is_provisional
  )
  select in_organization_id, in_employee_id, b.*
  from private.last_state_of(in_organization_id, in_employee_id) as b
  on conflict on constraint employee_last_state_pkey do update
  set is_checked_in = excluded.is_checked_in,
    session_id = excluded.session_id,
    last_check_in_at = excluded.last_check_in_at,
    last_check_out_at = excluded.last_check_out_at,
    fix_session_id = excluded.fix_session_id,
    recorded_at = excluded.recorded_at,
    latitude = excluded.latitude,
    longitude = excluded.longitude,
    accuracy_m = excluded.accuracy_m,
    speed_mps = excluded.speed_mps,
    heading_deg = excluded.heading_deg,
    battery_pct = excluded.battery_pct,
    is_mock = excluded.is_mock,
    distance_m = excluded.distance_m,
    distance_is_provisional = excluded.distance_is_provisional,
    updated_at = now()
  where (l.is_checked_in, l.session_id, l.last_check_in_at, l.last_check_out_at, l.fix_session_id, l.recorded_at, l.latitude,
      l.longitude, l.accuracy_m, l.speed_mps, l.heading_deg, l.battery_pct, l.is_mock, l.distance_m,
      l.distance_is_provisional)
    is distinct from (excluded.is_checked_in, excluded.session_id, excluded.last_check_in_at, excluded.last_check_out_at,
      excluded.fix_session_id, excluded.recorded_at, excluded.latitude, excluded.longitude, excluded.accuracy_m,
      excluded.speed_mps, excluded.heading_deg, excluded.battery_pct, excluded.is_mock, excluded.distance_m,
      excluded.distance_is_provisional);
  return found;
end;
$$;

comment on function private.refresh_last_state(uuid, uuid) is
  'Writes an employee''s row of employee_last_state if it differs from the base; says whether it did.';

create function private.check_in_state_of(in_organization_id uuid, in_employee_id uuid)
returns table (
  is_checked_in boolean, session_id uuid, last_check_in_at timestamptz, last_check_out_at timestamptz, distance_m numeric,
  distance_is_provisional boolean
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select o.id is not null, o.id, n.checked_in_at, c.checked_out_at, d.distance_m, d.is_provisional
  from (select 1) as one
  left join lateral (
    select s.checked_in_at from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.voided_at is null
    order by s.checked_in_at desc
    limit 1
  ) as n on true
  left join lateral (
    select s.checked_out_at from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id
      and s.status = 'CLOSED' and s.voided_at is null
    order by s.checked_in_at desc, s.checked_out_at desc
    limit 1
  ) as c on true
  left join lateral (
    select s.id from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id
      and s.status = 'ACTIVE'
  ) as o on true
  left join private.live_distances as d on d.organization_id = in_organization_id and d.session_id = o.id;
end;
$$;

comment on function private.check_in_state_of(uuid, uuid) is
  'What employee_last_state should hold of an employee''s sessions: always one row.';

create function private.last_state_of(in_organization_id uuid, in_employee_id uuid)
returns table (
  is_checked_in boolean, session_id uuid, last_check_in_at timestamptz, last_check_out_at timestamptz, fix_session_id uuid,
  recorded_at timestamptz, latitude double precision, longitude double precision, accuracy_m real, speed_mps real,
  heading_deg real, battery_pct smallint, is_mock boolean, distance_m numeric, distance_is_provisional boolean
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select c.is_checked_in, c.session_id, c.last_check_in_at, c.last_check_out_at, p.session_id, p.recorded_at,
    p.latitude::double precision, p.longitude::double precision, p.accuracy_m, p.speed_mps, p.heading_deg, p.battery_pct,
    p.is_mock, c.distance_m, c.distance_is_provisional
  from private.check_in_state_of(in_organization_id, in_employee_id) as c
  left join private.newest_points as p
    on p.organization_id = in_organization_id and p.employee_id = in_employee_id;
end;
$$;

comment on function private.last_state_of(uuid, uuid) is
  'What employee_last_state should hold of an employee: always one row.';

-- A check-in or check-out moves no position, and looking for the newest point locks every partition and its indexes: at 32
-- check-ins at once that was the most contended lock of all.
create function private.refresh_check_in_state(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform from public.employee_last_state as l
  where l.organization_id = in_organization_id and l.employee_id = in_employee_id
  for no key update;
  update public.employee_last_state as l
  set is_checked_in = b.is_checked_in,
    session_id = b.session_id,
    last_check_in_at = b.last_check_in_at,
    last_check_out_at = b.last_check_out_at,
    distance_m = b.distance_m,
    distance_is_provisional = b.distance_is_provisional,
    updated_at = now()
  from private.check_in_state_of(in_organization_id, in_employee_id) as b
  where l.organization_id = in_organization_id and l.employee_id = in_employee_id
    and (l.is_checked_in, l.session_id, l.last_check_in_at, l.last_check_out_at, l.distance_m, l.distance_is_provisional)
      is distinct from (b.*);
end;
$$;

comment on function private.refresh_check_in_state(uuid, uuid) is
  'Writes what employee_last_state holds of an employee''s sessions if it differs from the base; the position stays.';

-- The triggers.

create function private.tg_employees__make_snapshots() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.employee_latest_sessions (organization_id, employee_id) values (new.organization_id, new.id)
  on conflict do nothing;
  insert into public.employee_last_state (organization_id, employee_id) values (new.organization_id, new.id)
  on conflict do nothing;
  insert into public.employee_metrics_snapshot (organization_id, employee_id) values (new.organization_id, new.id)
  on conflict do nothing;
  return null;
end;
$$;

comment on function private.tg_employees__make_snapshots() is 'After insert: the new employee''s rows, all empty.';

create trigger _400_make_snapshots after insert on public.employees
  for each row execute function private.tg_employees__make_snapshots();

create function private.tg_attendance_sessions__refresh_snapshots() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_row public.attendance_sessions := case when tg_op = 'DELETE' then old else new end;
  v_was public.attendance_sessions := case when tg_op <> 'INSERT' and old.counts then old end;
  v_is public.attendance_sessions := case when tg_op <> 'DELETE' and new.counts then new end;
begin
  -- The organization (piece by piece) or the employee is being deleted: the snapshots go with the employee.
  if tg_op = 'DELETE' and (
    current_setting('fieldtrack.erasure', true) = 'on'
    or not exists (
      select from public.employees as e where e.organization_id = old.organization_id and e.id = old.employee_id
    )
  ) then
    return null;
  end if;
  perform private.refresh_latest_session(v_row.organization_id, v_row.employee_id);
  if tg_op <> 'UPDATE' or (old.status, old.checked_in_at, old.checked_out_at, old.points_purged_at, old.voided_at)
    is distinct from (new.status, new.checked_in_at, new.checked_out_at, new.points_purged_at, new.voided_at)
  then
    perform private.refresh_active_user(v_row.organization_id, v_row.employee_id);
    if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.points_purged_at is distinct from new.points_purged_at) then
      perform private.refresh_last_state(v_row.organization_id, v_row.employee_id);
    else
      perform private.refresh_check_in_state(v_row.organization_id, v_row.employee_id);
    end if;
  end if;
  if (v_was.id, v_was.duration_s, v_was.distance_m) is distinct from (v_is.id, v_is.duration_s, v_is.distance_m) then
    update public.employee_metrics_snapshot as m
    set sessions = m.sessions + (v_is.id is not null)::integer - (v_was.id is not null)::integer,
      duration_s = m.duration_s + coalesce(v_is.duration_s, 0) - coalesce(v_was.duration_s, 0),
      distance_m = m.distance_m + coalesce(v_is.distance_m, 0) - coalesce(v_was.distance_m, 0),
      updated_at = now()
    where m.organization_id = v_row.organization_id and m.employee_id = v_row.employee_id;
  end if;
  return null;
end;
$$;

comment on function private.tg_attendance_sessions__refresh_snapshots() is
  'After any change of a session: the snapshots of its employee.';

create trigger _400_refresh_snapshots_on_insert after insert on public.attendance_sessions
  for each row execute function private.tg_attendance_sessions__refresh_snapshots();

create trigger _400_refresh_snapshots_on_update after update on public.attendance_sessions
  for each row when (
    (old.status, old.checked_in_at, old.checked_out_at, old.distance_m, old.distance_status, old.points_purged_at, old.counts,
      old.voided_at)
    is distinct from
    (new.status, new.checked_in_at, new.checked_out_at, new.distance_m, new.distance_status, new.points_purged_at, new.counts,
      new.voided_at)
  )
  execute function private.tg_attendance_sessions__refresh_snapshots();

create trigger _400_refresh_snapshots_on_delete after delete on public.attendance_sessions
  for each row execute function private.tg_attendance_sessions__refresh_snapshots();

-- Once a statement, however many points: the newest one of each employee, if it is newer than what is known; and the heartbeat.
create function private.tg_gps_locations__refresh_last_state() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_point public.gps_locations;
begin
  -- A loop, mostly of one: joined to the new points, both tables were read whole, because a hundred points could be a hundred
  -- people's (2 ms more a batch among 10,000 people).
  for v_point in
    select distinct on (p.organization_id, p.employee_id) p.*
    from new_points as p
    order by p.organization_id, p.employee_id, p.recorded_at desc
  loop
    update public.active_users as u
    set last_seen_at = now()
    where u.organization_id = v_point.organization_id and u.employee_id = v_point.employee_id
      and u.session_id = v_point.session_id;

    update public.employee_last_state as l
    set fix_session_id = v_point.session_id,
      recorded_at = v_point.recorded_at,
      latitude = v_point.latitude,
      longitude = v_point.longitude,
      accuracy_m = v_point.accuracy_m,
      speed_mps = v_point.speed_mps,
      heading_deg = v_point.heading_deg,
      battery_pct = v_point.battery_pct,
      is_mock = v_point.is_mock,
      updated_at = now()
    where l.organization_id = v_point.organization_id and l.employee_id = v_point.employee_id
      and (
        l.recorded_at is null or v_point.recorded_at > l.recorded_at
        -- Out and in again within an instant: the later session's.
        or v_point.recorded_at = l.recorded_at and (
          select s.checked_in_at from public.attendance_sessions as s
          where s.organization_id = v_point.organization_id and s.id = v_point.session_id
        ) > (
          select s.checked_in_at from public.attendance_sessions as s
          where s.organization_id = l.organization_id and s.id = l.fix_session_id
        )
      );
  end loop;
  return null;
end;
$$;

comment on function private.tg_gps_locations__refresh_last_state() is
  'After each insert statement: heartbeat and newest position of the employees whose points came.';

create trigger _400_refresh_last_state after insert on public.gps_locations
  referencing new table as new_points
  for each statement execute function private.tg_gps_locations__refresh_last_state();

create function private.tg_live_distances__refresh_last_state() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  update public.employee_last_state as l
  set distance_m = new.distance_m, distance_is_provisional = new.is_provisional, updated_at = now()
  from public.attendance_sessions as s
  where s.organization_id = new.organization_id and s.id = new.session_id
    and l.organization_id = s.organization_id and l.employee_id = s.employee_id and l.session_id = s.id
    and (l.distance_m, l.distance_is_provisional) is distinct from (new.distance_m, new.is_provisional);
  return null;
end;
$$;

comment on function private.tg_live_distances__refresh_last_state() is
  'After insert or update: the open session''s distance so far, where clients read it.';

create trigger _400_refresh_last_state after insert or update of distance_m, is_provisional on private.live_distances
  for each row execute function private.tg_live_distances__refresh_last_state();

create function private.tg_expenses__refresh_snapshots() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_row public.expenses := case when tg_op = 'DELETE' then old else new end;
  v_amounts jsonb;
begin
  if current_setting('fieldtrack.erasure', true) = 'on' and tg_op = 'DELETE' then
    return null;
  end if;
  if tg_op <> 'DELETE' and new.status = 'PENDING' then
    insert into public.pending_expenses (
      organization_id, expense_id, employee_id, amount, currency, category, spent_on, submitted_at
    ) values (
      new.organization_id, new.id, new.employee_id, new.amount, new.currency, new.category, new.spent_on, new.submitted_at
    ) on conflict (organization_id, expense_id) do update
    set amount = excluded.amount, currency = excluded.currency, category = excluded.category, spent_on = excluded.spent_on;
  elsif tg_op = 'UPDATE' and new.status <> 'PENDING' then
    delete from public.pending_expenses as p where p.organization_id = new.organization_id and p.expense_id = new.id;
  end if;
  -- What was approved is taken back or changed: rarely, so it may cost the person's history.
  if tg_op <> 'INSERT' and old.status = 'APPROVED' or tg_op = 'INSERT' and new.status = 'APPROVED' then
    perform from public.employee_metrics_snapshot as m
    where m.organization_id = v_row.organization_id and m.employee_id = v_row.employee_id
    for no key update;
    select t.approved_amounts into v_amounts from private.totals_of(v_row.organization_id, v_row.employee_id) as t;
  end if;
  update public.employee_metrics_snapshot as m
  set expenses_submitted = m.expenses_submitted + (tg_op = 'INSERT')::integer - (tg_op = 'DELETE')::integer,
    expenses_approved = m.expenses_approved
      + (tg_op <> 'DELETE' and new.status = 'APPROVED')::integer - (tg_op <> 'INSERT' and old.status = 'APPROVED')::integer,
    expenses_rejected = m.expenses_rejected
      + (tg_op <> 'DELETE' and new.status = 'REJECTED')::integer - (tg_op <> 'INSERT' and old.status = 'REJECTED')::integer,
    approved_amounts = case
      when v_amounts is not null then v_amounts
      when tg_op = 'UPDATE' and new.status = 'APPROVED'
        then m.approved_amounts || jsonb_build_object(new.currency,
          coalesce((m.approved_amounts ->> new.currency)::numeric, 0) + new.approved_amount)
      else m.approved_amounts
    end,
    updated_at = now()
  where m.organization_id = v_row.organization_id and m.employee_id = v_row.employee_id;
  return null;
end;
$$;

comment on function private.tg_expenses__refresh_snapshots() is
  'After any change of an expense: pending_expenses and the totals of its employee.';

create trigger _400_refresh_snapshots_on_insert after insert on public.expenses
  for each row execute function private.tg_expenses__refresh_snapshots();

create trigger _400_refresh_snapshots_on_review
  after update of status, approved_amount, amount, currency, category, spent_on on public.expenses
  for each row when (
    (old.status, old.approved_amount, old.amount, old.currency, old.category, old.spent_on)
      is distinct from (new.status, new.approved_amount, new.amount, new.currency, new.category, new.spent_on)
  )
  execute function private.tg_expenses__refresh_snapshots();

create trigger _400_refresh_snapshots_on_delete after delete on public.expenses
  for each row execute function private.tg_expenses__refresh_snapshots();

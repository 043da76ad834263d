-- From points to figures: the job that gives a session its distance and its days, and the route that an administrator sees.
--
-- The way of a point: record_locations → gps_locations → (check_out or a late batch enqueues) → queue `distance` →
-- worker/jobs/distance.ts → private.compute_session_distance → attendance_sessions.distance_m and session_days →
-- get_session_route, or the table, for the administrator.
-- Everything is recomputed absolutely from the set of points: running twice, late or out of order changes nothing.

create function private.compute_session_distance(in_organization_id uuid, in_session_id uuid) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_parameters jsonb;
begin
  -- The person before the session: a day that is new refers to the person.
  if not private.hold_employee(in_organization_id, (
    select s.employee_id
    from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.id = in_session_id
  )) then
    return 'gone';
  end if;
  -- Lock, then read in later statements: a batch that commits before this lock is seen below; one that comes after it
  -- waits for this transaction and enqueues again.
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.id = in_session_id
  for no key update;
  if not found then
    return 'gone';
  elsif v_session.status = 'ACTIVE' then
    perform private.compute_live_distance(v_session);
    return 'live';
  elsif v_session.points_purged_at is not null then
    return 'sealed';
  elsif v_session.distance_status = 'DONE' and private.local_day(v_session.organization_id, v_session.checked_in_at) < (
    select o.locked_until from public.organizations as o where o.id = v_session.organization_id
  ) then
    -- A job that came twice, or late: the settings may be others by now.
    return 'locked';
  end if;

  v_parameters := private.distance_parameters(v_session.organization_id);

  -- The days it counted for and those it will, in their order, before any changes: two sessions of one person that swap their
  -- days would each hold what the other one needs.
  perform private.lock_employee_day(v_session.organization_id, v_session.employee_id, c.day)
  from (
    select d.day
    from public.session_days as d
    where d.organization_id = v_session.organization_id and d.session_id = v_session.id
    union
    select d.day
    from private.local_days(v_session.organization_id, v_session.checked_in_at, v_session.checked_out_at) as d
    order by 1
  ) as c;

  delete from private.live_distances as l
  where l.organization_id = v_session.organization_id and l.session_id = v_session.id;
  delete from public.session_days as d
  where d.organization_id = v_session.organization_id and d.session_id = v_session.id;

  with measured as materialized (
    -- Legs in order of time, then one row with the state.
    select a.recorded_at, a.leg_m, a.new_state
    from private.advance_distance(v_session.organization_id, v_session.id, v_session.checked_in_at,
      v_session.checked_out_at, v_parameters, null, '-infinity', 'infinity', 'legs') as a
  ),
  days as (
    select
      d.day, d.time_zone, d.day_starts_at, d.day_ends_at,
      -- Centimetres: a day's figure and the sum of days are the same number in every report.
      coalesce(round((
        select sum(m.leg_m)
        from measured as m
        -- A leg belongs to the day of its end point; the last instant of the session to its last day.
        where m.recorded_at >= d.day_starts_at
          and (m.recorded_at < d.day_ends_at or d.day_ends_at = v_session.checked_out_at and m.recorded_at = d.day_ends_at)
      )::numeric, 2), 0) as distance_m
    from private.local_days(v_session.organization_id, v_session.checked_in_at, v_session.checked_out_at) as d
  ),
  counted as (
    select (m.new_state).points_seen as points, (m.new_state).points_rejected as rejected
    from measured as m
    where m.recorded_at is null
  ),
  written_days as (
    insert into public.session_days (
      organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m
    )
    select
      v_session.organization_id, v_session.id, d.day, v_session.employee_id, d.time_zone, d.day_starts_at, d.day_ends_at,
      d.distance_m
    from days as d
    -- What was voided or waits for a review has its distance, and no day.
    where v_session.counts
  )
  update public.attendance_sessions as s
  set distance_m = (select sum(d.distance_m) from days as d),
    points_used = c.points - c.rejected,
    points_rejected = c.rejected,
    algorithm_version = private.distance_algorithm_version(),
    distance_parameters = v_parameters,
    distance_status = 'DONE',
    distance_computed_at = now()
  from counted as c
  where s.organization_id = v_session.organization_id and s.id = v_session.id;
  return 'done';
end;
$$;

comment on function private.compute_session_distance(uuid, uuid) is
  'Computes a closed session''s distance and session_days from its points (done), an open one''s live distance (live), or '
  'nothing (sealed, locked, gone). Run by the worker under row level security (queue distance).';

grant execute on function private.compute_session_distance(uuid, uuid) to fieldtrack_worker;

create function private.fail_session_distance(in_organization_id uuid, in_session_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  update public.attendance_sessions as s
  set distance_status = 'FAILED'
  where s.organization_id = in_organization_id and s.id = in_session_id
    and s.status = 'CLOSED' and s.distance_status = 'PENDING';
end;
$$;

comment on function private.fail_session_distance(uuid, uuid) is
  'Marks a session whose distance job used up its retries, so that an administrator sees it (queue distance-dead).';

grant execute on function private.fail_session_distance(uuid, uuid) to fieldtrack_worker;

-- Invoker functions of the API raise errors too.
grant execute on function private.error_status(text) to authenticated, api_key, service_role;
grant execute on function private.fail(text, text, text, text, jsonb) to authenticated, api_key, service_role;

-- From points to figures: the job that gives a session its distance and its days, and the route that an administrator sees.
--
-- The way of a point: record_locations → gps_locations → (check_out or a late batch enqueues) → queue `distance` →
-- worker/jobs/distance.ts → private.compute_session_distance → attendance_sessions.distance_m and session_days →
-- get_session_route, or the table, for the administrator.
-- Everything is recomputed absolutely from the set of points: running twice, late or out of order changes nothing.

create function private.compute_session_distance(organization_id uuid, session_id uuid) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_parameters jsonb;
begin
  -- Lock, then read in later statements: a batch that commits before this lock is seen below; one that comes after it
  -- waits for this transaction and enqueues again.
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = compute_session_distance.organization_id and s.id = compute_session_distance.session_id
  for no key update;
  if not found then
    return 'gone';
  elsif v_session.status = 'ACTIVE' then
    perform private.compute_live_distance(v_session);
    return 'live';
  elsif v_session.points_purged_at is not null then
    return 'sealed';
  end if;

  v_parameters := private.distance_parameters(v_session.organization_id);

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
      coalesce(pg_catalog.round((
        select pg_catalog.sum(m.leg_m)
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
  )
  update public.attendance_sessions as s
  set distance_m = (select pg_catalog.sum(d.distance_m) from days as d),
    points_used = c.points - c.rejected,
    points_rejected = c.rejected,
    algorithm_version = private.distance_algorithm_version(),
    distance_parameters = v_parameters,
    distance_status = 'DONE',
    distance_computed_at = pg_catalog.now()
  from counted as c
  where s.organization_id = v_session.organization_id and s.id = v_session.id;
  return 'done';
end;
$$;

comment on function private.compute_session_distance(uuid, uuid) is
  'Computes a closed session''s distance and session_days from its points (done), an open one''s live distance (live), or '
  'nothing (sealed, gone). Run by the worker under row level security (queue distance).';

grant execute on function private.compute_session_distance(uuid, uuid) to fieldtrack_worker;

create function private.fail_session_distance(organization_id uuid, session_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  update public.attendance_sessions as s
  set distance_status = 'FAILED'
  where s.organization_id = fail_session_distance.organization_id and s.id = fail_session_distance.session_id
    and s.status = 'CLOSED' and s.distance_status = 'PENDING';
end;
$$;

comment on function private.fail_session_distance(uuid, uuid) is
  'Marks a session whose distance job used up its retries, so that an administrator sees it (queue distance-dead).';

grant execute on function private.fail_session_distance(uuid, uuid) to fieldtrack_worker;

-- Invoker functions of the API raise errors too.
grant execute on function private.error_status(text) to authenticated, api_key, service_role;
grant execute on function private.fail(text, text, text, text, jsonb) to authenticated, api_key, service_role;

-- One session as it was travelled. Flags are derived again with the parameters that gave the stored figure, so that the
-- route explains the distance that was paid. Bounded by the longest session (one point a second for max_session_hours).
create function public.get_session_route(session_id uuid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_points jsonb;
begin
  select s.* into v_session
  from public.attendance_sessions as s
  -- Row level security decides what the caller may see; naming the organization lets the key's index find it.
  where s.organization_id = (select private.current_organization_id()) and s.id = get_session_route.session_id;
  if not found then
    perform private.fail('session_not_found', 'There is no such session, or it is not yours to see.',
      get_session_route.session_id::text);
  end if;

  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
    'recorded_at', m.recorded_at,
    'latitude', m.latitude,
    'longitude', m.longitude,
    'accuracy_m', m.accuracy_m,
    'flag', m.flag,
    'leg_m', pg_catalog.round(m.leg_m::numeric, 2),
    'is_gap', m.is_gap
  ) order by m.recorded_at), '[]')
  into v_points
  from private.measure_points(
    v_session.organization_id, v_session.id, v_session.checked_in_at, v_session.checked_out_at,
    coalesce(v_session.distance_parameters, private.distance_parameters(v_session.organization_id))) as m;

  return pg_catalog.jsonb_build_object(
    'session_id', v_session.id,
    'employee_id', v_session.employee_id,
    'status', v_session.status,
    'checked_in_at', v_session.checked_in_at,
    'checked_out_at', v_session.checked_out_at,
    'duration_s', v_session.duration_s,
    'distance_m', v_session.distance_m,
    'distance_status', v_session.distance_status,
    'points_used', v_session.points_used,
    'points_rejected', v_session.points_rejected,
    'algorithm_version', v_session.algorithm_version,
    'distance_parameters', v_session.distance_parameters,
    'points', v_points
  );
end;
$$;

comment on function public.get_session_route(uuid) is
  'A session with its points in order: {session_id, employee_id, status, checked_in_at, checked_out_at, duration_s,
distance_m, distance_status, points_used, points_rejected, algorithm_version, distance_parameters, points: [{recorded_at,
latitude, longitude, accuracy_m, flag, leg_m, is_gap}]}. Metres and seconds. Administrators: any session of the
organization; employees: their own; keys with sessions:read and locations:read. Errors: session_not_found 404.';

grant execute on function public.get_session_route(uuid) to authenticated, api_key;

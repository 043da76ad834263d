-- The dashboard and the map: how the organization stands now, in one call each.
--
-- The counters are a row of org_dashboard_snapshot, the trend seven rows of org_daily_metrics, the leaders five of the month's
-- index; the map is read from the snapshots of people, by index and at most a thousand. Nothing here reads the past.

create function private.get_dashboard() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('analytics:read');
  v_range private.report_range := private.report_range(v_caller.organization_id, null, null, 7);
  v_counters public.org_dashboard_snapshot;
  v_trend jsonb;
begin
  -- A second behind at the most. Past valid_until time itself changed something that nobody wrote yet: counted anew.
  select s.* into v_counters
  from public.org_dashboard_snapshot as s
  where s.organization_id = v_caller.organization_id and s.valid_until > now();
  if not found then
    v_counters := private.dashboard_of(v_caller.organization_id);
  end if;
  select jsonb_agg(jsonb_build_object(
    'day', d.day::date,
    'employees', coalesce(m.employees, 0),
    'sessions', coalesce(m.sessions, 0),
    'duration_s', coalesce(m.duration_s, 0),
    'distance_m', coalesce(m.distance_m, 0)
  ) order by d.day)
  into v_trend
  from generate_series(v_range.from_day, v_range.to_day, interval '1 day') as d (day)
  left join public.org_daily_metrics as m
    on m.organization_id = v_caller.organization_id and m.day = d.day::date
    and m.day between v_range.from_day and v_range.to_day;

  return jsonb_build_object(
    'as_of', v_counters.updated_at,
    'people', jsonb_build_object(
      'active', v_counters.active_employees,
      'recent', v_counters.recent_employees,
      'inactive', v_counters.inactive_employees),
    'today', jsonb_build_object(
      'day', v_counters.day,
      'sessions', v_counters.sessions_today,
      'duration_s', v_counters.duration_today_s,
      'distance_m', v_counters.distance_today_m),
    'pending_expenses', v_counters.pending_expenses,
    'pending_amounts', v_counters.pending_amounts,
    'trend', v_trend,
    'leaders', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'rank', l.rank, 'employee_id', l.employee_id, 'name', e.name, 'distance_m', l.distance_m
      ) order by l.rank, l.employee_id), '[]')
      from (
        select f.employee_id, f.distance_m, rank() over (order by f.distance_m desc) as rank
        from (
          select m.employee_id, m.distance_m
          from public.employee_monthly_metrics as m
          where m.organization_id = v_caller.organization_id
            and m.month = date_trunc('month', v_range.today::timestamp)::date and m.distance_m > 0
          order by m.distance_m desc, m.employee_id
          limit 5
        ) as f
      ) as l
      cross join lateral (
        select p.name
        from public.employees as p
        where p.organization_id = v_caller.organization_id and p.id = l.employee_id
        limit 1
      ) as e
    )
  );
end;
$$;

comment on function private.get_dashboard() is 'Body of public.get_dashboard.';

grant execute on function private.get_dashboard() to authenticated, api_key;

create function public.get_dashboard() returns jsonb
language sql stable
set search_path = ''
as $$
  select private.get_dashboard();
$$;

comment on function public.get_dashboard() is
  'How the organization stands: {as_of, people: {active, recent, inactive}, today: {day, sessions, duration_s, distance_m},
pending_expenses, pending_amounts, trend: [{day, employees, sessions, duration_s, distance_m}], leaders: [{rank,
employee_id, name, distance_m}]}. active: open session; recent: checked out within 24 hours; inactive: the other members.
Sessions, seconds and metres are those of closed sessions; pending_amounts is by currency. as_of: since when the counters
have been the same. trend: the last seven days, today included, oldest first; leaders: the first five of this month.
Administrators, keys with analytics:read. Errors: admin_required 403, scope_missing 403.';

grant execute on function public.get_dashboard() to authenticated, api_key;

create function private.get_live_map(in_max_people integer) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_leader('locations:read');
  -- Null: everybody of the organization.
  v_team uuid[] := case when v_caller.employee_id is not null and not private.is_admin()
    then private.managed_employee_ids() end;
begin
  if in_max_people is null or in_max_people not between 1 and 1000 then
    perform private.fail('invalid_argument', 'max_people is 1 to 1000.', 'max_people');
  end if;
  return jsonb_build_object(
    'as_of', now(),
    'people', (
      -- Two ranges of one index, each in its order: those at work, then those who went home last.
      with newest as (
        (
          select l.employee_id, l.is_open, l.checked_in_at, l.checked_out_at
          from public.employee_latest_sessions as l
          where l.organization_id = v_caller.organization_id and l.is_open
            and (v_team is null or l.employee_id = any (v_team))
          order by l.checked_out_at desc nulls last, l.employee_id
          limit in_max_people
        )
        union all
        (
          select l.employee_id, l.is_open, l.checked_in_at, l.checked_out_at
          from public.employee_latest_sessions as l
          where l.organization_id = v_caller.organization_id and not l.is_open
            and l.checked_out_at > now() - interval '24 hours'
            and (v_team is null or l.employee_id = any (v_team))
          order by l.checked_out_at desc nulls last, l.employee_id
          limit in_max_people
        )
      )
      select coalesce(jsonb_agg(jsonb_build_object(
        'employee_id', n.employee_id,
        'name', p.name,
        'activity', private.activity_status(n.is_open, n.checked_out_at),
        'checked_in_at', n.checked_in_at,
        'checked_out_at', n.checked_out_at,
        'session_id', p.fix_session_id,
        'recorded_at', p.recorded_at,
        'latitude', p.latitude,
        'longitude', p.longitude,
        'accuracy_m', p.accuracy_m,
        'speed_mps', p.speed_mps,
        'heading_deg', p.heading_deg,
        'battery_pct', p.battery_pct,
        'distance_m', p.distance_m
      ) order by n.is_open desc, n.checked_out_at desc, n.employee_id), '[]')
      from (
        select a.* from newest as a order by a.is_open desc, a.checked_out_at desc, a.employee_id limit in_max_people
      ) as n
      -- Each by its key. Who has sent no position has no place on a map.
      cross join lateral (
        select e.name, s.*
        from public.employee_last_state as s
        join public.employees as e on e.organization_id = s.organization_id and e.id = s.employee_id
        where s.organization_id = v_caller.organization_id and s.employee_id = n.employee_id and s.recorded_at is not null
          -- Who belongs to the organization no more has no place on it either.
          and e.is_active
        limit 1
      ) as p
    )
  );
end;
$$;

comment on function private.get_live_map(integer) is 'Body of public.get_live_map.';

grant execute on function private.get_live_map(integer) to authenticated, api_key;

create function public.get_live_map(max_people integer default 1000) returns jsonb
language sql stable
set search_path = ''
as $$
  select private.get_live_map(max_people);
$$;

comment on function public.get_live_map(integer) is
  'Where people are: {as_of, people: [{employee_id, name, activity, checked_in_at, checked_out_at, session_id, recorded_at,
latitude, longitude, accuracy_m, speed_mps, heading_deg, battery_pct, distance_m}]}: the newest position of each person at
work (activity ACTIVE) and of those who checked out within 24 hours (RECENT), the former first, at most max_people (1 to
1000). Who has sent no position is left out. session_id is that of the position, distance_m that of the open session so far.
Administrators, managers (the people of their teams), keys with locations:read. Errors: admin_required 403, scope_missing 403,
  invalid_argument 400.';

grant execute on function public.get_live_map(integer) to authenticated, api_key;

-- The dashboard and the map: how the organization stands now, in one call each.
--
-- What adds up over days comes from the daily rows, who leads from the month's index, who is where from the sessions that are
-- open or ended within a day. Nothing here reads the past beyond the days it shows, so the cost is the same at any history.

-- Recent: who checked out within a day. Counted and listed from the index alone.
create index attendance_sessions_checked_out
  on public.attendance_sessions (organization_id, checked_out_at desc, employee_id) where status = 'CLOSED';

create type private.counters as (
  active integer,
  recent integer,
  inactive integer,
  sessions_today integer,
  pending_expenses integer,
  pending_amount numeric,
  as_of timestamptz
);

comment on type private.counters is
  'Active: people with an open session. Recent: others who checked out within 24 hours. Inactive: the other active members.';

create function private.count_organization(organization_id uuid, today date, currency text) returns private.counters
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_counters private.counters;
begin
  v_counters.as_of := pg_catalog.now();
  select pg_catalog.count(*) into v_counters.active
  from public.attendance_sessions as s
  where s.organization_id = count_organization.organization_id and s.status = 'ACTIVE';
  select pg_catalog.count(distinct s.employee_id) into v_counters.recent
  from public.attendance_sessions as s
  where s.organization_id = count_organization.organization_id and s.status = 'CLOSED'
    and s.checked_out_at > v_counters.as_of - interval '24 hours'
    and not exists (
      select from public.attendance_sessions as o
      where o.organization_id = s.organization_id and o.employee_id = s.employee_id and o.status = 'ACTIVE'
    );
  select greatest(pg_catalog.count(*) - v_counters.active - v_counters.recent, 0) into v_counters.inactive
  from public.employees as e
  where e.organization_id = count_organization.organization_id and e.is_active;
  select pg_catalog.count(*) into v_counters.sessions_today
  from public.attendance_sessions as s
  where s.organization_id = count_organization.organization_id
    and s.checked_in_at >= (
      select d.day_starts_at
      from private.local_days(count_organization.organization_id, v_counters.as_of - interval '2 days', v_counters.as_of) as d
      where d.day = count_organization.today
    );
  select pg_catalog.count(*), coalesce(pg_catalog.sum(x.amount) filter (where x.currency = count_organization.currency), 0)
  into v_counters.pending_expenses, v_counters.pending_amount
  from public.expenses as x
  where x.organization_id = count_organization.organization_id and x.status = 'PENDING';
  return v_counters;
end;
$$;

comment on function private.count_organization(uuid, date, text) is 'The counters of the dashboard, as of now.';

create function private.get_dashboard() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('analytics:read');
  v_range private.report_range := private.report_range(v_caller.organization_id, null, null, 7);
  v_counters private.counters := private.count_organization(v_caller.organization_id, v_range.today, v_range.currency);
  v_trend jsonb;
begin
  select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
    'day', d.day::date,
    'employees', coalesce(m.employees, 0),
    'sessions', coalesce(m.sessions, 0),
    'duration_s', coalesce(m.duration_s, 0),
    'distance_m', coalesce(m.distance_m, 0)
  ) order by d.day)
  into v_trend
  from pg_catalog.generate_series(v_range."from", v_range."to", interval '1 day') as d (day)
  left join public.org_daily_metrics as m
    on m.organization_id = v_caller.organization_id and m.day = d.day::date
    and m.day between v_range."from" and v_range."to";

  return pg_catalog.jsonb_build_object(
    'as_of', v_counters.as_of,
    'today', v_range.today,
    'people', pg_catalog.jsonb_build_object(
      'active', v_counters.active, 'recent', v_counters.recent, 'inactive', v_counters.inactive),
    'sessions_today', v_counters.sessions_today,
    'distance_today_m', v_trend -> -1 -> 'distance_m',
    'pending_expenses', v_counters.pending_expenses,
    'pending_amount', v_counters.pending_amount,
    'currency', v_range.currency,
    'trend', v_trend,
    'leaders', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
        'rank', l.rank, 'employee_id', l.employee_id, 'name', e.name, 'distance_m', l.distance_m
      ) order by l.rank, l.employee_id), '[]')
      from (
        select f.employee_id, f.distance_m, pg_catalog.rank() over (order by f.distance_m desc) as rank
        from (
          select m.employee_id, m.distance_m
          from public.employee_monthly_metrics as m
          where m.organization_id = v_caller.organization_id
            and m.month = pg_catalog.date_trunc('month', v_range.today::timestamp)::date and m.distance_m > 0
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
  'How the organization stands: {as_of, today, people: {active, recent, inactive}, sessions_today, distance_today_m,
pending_expenses, pending_amount, currency, trend: [{day, employees, sessions, duration_s, distance_m}], leaders: [{rank,
employee_id, name, distance_m}]}. active: open session; recent: checked out within 24 hours; inactive: the other members.
sessions_today counts those that began today, open ones too; the rest is of closed sessions. trend: the last seven days,
today included, oldest first; leaders: the first five of this month. Administrators, keys with analytics:read.
Errors: admin_required 403, scope_missing 403.';

grant execute on function public.get_dashboard() to authenticated, api_key;

create function private.get_live_map(max_people integer) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('locations:read');
begin
  if get_live_map.max_people is null or get_live_map.max_people not between 1 and 1000 then
    perform private.fail('invalid_argument', 'max_people is 1 to 1000.', 'max_people');
  end if;
  return pg_catalog.jsonb_build_object(
    'as_of', pg_catalog.now(),
    'people', (
      with sessions as (
        (
          select s.organization_id, s.id, s.employee_id, s.checked_in_at, s.checked_out_at, 'ACTIVE' as activity
          from public.attendance_sessions as s
          where s.organization_id = v_caller.organization_id and s.status = 'ACTIVE'
          order by s.employee_id
          limit get_live_map.max_people
        )
        union all
        (
          select s.organization_id, s.id, s.employee_id, s.checked_in_at, s.checked_out_at, 'RECENT'
          from public.attendance_sessions as s
          where s.organization_id = v_caller.organization_id and s.status = 'CLOSED'
            and s.checked_out_at > pg_catalog.now() - interval '24 hours'
            and not exists (
              select from public.attendance_sessions as later
              where later.organization_id = s.organization_id and later.employee_id = s.employee_id
                and later.checked_in_at > s.checked_in_at
            )
          order by s.checked_out_at desc, s.employee_id
          limit get_live_map.max_people
        )
      ),
      people as (
        select s.*, g.recorded_at, g.latitude, g.longitude, g.accuracy_m, g.battery_pct, e.name
        from (select a.* from sessions as a order by a.activity, a.checked_out_at desc nulls first limit
          get_live_map.max_people) as s
        -- The newest point of that session, by the key; who has sent none has no place on a map.
        cross join lateral (
          select p.recorded_at, p.latitude, p.longitude, p.accuracy_m, p.battery_pct
          from public.gps_locations as p
          where p.organization_id = s.organization_id and p.session_id = s.id
            and p.recorded_at >= s.checked_in_at - interval '1 minute'
          order by p.recorded_at desc
          limit 1
        ) as g
        cross join lateral (
          select m.name from public.employees as m
          where m.organization_id = s.organization_id and m.id = s.employee_id
          limit 1
        ) as e
      )
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
        'employee_id', p.employee_id,
        'name', p.name,
        'activity', p.activity,
        'session_id', p.id,
        'checked_in_at', p.checked_in_at,
        'checked_out_at', p.checked_out_at,
        'recorded_at', p.recorded_at,
        'latitude', p.latitude,
        'longitude', p.longitude,
        'accuracy_m', p.accuracy_m,
        'battery_pct', p.battery_pct
      ) order by p.activity, p.recorded_at desc, p.employee_id), '[]')
      from people as p
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
  'Where people are: {as_of, people: [{employee_id, name, activity, session_id, checked_in_at, checked_out_at, recorded_at,
latitude, longitude, accuracy_m, battery_pct}]}: the newest position of each person at work (activity ACTIVE) and of those who
checked out within 24 hours (RECENT), the former first, at most max_people (1 to 1000). Who has sent no position is left out.
Administrators, keys with locations:read. Errors: admin_required 403, scope_missing 403, invalid_argument 400.';

grant execute on function public.get_live_map(integer) to authenticated, api_key;

-- Counters, seven days, leaders; and one place for each person who is or was at work: the newest, of nobody else.
begin;
select plan(18);
select tests.cast_on_stage();
-- An organization in which nothing happened yet.
select tests.become('mallory');
select is((public.get_dashboard() - array['as_of', 'trend']) #- '{today,day}',
  '{"people": {"active": 0, "recent": 0, "inactive": 1}, "today": {"sessions": 0, "duration_s": 0, "distance_m": 0},
    "pending_expenses": 0, "pending_amounts": {}, "leaders": []}'::jsonb, 'an empty organization is zeros and empty lists');
select is((select sum((d ->> 'sessions')::integer) || ' in ' || count(*) || ' days until ' || max(d ->> 'day')
  from jsonb_array_elements(public.get_dashboard() -> 'trend') as d),
  '0 in 7 days until ' || tests.today('UTC'), 'seven days of zeros');
select is(public.get_live_map() -> 'people', '[]'::jsonb, 'and an empty map');
select tests.become_postgres();

-- Bob is at work and was before; Carol went home an hour ago; Dave, who left, two days ago.
create temporary table s (name text primary key, id uuid) on commit drop;
insert into s values
  ('bob before', tests.closed_session('bob', now() - interval '6 hours', now() - interval '4 hours')),
  ('carol', tests.closed_session('carol', now() - interval '3 hours', now() - interval '1 hour')),
  ('dave', tests.closed_session('dave', now() - interval '50 hours', now() - interval '48 hours'));
with opened as (
  insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
  values (tests.acme(), tests.user_id('bob'), now() - interval '30 minutes') returning id
)
insert into s select 'bob now', id from opened;
insert into public.gps_locations (organization_id, session_id, employee_id, recorded_at, latitude, longitude)
select tests.acme(), t.id, t.employee_id, t.checked_in_at + make_interval(mins => i), 46 + i * 0.01, 14.5
from public.attendance_sessions as t cross join generate_series(1, 20) as i;
insert into public.employee_daily_metrics (
  organization_id, employee_id, day, time_zone, currency, sessions, duration_s, distance_m)
select tests.acme(), tests.user_id(v.name), v.day, 'UTC', 'EUR', 1, 3600, v.distance_m
from (values
  ('bob', tests.today(), 100.5), ('carol', tests.today(), 200)
) as v (name, day, distance_m);
select tests.become_worker(tests.acme());
select private.compute_organization_day(tests.acme(), tests.today());
select tests.become_postgres();
insert into public.employee_monthly_metrics (organization_id, employee_id, month, currency, distance_m)
select tests.acme(), e.id, date_trunc('month', tests.today()::timestamp)::date, 'EUR', v.distance_m
from (values ('Bob', 500), ('Carol', 500), ('Alice', 0), ('Dave', 900)) as v (name, distance_m)
join public.employees as e on e.name = v.name;

select tests.become('bob');
select (public.submit_expense(12.5, 'Parking', gen_random_uuid())).status = 'PENDING' as submitted;
select (public.submit_expense(7, 'Visa', gen_random_uuid(), currency => 'USD')).status = 'PENDING' as submitted;
select tests.throws_code('select public.get_dashboard()', 'admin_required', 'not for employees');
select tests.throws_code('select public.get_live_map()', 'admin_required', 'nor the map');

select tests.become('alice');
select is(public.get_dashboard() -> 'people', '{"active": 1, "recent": 1, "inactive": 1}'::jsonb,
  'a person counts once, who left not at all');
-- Kept by the worker's loop, and true when time has passed that nobody wrote down.
select tests.become_postgres();
select private.refresh_dashboard(tests.acme());
update public.org_dashboard_snapshot set recent_employees = 77 where organization_id = tests.acme();
select tests.become('alice');
select is(public.get_dashboard() #>> '{people,recent}', '77', 'the counters are those that are kept');
select tests.become_postgres();
update public.org_dashboard_snapshot set valid_until = now() where organization_id = tests.acme();
select tests.become('alice');
select is(public.get_dashboard() #>> '{people,recent}', '1', 'counted anew when they do not hold any more');
select tests.become_postgres();
select private.refresh_dashboard(tests.acme());
select tests.become('alice');
select is((public.get_dashboard() ->> 'pending_expenses') || ' ' || (public.get_dashboard() ->> 'pending_amounts'),
  '2 {"EUR": 12.50, "USD": 7.00}', 'claims that wait, each currency apart');
select is((public.get_dashboard() #>> '{today,distance_m}')::numeric, 300.50, 'today');
select tests.become_postgres();
update public.org_daily_metrics set distance_m = 301.5 where organization_id = tests.acme() and day = tests.today();
select tests.become('alice');
select is((public.get_dashboard() #>> '{today,distance_m}')::numeric, 301.50, 'as soon as the day''s figures change');
select is(public.get_dashboard() #> '{trend,6}' ->> 'sessions', '2', 'the last day of the trend is today');
select is(
  (select string_agg(concat_ws(' ', l ->> 'rank', l ->> 'name'), ', ' order by (l ->> 'rank')::integer, l ->> 'name')
    from jsonb_array_elements(public.get_dashboard() -> 'leaders') as l),
  '1 Dave, 2 Bob, 2 Carol', 'leaders of the month, ties alike, nobody without a metre');
select results_eq(
  $$select p ->> 'name', p ->> 'activity', (p ->> 'latitude')::numeric from jsonb_array_elements(
    public.get_live_map() -> 'people') as p$$,
  $$values ('Bob', 'ACTIVE', 46.2), ('Carol', 'RECENT', 46.2)$$,
  'the newest position of each, those at work first, nobody of two days ago');
select is(jsonb_array_length(public.get_live_map(1) -> 'people'), 1, 'no more than were asked for');
select tests.throws_code('select public.get_live_map(1001)', 'invalid_argument', 'a thousand at the most');
select tests.throws_code('select public.get_live_map(0)', 'invalid_argument', 'one at the least');
select tests.become('mallory');
select is(public.get_live_map() -> 'people', '[]'::jsonb, 'another organization sees nobody');
select * from finish();
rollback;

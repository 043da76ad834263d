-- Time and distance fall on the local days they belong to; a session counts as one where it began; the days add up.
begin;
select plan(16);
select tests.cast_on_stage();
select private.create_location_partitions('2026-03-01', '2026-11-01');
create temporary table s (name text primary key, id uuid) on commit drop;
grant select on s to authenticated;
create function pg_temp.days() returns table (day date, sessions integer, duration_s integer, distance_m numeric)
language sql as $$
  select day, sessions, duration_s, distance_m from public.employee_daily_metrics
  where employee_id = tests.user_id('bob') order by day
$$;

-- Ljubljana loses an hour on 29 March and gains one on 25 October: both nights worked through, from 22:00 to 06:00.
insert into s values
  ('spring', tests.closed_session('bob', '2026-03-28 22:00+01', '2026-03-29 06:00+02')),
  ('autumn', tests.closed_session('bob', '2026-10-24 22:00+02', '2026-10-25 06:00+01')),
  ('carol', tests.closed_session('carol', '2026-10-25 10:00+01', '2026-10-25 12:00:00.9+01'));
-- 111 m a minute northwards over the spring midnight: three legs before it, two after (one ends on it).
insert into public.gps_locations (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m)
select tests.acme(), (select id from s where name = 'spring'), tests.user_id('bob'),
  timestamptz '2026-03-28 23:56+01' + make_interval(mins => i), 46 + i * 0.001, 14.5, 5
from generate_series(0, 5) as i;
select is(tests.compute_distance(id), 'done') from s order by name;
select is((select count(*) from pgboss.job where name = 'analytics'), 5::bigint, 'one job for each person and day');
select is(tests.work_off_analytics(), 9, 'and one for each day of the organization after them');
select results_eq('select day, sessions, duration_s, round(distance_m) from pg_temp.days()',
  $$values ('2026-03-28'::date, 1, 7200, 333::numeric), ('2026-03-29', 0, 18000, 222), ('2026-10-24', 1, 7200, 0),
    ('2026-10-25', 0, 25200, 0)$$,
  'two hours before midnight; five after it in spring, seven in autumn');
select results_eq(
  $$select sum(duration_s), sum(distance_m) from pg_temp.days()$$,
  $$select sum(duration_s), sum(distance_m) from public.attendance_sessions where employee_id = tests.user_id('bob')$$,
  'the days add up to the sessions');
select results_eq(
  $$select day, employees, sessions, duration_s, round(distance_m), time_zone from public.org_daily_metrics order by day$$,
  $$values ('2026-03-28'::date, 1, 1, 7200::bigint, 333::numeric, 'Europe/Ljubljana'),
    ('2026-03-29', 1, 0, 18000, 222, 'Europe/Ljubljana'), ('2026-10-24', 1, 1, 7200, 0, 'Europe/Ljubljana'),
    ('2026-10-25', 2, 1, 25200 + 7200, 0, 'Europe/Ljubljana')$$,
  'the organization''s days are the sums of its people''s');
select results_eq(
  $$select employee_id, month, sessions, duration_s, distance_m from public.employee_monthly_metrics order by 1, 2$$,
  $$select employee_id, date_trunc('month', day)::date, sum(sessions)::integer, sum(duration_s)::integer, sum(distance_m)
    from public.employee_daily_metrics group by 1, 2 order by 1, 2$$, 'and months the sums of their days');

-- Cut at midnight with fractions of a second on both ends: no second is lost.
insert into s values ('fraction', tests.closed_session('bob', '2026-05-01 23:59:58.7+02', '2026-05-02 00:00:02.2+02'));
select tests.compute_distance(id) from s where name = 'fraction';
select is(
  (select sum(d.duration_s) from public.session_days as d join s on s.id = d.session_id and s.name = 'fraction'),
  (select t.duration_s::bigint from public.attendance_sessions as t join s on s.id = t.id and s.name = 'fraction'),
  'parts of a session add up to its seconds');

-- An administrator moves the autumn session two days on: the days it left are zeros, not memories.
select tests.become('alice');
select public.correct_session(id, '2026-10-27 22:00+01', '2026-10-27 23:00+01', 'wrong night') is not null
from s where name = 'autumn';
select is(tests.compute_distance(id), 'done') from s where name = 'autumn';
select tests.work_off_analytics();
select results_eq($$select * from pg_temp.days() where day >= '2026-10-01'$$,
  $$values ('2026-10-24'::date, 0, 0, 0.00), ('2026-10-25', 0, 0, 0.00), ('2026-10-27', 1, 3600, 0.00)$$,
  'the old days are recomputed too');
select results_eq(
  $$select day, employees, sessions, duration_s from public.org_daily_metrics where day >= '2026-10-01' order by day$$,
  $$values ('2026-10-24'::date, 0, 0, 0::bigint), ('2026-10-25', 1, 1, 7200), ('2026-10-27', 1, 1, 3600)$$,
  'those of the organization as well');
select results_eq($$select sessions, duration_s from public.employee_monthly_metrics
    where employee_id = tests.user_id('bob') and month = '2026-10-01'$$, $$values (1, 3600)$$, 'and the month');

-- Late points of a session that is over.
insert into public.gps_locations (organization_id, session_id, employee_id, recorded_at, latitude, longitude, accuracy_m)
select tests.acme(), (select id from s where name = 'carol'), tests.user_id('carol'),
  timestamptz '2026-10-25 10:30+01' + make_interval(mins => i), 46 + i * 0.001, 14.5, 5
from generate_series(0, 1) as i;
select tests.compute_distance(id) from s where name = 'carol';
select tests.work_off_analytics();
select is((select round(distance_m) from public.org_daily_metrics where day = '2026-10-25'), 111::numeric,
  'late points reach the organization''s day');

-- A person goes with all figures; the cascade asks for none of somebody who is gone.
delete from public.employees where organization_id = tests.acme() and id = tests.user_id('bob');
select is_empty($$select 1 from public.employee_daily_metrics where employee_id = tests.user_id('bob')
  union all select 1 from public.employee_monthly_metrics where employee_id = tests.user_id('bob')
  union all select 1 from pgboss.job where name = 'analytics'$$, 'deleting a person leaves nothing of them behind');

select * from finish();
rollback;

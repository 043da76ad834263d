-- The same question gets the same answer whatever range it is asked in; days without work are zeros; bad ranges are refused.
begin;
select plan(28);
select tests.cast_on_stage();
-- Two people, 100 days from 10 January on, a session each day but Sundays (Carol every third day), an expense each Friday.
insert into public.employee_daily_metrics (
  organization_id, employee_id, day, time_zone, currency, sessions, duration_s, distance_m, expenses_approved,
  claimed_amount, approved_amount
)
select tests.acme(), tests.user_id(p.name), d::date, 'Europe/Ljubljana', 'EUR', 1, 3600 + extract(day from d)::integer,
  1000.01 * extract(day from d)::integer, f.friday, 10.05 * f.friday, 9.99 * f.friday
from (values ('bob', 1), ('carol', 3)) as p (name, every)
cross join generate_series('2026-01-10'::timestamp, '2026-04-19'::timestamp, interval '1 day') as d
cross join lateral (select (extract(isodow from d) = 5)::integer as friday) as f
where extract(isodow from d) <> 7 and extract(day from d)::integer % p.every = 0;
-- What the worker would make of them.
insert into public.employee_monthly_metrics (
  organization_id, employee_id, month, currency, sessions, duration_s, distance_m, approved_amount)
select organization_id, employee_id, date_trunc('month', day)::date, 'EUR', sum(sessions), sum(duration_s), sum(distance_m),
  sum(approved_amount)
from public.employee_daily_metrics group by 1, 2, 3;
select tests.become_worker(tests.acme());
select count(private.compute_organization_day(tests.acme(), d::date))
from generate_series('2026-01-10'::timestamp, '2026-04-19'::timestamp, interval '1 day') as d;

select tests.become('alice');
-- Additive figures of a report, over a range.
create function pg_temp.org(first date, last date) returns jsonb language sql as $$
  select public.get_org_summary(first, last) - array['from_day', 'to_day', 'currency']
$$;
create function pg_temp.bob(first date, last date) returns jsonb language sql as $$
  select public.get_user_summary(tests.user_id('bob'), first, last)
    - array['from_day', 'to_day', 'currency', 'name', 'employee_id', 'employee_code', 'is_active', 'average_session_s',
      'average_session_m']
$$;
create function pg_temp.added(reports jsonb[]) returns jsonb language sql as $$
  select jsonb_object_agg(key, total) from (
    select e.key, sum(e.value::numeric) as total from unnest(reports) as r cross join lateral jsonb_each(r) as e group by 1
  ) as s
$$;
select is(
  pg_temp.added((select array_agg(pg_temp.org(d::date, d::date))
    from generate_series('2026-02-01'::timestamp, '2026-02-28'::timestamp, interval '1 day') as d)),
  pg_temp.org('2026-02-01', '2026-02-28'), 'the sum of the days is the month, for the organization');
select is(
  pg_temp.added((select array_agg(pg_temp.bob(d::date, d::date))
    from generate_series('2026-02-01'::timestamp, '2026-02-28'::timestamp, interval '1 day') as d)),
  pg_temp.bob('2026-02-01', '2026-02-28'), 'and for a person');
select is(
  pg_temp.added(array[pg_temp.org('2026-01-01', '2026-02-14'), pg_temp.org('2026-02-15', '2026-04-30')]),
  pg_temp.org('2026-01-01', '2026-04-30'), 'cut anywhere');
select results_eq(
  $$select sum(sessions), sum(duration_s), sum(distance_m) from public.get_session_trend('2026-01-10', '2026-04-19')$$,
  $$select (r ->> 'sessions')::bigint, (r ->> 'duration_s')::numeric, (r ->> 'distance_m')::numeric
    from public.get_org_summary('2026-01-10', '2026-04-19') as r$$, 'the trend adds up to the summary');
-- As a request with Prefer: timezone has it. In Cairo the 24th of April 2026 has no midnight.
set local timezone = 'Africa/Cairo';
select is((select max(day) from public.get_session_trend('2026-04-20', '2026-04-30')), '2026-04-30'::date,
  'the trend has its last day, wherever it is read');
reset timezone;

-- A leaderboard is read from months where they are whole: every way to cut a range must give what the days give.
create function pg_temp.leaders(metric text, first date, last date) returns jsonb language sql as $$
  select jsonb_agg((e ->> 'value')::numeric order by e ->> 'rank')
  from jsonb_array_elements(public.get_leaderboard(metric, first, last) -> 'entries') as e
$$;
create function pg_temp.days(metric text, first date, last date) returns jsonb language sql as $$
  select jsonb_agg(value order by value desc) from (
    select sum(case metric when 'distance' then distance_m when 'duration' then duration_s when 'sessions' then sessions
      else approved_amount end) as value
    from public.employee_daily_metrics where day between first and last group by employee_id
  ) as v
$$;
select is(pg_temp.leaders(m, f, l), pg_temp.days(m, f, l), format('leaderboard by %s from %s to %s', m, f, l))
from (values
  ('distance', '2026-01-31'::date, '2026-03-01'::date), ('distance', '2026-02-01', '2026-02-28'),
  ('duration', '2026-02-02', '2026-02-27'), ('sessions', '2026-01-10', '2026-04-19'), ('expenses', '2026-02-01', '2026-04-01'),
  ('distance', '2026-01-31', '2026-02-01'), ('duration', '2026-02-01', '2026-02-01')
) as v (m, f, l);

select is((select count(*) from public.get_session_trend('2026-01-01', '2026-12-31')), 365::bigint, 'a row a day');
select results_eq($$select * from public.get_session_trend('2026-01-31', '2026-02-02')$$,
  $$values ('2026-01-31'::date, 1, 1, 3631::bigint, 31000.31), ('2026-02-01', 0, 0, 0, 0), ('2026-02-02', 1, 1, 3602, 2000.02)$$,
  'a day without work is zeros');
select results_eq($$select * from public.get_session_trend('2026-02-02', '2026-02-03', tests.user_id('carol'))$$,
  $$values ('2026-02-02'::date, 0, 0, 0::bigint, 0::numeric), ('2026-02-03', 1, 1, 3603, 3000.03)$$, 'of one person too');

-- Refused, every report in the same way.
create function pg_temp.refused(call text, description text) returns text language sql as $$
  select tests.throws_code('select public.' || call, 'invalid_argument', description)
$$;
select pg_temp.refused(r || '(''2026-02-02'', ''2026-02-01'')', r || ': from after to')
from unnest('{get_org_summary,get_session_trend,get_expense_summary,get_my_summary}'::text[]) as r;
select pg_temp.refused('get_user_summary(null, ''2026-02-02'', ''2026-02-01'')', 'get_user_summary: from after to');
select pg_temp.refused('get_leaderboard(''distance'', ''2026-02-02'', ''2026-02-01'')', 'get_leaderboard: from after to');
select pg_temp.refused('get_org_summary(''2025-01-01'', ''2026-01-02'')', '367 days');
select is((public.get_org_summary('2025-01-01', '2026-01-01') ->> 'sessions')::integer, 0, '366 days');
select pg_temp.refused('get_org_summary(''-infinity'', ''infinity'')', 'all of time');
select pg_temp.refused('get_org_summary(''9999-01-01'')', 'from in the future');

-- An organization in which nothing happened.
select tests.become('mallory');
select is(public.get_org_summary('2026-01-01', '2026-12-31'),
  '{"from_day": "2026-01-01", "to_day": "2026-12-31", "sessions": 0, "duration_s": 0, "distance_m": 0, "person_days": 0,
    "expenses_pending": 0, "expenses_approved": 0, "expenses_rejected": 0, "currency": "USD", "claimed_amount": 0,
    "approved_amount": 0}'::jsonb, 'no figures are zeros');
select is(public.get_expense_summary() - array['from_day', 'to_day'],
  '{"pending": 0, "approved": 0, "rejected": 0, "currencies": [], "categories": [], "waiting": []}'::jsonb, 'and empty lists');
select is(public.get_leaderboard() - array['from_day', 'to_day'],
  '{"metric": "distance", "unit": "m", "entries": [], "me": null}'::jsonb,
  'nobody leads');

select * from finish();
rollback;

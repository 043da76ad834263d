-- analytics:read opens every report of the key's own organization and nothing else; without it each of them says so.
begin;
select plan(15);
select tests.cast_on_stage();
create temporary table k (name text primary key, id uuid) on commit drop;
with made as (
  insert into public.api_keys (organization_id, name, key_id, last_four, scopes) values
    (tests.acme(), 'reports', 'aaaaaaaaaaaa', 'aaaa', '{analytics:read}'),
    (tests.acme(), 'events', 'bbbbbbbbbbbb', 'bbbb', '{events:read}')
  returning name, id
)
insert into k select name, id from made;
insert into public.employee_daily_metrics (organization_id, employee_id, day, time_zone, currency, sessions, distance_m)
values (tests.acme(), tests.user_id('bob'), tests.today(), 'UTC', 'EUR', 1, 500),
  (tests.other(), tests.user_id('mallory'), tests.today('UTC'), 'UTC', 'USD', 1, 700);
-- A range that covers a month is read from its row: thirty days until the 30th do.
insert into public.employee_monthly_metrics (organization_id, employee_id, month, currency, sessions, distance_m)
select organization_id, employee_id, date_trunc('month', day::timestamp), currency, sessions, distance_m
from public.employee_daily_metrics;
insert into public.org_daily_metrics (organization_id, day, time_zone, currency)
values (tests.acme(), tests.today(), 'UTC', 'EUR');
create function pg_temp.become_key(key text) returns setof text language sql as $$
  select tests.become_role('api_key', jsonb_build_object('role', 'api_key', 'organization_id', tests.acme(), 'api_key_id', id))
  from k where name = key
$$;
create temporary table reports on commit drop as select call from unnest(array['get_org_summary()', 'get_session_trend()',
  'get_leaderboard()', 'get_expense_summary()',
  format('get_user_summary(%L)', tests.user_id('bob'))]) as call;
grant select on reports to public;

select pg_temp.become_key('reports');
select lives_ok('select public.' || call, call) from reports;
select is(public.get_leaderboard() #>> '{entries,0,name}', 'Bob', 'with names, without a right on employees');
select is((select count(*) from public.employee_daily_metrics), 1::bigint, 'of its own organization');
select tests.throws_code(format('select public.get_user_summary(%L)', tests.user_id('mallory')), 'employee_not_found',
  'nobody of another one');
select tests.become_postgres();
select pg_temp.become_key('events');
select tests.throws_code('select public.' || call, 'scope_missing', call || ' without the scope') from reports;
select tests.throws_code('select count(*) from public.org_daily_metrics', 'scope_missing', 'nor the figures themselves');
select tests.throws_code('select count(*) from public.employee_daily_metrics', 'scope_missing', 'of people');
select * from finish();
rollback;

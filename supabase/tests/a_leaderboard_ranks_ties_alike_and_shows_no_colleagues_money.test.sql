-- Equal figures share a rank in one order; employees see each other's ranks, and money of nobody else.
begin;
select plan(14);
select tests.cast_on_stage();
insert into public.employee_daily_metrics (organization_id, employee_id, day, time_zone, currency, distance_m, approved_amount)
select v.organization_id, tests.user_id(v.name), '2026-11-02', 'UTC', v.currency, v.distance_m, v.amount
from (values
  (tests.acme(), 'bob', 'EUR', 500, 10), (tests.acme(), 'carol', 'EUR', 500, 30), (tests.acme(), 'alice', 'EUR', 100, 0),
  (tests.acme(), 'dave', 'EUR', 900, 20), (tests.other(), 'mallory', 'USD', 9999, 9999)
) as v (organization_id, name, currency, distance_m, amount);
create function pg_temp.board(metric text, top integer default 10) returns table (rank integer, name text, value numeric)
language sql as $$
  select (e ->> 'rank')::integer, e ->> 'name', (e ->> 'value')::numeric
  from jsonb_array_elements(public.get_leaderboard(metric, '2026-11-01', '2026-11-07', top) -> 'entries') as e
$$;
grant execute on function pg_temp.board(text, integer) to public;

select tests.become('bob');
select results_eq($$select * from pg_temp.board('distance')$$, $$values (2, 'Bob', 500::numeric)$$,
  'an employee sees no colleague unless the organization shares it');
select tests.become_postgres();
update public.organizations set shares_leaderboard = true where id = tests.acme();
select tests.become('bob');
select is(jsonb_array_length(public.get_leaderboard('distance', '2026-11-02', '2026-11-02') -> 'entries'), 1,
  'nor a colleague''s day, ever');
select results_eq($$select * from pg_temp.board('distance')$$,
  $$values (1, 'Dave', 900::numeric), (2, 'Bob', 500), (2, 'Carol', 500), (4, 'Alice', 100)$$,
  'ties share a rank and keep an order; who was deactivated keeps the figures; another organization is not there');
select results_eq($$select * from pg_temp.board('distance', 2)$$, $$values (1, 'Dave', 900::numeric), (2, 'Bob', 500)$$,
  'cut where it is asked to be');
select results_eq($$select * from pg_temp.board('expenses')$$,
  $$values (1, 'Carol', null::numeric), (2, 'Dave', null), (3, 'Bob', 10)$$, 'money: ranks, and the own amount');
select is(public.get_leaderboard('expenses', '2026-11-01', '2026-11-07', 1) -> 'me', '{"rank": 3, "value": 10.00}'::jsonb,
  'the own rank comes even below the cut');
select is((public.get_user_summary(null, '2026-11-01', '2026-11-07') ->> 'distance_m')::numeric, 500.00, 'the own summary');
select tests.throws_code(format('select public.get_user_summary(%L)', tests.user_id('carol')), 'employee_not_found',
  'no colleague''s');
select tests.throws_code('select public.get_org_summary()', 'admin_required', 'nor the organization''s');
select tests.throws_code($$select public.get_leaderboard('salary')$$, 'invalid_argument', 'a metric of the list');
select tests.throws_code('select public.get_leaderboard(top => 101)', 'invalid_argument', 'at most 100');
select tests.become('alice');
select results_eq($$select * from pg_temp.board('expenses')$$,
  $$values (1, 'Carol', 30::numeric), (2, 'Dave', 20), (3, 'Bob', 10)$$, 'an administrator sees the amounts');
select is(public.get_user_summary(tests.user_id('dave'), '2026-11-01', '2026-11-07') ->> 'is_active', 'false',
  'and people who left');
select tests.become('dave');
select tests.throws_code('select public.get_leaderboard()', 'not_a_member', 'who left sees nothing');
select * from finish();
rollback;

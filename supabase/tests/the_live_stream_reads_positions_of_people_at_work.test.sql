-- What the live stream asks the database for: positions from open sessions, and which keys are still good.
begin;
select plan(10);
select tests.cast_on_stage();
create function pg_temp.shown(data text) returns text language sql immutable as $$
  select concat_ws(' ', data::jsonb ->> 'is_checked_in', data::jsonb ->> 'latitude', data::jsonb ->> 'distance_m')
$$;
create function pg_temp.at_work() returns setof text language sql as $$
  select pg_temp.shown(p.location) from private.read_positions_at_work(array[tests.acme()]) as p
$$;
create function pg_temp.of_bob() returns setof text language sql as $$
  select pg_temp.shown(p.location)
  from private.read_positions_of(array[tests.acme()], array[tests.user_id('bob')]) as p
$$;
grant execute on function pg_temp.shown(text), pg_temp.at_work(), pg_temp.of_bob() to fieldtrack_edge;
select tests.become('bob');
select isnt(public.check_in(now() - interval '2 hours', gen_random_uuid()), null, 'Bob is at work');
select tests.become_role('fieldtrack_edge');
select throws_ok('select from public.employee_last_state', '42501', null, 'the function reads no table');
select is_empty('select pg_temp.at_work()', 'who has sent nothing has no place');
select tests.become('bob');
select is(public.record_location(now() - interval '1 hour', 46.2, 14.5) ->> 'inserted', '1', 'Bob sends a point');
select tests.become_role('fieldtrack_edge');
select results_eq('select pg_temp.at_work()', array['true 46.2 0.00'], 'and is there');
select is_empty($$select * from private.read_positions_at_work(array[tests.other()])$$, 'in the own organization');

select tests.become('bob');
select isnt(public.check_out(now() - interval '30 minutes', gen_random_uuid()), null, 'Bob goes, and comes again');
select public.check_in(now() - interval '10 minutes', gen_random_uuid()) is not null as again;
select tests.become_role('fieldtrack_edge');
select is_empty('select pg_temp.at_work()', 'where he was in the last session is not where he is in this one');
select results_eq('select pg_temp.of_bob()', array['false 46.2'], 'but where he was last');

select tests.become_postgres();
insert into public.api_keys (organization_id, name, key_id, last_four, scopes, expires_at, revoked_at)
select tests.acme(), n, rpad(n, 12, 'x'), 'abcd', '{events:read}',
  case n when 'expired' then now() end, case n when 'revoked' then now() end
from unnest('{good,expired,revoked}'::text[]) as n;
select results_eq(
  $$select k.name from public.api_keys as a
    cross join private.keep_api_keys(array[tests.acme(), tests.other()], array[a.id, a.id]) as v
    join public.api_keys as k on k.id = v.api_key_id$$, array['good'], 'of keys those that are valid'
);
select * from finish();
rollback;

-- More than hygiene: PostgreSQL checks EXECUTE of an inlined SQL function only when it plans, so on a pooled connection
-- the next role runs the plan of the one before (test/api/inlined_function_stays_refused.test.ts). A function with a SET
-- clause is never inlined. Helpers left inlinable for speed are listed, and no client role may call them.
begin;
select plan(4);

create temporary table inlinable on commit drop as
select name::regprocedure, reason from (values
  ('private.json_number(jsonb, numeric, numeric)', 'called seven times a point of a batch; touches no table'),
  ('private.is_json_number_or_absent(jsonb, numeric, numeric)', 'called five times a point of a batch; touches no table')
) as v (name, reason);

create temporary view own_function as
select p.oid, p.oid::regprocedure as name, p.proconfig, p.prolang, p.prosecdef
from pg_catalog.pg_proc as p
where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
  and p.prokind in ('f', 'p')
  and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e');

select is_empty(
  $$
    select f.name, f.proconfig
    from own_function as f
    where not coalesce(f.proconfig, '{}') @> array['search_path=""']
      and f.oid not in (select i.name from inlinable as i)
  $$,
  'every function of public and private has set search_path = '''''
);

select is_empty(
  $$
    select f.name, role
    from own_function as f
    join pg_catalog.pg_language as l on l.oid = f.prolang and l.lanname = 'sql'
    cross join unnest('{anon,authenticated,service_role,api_key,fieldtrack_worker,fieldtrack_edge}'::text[]) as role
    where f.proconfig is null and pg_catalog.has_function_privilege(role, f.oid, 'execute')
  $$,
  'no function that PostgreSQL could inline is callable by a client role'
);

select is_empty(
  $$select f.name from own_function as f join inlinable as i on i.name = f.oid where f.prosecdef$$,
  'no inlinable helper is a definer'
);

select is_empty(
  $$select i.name from inlinable as i join own_function as f on f.oid = i.name where f.proconfig is not null$$,
  'the list names no function that has a search_path'
);

select * from finish();
rollback;

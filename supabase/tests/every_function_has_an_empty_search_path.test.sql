-- More than hygiene: PostgreSQL checks EXECUTE of an inlined SQL function only when it plans, so on a pooled connection
-- the next role runs the plan of the one before (test/api/inlined_function_stays_refused.test.ts). A function with a SET
-- clause is never inlined. A helper that must be inlined for speed would be listed here and callable by no client role;
-- so far none needs it (1.7 µs a call was measured for the SET clause).
begin;
select plan(2);

create temporary view own_function as
select p.oid, p.oid::regprocedure as name, p.proconfig, p.prolang
from pg_catalog.pg_proc as p
where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
  and p.prokind in ('f', 'p')
  and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e');

select is_empty(
  $$
    select f.name, f.proconfig
    from own_function as f
    where not coalesce(f.proconfig, '{}') @> array['search_path=""']
  $$,
  'every function of public and private has set search_path = '''''
);

select is_empty(
  $$
    select p.oid::regprocedure, role
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_language as l on l.oid = p.prolang and l.lanname = 'sql'
    cross join unnest('{anon,authenticated,service_role,api_key,fieldtrack_worker,fieldtrack_edge}'::text[]) as role
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace, 'pgboss'::regnamespace)
      and p.proconfig is null
      and pg_catalog.has_function_privilege(role, p.oid, 'execute')
      and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
  $$,
  'no function that PostgreSQL could inline is callable by a client role, the queue''s included'
);

select * from finish();
rollback;

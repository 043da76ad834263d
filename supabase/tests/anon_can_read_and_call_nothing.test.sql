-- Nobody is served without a token. What anon may call one day stands in the list below, with the reason.
begin;
select plan(4);

create temporary table callable_by_anon on commit drop as
select name::regprocedure, reason from (values
  ('private.before_request()', 'PostgREST asks it before each request, whoever calls; of nobody it wants nothing')
) as v (name, reason)
where name is not null;

select is_empty(
  $$
    select p.oid::regprocedure
    from pg_catalog.pg_proc as p
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      and pg_catalog.has_function_privilege('anon', p.oid, 'execute')
      and p.oid not in (select name from callable_by_anon)
      -- A test harness may install pgTAP here; an extension's functions are not ours.
      and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
  $$,
  'anon may execute no function of public or private outside the list'
);

select is_empty(
  $$
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace)
      and c.relkind in ('r', 'p', 'v', 'm', 'S')
      and (
        pg_catalog.has_any_column_privilege('anon', c.oid, 'select, insert, update, references')
        or pg_catalog.has_table_privilege('anon', c.oid, 'delete, truncate, trigger')
      )
  $$,
  'anon holds no right on any table, view or sequence'
);

select is_empty(
  $$
    select p.oid::regprocedure
    from pg_catalog.pg_proc as p
    cross join lateral pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) as a
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      and a.grantee = 0
      and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
  $$,
  'no function is granted to everybody'
);

select is_empty(
  $$
    select role, n.nspname
    from unnest('{anon,authenticated,api_key}'::text[]) as role
    cross join pg_catalog.pg_namespace as n
    where n.nspname in ('gps', 'pgboss') and pg_catalog.has_schema_privilege(role, n.oid, 'usage, create')
  $$,
  'no API role may enter the schemas of partitions and queue'
);

select * from finish();
rollback;

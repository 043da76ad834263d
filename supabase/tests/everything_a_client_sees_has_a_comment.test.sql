-- PostgREST publishes comments as the documentation of the API; who opens the database reads the same.
begin;
select plan(3);

select is_empty(
  $$
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and c.relkind in ('r', 'p', 'v', 'm')
      and not c.relispartition
      and pg_catalog.obj_description(c.oid, 'pg_class') is null
  $$,
  'every table and view of public and private says what it is'
);

-- A few names say the same in every table; a comment would repeat them.
select is_empty(
  $$
    select c.oid::regclass, a.attname
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace
      and c.relkind in ('r', 'p', 'v', 'm')
      and not c.relispartition
      and (
        pg_catalog.has_column_privilege('authenticated', c.oid, a.attnum, 'select')
        or pg_catalog.has_column_privilege('api_key', c.oid, a.attnum, 'select')
      )
      and a.attname not in (
        'id', 'organization_id', 'employee_id', 'session_id', 'name', 'phone', 'email', 'created_at', 'updated_at'
      )
      and pg_catalog.col_description(c.oid, a.attnum) is null
  $$,
  'every column a client can read says what it holds'
);

select is_empty(
  $$
    select p.oid::regprocedure
    from pg_catalog.pg_proc as p
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      and p.prokind in ('f', 'p')
      and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
      and pg_catalog.obj_description(p.oid, 'pg_proc') is null
  $$,
  'every function of public and private says what it does'
);

select * from finish();
rollback;

-- With composite keys PostgREST embeds by the constraint's name, so it is part of the API: employee, reviewer, session.
begin;
select plan(3);

create temporary view foreign_key as
select k.oid, k.conname, k.conrelid, k.conrelid::regclass as table_name, k.confrelid, k.conkey, k.confdeltype, k.confdelsetcols
from pg_catalog.pg_constraint as k
where k.contype = 'f'
  and k.conparentid = 0
  and k.connamespace in ('public'::regnamespace, 'private'::regnamespace);

-- A reference that leaves our schemas (auth.users) is never embedded and keeps PostgreSQL's own name.
select is_empty(
  $$
    select f.table_name, f.conname
    from foreign_key as f
    join pg_catalog.pg_class as c on c.oid = f.confrelid
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and (f.conname like '%fkey%' or f.conname !~ '^[a-z]+(_[a-z]+){0,2}$')
  $$,
  'every foreign key is named for the role it plays'
);

select is_empty(
  $$
    select f.table_name, f.conname
    from foreign_key as f
    -- The primary key (organization_id, session_id, recorded_at) finds a session's points, and a session has one employee:
    -- a third index on the largest table would cost every insert and find nothing faster.
    where (f.conrelid, f.conname) <> ('public.gps_locations'::regclass, 'session')
      and not exists (
        select
        from pg_catalog.pg_index as i
        where i.indrelid = f.conrelid
          and i.indisvalid
          -- A partial index serves when it leaves out only rows that refer to nothing.
          and (i.indpred is null or pg_catalog.pg_get_expr(i.indpred, i.indrelid) ~ '^\(\w+ IS NOT NULL\)$')
          and (
            select array_agg(n order by n) from unnest((i.indkey::smallint[])[0:cardinality(f.conkey) - 1]) as n
          ) = (select array_agg(n order by n) from unnest(f.conkey) as n)
      )
  $$,
  'the columns of every foreign key are the first of an index'
);

select is_empty(
  $$
    select table_name, conname
    from foreign_key
    where confdeltype = 'n' and confdelsetcols is null and cardinality(conkey) > 1
  $$,
  'on delete set null lists its column, or it would take organization_id with it'
);

select * from finish();
rollback;

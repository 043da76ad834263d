-- Supabase loads safeupdate for API connections: an UPDATE or DELETE without WHERE fails there, and nowhere in our tests.
-- The scan reads the bodies: it splits them at each statement's end and at each UPDATE … SET and DELETE FROM.
begin;
select plan(3);

create function pg_temp.writes_without_where(body text) returns setof text
language sql
as $$
  select part
  from pg_catalog.regexp_split_to_table(pg_catalog.regexp_replace(body, '--[^\n]*', '', 'g'), ';|\mreturning\M') as statement
  cross join pg_catalog.regexp_split_to_table(
    statement,
    '(?=\mupdate\s+(?:only\s+)?[\w."%]+(?:\s+(?:as\s+)?\w+)?\s+set\M|\mdelete\s+from\M)', 'i'
  ) as part
  where part ~* '^(update|delete)\M' and part !~* '\mwhere\M'
$$;

select is_empty(
  $$
    select p.oid::regprocedure, w
    from pg_catalog.pg_proc as p
    cross join lateral pg_temp.writes_without_where(p.prosrc) as w
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
  $$,
  'no function of public or private updates or deletes without where'
);

select set_eq(
  $$
    select pg_catalog.btrim(w) from pg_temp.writes_without_where('
      update a.b set c = 1;
      with gone as (delete from a.b returning id) select id from gone where true;
      update a.b as x set c = 2 where x.d;
      with moved as (update a.b x set c = 3 returning 1), rest as (delete from a.c where d) select 1;
    ') as w
  $$,
  $$values ('update a.b set c = 1'), ('delete from a.b'), ('update a.b x set c = 3')$$,
  'the scan finds such statements'
);

select is_empty(
  $$
    select w from pg_temp.writes_without_where('
      insert into a.b (c) values (1) on conflict (c) do update set c = 2;
      select c from a.b for update;
      -- delete from a.b
      update a.b set c = 1 where d;
    ') as w
  $$,
  'and nothing else'
);

select * from finish();
rollback;

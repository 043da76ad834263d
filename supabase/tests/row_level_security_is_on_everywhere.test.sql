-- Partitions are named: a partition answers to its own settings, not to its parent's, when it is asked by its own name.
begin;
select plan(2);

select is_empty(
  $$
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace)
      and c.relkind in ('r', 'p')
      and not c.relrowsecurity
  $$,
  'row level security is on for every table of public, private and gps'
);

select is_empty(
  $$
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and (
        c.relkind = 'm'
        or c.relkind = 'v' and not coalesce(c.reloptions, '{}') && '{security_invoker=true,security_invoker=on}'
      )
  $$,
  'every view reads with the rights of its reader, and no materialized view goes around policies'
);

select * from finish();
rollback;

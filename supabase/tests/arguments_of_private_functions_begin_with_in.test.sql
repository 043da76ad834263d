-- One way to name arguments: a body in private writes in_x, so an argument never looks like a column. The arguments of
-- public functions are JSON keys of the API and keep their names.
begin;
select plan(1);

select is_empty(
  $$
    select p.oid::regprocedure, a.name
    from pg_catalog.pg_proc as p
    cross join lateral unnest(p.proargnames, coalesce(p.proargmodes, array_fill('i'::"char", array[p.pronargs::integer])))
      as a (name, mode)
    where p.pronamespace = 'private'::regnamespace
      and a.mode in ('i', 'b', 'v')
      and a.name not like 'in\_%'
  $$,
  'every argument of a function in private begins with in_'
);

select * from finish();
rollback;

-- What EXPLAIN expects comes from statistics of all tenants' rows, so no client of PostgREST may have it (chapter 008000).
-- That it is refused is tried over HTTP (test/security): here EXPLAIN is not the client's statement.
begin;
select plan(2);
select tests.cast_on_stage();

select is_empty(
  $$
    select c.oid::regclass, r.rolname
    from pg_catalog.pg_class as c
    cross join pg_catalog.pg_roles as r
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and r.rolname in ('authenticated', 'api_key')
      and not exists (
        select from pg_catalog.pg_policy as p
        where p.polrelid = c.oid and p.polname = 'refuse_estimates' and not p.polpermissive and p.polcmd = 'r'
          and r.oid = any (p.polroles)
          and pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'private.refuse_estimates()'
      )
  $$,
  'every table has the policy'
);

create function pg_temp.plan_of(query text) returns text language plpgsql as $$
declare
  v_line text;
  v_plan text := '';
begin
  for v_line in execute 'explain ' || query loop
    v_plan := v_plan || v_line || E'\n';
  end loop;
  return v_plan;
end
$$;
grant execute on function pg_temp.plan_of(text) to authenticated;

select tests.become('bob');
select doesnt_match(
  pg_temp.plan_of('select * from public.employees'), 'refuse_estimates', 'a plan that runs does not hold the question');

select * from finish();
rollback;

-- A write to a view is refused by the grants (42501) and not by the view's shape (55000), of which PostgREST makes a 500.
begin;
select plan(2);
select tests.cast_on_stage();
create function pg_temp.refusals(statement text) returns setof text language plpgsql as $$
declare
  v_view text;
begin
  for v_view in
    select c.oid::regclass::text from pg_class as c where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace
  loop
    begin
      execute format(statement, v_view);
      return next v_view || ': written';
    exception when others then
      return next sqlstate;
    end;
  end loop;
end $$;
grant execute on function pg_temp.refusals(text) to authenticated;
select tests.become('alice');
select results_eq($$select distinct pg_temp.refusals('insert into %s default values')$$, array['42501'], 'insert');
select results_eq($$select distinct pg_temp.refusals('delete from %s')$$, array['42501'], 'delete');
select * from finish();
rollback;

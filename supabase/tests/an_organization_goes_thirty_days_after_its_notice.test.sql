-- delete_organization gives notice, keep_organization takes it back; after thirty days everything goes, piece by piece, and
-- nothing of anybody else.
begin;
select plan(12);
select tests.cast_on_stage();
create temporary table target (session_id uuid) on commit drop;
insert into target values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
select tests.acme(), session_id, now() - interval '3 hours' + i * interval '1 second', tests.user_id('bob'), 46, 14.5
from target cross join generate_series(1, 500) as i;
select tests.compute_distance(session_id) from target;
select tests.work_off_analytics() > 0 as analysed;

select tests.become('bob');
select tests.throws_code($$select public.delete_organization('acme')$$, 'admin_required', 'administrators only');
select tests.become('alice');
select tests.throws_code($$select public.delete_organization('other')$$, 'invalid_argument', 'it must be named');
select is(
  (public.delete_organization('acme', 'We leave.')).deletion_due_at, now() + interval '30 days', 'the notice is thirty days');
select tests.become_postgres();
select is(private.delete_due_organizations(), 0::bigint, 'nothing goes before');
select tests.become('alice');
select is((public.keep_organization()).deletion_due_at, null, 'it can be taken back');
select is((public.delete_organization('acme')).deletion_due_at, now() + interval '30 days', 'and given again');
select tests.become_postgres();

update public.organizations set deletion_due_at = now() where slug = 'acme';
select is(private.delete_organization_piece(tests.acme(), 300), 300::bigint, 'one run deletes so many rows');
select ok((select count(*) between 200 and 299 from public.gps_locations), 'points among the first');
create temporary table runs on commit drop as
select private.delete_due_organizations() as deleted from generate_series(1, 3);
select is_empty($$select 1 from public.organizations where slug = 'acme'$$, 'at last the organization is gone');
create function pg_temp.rows_of(organization_id uuid) returns setof text language plpgsql as $$
declare
  v_table regclass;
  v_count bigint;
begin
  for v_table in
    select a.attrelid::regclass from pg_attribute as a join pg_class as c on c.oid = a.attrelid
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p')
      and a.attname = 'organization_id' and not a.attisdropped
  loop
    execute format('select count(*) from %s where organization_id = $1', v_table) into v_count using rows_of.organization_id;
    if v_count > 0 then
      return next v_table;
    end if;
  end loop;
end
$$;
select is_empty('select pg_temp.rows_of(tests.acme())', 'and no row of it is left');
select isnt_empty('select pg_temp.rows_of(tests.other())', 'those of others are');
select is((select count(*) from auth.users where email like '%@example.test'), 5::bigint,
  'accounts are the people''s and stay');

select * from finish();
rollback;

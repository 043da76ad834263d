-- Mallory, administrator of another organization, reads no row of Acme in any table, and no RPC reaches into Acme.
begin;
select plan(10);
select tests.cast_on_stage();

create temporary table target (session_id uuid, expense_id uuid) on commit drop;
grant select on target to authenticated;
insert into target (session_id)
values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));

insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
select tests.acme(), session_id, now() - interval '150 minutes', tests.user_id('bob'), 46, 14.5 from target;
insert into public.session_days (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
select tests.acme(), session_id, tests.today(), tests.user_id('bob'), 'UTC', now() - interval '3 hours', now(), 0 from target;
select tests.become('bob');
select public.submit_expense(10, 'Parking', gen_random_uuid()) is not null as submitted;
select tests.become('alice');
select public.invite_employee('erin@example.test', 'Erin') is not null as invited;
select public.update_organization('{"max_speed_mps": 60}') is not null as audited;

select ok(
  (select count(*) > 0 from public.attendance_sessions) and (select count(*) > 0 from public.gps_locations)
  and (select count(*) > 0 from public.session_days) and (select count(*) > 0 from public.expenses)
  and (select count(*) > 0 from public.invitations) and (select count(*) > 0 from public.audit_log),
  'the administrator of Acme sees a row in every table'
);

select tests.become('mallory');

-- Every table that has organization_id, without anyone listing it.
create function pg_temp.rows_of_acme() returns setof text language plpgsql as $$
declare
  v_table record;
  v_count bigint;
begin
  for v_table in
    select a.attrelid::regclass as name
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_class as c on c.oid = a.attrelid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
      and a.attname = 'organization_id' and not a.attisdropped
      and pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'select')
  loop
    execute format('select count(*) from %s where organization_id = %L', v_table.name, tests.acme()) into v_count;
    if v_count > 0 then
      return next format('%s: %s', v_table.name, v_count);
    end if;
  end loop;
end
$$;
select is_empty('select * from pg_temp.rows_of_acme()', 'no table shows her a row of Acme');
select is_empty($$select 1 from public.organizations where slug = 'acme'$$, 'nor the organization itself');
select tests.throws_code(
  format('select public.get_session_route(%L)', (select session_id from target)), 'session_not_found', 'no route');
select tests.throws_code(
  format('select public.record_locations(%L, %L)', jsonb_build_array(tests.point(now())), (select session_id from target)),
  'session_not_found', 'no points into a session of Acme');
select tests.throws_code(
  format('select public.correct_session(%L, now() - interval ''2 hours'', now(), ''because'')',
  (select session_id from target)),
  'session_not_found', 'no correction');
select tests.throws_code(
  format('select public.recalculate_session(%L)', (select session_id from target)), 'session_not_found', 'no recalculation');
select tests.throws_code(
  format('select public.force_check_out(%L)', tests.user_id('bob')), 'employee_not_found', 'no forced check-out');
select tests.throws_code(
  format('select public.update_employee(%L, ''{"name": "X"}'')', tests.user_id('bob')), 'employee_not_found',
  'no change of a person');
select tests.throws_code(
  format('select public.set_employee_active(%L, false)', tests.user_id('bob')), 'employee_not_found', 'no deactivation');

select * from finish();
rollback;

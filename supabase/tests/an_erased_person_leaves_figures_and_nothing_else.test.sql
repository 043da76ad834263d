-- erase_employee takes name, account, positions, texts and points out of every table; times, distances and amounts stay.
begin;
select plan(26);
select tests.cast_on_stage();

update public.employees set name = 'Bob Secretname', phone = '+38640111222' where id = tests.user_id('bob');
create temporary table target (session_id uuid, open_id uuid) on commit drop;
insert into target (session_id)
values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
update public.attendance_sessions set check_in_latitude = 46.0511, check_in_longitude = 14.5051
where id = (select session_id from target);
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
select tests.acme(), session_id, now() - interval '3 hours' + i * interval '1 minute', tests.user_id('bob'), 46 + i * 0.005,
  14.5, 5
from target cross join generate_series(1, 50) as i;
-- Long sealed by retention, which keeps where the day began and ended; no point of it is left.
insert into public.attendance_sessions (
  organization_id, employee_id, status, closed_by, checked_in_at, checked_out_at, checked_out_received_at,
  distance_status, points_purged_at, check_in_latitude, check_in_longitude, check_out_latitude, check_out_longitude
) values (
  tests.acme(), tests.user_id('bob'), 'CLOSED', 'EMPLOYEE', now() - interval '20 days 2 hours', now() - interval '20 days',
  now() - interval '20 days', 'FAILED', now(), 46.0533, 14.5053, 46.0544, 14.5054
);
select tests.become('bob');
select public.my_device_token('Secretname phone') is not null as has_token;
select public.check_in(now() - interval '1 hour', gen_random_uuid(), 46.0522, 14.5052) is not null as checked_in;
select public.submit_expense(10, 'Secretname parked', gen_random_uuid()) is not null as submitted;
select tests.become('alice');
select public.update_employee(tests.user_id('bob'), '{"phone": "+38640333444"}') is not null as updated;
select public.invite_employee('erin@example.test', 'Erin') is not null as invited;
select tests.become_postgres();

-- Bob was here before, as somebody else's colleague.
insert into public.employees (organization_id, id, user_id, name, phone, is_active)
values (tests.acme(), tests.user_id('bobby'), tests.user_id('bob'), 'Bobby Secretname', '+38640999888', false);
insert into public.attendance_sessions (
  organization_id, employee_id, status, closed_by, checked_in_at, checked_out_at, checked_out_received_at, distance_status,
  check_in_latitude, check_in_longitude
) values (
  tests.acme(), tests.user_id('bobby'), 'CLOSED', 'EMPLOYEE', now() - interval '9 days 2 hours', now() - interval '9 days',
  now() - interval '9 days', 'FAILED', 46.0555, 14.5055
);

create function pg_temp.texts(what text) returns setof text language plpgsql as $$
declare
  v_table regclass;
  v_count bigint;
begin
  for v_table in
    select c.oid::regclass from pg_class as c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace, 'pgboss'::regnamespace)
      and c.relkind in ('r', 'p') and not c.relispartition
  loop
    execute format('select count(*) from %s as t where t::text ~ %L', v_table, what) into v_count;
    if v_count > 0 then
      return next format('%s: %s', v_table, v_count);
    end if;
  end loop;
end
$$;
select isnt_empty($$select pg_temp.texts('Secretname')$$, 'the name stands in several tables');
select isnt_empty($$select pg_temp.texts('38640')$$, 'and the number');
select isnt_empty($$select pg_temp.texts('46\.05')$$, 'and positions');

select tests.become('bob');
select tests.throws_code(
  format('select public.erase_employee(%L, ''wants it'')', tests.user_id('bob')), 'admin_required',
  'a person cannot do it alone');
select tests.become('mallory');
select tests.throws_code(
  format('select public.erase_employee(%L, ''wants it'')', tests.user_id('bob')), 'employee_not_found',
  'nor the administrator of another organization');
select tests.become('alice');
select tests.throws_code(
  format('select public.erase_employee(%L, ''wants it'')', tests.user_id('alice')), 'last_admin',
  'the last administrator stays');
select tests.throws_code(
  format('select public.erase_employee(%L, '' '')', tests.user_id('bob')), 'invalid_argument', 'a reason is needed');

-- Half an erasure: the points budget stops it, the schedule goes on.
select is(
  public.erase_employee(tests.user_id('bob'), 'Asked for by letter.') ->> 'employee_id', tests.user_id('bob')::text,
  'an administrator erases');
select tests.become_postgres();
select private.continue_erasures() is not null as continued;
select private.continue_erasures() is not null as continued_again;
select is_empty('select employee_id from private.erasures where completed_at is null', 'in the end it is done');
select is((select count(*) from private.erasures), 2::bigint, 'for each time that the person was here');
select results_eq($$select name, user_id from public.employees where id = tests.user_id('bobby')$$,
  $$values ('Erased', null::uuid)$$, 'the earlier one too');

select is_empty($$select pg_temp.texts('Secretname')$$, 'the name stands nowhere');
select is_empty($$select pg_temp.texts('38640')$$, 'nor the number');
select is_empty($$select pg_temp.texts('46\.05')$$, 'nor a position');
select is((select count(*) from public.gps_locations), 0::bigint, 'no point is left');
select results_eq(
  $$select name, user_id, is_active from public.employees where id = tests.user_id('bob')$$,
  $$values ('Erased', null::uuid, false)$$, 'the person is nobody');
select results_eq(
  $$select status, count(*), bool_and(points_purged_at is not null) from public.attendance_sessions group by 1$$,
  $$values ('CLOSED', 4::bigint, true)$$, 'all sessions are closed and sealed');
select ok(
  (select distance_m > 25000 from public.attendance_sessions where id = (select session_id from target)),
  'the distance that was still to come was computed before the points went');
select is((select amount from public.expenses), 10.00, 'the amount stays');
select is(
  (select count(*) from public.audit_log where action = 'employee.erased' and actor_id = tests.user_id('alice')), 2::bigint,
  'it is audited');
select is(
  (select count(*) from public.audit_log where action = 'employee.updated' and subject_id = tests.user_id('bob')), 1::bigint,
  'earlier acts are still listed');
select is_empty(
  $$select type from public.events where employee_id = tests.user_id('bob')
    and type in ('session.checked_in', 'employee.created') and not payload ?& array['employee_id']$$,
  'events keep their shape');
select tests.become('alice');
select is(
  (public.erase_employee(tests.user_id('bob'), 'Once more.') ->> 'is_done')::boolean, true, 'again: it says that it is done');
select tests.throws_code(
  format('select public.update_employee(%L, %L)', tests.user_id('bob'), '{"name": "Bob Secretname"}'), 'employee_not_found',
  'nobody writes a name into the row again');
select tests.throws_code(
  format('select public.set_employee_active(%L, true)', tests.user_id('bob')), 'employee_not_found',
  'nor is it taken back; this was a bare check violation that showed the row');
select tests.become('bob');
select is_empty($$select 1 from public.attendance_sessions$$, 'the person''s account sees nothing any more');

select * from finish();
rollback;

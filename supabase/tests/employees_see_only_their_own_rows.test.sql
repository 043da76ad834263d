-- Carol sees nothing of Bob, and none of what is for administrators.
begin;
select plan(7);
select tests.cast_on_stage();
create temporary table target (session_id uuid) on commit drop;
grant select on target to authenticated;
insert into target values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
select tests.acme(), session_id, now() - interval '150 minutes', tests.user_id('bob'), 46, 14.5 from target;

select tests.become('carol');
select is((select count(*) from public.attendance_sessions), 0::bigint, 'no session of a colleague');
select is((select count(*) from public.gps_locations), 0::bigint, 'no point of a colleague');
select results_eq('select name from public.employees', array['Carol'], 'only the own row of employees');
select is((select count(*) from public.invitations), 0::bigint, 'no invitation');
select tests.throws_code(
  format('select public.get_session_route(%L)', (select session_id from target)), 'session_not_found',
  'no route of a colleague');
select tests.throws_code($$select public.invite_employee('x@example.test', 'X')$$, 'admin_required', 'may not invite');

select tests.become('bob');
select is((select count(*) from public.gps_locations), 1::bigint, 'Bob sees his own point');
select * from finish();
rollback;

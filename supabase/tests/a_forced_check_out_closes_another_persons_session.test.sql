-- Administrators close what was left open, now or at a past time; audited.
begin;
select plan(8);
select tests.cast_on_stage();
insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
values (tests.acme(), tests.user_id('bob'), now() - interval '5 hours');
select tests.become('carol');
select tests.throws_code(format('select public.force_check_out(%L)', tests.user_id('bob')), 'admin_required',
  'not by a colleague');
select tests.become('alice');
select tests.throws_code(format('select public.force_check_out(%L)', tests.user_id('carol')), 'no_open_session',
  'nothing open');
select tests.throws_code(format('select public.force_check_out(%L)', gen_random_uuid()), 'employee_not_found', 'nobody');
select tests.throws_code(format('select public.force_check_out(%L, now() + interval ''1 minute'')', tests.user_id('bob')),
  'time_in_future', 'not in the future');
select tests.throws_code(format('select public.force_check_out(%L, now() - interval ''6 hours'')', tests.user_id('bob')),
  'check_out_before_check_in', 'not before the check-in');
select is((public.force_check_out(tests.user_id('bob'), now() - interval '1 hour',
  'left the phone')).duration_s, 14400, 'closed');
select results_eq(
  $$select closed_by, status from public.attendance_sessions$$, $$values ('ADMIN', 'CLOSED')$$, 'by an administrator');
select is((select reason from public.audit_log where action = 'session.force_checked_out'), 'left the phone',
  'with the reason');
select * from finish();
rollback;

-- Each transition happens once; a retry gets the first answer; the phone's time counts within its bounds.
begin;
select plan(26);
select tests.cast_on_stage();
select tests.become('bob');
select tests.throws_code($$select public.check_in(now() + interval '3 minutes', gen_random_uuid())$$,
  'time_in_future', 'not in the future');
select tests.throws_code($$select public.check_in(now() - interval '73 hours', gen_random_uuid())$$,
  'time_too_old', 'not older than the grace');
select tests.throws_code($$select public.check_in(null, gen_random_uuid())$$, 'invalid_argument', 'a time is needed');
select tests.throws_code($$select public.check_in('infinity', gen_random_uuid())$$, 'time_in_future', 'infinity is the future');
select tests.throws_code($$select public.check_in('-infinity', gen_random_uuid())$$, 'time_too_old', 'and the past');
select tests.throws_code($$select public.check_in(now(), null)$$, 'invalid_argument', 'a request id is needed');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid(), 91, 0)$$,
  'invalid_argument', 'a latitude has bounds');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid(), 'NaN', 0)$$, 'invalid_argument', 'NaN is none');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid(), 46)$$,
  'invalid_argument', 'half a position is none');
select tests.throws_code($$select public.check_out(now(), gen_random_uuid())$$, 'no_open_session', 'nothing to check out of');

select is((public.check_in(now() + interval '90 seconds', '00000000-0000-4000-8000-00000000c0de')).checked_in_at, now(),
  'a clock that is a little ahead counts as now');
select is((public.check_in(now() + interval '90 seconds', '00000000-0000-4000-8000-00000000c0de')).status, 'ACTIVE',
  'a retry is the same session');
select is((select count(*) from public.attendance_sessions), 1::bigint, 'one row');
select tests.throws_code($$select public.check_in(now() - interval '1 hour', '00000000-0000-4000-8000-00000000c0de')$$,
  'idempotency_mismatch', 'the id belongs to another check-in');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid())$$, 'session_already_open', 'one open session');
select tests.throws_code($$select public.check_out(now() - interval '1 hour', gen_random_uuid())$$,
  'check_out_before_check_in', 'no negative day');
select tests.throws_code($$select public.check_out(now(), gen_random_uuid(), 46)$$,
  'invalid_argument', 'half a position is none for a check-out either');
select tests.throws_code($$select public.check_out(now(), gen_random_uuid(), 46, 14, -1)$$,
  'invalid_argument', 'nor is an accuracy below nothing');
select is((select status from public.attendance_sessions), 'ACTIVE', 'and the session stays open');

select tests.become_postgres();
update public.attendance_sessions set checked_in_at = now() - interval '2 hours' where employee_id = tests.user_id('bob');
select tests.become('bob');
select is((public.check_out(now() - interval '1 hour',
  '00000000-0000-4000-8000-00000000c0df')).duration_s, 3600, 'an hour of work');
select is((public.check_out(now() - interval '1 hour', '00000000-0000-4000-8000-00000000c0df')).closed_by, 'EMPLOYEE',
  'a retry is the same');
select tests.throws_code($$select public.check_out(now(), '00000000-0000-4000-8000-00000000c0df')$$,
  'idempotency_mismatch', 'the id belongs to another check-out');
select is((public.check_in(now() - interval '90 minutes', gen_random_uuid())).duration_s, 1800,
  'a second check-in before it takes the check-out over, as it would have if it had come first');
select is((select string_agg(s.closed_by || ' ' || s.duration_s, ', ' order by s.checked_in_at)
  from public.attendance_sessions as s), 'AUTO 0, EMPLOYEE 1800', 'and nobody is at work twice');

select tests.become_postgres();
select is((select count(*) from pgboss.job where name = 'distance'), 2::bigint, 'one distance job a session');
update public.organizations set locked_until = tests.today() + 1 where id = tests.acme();
select tests.become('bob');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid())$$, 'period_locked', 'not on a locked day');
select * from finish();
rollback;

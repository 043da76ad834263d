-- By schedule, after the organization's limit. The end is provisional: late points and the own check-out move it.
begin;
select plan(11);
select tests.cast_on_stage();
insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at, checked_in_received_at) values
  (tests.acme(), tests.user_id('s bob'), tests.user_id('bob'), now() - interval '17 hours', now() - interval '17 hours'),
  (tests.acme(), tests.user_id('s carol'), tests.user_id('carol'), now() - interval '17 hours', now() - interval '61 minutes'),
  (tests.acme(), tests.user_id('s alice'), tests.user_id('alice'), now() - interval '15 hours', now() - interval '15 hours');
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
values (tests.acme(), tests.user_id('s bob'), now() - interval '12 hours', tests.user_id('bob'), 46, 14),
  (tests.acme(), tests.user_id('s bob'), now() - interval '11 hours', tests.user_id('bob'), 46, 14);
select is(private.close_forgotten_sessions(), 2::bigint, 'two are over the limit of 16 hours');
select results_eq(
  $$select closed_by, checked_out_at from public.attendance_sessions where id = tests.user_id('s bob')$$,
  $$values ('AUTO', now() - interval '11 hours')$$, 'closed at the last point');
select results_eq(
  $$select closed_by, duration_s from public.attendance_sessions where id = tests.user_id('s carol')$$,
  $$values ('AUTO', 0)$$, 'without a point there is no evidence of work');
select is((select status from public.attendance_sessions where id = tests.user_id('s alice')), 'ACTIVE', 'the third goes on');
select is(private.close_forgotten_sessions(), 0::bigint, 'a second run finds nothing');
select is((select count(*) from public.audit_log where action = 'session.auto_checked_out' and actor_type = 'system'),
  2::bigint, 'audited');
select tests.become('bob');
select is(
  (public.record_locations(jsonb_build_array(
    tests.point(now() - interval '10 hours'), tests.point(now() - interval '30 minutes')),
  tests.user_id('s bob')) #>> '{rejected,0,code}'),
  'point_after_session', 'a point past the limit of 16 hours is refused');
select results_eq(
  $$select closed_by, checked_out_at, provisional_until from public.attendance_sessions where id = tests.user_id('s bob')$$,
  $$values ('AUTO', now() - interval '10 hours', now() + interval '71 hours')$$, 'one within it extends the session');
select results_eq(
  $$select closed_by, duration_s, provisional_until
    from public.check_out(now() - interval '9 hours', gen_random_uuid())$$,
  $$values ('EMPLOYEE', 28800, null::timestamptz)$$, 'and the own check-out replaces the guess');

-- Carol's yesterday comes now, its parts a moment apart.
select tests.become('carol');
select (public.check_in(now() - interval '40 hours', gen_random_uuid())).status;
select tests.become_postgres();
select is(private.close_forgotten_sessions(), 0::bigint, 'a day that comes late is not cut off while it comes');
select tests.become('carol');
select is((public.check_out(now() - interval '32 hours', gen_random_uuid())).duration_s, 28800, 'its check-out counts');
select * from finish();
rollback;

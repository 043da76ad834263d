-- Check-in, a thousand points in ten calls and check-out, all a day late; then the night that gains an hour.
begin;
select plan(6);
select tests.cast_on_stage();
select tests.become('bob');
select (public.check_in(now() - interval '30 hours', gen_random_uuid())).status;
select is(
  (
    select sum((public.record_locations((
      select jsonb_agg(tests.point(now() - interval '29 hours' + make_interval(secs => 20 * (100 * call + i)),
        46 + 0.0018 * (100 * call + i)))
      from generate_series(0, 99) as i
    )) ->> 'inserted')::integer)
    from generate_series(0, 9) as call
  ), 1000::bigint, 'a thousand points in ten calls');
select is((public.check_out(now() - interval '22 hours', gen_random_uuid())).duration_s, 28800, 'eight hours');

select tests.become_worker(tests.acme());
select is(private.compute_session_distance(tests.acme(), (select id from public.attendance_sessions)), 'done',
  'computed by the worker');
select ok(
  (select abs(distance_m::double precision - 999 * 0.0018 * 111180) < 0.002 * 199000 from public.attendance_sessions),
  'the distance is that of a thousand points');
select is(
  (select sum(distance_m) from public.session_days), (select distance_m from public.attendance_sessions),
  'and the days add up to it');

select tests.become_postgres();
-- A night shift over the change of 25 October: 21:00 to 06:00 by the wall, ten hours by the clock.
insert into public.attendance_sessions (
  organization_id, id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by
) values (
  tests.acme(), tests.user_id('night shift'), tests.user_id('carol'), 'CLOSED', '2026-10-24 21:00 Europe/Ljubljana',
  '2026-10-25 06:00 Europe/Ljubljana', now(), 'EMPLOYEE'
);
select tests.become_worker(tests.acme());
select private.compute_session_distance(tests.acme(), tests.user_id('night shift'));
select results_eq(
  $$select day, duration_s from public.session_days where session_id = tests.user_id('night shift') order by day$$,
  $$values ('2026-10-24'::date, 10800), ('2026-10-25'::date, 25200)$$, 'three hours before midnight, seven after it');
select * from finish();
rollback;

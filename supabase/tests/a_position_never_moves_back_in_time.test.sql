-- The newest point by the phone's clock is the position, whatever comes later; what retention seals is no position any more.
begin;
select plan(12);
select tests.cast_on_stage();
select tests.become('bob');
select isnt(public.check_in(now() - interval '2 hours', gen_random_uuid()), null, 'Bob is at work');
select is(
  public.record_locations(jsonb_build_array(
    tests.point(now() - interval '60 minutes', 46.2), tests.point(now() - interval '70 minutes', 46.1))) ->> 'inserted', '2',
  'two points, the newer one first'
);
select is((select latitude from public.employee_last_state), 46.2::double precision, 'the newer one is the position');
select is(
  public.record_locations(jsonb_build_array(tests.point(now() - interval '90 minutes', 46.9))) ->> 'inserted', '1', 'a late one'
);
select is((select latitude from public.employee_last_state), 46.2::double precision, 'does not move it');
select is((select distance_is_provisional from public.employee_last_state), true, 'but the distance so far waits for it');
select tests.become('carol');
select is_empty($$select from public.employee_last_state where latitude is not null$$, 'a colleague does not see it');
select tests.become('alice');
select results_eq(
  $$select e.name, l.latitude, s.activity_status from public.employees as e
    join public.employee_last_state as l on l.employee_id = e.id
    join public.employee_latest_sessions as s on s.employee_id = e.id where l.is_checked_in$$,
  $$values ('Bob'::text, 46.2::double precision, 'ACTIVE')$$, 'the administrator does'
);
select tests.become_postgres();
update public.attendance_sessions
set status = 'CLOSED', closed_by = 'AUTO', checked_out_at = now(), checked_out_received_at = now(), points_purged_at = now()
where employee_id = tests.user_id('bob');
select is((select latitude from public.employee_last_state where employee_id = tests.user_id('bob')), null, 'sealed: forgotten');

-- Out and in again within an instant, and a point of that instant from before and after: it is one, of the session that goes on.
select tests.become('carol');
select isnt(public.check_in(now() - interval '50 minutes', gen_random_uuid()), null, 'Carol is at work');
select public.record_locations(jsonb_build_array(tests.point(now() - interval '40 minutes', 46.1))) is not null as recorded;
select public.check_out(now() - interval '40 minutes', gen_random_uuid()) is not null as out;
select public.check_in(now() - interval '40 minutes', gen_random_uuid()) is not null as in_again;
select public.record_locations(jsonb_build_array(tests.point(now() - interval '40 minutes', 46.2))) is not null as recorded;
select results_eq(
  'select latitude, fix_session_id = session_id from public.employee_last_state', $$values (46.1::double precision, true)$$,
  'the position is of the session that goes on');
select tests.become_postgres();
select results_eq(
  $$select p.latitude::double precision from private.newest_points as p where p.employee_id = tests.user_id('carol')$$,
  'values (46.1::double precision)', 'and so says what is compared with it');
select * from finish();
rollback;

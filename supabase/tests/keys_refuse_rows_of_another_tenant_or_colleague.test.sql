-- The last line of defence: even a writer that row level security does not hold cannot mix tenants or people.
begin;
select plan(5);
select tests.cast_on_stage();
create temporary table target (session_id uuid) on commit drop;
insert into target values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
select throws_ok(
  format($$insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
    values (%L, %L, now(), %L, 46, 14)$$, tests.acme(), (select session_id from target), tests.user_id('carol')),
  '23503', null, 'a point cannot name a colleague''s session');
select throws_ok(
  format($$insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
    values (%L, %L, now(), %L, 46, 14)$$, tests.other(), (select session_id from target), tests.user_id('bob')),
  '23503', null, 'a point cannot name another organization''s session');
select throws_ok(
  format($$insert into public.attendance_sessions (organization_id, employee_id, checked_in_at) values (%L, %L, now())$$,
    tests.other(), tests.user_id('bob')),
  '23503', null, 'a session cannot name another organization''s employee');
select throws_ok(
  format($$insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
    values (%L, %L, now() - interval '150 minutes')$$, tests.acme(), tests.user_id('bob')),
  '23P01', null, 'sessions of a person cannot overlap');
select throws_ok(
  format($$insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
    values (%L, %L, now(), %L, 'NaN', 14)$$, tests.acme(), (select session_id from target), tests.user_id('bob')),
  '23514', null, 'NaN is no latitude');
select * from finish();
rollback;

-- The lock date moves over closed sessions that have their figures; behind it nothing changes, whatever comes late.
begin;
select plan(17);
select tests.cast_on_stage();
create function pg_temp.lock(at date) returns date language sql as $$
  select (public.update_organization(jsonb_build_object('locked_until', at), 'as agreed')).locked_until
$$;
create function pg_temp.refuses_to_lock(at date, description text) returns text language sql as $$
  select tests.throws_code(format('select pg_temp.lock(%L)', at), 'period_unsettled', description)
$$;
grant execute on all functions in schema pg_temp to public;
-- A night shift over the edge, and a day before it.
create temporary table s (name text primary key, id uuid) on commit drop;
grant select on s to public;
insert into s values
  ('day', tests.closed_session('carol', (tests.today() - 3 + time '08:00') at time zone 'Europe/Ljubljana',
    (tests.today() - 3 + time '16:00') at time zone 'Europe/Ljubljana')),
  ('night', gen_random_uuid());
insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at)
select tests.acme(), id, tests.user_id('bob'), (tests.today() - 2 + time '22:00') at time zone 'Europe/Ljubljana'
from s where name = 'night';

select tests.become('alice');
select pg_temp.refuses_to_lock(tests.today() - 1, 'somebody is at work who began before the date');
select is((select locked_until from public.organizations), null, 'and nothing was locked');
select pg_temp.refuses_to_lock(tests.today() - 2, 'a distance is still to come');
select tests.compute_distance(id) from s where name = 'day';
select tests.become('alice');
select is(pg_temp.lock(tests.today() - 2), tests.today() - 2, 'a date before the night shift may be locked');
select pg_temp.refuses_to_lock(tests.today() - 1, 'it still may not move over the night shift');
select is(
  (public.force_check_out(tests.user_id('bob'), (tests.today() - 1 + time '06:00') at time zone 'Europe/Ljubljana')).closed_by,
  'ADMIN',
  'who is still at work is checked out');
select pg_temp.refuses_to_lock(tests.today() - 1, 'its days are not written yet');
select is(tests.compute_distance(id), 'done', 'computed') from s where name = 'night';
select tests.become('alice');
select is(pg_temp.lock(tests.today() - 1), tests.today() - 1, 'now the date moves over it');

-- What would change it.
select tests.throws_code(format('select public.correct_session(%L, now() - interval %L, now(), %L)', id, '1 hour', 'too long'),
  'period_locked', 'it is not moved out of the locked days') from s where name = 'night';
select tests.throws_code(format('select public.recalculate_session(%L)', id), 'period_locked', 'not computed again')
from s where name = 'night';
select (public.update_organization('{"max_speed_mps": 1}')).max_speed_mps;
select is(tests.compute_distance(id), 'locked', 'not by a late job either, though the settings are others now')
from s where name = 'night';
select is((select distance_parameters -> 'max_speed_mps' from public.attendance_sessions where id = s.id), '70'::jsonb,
  'the figure is the one that was locked') from s where name = 'night';
select tests.become('bob');
select tests.throws_code(format('select public.check_in(%L, gen_random_uuid())', now() - interval '60 hours'),
  'period_locked', 'nothing new begins there');

-- Backward and away it always moves.
select tests.become('alice');
select is(pg_temp.lock(tests.today() - 9), tests.today() - 9, 'it moves back');
select is((public.recalculate_session(id)).distance_status, 'PENDING', 'then it may be computed again')
from s where name = 'night';
select is(pg_temp.lock(null), null, 'and away');
select * from finish();
rollback;

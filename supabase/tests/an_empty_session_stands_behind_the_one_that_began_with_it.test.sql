-- A check-in that was taken back at once and repeated with the same time: what is shown is the session that goes on.
begin;
select plan(4);
select tests.cast_on_stage();
select tests.become('bob');
-- Six of them: which of seven random ids is the greatest must not matter.
select (public.check_in(now() - interval '1 hour', tests.user_id('in ' || i))).id is not null
  and (public.check_out(now() - interval '1 hour', tests.user_id('out ' || i))).id is not null
from generate_series(1, 6) as i;
create temporary table open_session on commit drop as
select s.id from public.check_in(now() - interval '1 hour', tests.user_id('in 7')) as s;
select results_eq('select session_id, is_open from public.employee_latest_sessions where session_id is not null',
  'select id, true from open_session', 'the newest is the open one');
select is((select session_id from public.active_users), (select id from open_session), 'and who is at work is at work in it');

select (public.check_out(now() - interval '10 minutes', tests.user_id('out 7'))).status;
select results_eq('select session_id, is_open from public.employee_latest_sessions where session_id is not null',
  'select id, false from open_session', 'it still is, once it is over');
select is((select last_check_out_at from public.employee_last_state), now() - interval '10 minutes',
  'and its end is the last check-out');
select * from finish();
rollback;

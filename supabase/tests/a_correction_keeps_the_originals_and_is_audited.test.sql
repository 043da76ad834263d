-- Administrators correct times; what was first is kept, what is settled or overlaps is refused, and figures follow.
begin;
select plan(19);
select tests.cast_on_stage();
create temporary table s (name text primary key, id uuid) on commit drop;
grant select on s to authenticated;
insert into s values
  ('first', tests.closed_session('bob', now() - interval '10 hours', now() - interval '8 hours')),
  ('second', tests.closed_session('bob', now() - interval '6 hours', now() - interval '4 hours'));
insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
values (tests.acme(), tests.user_id('carol'), now() - interval '3 hours');
create function pg_temp.correct(session text, check_in text, check_out text, reason text default 'forgot the phone')
returns public.attendance_sessions language sql as $$
  select public.correct_session((select id from s where name = session),
  now() - check_in::interval, now() - check_out::interval, reason)
$$;
create function pg_temp.refused(session text, check_in text, check_out text, reason text, code text, description text)
returns text language sql as $$
  select tests.throws_code(format('select pg_temp.correct(%L, %L, %L, %L)', session, check_in, check_out, reason),
  code, description)
$$;
grant execute on all functions in schema pg_temp to public;

select tests.become('bob');
select pg_temp.refused('second', '6 hours', '5 hours', 'reason', 'admin_required', 'an employee corrects nothing');
select tests.become('alice');
select pg_temp.refused('second', '6 hours', '5 hours', ' ', 'invalid_argument', 'a reason is needed');
select pg_temp.refused('second', '4 hours', '5 hours', 'reason', 'check_out_before_check_in', 'forward in time');
select pg_temp.refused('second', '4 hours', '-1 hours', 'reason', 'time_in_future', 'not into the future');
select pg_temp.refused('second', '9 hours', '5 hours', 'reason', 'session_overlap', 'not into the session before');
select is((pg_temp.correct('second', '7 hours', '5 hours')).duration_s, 7200, 'corrected');
select is((pg_temp.correct('second', '7 hours', '3 hours')).duration_s, 14400, 'and again');
select results_eq(
  $$select original_checked_in_at, original_checked_out_at, corrected_at, distance_status from public.attendance_sessions
    where id = (select id from s where name = 'second')$$,
  $$values (now() - interval '6 hours', now() - interval '4 hours', now(), 'PENDING')$$,
  'the very first times are kept, the figure is asked for again');
select results_eq(
  $$select actor_type::text, actor_id, reason, before ->> 'checked_in_at' from public.audit_log
    where action = 'session.corrected' order by id$$,
  $$values ('employee', tests.user_id('alice'), 'forgot the phone', to_jsonb(now() - interval '6 hours') #>> '{}'),
    ('employee', tests.user_id('alice'), 'forgot the phone', to_jsonb(now() - interval '7 hours') #>> '{}')$$,
  'both are in the audit log with their actor');
select tests.become_postgres();
select is((select count(*) from pgboss.job where name = 'distance'), 1::bigint, 'one job waits');
insert into s
select 'open', s.id from public.attendance_sessions as s where s.employee_id = tests.user_id('carol') and s.status = 'ACTIVE';
select tests.become('alice');
select is((pg_temp.correct('open', '3 hours', '2 hours')).original_checked_out_at, null, 'who was at work had not checked out');
select is((pg_temp.correct('open', '3 hours', '1 hour')).original_checked_out_at, null, 'nor has by a second correction');
select tests.become_postgres();
update public.attendance_sessions set distance_m = 0, algorithm_version = 2, distance_status = 'DONE' where true;
update public.attendance_sessions set points_purged_at = now() where id = (select id from s where name = 'first');
select tests.become('alice');
select pg_temp.refused('first', '10 hours', '9 hours', 'reason', 'session_sealed', 'a sealed session stays');
select tests.throws_code(format('select public.recalculate_session(%L)', (select id from s where name = 'first')),
  'session_sealed',
  'and is not computed again');
select tests.throws_code($$select public.update_organization('{"locked_until": "2062-11-01"}')$$, 'invalid_argument',
  'a day that is not over cannot be locked');
select tests.become_postgres();
update public.organizations set locked_until = tests.today() + 1 where id = tests.acme();
select tests.become('alice');
select pg_temp.refused('second', '7 hours', '5 hours', 'reason', 'period_locked', 'a locked day stays');
select tests.become('mallory');
select pg_temp.refused('second', '7 hours', '5 hours', 'reason', 'session_not_found', 'another organization finds nothing');

select tests.become_postgres();
select throws_ok('update public.audit_log set reason = null where true', '42501', null, 'nobody rewrites the audit log');
select throws_ok('delete from public.audit_log where true', '42501', null, 'nor deletes from it');
select * from finish();
rollback;

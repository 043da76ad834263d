-- Points for a closed session are taken within the grace, make the figure PENDING and put one job into the queue.
begin;
select plan(10);
select tests.cast_on_stage();
create temporary table target (session_id uuid) on commit drop;
grant select on target to authenticated;
insert into target values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
update public.attendance_sessions set distance_status = 'DONE', distance_m = 1, algorithm_version = 1
where organization_id = tests.acme();
create function pg_temp.send(at timestamptz) returns jsonb language sql as $$
  select public.record_locations(jsonb_build_array(tests.point(at)), (select session_id from target))
$$;
grant execute on function pg_temp.send(timestamptz) to authenticated;
create function pg_temp.refused(at timestamptz, code text, description text) returns text language sql as $$
  select tests.throws_code(format('select public.record_locations(%L, %L)', jsonb_build_array(tests.point(at)),
  (select session_id from target)), code, description)
$$;
grant execute on function pg_temp.refused(timestamptz, text, text) to authenticated;

select tests.become('bob');
select is(pg_temp.send(now() - interval '150 minutes') ->> 'inserted', '1', 'a late point is taken');
select is(pg_temp.send(now() - interval '149 minutes') ->> 'inserted', '1', 'and another');
select is(pg_temp.send(now() - interval '60 minutes') #>> '{rejected,0,code}', 'point_after_session',
  'none after the check-out');
select tests.become_postgres();
select is((select count(*) from pgboss.job where name = 'distance'), 1::bigint, 'one job waits');
select is((select distance_status from public.attendance_sessions), 'PENDING', 'the figure is pending');
delete from pgboss.job where name = 'distance';
select tests.become('bob');
select pg_temp.send(now() - interval '150 minutes') is not null;
select tests.become_postgres();
select is((select count(*) from pgboss.job where name = 'distance'), 0::bigint, 'a duplicate asks for nothing');

update public.organizations set late_upload_grace_hours = 1 where id = tests.acme();
select tests.become('bob');
select pg_temp.refused(now() - interval '140 minutes', 'upload_too_late', 'not after the grace');
select tests.become_postgres();
update public.organizations set late_upload_grace_hours = 72, locked_until = tests.today() + 1 where id = tests.acme();
select tests.become('bob');
select pg_temp.refused(now() - interval '140 minutes', 'period_locked', 'not into a locked day');
select tests.become_postgres();
update public.organizations set locked_until = null where id = tests.acme();
update public.attendance_sessions set points_purged_at = now() where organization_id = tests.acme();
select tests.become('bob');
select pg_temp.refused(now() - interval '140 minutes', 'session_sealed', 'not into a sealed session');
select tests.become('carol');
select pg_temp.refused(now() - interval '140 minutes', 'session_not_found', 'not by a colleague');
select * from finish();
rollback;

-- system_health and queue_stats: an administrator sees the figures of the own organization, service_role those of all.
begin;
select plan(17);
select tests.cast_on_stage();
-- No worker runs here: schedules that a long run of tests has made overdue are not what this is about.
update private.schedule_states set registered_at = now() where true;
select tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours') is not null as pending;
update public.attendance_sessions set distance_status = 'FAILED';
insert into public.attendance_sessions (organization_id, employee_id, checked_in_at, checked_in_received_at) values
  (tests.acme(), tests.user_id('carol'), now() - interval '20 hours', now() - interval '20 hours'),
  -- A late day on its way.
  (tests.acme(), tests.user_id('dave'), now() - interval '20 hours', now());
select private.enqueue('distance', jsonb_build_object('organization_id', tests.acme(), 'session_id', gen_random_uuid()), n::text,
  now() - interval '90 seconds') is not null as enqueued
from generate_series(1, 3) as n;

create function pg_temp.waiting(queue text) returns integer language sql as $$
  select (q ->> 'waiting')::integer from jsonb_array_elements(public.queue_stats()) as q where q ->> 'queue' = waiting.queue
$$;
grant execute on function pg_temp.waiting(text) to authenticated, service_role;

select tests.become('bob');
select tests.throws_code('select public.system_health()', 'admin_required', 'administrators only');
select tests.throws_code('select public.queue_stats()', 'admin_required', 'of queues too');

select tests.become('alice');
create temporary table hers on commit drop as select public.system_health() as health;
select is((select health ->> 'status' from hers), 'degraded', 'something is wrong');
select is((select health #>> '{sessions,open}' from hers), '2', 'open sessions');
select is((select health #>> '{sessions,forgotten}' from hers), '1', 'one of which nobody closed');
select is((select health #>> '{distances,failed}' from hers), '1', 'a distance that failed');
select is((select health -> 'horizon' from hers), null, 'nothing of the machinery');
select is(pg_temp.waiting('distance'), 3, 'her jobs');
select is(
  (select (q ->> 'oldest_waiting_s')::integer from jsonb_array_elements(public.queue_stats()) as q
    where q ->> 'queue' = 'distance'), 90, 'and how long they have waited');

select tests.become('mallory');
select is(public.system_health() ->> 'status', 'ok', 'another organization is well');
select is(pg_temp.waiting('distance'), 0, 'and sees no job of it');

select tests.become_role('service_role', '{"role": "service_role"}');
select is(public.system_health() #>> '{sessions,open}', '2', 'operators see all organizations');
select ok(public.system_health() ? 'horizon', 'and the machinery');
select is(pg_temp.waiting('distance'), 3, 'and all jobs');

-- The bound is of what is hers, whoever else has jobs, and of a queue for operators.
select tests.become_postgres();
create or replace function private.metric_limit() returns integer language sql immutable as 'select 4';
delete from pgboss.job where true;
select private.enqueue('analytics', jsonb_build_object('organization_id', tests.other()), n::text) is not null as enqueued
from generate_series(1, 9) as n;
select private.enqueue('distance', jsonb_build_object('organization_id', tests.acme()), n::text) is not null as enqueued
from generate_series(1, 3) as n;
select tests.become('alice');
select is(pg_temp.waiting('distance'), 3, 'jobs of others do not hide hers');
select is(pg_temp.waiting('analytics'), 0, 'nor count as hers');
select tests.become_role('service_role', '{"role": "service_role"}');
select is(array[pg_temp.waiting('analytics'), pg_temp.waiting('distance')], array[4, 3], 'operators have a bound a queue');

select * from finish();
rollback;

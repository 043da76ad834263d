-- Jobs: which queues exist, who may touch them, and the one way to put a job in.
--
-- A queue's handler, schema of payload and worker options live in worker/jobs/; a test holds the two lists together.
-- Deduplication is only against jobs that still wait (policy `short`). `stately`, `exclusive` or `singleton` would also
-- drop a job that arrives while one runs, and a write that commits during that run would be lost for ever (tried).

-- pg-boss names every object of its own with its schema, so its functions need no search_path; without a fixed one the
-- advisors rightly warn (function_search_path_mutable).
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc as p where p.pronamespace = 'pgboss'::regnamespace
  loop
    execute format('alter function %s set search_path = %L', v_function, '');
  end loop;
end
$$;

grant usage on schema pgboss to fieldtrack_worker;
grant select, insert, update, delete on all tables in schema pgboss to fieldtrack_worker;
grant execute on all functions in schema pgboss to fieldtrack_worker;

-- Which jobs of an organization are not done? The administrator's question (queue_stats), among everybody's.
create index job_organization on pgboss.job ((data ->> 'organization_id'))
  where state in ('created', 'retry', 'active', 'failed');

-- Row level security is for tables that clients reach; pgboss is served to nobody, and its worker serves all tenants.

select pgboss.create_queue('distance-dead', '{"policy": "standard"}');

-- A distance run takes milliseconds to a second. Five retries from 1 s, doubling to 60 s, ride out a restart of the
-- database; a job whose worker died is found by its missing heartbeat after 60 s.
select pgboss.create_queue('distance', '{
  "policy": "short",
  "retryLimit": 5,
  "retryDelay": 1,
  "retryBackoff": true,
  "retryDelayMax": 60,
  "expireInSeconds": 120,
  "heartbeatSeconds": 60,
  "deadLetter": "distance-dead"
}');

-- Where pg_cron does not serve the database, the worker runs the schedules of private.schedules: a job each time. Only one
-- of a schedule waits; it is not retried, the next time comes soon.
select pgboss.create_queue('schedule', '{"policy": "short", "retryLimit": 0, "expireInSeconds": 300}');

-- pg-boss copies a queue's options into each job it sends; a bare insert gets the column defaults instead: no dead
-- letter, no policy, two retries (tried). So this function copies them too.
create function private.enqueue(
  in_queue text,
  in_data jsonb,
  in_singleton_key text default null,
  in_start_after timestamptz default now()
) returns uuid
language plpgsql volatile
set search_path = ''
as $$
declare
  v_queue pgboss.queue;
  -- The request's trace, which the worker continues. Of several requests that wait for one job, the first one's. It goes with
  -- the payload, which the worker gets anyway; pg-boss hands its own column trace_context to nobody but its own spans.
  v_traceparent text := private.current_traceparent();
  v_id uuid;
begin
  select q.* into v_queue from pgboss.queue as q where q.name = in_queue;
  if not found then
    raise exception 'queue % does not exist', in_queue;
  end if;
  insert into pgboss.job (
    name, data, singleton_key, start_after, policy, retry_limit, retry_delay, retry_backoff, retry_delay_max,
    expire_seconds, deletion_seconds, keep_until, dead_letter, heartbeat_seconds
  ) values (
    v_queue.name,
    in_data || case
      when v_traceparent is null then '{}' else jsonb_build_object('traceparent', v_traceparent)
    end,
    in_singleton_key, in_start_after, v_queue.policy, v_queue.retry_limit,
    v_queue.retry_delay, v_queue.retry_backoff, v_queue.retry_delay_max, v_queue.expire_seconds,
    v_queue.deletion_seconds, in_start_after + make_interval(secs => v_queue.retention_seconds),
    v_queue.dead_letter, v_queue.heartbeat_seconds
  )
  on conflict do nothing
  returning id into v_id;
  return v_id;
end;
$$;

comment on function private.enqueue(text, jsonb, text, timestamptz) is
  'Puts a job into a pg-boss queue in the caller''s transaction, with the queue''s own options. Returns its id, or null '
  'when a job with the same singleton_key already waits. The only SQL that writes pgboss.job. Before calling it, lock '
  'the row that the job will lock: a job that already runs must not miss what this transaction writes.';

-- Callable by definers only (they run as its owner).

-- What a platform may or may not have, set up by one function that an operator can run again.
--
-- Schedules are rows of private.schedules. Where pg_cron serves this database it runs them; elsewhere the worker does,
-- never both: private.is_cron_usable() decides for either side.
-- Each run leaves a row of history and moves its schedule's totals, in the run's own transaction.
-- Receipts are files in Supabase Storage: where its schema is present, their bucket and its policies are set up here.
-- Where Supabase Realtime is present, events are broadcast to their organization's administrators.

-- How often an expression fires, for the shapes that we use. What is overdue follows from it.
create function private.cron_interval(in_cron text) returns interval
language plpgsql immutable
set search_path = ''
as $$
begin
  return case
    when in_cron = '* * * * *' then interval '1 minute'
    when in_cron ~ '^\*/([1-9]|[1-5][0-9]) \* \* \* \*$'
      then make_interval(mins => substring(in_cron, '^\*/([0-9]+)')::integer)
    when in_cron ~ '^[1-5]?[0-9] \* \* \* \*$' then interval '1 hour'
    when in_cron ~ '^[1-5]?[0-9] \*/([1-9]|1[0-9]|2[0-3]) \* \* \*$'
      then make_interval(hours => substring(in_cron, ' \*/([0-9]+)')::integer)
    when in_cron ~ '^[1-5]?[0-9] ([01]?[0-9]|2[0-3]) \* \* \*$' then interval '1 day'
  end;
end;
$$;

comment on function private.cron_interval(text) is
  'Time between two runs: every minute, every n minutes, hourly, every n hours or daily; null for any other expression.';

create table private.schedules (
  name text primary key,
  cron text not null,
  time_zone text not null default 'UTC',
  command text not null,
  description text not null,
  max_duration interval not null default '1 minute',
  constraint name_is_dashed check (name ~ '^[a-z]+(-[a-z]+)*$'),
  constraint cron_has_an_interval check (private.cron_interval(cron) is not null),
  constraint time_zone_is_that_of_pg_cron check (time_zone = 'UTC'),
  constraint max_duration_is_at_most_five_minutes check (max_duration between '1 second' and '5 minutes')
);

alter table private.schedules enable row level security;

comment on table private.schedules is
  'What runs by the clock: cron expression, SQL command, why, and how long it may take. A command does a bounded piece of work '
  'and answers how many things it did.';
comment on column private.schedules.max_duration is
  'A run that takes longer is cancelled where the worker runs it, and raises an alert where pg_cron does.';

insert into private.schedules (name, cron, command, description) values
  ('location-partitions', '17 * * * *', 'select private.maintain_location_partitions()',
    'Keeps the monthly partitions of gps_locations three months ahead.'),
  ('forgotten-sessions', '*/5 * * * *', 'select private.close_forgotten_sessions()',
    'Closes sessions open for longer than their organization allows, at their last point.'),
  ('retry-intents', '* * * * *', 'select private.replay_due_retry_intents()',
    'Runs dead jobs again that are due.'),
  ('retry-intents-clean', '41 * * * *', 'select private.clean_retry_intents()',
    'Deletes dead jobs that were settled 72 hours ago.'),
  ('location-retention', '*/10 * * * *', 'select private.purge_locations()',
    'Seals sessions past their organization''s retention and deletes their points.'),
  ('location-partition-drop', '47 * * * *', 'select private.drop_location_partition()',
    'Drops the oldest month in which no point is left.'),
  ('erasures', '* * * * *', 'select private.continue_erasures()', 'The next step of each erasure of a person.'),
  ('organization-deletion', '*/5 * * * *', 'select private.delete_due_organizations()',
    'Deletes organizations whose 30 days'' notice has run out, a piece at a time.'),
  ('leftovers', '37 * * * *', 'select private.purge_leftovers()',
    'Deletes unused rate buckets, invitations long past, and the history of pg_cron.'),
  ('snapshots', '* * * * *', 'select private.refresh_dashboards()',
    'Dashboards that time has overtaken, for when no worker runs; its loop does it sooner.'),
  ('reconcile', '*/5 * * * *', 'select private.run_reconciliation()',
    'Compares the snapshots with the base tables and mends what differs.'),
  ('event-retention', '* * * * *', 'select private.purge_events()',
    'Deletes events older than 30 days, for two seconds a run.'),
  ('stalled-consumers', '23 * * * *', 'select private.drop_stalled_consumers()',
    'Drops internal readers of the event log that are more than 7 days behind.'),
  ('stream-tickets', '*/10 * * * *', 'select private.purge_stream_tickets()',
    'Deletes tickets for the live stream that nobody used.'),
  ('request-spans', '*/10 * * * *', 'select private.purge_request_spans()',
    'Deletes spans of requests that no worker fetched.');

grant select on private.schedules to fieldtrack_worker, service_role;

create policy select_worker on private.schedules for select to fieldtrack_worker using (true);

create table private.schedule_states (
  schedule_name text primary key constraint schedule references private.schedules (name) on delete cascade,
  registered_at timestamptz not null default now(),
  runs_succeeded bigint not null default 0,
  runs_failed bigint not null default 0,
  items bigint not null default 0,
  last_started_at timestamptz,
  last_succeeded_at timestamptz,
  last_duration_s double precision,
  last_error text
);

alter table private.schedule_states enable row level security;

comment on table private.schedule_states is
  'What became of each schedule so far; a row is written by the one run that holds its lock, so it is never contended.';
comment on column private.schedule_states.items is 'The sum of what its commands answered.';

create policy select_worker on private.schedule_states for select to fieldtrack_worker using (true);

grant select on private.schedule_states to fieldtrack_worker, service_role;

create table private.schedule_runs (
  id bigint generated always as identity primary key,
  schedule_name text not null constraint schedule references private.schedules (name) on delete cascade,
  started_at timestamptz not null,
  duration_s double precision not null,
  outcome text not null,
  items bigint,
  error text,
  constraint outcome_is_valid check (outcome in ('succeeded', 'failed')),
  constraint failed_has_an_error check ((outcome = 'failed') = (error is not null))
);

alter table private.schedule_runs enable row level security;

-- A schedule's history, newest first; also the reference, and what is to be forgotten.
create index schedule_runs_newest on private.schedule_runs (schedule_name, started_at desc);

comment on table private.schedule_runs is 'Runs of the last seven days, for operators.';
comment on column private.schedule_runs.error is 'SQLSTATE and message of a run that failed; what it did was undone.';

create policy select_worker on private.schedule_runs for select to fieldtrack_worker using (true);

grant select on private.schedule_runs to fieldtrack_worker, service_role;

-- Definer: pg_cron's settings can be read by pg_monitor alone, to which postgres belongs and the worker does not.
create function private.is_cron_usable() returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  -- The extension's files may be there while its scheduler serves another database of the cluster.
  return exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron')
    and current_setting('cron.database_name', true) = current_database();
end;
$$;

comment on function private.is_cron_usable() is
  'Whether pg_cron is installed and serves this database. If not, the worker runs the schedules.';

grant execute on function private.is_cron_usable() to fieldtrack_worker, service_role;

-- The worker may not run arbitrary commands: it names a schedule.
create function private.run_schedule(in_name text) returns text
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_schedule private.schedules;
  v_started_at timestamptz := clock_timestamp();
  v_duration_s double precision;
  v_items bigint;
  v_error text;
begin
  select s.* into v_schedule from private.schedules as s where s.name = in_name;
  if not found then
    raise exception 'schedule % does not exist', in_name;
  end if;
  -- One run at a time, whoever starts it.
  if not pg_try_advisory_xact_lock(hashtextextended('fieldtrack.schedule.' || v_schedule.name, 0)) then
    return 'running';
  end if;
  begin
    execute v_schedule.command into v_items;
  exception
    -- Whatever went wrong is undone and belongs into the history; only a lost connection leaves no row, and that is overdue.
    when others or query_canceled then
      v_error := left(sqlstate || ': ' || sqlerrm, 500);
      raise warning 'schedule % failed: %', v_schedule.name, sqlstate;
  end;
  v_duration_s := extract(epoch from clock_timestamp() - v_started_at);

  insert into private.schedule_runs (schedule_name, started_at, duration_s, outcome, items, error)
  values (v_schedule.name, v_started_at, v_duration_s, case when v_error is null then 'succeeded' else 'failed' end,
    v_items, v_error);
  delete from private.schedule_runs as r
  where r.schedule_name = v_schedule.name and r.started_at < v_started_at - interval '7 days';
  insert into private.schedule_states as t (
    schedule_name, runs_succeeded, runs_failed, items, last_started_at, last_succeeded_at, last_duration_s, last_error
  ) values (
    v_schedule.name, (v_error is null)::integer, (v_error is not null)::integer, coalesce(v_items, 0), v_started_at,
    case when v_error is null then v_started_at end, v_duration_s, v_error
  )
  on conflict (schedule_name) do update
  set runs_succeeded = t.runs_succeeded + excluded.runs_succeeded,
    runs_failed = t.runs_failed + excluded.runs_failed,
    items = t.items + excluded.items,
    last_started_at = excluded.last_started_at,
    last_succeeded_at = coalesce(excluded.last_succeeded_at, t.last_succeeded_at),
    last_duration_s = excluded.last_duration_s,
    last_error = excluded.last_error;
  return case when v_error is null then 'done' else 'failed' end;
end;
$$;

comment on function private.run_schedule(text) is
  'Runs a schedule by its name and writes its history: done, failed, or running when another run holds it.';

grant execute on function private.run_schedule(text) to fieldtrack_worker;

-- Two missed runs and the time one may take: one that is late once alarms nobody.
create function private.schedule_report()
returns table (
  name text,
  cron text,
  time_zone text,
  description text,
  interval_s double precision,
  max_duration_s double precision,
  runs_succeeded bigint,
  runs_failed bigint,
  items bigint,
  last_started_at timestamptz,
  last_succeeded_at timestamptz,
  last_duration_s double precision,
  last_error text,
  is_overdue boolean
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select
    s.name, s.cron, s.time_zone, s.description,
    extract(epoch from private.cron_interval(s.cron))::double precision,
    extract(epoch from s.max_duration)::double precision,
    coalesce(t.runs_succeeded, 0), coalesce(t.runs_failed, 0), coalesce(t.items, 0),
    t.last_started_at, t.last_succeeded_at, t.last_duration_s, t.last_error,
    now() > coalesce(t.last_succeeded_at, t.registered_at) + 2 * private.cron_interval(s.cron) + s.max_duration
  from private.schedules as s
  join private.schedule_states as t on t.schedule_name = s.name
  order by s.name;
end;
$$;

comment on function private.schedule_report() is
  'Every schedule with its totals, its last run, and whether it is overdue: no success for two intervals and its max_duration.';

grant execute on function private.cron_interval(text) to fieldtrack_worker, service_role;
grant execute on function private.schedule_report() to fieldtrack_worker, service_role;

create function private.install_platform() returns text[]
language plpgsql volatile
set search_path = ''
as $$
declare
  v_found text[] := array[]::text[];
  v_schedule private.schedules;
  v_buckets regclass := to_regclass('storage.buckets');
begin
  -- Overdue counts from here for a schedule that never ran.
  insert into private.schedule_states (schedule_name) select s.name from private.schedules as s on conflict do nothing;

  if current_setting('cron.database_name', true) = current_database()
    and exists (select from pg_catalog.pg_available_extensions as a where a.name = 'pg_cron')
  then
    begin
      create extension if not exists pg_cron with schema pg_catalog;
    exception
      when insufficient_privilege then
        raise notice 'pg_cron is available, but % may not create it: let a superuser do it, then run this again',
          current_user;
    end;
  end if;

  if private.is_cron_usable() then
    v_found := v_found || 'pg_cron'::text;
    for v_schedule in select s.* from private.schedules as s order by s.name loop
      execute format('select cron.schedule(%L, %L, %L)', 'fieldtrack-' || v_schedule.name, v_schedule.cron,
        format('select private.run_schedule(%L)', v_schedule.name));
    end loop;
    -- A schedule that is gone from the table must not run on.
    execute $sql$
      select count(cron.unschedule(j.jobname)) from cron.job as j
      where j.jobname like 'fieldtrack-%'
        and not exists (select from private.schedules as s where 'fieldtrack-' || s.name = j.jobname)
    $sql$;
  end if;

  -- PostgREST asks before each request (chapter 000755). It reads this from its role when it starts or is told to.
  begin
    alter role authenticator set pgrst.db_pre_request = 'private.before_request';
    notify pgrst, 'reload config';
  exception
    when insufficient_privilege then
      raise warning 'reads have no price: let a superuser alter role authenticator set pgrst.db_pre_request = ''private.before_request''';
  end;

  if v_buckets is not null then
    v_found := v_found || 'storage'::text;
    -- Dynamic, because the table is not there everywhere and plpgsql_check reads this function too.
    execute format($sql$
      insert into %s (id, name, public, file_size_limit, allowed_mime_types)
      values ('receipts', 'receipts', false, 10485760,
        array['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif', 'application/pdf'])
      on conflict (id) do update
      set public = excluded.public,
        file_size_limit = excluded.file_size_limit,
        allowed_mime_types = excluded.allowed_mime_types
    $sql$, v_buckets);
    -- A receipt lies under organization/employee/ (create_receipt_path). It is read by signed URL, which asks select;
    -- nobody replaces or deletes one: it is evidence …
    drop policy if exists insert_own_receipt on storage.objects;
    create policy insert_own_receipt on storage.objects for insert to authenticated with check (
      bucket_id = 'receipts'
      -- What create_receipt_path answers and nothing else: no further folder, no `..`, no name in which somebody says something.
      and name ~ '^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/){2}[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.(jpg|jpeg|png|webp|heic|heif|pdf)$'
      and (storage.foldername(name))[1] = (select private.current_organization_id())::text
      and (storage.foldername(name))[2] = (select private.current_employee_id())::text
    );
    -- But the files of a person who was erased (erase_employee lists them) and, once it gave notice, all of an organization: an
    -- administrator removes them. Deleting rows would leave the files.
    drop policy if exists delete_erased_receipt on storage.objects;
    create policy delete_erased_receipt on storage.objects for delete to authenticated using (
      bucket_id = 'receipts'
      and (storage.foldername(name))[1] = (select private.admin_organization_id())::text
      and (
        exists (
          select from public.employees as e
          where e.organization_id = (select private.admin_organization_id())
            -- A bare name would be the employee's.
            and e.id::text = (storage.foldername(objects.name))[2] and e.erased_at is not null
        )
        or exists (
          select from public.organizations as o
          where o.id = (select private.admin_organization_id()) and o.deletion_due_at is not null
        )
      )
    );
    drop policy if exists select_member_receipt on storage.objects;
    create policy select_member_receipt on storage.objects for select to authenticated using (
      bucket_id = 'receipts'
      and (storage.foldername(name))[1] = (select private.current_organization_id())::text
      and (
        (select private.is_admin())
        or (storage.foldername(name))[2] = (select private.current_employee_id())::text
        or (storage.foldername(name))[2] = any ((select private.managed_employee_ids())::text[])
      )
    );
  end if;

  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
    v_found := v_found || 'realtime'::text;
    drop trigger if exists _900_broadcast on public.events;
    create trigger _900_broadcast after insert on public.events
      for each row execute function private.tg_events__broadcast();
    drop policy if exists select_admin_of_channel on realtime.messages;
    create policy select_admin_of_channel on realtime.messages for select to authenticated using (
      extension = 'broadcast'
      and (
        (select realtime.topic()) = 'org:' || (select private.admin_organization_id())::text
        or (select realtime.topic()) = any ((select private.managed_team_topics())::text[])
      )
    );
  end if;
  return v_found;
end;
$$;

comment on function private.install_platform() is
  'Sets up the optional parts of the platform that are present (pg_cron, storage, realtime) and returns their names. Safe to '
  'run again.';

select private.install_platform();

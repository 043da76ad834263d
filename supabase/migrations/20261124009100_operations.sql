-- What operators see: figures for the worker's /metrics, its /ready and /internal pages, and `npm run status`.
--
-- Each function answers in bounded time whatever the size of the tables: counts stop at a limit, ages come from the first row
-- of an index. None has a label or key per organization: the number of tenants must not decide the number of time series.

-- Counting a backlog is a walk over it; beyond this many rows the exact figure changes nobody's mind.
create function private.metric_limit() returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return 100000;
end;
$$;

comment on function private.metric_limit() is 'Where the counts of metrics stop.';

-- Who holds back the log of events, and who holds back vacuum: the oldest of each kind.
create function private.horizon_report()
returns table (kind text, role text, holder text, age_s double precision, age_transactions bigint)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  -- A transaction that has written holds back the log's readers, in whatever database of the cluster it is.
  (
    select 'transaction', a.usename::text,
      format('pid %s, %s in %s, %s', a.pid, nullif(a.application_name, ''), a.datname, a.state),
      extract(epoch from clock_timestamp() - a.xact_start)::double precision,
      age(a.backend_xid)::bigint
    from pg_catalog.pg_stat_activity as a
    where a.backend_xid is not null and a.pid <> pg_backend_pid()
    order by age(a.backend_xid) desc
    limit 1
  )
  union all
  (
    select 'prepared', p.owner::text, format('prepared transaction %s in %s', p.gid, p.database),
      extract(epoch from clock_timestamp() - p.prepared)::double precision,
      age(p.transaction)::bigint
    from pg_catalog.pg_prepared_xacts as p
    order by age(p.transaction) desc
    limit 1
  )
  union all
  -- A snapshot, written or not, holds back vacuum only.
  (
    select 'snapshot', a.usename::text,
      format('pid %s, %s in %s, %s', a.pid, nullif(a.application_name, ''), a.datname, a.state),
      extract(epoch from clock_timestamp() - a.xact_start)::double precision,
      age(a.backend_xmin)::bigint
    from pg_catalog.pg_stat_activity as a
    where a.backend_xmin is not null and a.pid <> pg_backend_pid() and a.usename is not null
    order by age(a.backend_xmin) desc
    limit 1
  )
  union all
  (
    select 'replication_slot', null, format('slot %s', r.slot_name), null::double precision,
      greatest(age(r.xmin), age(r.catalog_xmin))::bigint
    from pg_catalog.pg_replication_slots as r
    where r.xmin is not null or r.catalog_xmin is not null
    order by 5 desc
    limit 1
  );
end;
$$;

comment on function private.horizon_report() is
  'The oldest transaction, prepared transaction, snapshot and replication slot of the cluster, each with who holds it. Event '
  'readers wait for the first two, vacuum for all.';

create function private.queue_report()
returns table (queue text, state text, jobs bigint, oldest_s double precision)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select
    q.name,
    s.state::text,
    (
      select count(*)
      from (
        select from pgboss.job as j
        -- The list of states is the condition of pg-boss's partial index.
        where j.name = q.name and j.state = s.state and j.state in ('created', 'retry', 'active', 'failed')
        limit private.metric_limit()
      ) as counted
    ),
    -- How long the first one that is due has waited.
    case when s.state in ('created', 'retry') then coalesce((
      select greatest(0, extract(epoch from now() - j.start_after))
      from pgboss.job as j
      where j.name = q.name and j.state = s.state and j.state in ('created', 'retry', 'active', 'failed')
        and not j.blocked
      order by j.start_after
      limit 1
    ), 0)::double precision end
  from pgboss.queue as q
  -- failed: its retries are used up; kept for a week. What is completed is history, and no figure of now.
  cross join (values ('created'::pgboss.job_state), ('retry'), ('active'), ('failed')) as s (state)
  where q.name not like '\_\_%'
  order by q.name, s.state;
end;
$$;

comment on function private.queue_report() is
  'Jobs per queue and state (created and retry wait, active runs, failed used up its retries), and how long the first that is '
  'due has waited.';

create function private.consumer_report()
returns table (consumer text, lag_rows bigint, lag_s double precision, advanced_at timestamptz)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select
    c.name,
    (
      select count(*)
      from (
        select from public.events as e
        where (e.epoch, e.xact, e.id) > (c.epoch, c.xact, c.id)
        limit private.metric_limit()
      ) as counted
    ),
    coalesce((
      select greatest(0, extract(epoch from now() - e.occurred_at))
      from public.events as e
      where (e.epoch, e.xact, e.id) > (c.epoch, c.xact, c.id)
      order by e.epoch, e.xact, e.id
      limit 1
    ), 0)::double precision,
    c.advanced_at
  from private.event_consumers as c
  order by c.name;
end;
$$;

comment on function private.consumer_report() is
  'How far each reader of the event log is behind: rows not read, and the age of the oldest of them.';

-- From two months back to the next month, without which points are refused; the schedule keeps one more in reserve.
create function private.missing_location_partitions() returns integer
language plpgsql stable
set search_path = ''
as $$
declare
  v_month timestamp := date_trunc('month', now() at time zone 'UTC');
begin
  return (
    select count(*)
    from generate_series(v_month - interval '2 months', v_month + interval '2 months', interval '1 month') as m (month)
    where to_regclass(format('gps.gps_locations_%s', to_char(m.month, 'YYYY_MM'))) is null
  );
end;
$$;

comment on function private.missing_location_partitions() is
  'How many partitions of gps_locations are missing from two months back to two ahead.';

-- One row a sample; worker/metrics.ts has the list of names with their types, labels and help, and a test compares.
create function private.metric_samples() returns table (name text, labels jsonb, value double precision)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select 'queue_jobs', jsonb_build_object('queue', q.queue, 'state', q.state), q.jobs::double precision
  from private.queue_report() as q;

  return query
  select 'queue_oldest_job_seconds', jsonb_build_object('queue', q.queue), max(q.oldest_s)
  from private.queue_report() as q
  where q.oldest_s is not null
  group by q.queue;

  return query
  select l.name, jsonb_build_object('consumer', c.consumer), l.value
  from private.consumer_report() as c
  cross join lateral (
    values ('event_consumer_lag_rows', c.lag_rows::double precision), ('event_consumer_lag_seconds', c.lag_s)
  ) as l (name, value);

  return query
  select l.name, jsonb_build_object('kind', h.kind, 'role', coalesce(h.role, 'none')), l.value
  from private.horizon_report() as h
  cross join lateral (
    values ('horizon_age_seconds', h.age_s), ('horizon_age_transactions', h.age_transactions::double precision)
  ) as l (name, value)
  where l.value is not null;

  return query
  select l.name, jsonb_build_object('schedule', s.name) || l.labels, l.value
  from private.schedule_report() as s
  cross join lateral (
    values
      ('schedule_runs_total', '{"outcome": "succeeded"}'::jsonb, s.runs_succeeded::double precision),
      ('schedule_runs_total', '{"outcome": "failed"}', s.runs_failed::double precision),
      ('schedule_items_total', '{}', s.items::double precision),
      ('schedule_overdue', '{}', s.is_overdue::integer::double precision),
      ('schedule_last_success_timestamp_seconds', '{}', extract(epoch from s.last_succeeded_at)::double precision),
      ('schedule_last_duration_seconds', '{}', s.last_duration_s),
      ('schedule_max_duration_seconds', '{}', s.max_duration_s)
  ) as l (name, labels, value)
  where l.value is not null;

  return query
  select l.name, jsonb_build_object('loop', r.loop_name), l.value
  from private.loop_report() as r
  cross join lateral (
    values
      ('loop_organizations_due', r.due::double precision),
      ('loop_organizations_failing', r.failing::double precision),
      ('loop_oldest_due_seconds', r.oldest_s)
  ) as l (name, value);

  return query
  select 'location_partitions_missing', '{}'::jsonb, private.missing_location_partitions()::double precision;

  return query
  select 'locations_ingested_total', jsonb_build_object('partition', t.relname), t.n_tup_ins::double precision
  from pg_catalog.pg_stat_all_tables as t
  where t.schemaname = 'gps';

  return query
  select 'locations_rejected_total',
    jsonb_build_object('reason', substr(s.sequencename, length('rejected_') + 1)),
    coalesce(s.last_value, 0)::double precision
  from pg_catalog.pg_sequences as s
  where s.schemaname = 'private' and s.sequencename like 'rejected\_%';

  return query
  select 'sessions_open', '{}'::jsonb, count(*)::double precision
  from (
    select from public.attendance_sessions as s where s.status = 'ACTIVE' limit private.metric_limit()
  ) as counted;

  return query
  select 'webhook_circuits', jsonb_build_object('state', lower(k.state)), k.circuits::double precision
  from (
    select s.state, count(c.state) as circuits
    from (values ('CLOSED'), ('OPEN'), ('HALF_OPEN')) as s (state)
    left join (
      select c.state from public.webhook_circuits as c limit private.metric_limit()
    ) as c on c.state = s.state
    group by s.state
  ) as k;

  return query
  select 'webhooks_disabled', '{}'::jsonb, count(*)::double precision
  from (
    select from public.webhooks as w where w.disabled_at is not null limit private.metric_limit()
  ) as counted;

  return query
  select l.name, '{}'::jsonb, l.value
  from (
    select
      count(*)::double precision as pending,
      count(*) filter (where d.created_at < now() - interval '1 hour')::double precision as late,
      coalesce(extract(epoch from now() - min(d.created_at)), 0)::double precision as oldest_s
    from (
      select d.created_at
      from public.webhooks as w
      -- What waits at a webhook that is off waits for its owner. Endpoint by endpoint, so that such a backlog is not read.
      cross join lateral (
        select q.created_at
        from public.webhook_deliveries as q
        where q.organization_id = w.organization_id and q.webhook_id = w.id and q.state = 'PENDING'
        limit private.metric_limit()
      ) as d
      where w.is_active and w.disabled_at is null
      limit private.metric_limit()
    ) as d
  ) as p
  cross join lateral (
    values
      ('webhook_deliveries_pending', p.pending),
      ('webhook_deliveries_late', p.late),
      ('webhook_oldest_delivery_seconds', p.oldest_s)
  ) as l (name, value);

  return query
  select 'retry_intents', jsonb_build_object('state', lower(k.state)), k.intents::double precision
  from (
    select s.state, count(i.state) as intents
    from (values ('PENDING'), ('REPLAYED'), ('DISCARDED')) as s (state)
    left join (
      select i.state from public.retry_intents as i limit private.metric_limit()
    ) as i on i.state = s.state
    group by s.state
  ) as k;

  return query
  select 'erasures_unfinished', '{}'::jsonb, count(*)::double precision
  from private.erasures as x
  where x.completed_at is null;

  return query
  select 'database_connections', jsonb_build_object('state', coalesce(a.state, 'other')),
    count(*)::double precision
  from pg_catalog.pg_stat_activity as a
  where a.backend_type = 'client backend'
  group by coalesce(a.state, 'other');

  return query
  select 'database_max_connections', '{}'::jsonb, current_setting('max_connections')::double precision;
end;
$$;

comment on function private.metric_samples() is
  'Every figure that /metrics takes from the database. Names are without the prefix fieldtrack_; no label per organization.';

create function private.snapshot_report() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'reconciliations', (
      select coalesce(jsonb_agg(to_jsonb(r) - 'id' order by r.began_at desc), '[]')
      from (select r.* from private.reconcile_runs as r order by r.began_at desc limit 20) as r
    ),
    'stale_dashboards', (
      select count(*)
      from (
        select from public.org_dashboard_snapshot as d
        where d.valid_until <= now() limit private.metric_limit()
      ) as counted
    )
  );
end;
$$;

comment on function private.snapshot_report() is
  'The last twenty reconciliations with what they mended, and how many dashboards are past their time.';

-- The newest migration that is applied, or null where the CLI's list is not there.
create function private.migration_version() returns text
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_version text;
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select max(m.version) from supabase_migrations.schema_migrations as m' into v_version;
  end if;
  return v_version;
end;
$$;

comment on function private.migration_version() is 'The newest applied migration, as the Supabase CLI records it.';

grant execute on function private.horizon_report() to fieldtrack_worker, service_role;
grant execute on function private.queue_report() to fieldtrack_worker, service_role;
grant execute on function private.consumer_report() to fieldtrack_worker, service_role;
grant execute on function private.snapshot_report() to fieldtrack_worker, service_role;
grant execute on function private.metric_samples() to fieldtrack_worker, service_role;
grant execute on function private.migration_version() to fieldtrack_worker, service_role;

-- For people: the own organization's administrators, and operators (service_role) for all of them.

-- Whose figures may the caller see? Null: everybody's.
create function private.health_audience() returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
  if private.jwt() ->> 'role' = 'service_role' then
    return null;
  end if;
  return (private.require_admin()).organization_id;
end;
$$;

comment on function private.health_audience() is
  'The organization of the calling administrator; null for service_role, who sees all. Errors: those of require_admin.';

create function private.queue_stats() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_organization_id uuid := private.health_audience();
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'queue', q.name,
      'waiting', coalesce(j.waiting, 0),
      'active', coalesce(j.active, 0),
      'failed', coalesce(j.failed, 0),
      'oldest_waiting_s', coalesce(j.oldest_waiting_s, 0)
    ) order by q.name), '[]')
    from pgboss.queue as q
    left join (
      select
        j.name,
        count(*) filter (where j.state in ('created', 'retry')) as waiting,
        count(*) filter (where j.state = 'active') as active,
        count(*) filter (where j.state = 'failed') as failed,
        round(extract(epoch from max(greatest(now() - j.start_after, '0'))
          filter (where j.state in ('created', 'retry')))) as oldest_waiting_s
      from (
        select j.name, j.state, j.start_after
        from pgboss.job as j
        where j.state in ('created', 'retry', 'active', 'failed')
          and j.data ->> 'organization_id' = v_organization_id::text
        limit private.metric_limit()
      ) as j
      group by j.name
      union all
      -- Not run for an administrator: then there is no row to make.
      select
        r.queue,
        sum(r.jobs) filter (where r.state in ('created', 'retry')),
        sum(r.jobs) filter (where r.state = 'active'),
        sum(r.jobs) filter (where r.state = 'failed'),
        round(max(r.oldest_s)::numeric)
      from private.queue_report() as r
      where v_organization_id is null
      group by r.queue
    ) as j on j.name = q.name
    -- What runs by the clock is the installation's.
    where q.name not like '\_\_%' and (v_organization_id is null or q.name <> 'schedule')
  );
end;
$$;

comment on function private.queue_stats() is 'Body of public.queue_stats.';

grant execute on function private.queue_stats() to authenticated, service_role;

create function public.queue_stats() returns jsonb
language sql stable
set search_path = ''
as $$
  select private.queue_stats();
$$;

comment on function public.queue_stats() is
  'Jobs of the organization by queue: [{queue, waiting, active, failed, oldest_waiting_s}]; failed: retries used up, kept for a
week. Administrators; service_role sees all organizations'' together. Counts stop at 100,000: of the organization, or of all
in a queue and state.
Errors: admin_required 403, not_a_member 403.';

grant execute on function public.queue_stats() to authenticated, service_role;

create function private.system_health() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_organization_id uuid := private.health_audience();
  v_organization_ids uuid[] := case when v_organization_id is not null then array[v_organization_id]
    else (select array_agg(o.id) from public.organizations as o) end;
  v_health jsonb;
  v_problems text[];
begin
  v_health := jsonb_build_object(
    'generated_at', now(),
    'organization_id', v_organization_id,
    'sessions', (
      select jsonb_build_object(
        'open', count(*),
        -- The schedule forgotten-sessions closes them every five minutes, an hour after they came at the earliest.
        'forgotten', count(*) filter (
          where s.checked_in_at < now() - make_interval(hours => o.max_session_hours, mins => 15)
            and s.checked_in_received_at < now() - interval '75 minutes'))
      from (
        select s.organization_id, s.checked_in_at, s.checked_in_received_at from public.attendance_sessions as s
        where s.organization_id = any (v_organization_ids) and s.status = 'ACTIVE'
        limit private.metric_limit()
      ) as s
      join public.organizations as o on o.id = s.organization_id
    ),
    -- Of the last week: what is older is settled or has been told before.
    'distances', (
      select jsonb_build_object(
        'pending', count(*) filter (where s.distance_status = 'PENDING'),
        'failed', count(*) filter (where s.distance_status = 'FAILED'))
      from (
        select s.distance_status from public.attendance_sessions as s
        where s.organization_id = any (v_organization_ids) and s.status = 'CLOSED'
          and s.checked_in_at > now() - interval '7 days'
        limit private.metric_limit()
      ) as s
    ),
    'webhooks', (
      select jsonb_build_object(
        'endpoints', count(*),
        'disabled', count(*) filter (where w.disabled_at is not null),
        'circuits_open', count(*) filter (where c.state in ('OPEN', 'HALF_OPEN')))
      from public.webhooks as w
      left join public.webhook_circuits as c on c.organization_id = w.organization_id and c.webhook_id = w.id
      where w.organization_id = any (v_organization_ids)
    ),
    'deliveries', (
      select jsonb_build_object(
        'pending', count(*),
        'late', count(*) filter (where d.created_at < now() - interval '1 hour'))
      from (
        select d.created_at
        from public.webhooks as w
        cross join lateral (
          select q.created_at
          from public.webhook_deliveries as q
          where q.organization_id = w.organization_id and q.webhook_id = w.id and q.state = 'PENDING'
          limit private.metric_limit()
        ) as d
        where w.organization_id = any (v_organization_ids) and w.is_active and w.disabled_at is null
        limit private.metric_limit()
      ) as d
    ),
    'retry_intents', (
      select jsonb_build_object('pending', count(*))
      from (
        select from public.retry_intents as i
        where i.organization_id = any (v_organization_ids) and i.state = 'PENDING'
        limit private.metric_limit()
      ) as i
    ),
    'erasures', (
      select jsonb_build_object('unfinished', count(*))
      from private.erasures as x
      where x.organization_id = any (v_organization_ids) and x.completed_at is null
    ),
    -- What is done for all organizations in turns, and raised at this one's.
    'loops', (
      select jsonb_build_object('failing', coalesce(jsonb_agg(distinct t.loop_name), '[]'))
      from private.tenant_turns as t
      where t.organization_id = any (v_organization_ids) and t.failures > 0
    ),
    -- The machinery is shared; that it stands still concerns everybody.
    'schedules', (
      select jsonb_build_object('overdue', coalesce(jsonb_agg(s.name) filter (where s.is_overdue), '[]'))
      from private.schedule_report() as s
    )
  );
  if v_organization_id is null then
    v_health := v_health || jsonb_build_object(
      'consumers', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from private.consumer_report() as c),
      'horizon', (select coalesce(jsonb_agg(to_jsonb(h)), '[]') from private.horizon_report() as h),
      'loop_report', (select coalesce(jsonb_agg(to_jsonb(r)), '[]') from private.loop_report() as r),
      -- By organization, and why: for operators alone, since a message may repeat a value.
      'failing_turns', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from private.failing_turns() as t),
      'schedule_report', (select jsonb_agg(to_jsonb(s)) from private.schedule_report() as s),
      'location_partitions_missing', private.missing_location_partitions(),
      'migration', private.migration_version());
  end if;
  v_problems := array_remove(array[
    case when v_health #> '{sessions,forgotten}' <> '0' then 'sessions are open for longer than they may' end,
    case when v_health #> '{distances,failed}' <> '0' then 'distances could not be computed' end,
    case when v_health #> '{webhooks,disabled}' <> '0' then 'webhooks are disabled' end,
    case when v_health #> '{webhooks,circuits_open}' <> '0' then 'endpoints of webhooks fail' end,
    case when v_health #> '{deliveries,late}' <> '0' then 'deliveries wait for more than an hour' end,
    case when v_health #> '{retry_intents,pending}' <> '0' then 'jobs died and wait to be run again' end,
    case when v_health #> '{loops,failing}' <> '[]' then 'the organization''s data stops work that is done by the clock' end,
    case when v_health #> '{schedules,overdue}' <> '[]' then 'schedules are overdue' end,
    case when v_health -> 'location_partitions_missing' <> '0' then 'partitions are missing' end,
    -- Of all organizations only. Revoked by the first chapter; a role that does not own the database is merely warned then.
    case when v_health ? 'migration' and exists (
      select from unnest(array['authenticator', 'fieldtrack_worker', 'fieldtrack_edge']) as l (login)
      where has_database_privilege(l.login, current_database(), 'TEMPORARY')
    ) then 'logins may create temporary objects: revoke temporary on the database from public' end
  ], null);
  return v_health || jsonb_build_object(
    'status', case when v_problems = '{}' then 'ok' else 'degraded' end,
    'problems', to_jsonb(v_problems));
end;
$$;

comment on function private.system_health() is 'Body of public.system_health.';

grant execute on function private.system_health() to authenticated, service_role;

create function public.system_health() returns jsonb
language sql stable
set search_path = ''
as $$
  select private.system_health();
$$;

comment on function public.system_health() is
  'Is all well? {status: ok or degraded, problems: [text], sessions: {open, forgotten}, distances: {pending, failed} (of the last
week), webhooks: {endpoints, disabled, circuits_open}, deliveries: {pending, late} (of webhooks that are on), retry_intents:
{pending}, erasures: {unfinished}, loops: {failing: [name]}, schedules: {overdue: [name]}, generated_at,
  organization_id}. Administrators: of the own
organization; service_role: of all together, and the machinery''s state beside it. Counts stop at 100,000.
Errors: admin_required 403, not_a_member 403.';

grant execute on function public.system_health() to authenticated, service_role;

-- An organization's dashboard: counts over all its people, ready to be read.
--
-- The row is the whole organization's, so no client's transaction writes it: the worker's snapshot loop reads the event log
-- from its own position and refreshes the organizations it saw, within a second of the event; the daily figures refresh it when
-- theirs change. It is computed absolutely from the snapshots of the employees, whose number bounds the cost.
-- Two things change by time alone: RECENT becomes INACTIVE after 24 hours, and "today" ends at the organization's midnight.
-- valid_until is the first such moment; the loop refreshes what has passed it, a schedule does where no loop runs, and readers
-- (get_dashboard) compute anew what is past it.

create table public.org_dashboard_snapshot (
  organization_id uuid primary key constraint organization references public.organizations (id) on delete cascade,
  employees integer not null default 0,
  active_employees integer not null default 0,
  recent_employees integer not null default 0,
  inactive_employees integer not null default 0,
  day date not null,
  sessions_today integer not null default 0,
  duration_today_s bigint not null default 0,
  distance_today_m numeric(14, 2) not null default 0,
  pending_expenses integer not null default 0,
  pending_amounts jsonb not null default '{}',
  valid_until timestamptz not null,
  updated_at timestamptz not null default now()
);

alter table public.org_dashboard_snapshot enable row level security;

-- Which dashboards has time overtaken?
create index org_dashboard_snapshot_due on public.org_dashboard_snapshot (valid_until);

comment on table public.org_dashboard_snapshot is
  'The dashboard''s counters, under a second behind; get_dashboard reads it. For administrators.';
comment on column public.org_dashboard_snapshot.employees is 'People who are not deactivated.';
comment on column public.org_dashboard_snapshot.active_employees is 'Of those, with an open session.';
comment on column public.org_dashboard_snapshot.recent_employees is 'Of those, who checked out under 24 hours ago.';
comment on column public.org_dashboard_snapshot.inactive_employees is 'The others.';
comment on column public.org_dashboard_snapshot.day is 'The organization''s local date that "today" means.';
comment on column public.org_dashboard_snapshot.sessions_today is 'Closed sessions that began today.';
comment on column public.org_dashboard_snapshot.duration_today_s is 'Seconds of closed sessions that fell on today.';
comment on column public.org_dashboard_snapshot.distance_today_m is 'Metres travelled today in closed sessions.';
comment on column public.org_dashboard_snapshot.pending_expenses is 'Expenses that nobody reviewed yet.';
comment on column public.org_dashboard_snapshot.pending_amounts is 'Their amounts by currency, such as {"EUR": 12.50}.';
comment on column public.org_dashboard_snapshot.valid_until is 'Until when the counts hold if nothing happens.';

create policy select_admin on public.org_dashboard_snapshot for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.org_dashboard_snapshot for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

grant select on public.org_dashboard_snapshot to authenticated, api_key, service_role;

-- NOTE: the snapshot loop and the reconciliation write it, nobody else.

-- Under the caller's row level security (readers past valid_until), or a definer's.
create function private.dashboard_of(in_organization_id uuid) returns public.org_dashboard_snapshot
language plpgsql stable
set search_path = ''
as $$
declare
  v_dashboard public.org_dashboard_snapshot;
  v_oldest_recent timestamptz;
begin
  v_dashboard.organization_id := in_organization_id;
  v_dashboard.day := private.local_day(in_organization_id, now());
  select count(*), count(*) filter (where l.status = 'ACTIVE'),
    count(*) filter (where l.status = 'RECENT'), count(*) filter (where l.status = 'INACTIVE'),
    min(l.checked_out_at) filter (where l.status = 'RECENT')
  into v_dashboard.employees, v_dashboard.active_employees, v_dashboard.recent_employees, v_dashboard.inactive_employees,
    v_oldest_recent
  from (
    select s.checked_out_at,
      -- private.activity_status, written out: a call a row would cost as much as the rest.
      case
        when s.is_open then 'ACTIVE'
        when s.checked_out_at > now() - interval '24 hours' then 'RECENT'
        else 'INACTIVE'
      end as status
    from public.employees as e
    join public.employee_latest_sessions as s on s.organization_id = e.organization_id and s.employee_id = e.id
    where e.organization_id = in_organization_id and e.is_active
  ) as l;
  select coalesce(max(m.sessions), 0), coalesce(max(m.duration_s), 0),
    coalesce(max(m.distance_m), 0)
  into v_dashboard.sessions_today, v_dashboard.duration_today_s, v_dashboard.distance_today_m
  from public.org_daily_metrics as m
  where m.organization_id = in_organization_id and m.day = v_dashboard.day;
  select coalesce(sum(p.n), 0), coalesce(jsonb_object_agg(p.currency, p.amount), '{}')
  into v_dashboard.pending_expenses, v_dashboard.pending_amounts
  from (
    select x.currency, count(*) as n, sum(x.amount) as amount
    from public.pending_expenses as x
    where x.organization_id = in_organization_id
    group by x.currency
  ) as p;
  v_dashboard.valid_until := least(
    v_oldest_recent + interval '24 hours',
    (
      select max(d.day_ends_at)
      from private.local_days(in_organization_id, now(), now() + interval '50 hours') as d
      where d.day = v_dashboard.day
    ));
  v_dashboard.updated_at := now();
  return v_dashboard;
end;
$$;

comment on function private.dashboard_of(uuid) is
  'What org_dashboard_snapshot should hold of an organization now. Costs its employees and pending expenses, no history.';

grant execute on function private.dashboard_of(uuid) to authenticated, api_key, service_role;

create function private.refresh_dashboard(in_organization_id uuid) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  if not exists (select from public.organizations as o where o.id = in_organization_id) then
    return false;
  end if;
  -- Lock, then read in a later statement: of two refreshes the second sees what the first did not.
  insert into public.org_dashboard_snapshot (organization_id, day, valid_until)
  values (in_organization_id, '-infinity', '-infinity')
  on conflict do nothing;
  perform from public.org_dashboard_snapshot as s
  where s.organization_id = in_organization_id
  for no key update;
  update public.org_dashboard_snapshot as s
  set employees = d.employees,
    active_employees = d.active_employees,
    recent_employees = d.recent_employees,
    inactive_employees = d.inactive_employees,
    day = d.day,
    sessions_today = d.sessions_today,
    duration_today_s = d.duration_today_s,
    distance_today_m = d.distance_today_m,
    pending_expenses = d.pending_expenses,
    pending_amounts = d.pending_amounts,
    valid_until = d.valid_until,
    updated_at = now()
  from private.dashboard_of(in_organization_id) as d
  where s.organization_id = in_organization_id
    and to_jsonb(s) - array['updated_at'] is distinct from to_jsonb(d) - array['updated_at'];
  return found;
end;
$$;

comment on function private.refresh_dashboard(uuid) is
  'Recomputes an organization''s dashboard and writes it if it differs; says whether it did. Never in a client''s transaction.';

create function private.tg_org_daily_metrics__refresh_dashboard() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- Only the worker writes daily figures, so this holds up no client. Other days are not on the dashboard.
  if new.day = private.local_day(new.organization_id, now()) then
    perform private.refresh_dashboard(new.organization_id);
  end if;
  return null;
end;
$$;

comment on function private.tg_org_daily_metrics__refresh_dashboard() is
  'After a day''s figures changed: the dashboard, if the day is today.';

create trigger _400_refresh_dashboard after update of sessions, duration_s, distance_m on public.org_daily_metrics
  for each row when (
    (old.sessions, old.duration_s, old.distance_m) is distinct from (new.sessions, new.duration_s, new.distance_m)
  )
  execute function private.tg_org_daily_metrics__refresh_dashboard();

select private.register_event_consumer('snapshots');

create function private.refresh_dashboards(in_max_events integer default 500, in_max_due integer default 100) returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  -- What raised a while ago is tried again later (chapter 000740): as the first that are due they would be all that this
  -- looks at.
  v_failing uuid[] := array(
    select t.organization_id from private.tenant_turns as t
    where t.loop_name = 'snapshots' and t.failures > 0 and t.retry_at > now()
  );
  v_organization record;
  v_refreshed bigint := 0;
begin
  -- Dropped after a week of standing still: begin anew, with every dashboard due.
  if exists (select from private.event_consumers as c where c.name = 'snapshots' and c.dropped_at is not null) then
    perform private.register_event_consumer('snapshots');
    update public.org_dashboard_snapshot as s set valid_until = '-infinity' where s.organization_id is not null;
  end if;
  -- Four times a second there is usually nothing to do; asking so costs no lock and no transaction id.
  if not exists (
    select from private.event_consumers as c
    cross join lateral private.read_log(c.epoch, c.xact, c.id, 1) as e
    where c.name = 'snapshots'
  ) and not exists (
    select from public.org_dashboard_snapshot as s where s.valid_until <= now() and s.organization_id <> all (v_failing)
  ) and not exists (
    select from private.tenant_turns as t where t.loop_name = 'snapshots' and t.failures > 0 and t.retry_at <= now()
  ) then
    return 0;
  end if;
  -- One at a time, whoever calls: another worker, a schedule, the reconciliation.
  if not pg_try_advisory_xact_lock(hashtextextended('fieldtrack.snapshots', 0)) then
    return 0;
  end if;
  for v_organization in
    select e.organization_id as id
    from private.read_events('snapshots', in_max_events) as e
    where e.organization_id <> all (v_failing)
    union
    (
      select s.organization_id
      from public.org_dashboard_snapshot as s
      where s.valid_until <= now() and s.organization_id <> all (v_failing)
      order by s.valid_until
      limit in_max_due
    )
    union
    -- Their news was read when they failed.
    select t.organization_id
    from private.tenant_turns as t
    where t.loop_name = 'snapshots' and t.failures > 0 and t.retry_at <= now()
    -- One order for whoever locks several.
    order by id
  loop
    begin
      perform private.refresh_dashboard(v_organization.id);
      v_refreshed := v_refreshed + 1;
      if exists (
        select from private.tenant_turns as t
        where t.organization_id = v_organization.id and t.loop_name = 'snapshots' and t.failures > 0
      ) then
        perform private.record_turn('snapshots', v_organization.id, null);
      end if;
    exception
      -- One organization's data, which must not keep the dashboards of all others from their news.
      when others then
        perform private.record_turn('snapshots', v_organization.id, left(sqlstate || ': ' || sqlerrm, 300));
        raise warning 'loop snapshots: the dashboard of organization % failed: %', v_organization.id, sqlstate;
    end;
  end loop;
  return v_refreshed;
end;
$$;

comment on function private.refresh_dashboards(integer, integer) is
  'Refreshes the dashboards of organizations with new events (consumer `snapshots`) and those that time has overtaken; '
  'answers how many it looked at. Called by the worker''s snapshot loop and, every minute, by schedule.';

grant execute on function private.refresh_dashboards(integer, integer) to fieldtrack_worker;

-- Reconciliation: finding snapshots that differ from what they summarise, and mending them.
--
-- There should never be any: the triggers write snapshots with the change. Restores, bugs and hands in the database happen all
-- the same, so every five minutes all six tables are compared with the base.
-- Candidates are found without locks, in one statement a table: base and snapshot are read in one MVCC snapshot, so a change
-- under way is either wholly seen or not at all, and a difference is real. Each candidate is then locked, recomputed in a LATER
-- statement and written if it still differs; in one statement it would overwrite newer state with older. Rows that somebody
-- holds are passed over (skip locked) and looked at next time, so the reconciliation waits for nobody and can be in no
-- deadlock. Heartbeats (active_users.last_seen_at) are not recomputable and are left alone.
-- Each run mends a bounded number of rows a table, so that what it locked is free again within a second; a run that found more
-- asks for the next one at once. Until the first repair it holds no lock and no transaction id. Totals cost the whole history of
-- sessions and expenses to compare: one sequential pass (`npm run bench -- reconcile`).

create table private.reconcile_runs (
  id bigint generated always as identity primary key,
  began_at timestamptz not null,
  duration_ms integer not null,
  repaired jsonb not null
);

alter table private.reconcile_runs enable row level security;

comment on table private.reconcile_runs is
  'Runs of reconcile_snapshot_tables: when, how long, and how many rows of each table were mended. Kept for 30 days.';

create index reconcile_runs_newest on private.reconcile_runs (began_at);

create function private.organizations_unread_by(in_consumer text) returns setof uuid
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select distinct e.organization_id
  from private.event_consumers as c
  join public.events as e on (e.epoch, e.xact, e.id) > (c.epoch, c.xact, c.id)
  where c.name = in_consumer;
end;
$$;

comment on function private.organizations_unread_by(text) is
  'Organizations with events that a consumer has not read yet, those that the log still hides from it included.';

create function private.reconcile_snapshots(in_max_repairs integer default 300, in_organization_id uuid default null)
returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_began timestamptz := clock_timestamp();
  v_latest uuid[];
  v_active uuid[];
  v_last uuid[];
  v_totals uuid[];
  v_pending uuid[];
  v_organizations uuid[];
  v_key record;
  v_n bigint[] := array[0, 0, 0, 0, 0, 0];
  v_result jsonb;
begin
  if not pg_try_advisory_xact_lock(hashtextextended('fieldtrack.reconcile', 0)) then
    return null;
  end if;

  -- Candidates. Nothing is written before all are found, so these statements hold back no reader of the event log.
  v_latest := array(
    select e.id
    from public.employees as e
    left join public.employee_latest_sessions as l on l.organization_id = e.organization_id and l.employee_id = e.id
    cross join lateral private.latest_session_of(e.organization_id, e.id) as b
    where (in_organization_id is null or e.organization_id = in_organization_id) and (l.employee_id is null
      or (l.session_id, l.is_open, l.checked_in_at, l.checked_out_at, l.duration_s, l.distance_m, l.distance_status)
        is distinct from
        (b.session_id, b.is_open, b.checked_in_at, b.checked_out_at, b.duration_s, b.distance_m, b.distance_status))
    limit in_max_repairs
  );
  v_active := array(
    select coalesce(u.employee_id, s.employee_id)
    from public.active_users as u
    full join (
      select a.organization_id, a.employee_id, a.id, a.checked_in_at
      from public.attendance_sessions as a
      where a.status = 'ACTIVE'
    ) as s on s.organization_id = u.organization_id and s.employee_id = u.employee_id
    where (in_organization_id is null or coalesce(u.organization_id, s.organization_id) = in_organization_id)
      and (u.session_id, u.checked_in_at) is distinct from (s.id, s.checked_in_at)
    limit in_max_repairs
  );
  v_last := array(
    select e.id
    from public.employees as e
    left join public.employee_last_state as l on l.organization_id = e.organization_id and l.employee_id = e.id
    -- The two halves of private.last_state_of, the positions of all in one pass.
    cross join lateral private.check_in_state_of(e.organization_id, e.id) as b
    left join private.newest_points as p on p.organization_id = e.organization_id and p.employee_id = e.id
    where (in_organization_id is null or e.organization_id = in_organization_id) and (l.employee_id is null
      or (l.is_checked_in, l.session_id, l.last_check_in_at, l.last_check_out_at, l.distance_m, l.distance_is_provisional)
        is distinct from
        (b.is_checked_in, b.session_id, b.last_check_in_at, b.last_check_out_at, b.distance_m, b.distance_is_provisional)
      or (l.fix_session_id, l.recorded_at, l.latitude, l.longitude, l.accuracy_m, l.speed_mps, l.heading_deg, l.battery_pct,
          l.is_mock)
        is distinct from
        (p.session_id, p.recorded_at, p.latitude::double precision, p.longitude::double precision, p.accuracy_m, p.speed_mps,
          p.heading_deg, p.battery_pct, p.is_mock))
    limit in_max_repairs
  );
  -- The sums of totals_of, over everybody in one pass.
  v_totals := array(
    with sessions as (
      select a.organization_id, a.employee_id, count(*) as n, sum(a.duration_s) as duration_s,
        coalesce(sum(a.distance_m), 0) as distance_m
      from public.attendance_sessions as a
      where a.counts and (in_organization_id is null or a.organization_id = in_organization_id)
      group by a.organization_id, a.employee_id
    ),
    amounts as (
      select x.organization_id, x.employee_id, x.currency, count(*) as submitted,
        count(*) filter (where x.status = 'APPROVED') as approved,
        count(*) filter (where x.status = 'REJECTED') as rejected,
        sum(x.approved_amount) as approved_amount
      from public.expenses as x
      where (in_organization_id is null or x.organization_id = in_organization_id)
      group by x.organization_id, x.employee_id, x.currency
    ),
    expenses as (
      select a.organization_id, a.employee_id, sum(a.submitted) as submitted,
        sum(a.approved) as approved, sum(a.rejected) as rejected,
        coalesce(jsonb_object_agg(a.currency, a.approved_amount) filter (where a.approved > 0), '{}') as amounts
      from amounts as a
      group by a.organization_id, a.employee_id
    )
    select e.id
    from public.employees as e
    left join public.employee_metrics_snapshot as m on m.organization_id = e.organization_id and m.employee_id = e.id
    left join sessions as s on s.organization_id = e.organization_id and s.employee_id = e.id
    left join expenses as x on x.organization_id = e.organization_id and x.employee_id = e.id
    where (in_organization_id is null or e.organization_id = in_organization_id)
      and (m.sessions, m.duration_s, m.distance_m, m.expenses_submitted, m.expenses_approved, m.expenses_rejected,
        m.approved_amounts)
      is distinct from (coalesce(s.n, 0), coalesce(s.duration_s, 0), coalesce(s.distance_m, 0), coalesce(x.submitted, 0),
        coalesce(x.approved, 0), coalesce(x.rejected, 0), coalesce(x.amounts, '{}'))
    limit in_max_repairs
  );
  v_pending := array(
    select coalesce(p.expense_id, x.id)
    from public.pending_expenses as p
    full join (select e.* from public.expenses as e where e.status = 'PENDING') as x
      on x.organization_id = p.organization_id and x.id = p.expense_id
    where (in_organization_id is null or coalesce(p.organization_id, x.organization_id) = in_organization_id)
      and (p.employee_id, p.amount, p.currency, p.category, p.spent_on, p.submitted_at)
      is distinct from (x.employee_id, x.amount, x.currency, x.category, x.spent_on, x.submitted_at)
    limit in_max_repairs
  );
  -- Dashboards. What the loop has not read yet, or time has overtaken since, is lag and no drift: it is passed over.
  v_organizations := array(
    select o.id
    from public.organizations as o
    left join public.org_dashboard_snapshot as s on s.organization_id = o.id
    cross join lateral private.dashboard_of(o.id) as d
    where (in_organization_id is null or o.id = in_organization_id) and (s.organization_id is null or s.valid_until > now()
      and s.updated_at <= now())
      and o.id not in (select u.id from private.organizations_unread_by('snapshots') as u (id))
      and to_jsonb(s) - array['updated_at'] is distinct from to_jsonb(d) - array['updated_at']
    limit in_max_repairs
  );

  -- Repairs: lock, recompute in a later statement, write if distinct. A row that is held is passed over; an insert over it would
  -- wait (for its new version in the unique index), so only a row that is missing is made.
  for v_key in select e.organization_id, e.id from public.employees as e where e.id = any (v_latest) order by e.id loop
    perform from public.employee_latest_sessions as l
    where l.organization_id = v_key.organization_id and l.employee_id = v_key.id
    for no key update skip locked;
    if not found then
      continue when exists (
        select from public.employee_latest_sessions as l
        where l.organization_id = v_key.organization_id and l.employee_id = v_key.id
      );
      insert into public.employee_latest_sessions (organization_id, employee_id) values (v_key.organization_id, v_key.id)
      on conflict do nothing;
      v_n[1] := v_n[1] + found::integer;
    end if;
    if private.refresh_latest_session(v_key.organization_id, v_key.id) then
      v_n[1] := v_n[1] + 1;
    end if;
  end loop;
  -- Whoever changes sessions of a person holds the row of employee_latest_sessions: with it no check-in or check-out is half-way.
  for v_key in
    select l.organization_id, l.employee_id as id
    from public.employee_latest_sessions as l
    where l.employee_id = any (v_active)
    order by l.employee_id
    for no key update skip locked
  loop
    v_n[2] := v_n[2] + private.refresh_active_user(v_key.organization_id, v_key.id)::integer;
  end loop;
  for v_key in select e.organization_id, e.id from public.employees as e where e.id = any (v_last) order by e.id loop
    perform from public.employee_last_state as l
    where l.organization_id = v_key.organization_id and l.employee_id = v_key.id
    for no key update skip locked;
    if not found then
      continue when exists (
        select from public.employee_last_state as l
        where l.organization_id = v_key.organization_id and l.employee_id = v_key.id
      );
      insert into public.employee_last_state (organization_id, employee_id) values (v_key.organization_id, v_key.id)
      on conflict do nothing;
      v_n[3] := v_n[3] + found::integer;
    end if;
    if private.refresh_last_state(v_key.organization_id, v_key.id) then
      v_n[3] := v_n[3] + 1;
    end if;
  end loop;
  for v_key in select e.organization_id, e.id from public.employees as e where e.id = any (v_totals) order by e.id loop
    perform from public.employee_metrics_snapshot as m
    where m.organization_id = v_key.organization_id and m.employee_id = v_key.id
    for no key update skip locked;
    if not found then
      continue when exists (
        select from public.employee_metrics_snapshot as m
        where m.organization_id = v_key.organization_id and m.employee_id = v_key.id
      );
      insert into public.employee_metrics_snapshot (organization_id, employee_id) values (v_key.organization_id, v_key.id)
      on conflict do nothing;
      v_n[4] := v_n[4] + found::integer;
    end if;
    update public.employee_metrics_snapshot as m
    set sessions = t.sessions,
      duration_s = t.duration_s,
      distance_m = t.distance_m,
      expenses_submitted = t.expenses_submitted,
      expenses_approved = t.expenses_approved,
      expenses_rejected = t.expenses_rejected,
      approved_amounts = t.approved_amounts,
      updated_at = now()
    from private.totals_of(v_key.organization_id, v_key.id) as t
    where m.organization_id = v_key.organization_id and m.employee_id = v_key.id
      and (m.sessions, m.duration_s, m.distance_m, m.expenses_submitted, m.expenses_approved, m.expenses_rejected,
        m.approved_amounts) is distinct from (t.*);
    v_n[4] := v_n[4] + found::integer;
  end loop;
  for v_key in
    select coalesce(x.organization_id, p.organization_id) as organization_id, coalesce(x.id, p.expense_id) as id
    from (select e.organization_id, e.id from public.expenses as e where e.id = any (v_pending)) as x
    full join (select q.organization_id, q.expense_id from public.pending_expenses as q where q.expense_id = any (v_pending)) as p
      on p.organization_id = x.organization_id and p.expense_id = x.id
    order by 2
  loop
    -- The expense itself is the lock: a review that is under way is not overtaken.
    perform from public.expenses as x
    where x.organization_id = v_key.organization_id and x.id = v_key.id
    for no key update skip locked;
    if found then
      delete from public.pending_expenses as p
      using public.expenses as x
      where p.organization_id = v_key.organization_id and p.expense_id = v_key.id
        and x.organization_id = p.organization_id and x.id = p.expense_id
        and (x.status <> 'PENDING'
          or (p.employee_id, p.amount, p.currency, p.category, p.spent_on, p.submitted_at)
            is distinct from (x.employee_id, x.amount, x.currency, x.category, x.spent_on, x.submitted_at));
      v_n[5] := v_n[5] + found::integer;
      insert into public.pending_expenses (
        organization_id, expense_id, employee_id, amount, currency, category, spent_on, submitted_at
      )
      select x.organization_id, x.id, x.employee_id, x.amount, x.currency, x.category, x.spent_on, x.submitted_at
      from public.expenses as x
      where x.organization_id = v_key.organization_id and x.id = v_key.id and x.status = 'PENDING'
      on conflict do nothing;
      v_n[5] := v_n[5] + found::integer;
    end if;
  end loop;

  -- Also those that may have been counted from what was mended above.
  v_organizations := v_organizations || array(
    select m.organization_id
    from (
      select e.organization_id from public.employees as e where e.id = any (v_latest)
      union
      select x.organization_id from public.expenses as x where x.id = any (v_pending)
    ) as m
    where m.organization_id not in (select u.id from private.organizations_unread_by('snapshots') as u (id))
  );
  for v_key in
    select s.organization_id as id from public.org_dashboard_snapshot as s
    -- The clock of this transaction stands still: what the loop wrote since it began knows better what time has changed.
    where s.organization_id = any (v_organizations) and s.updated_at <= now()
    order by s.organization_id
    for no key update skip locked
  loop
    v_n[6] := v_n[6] + private.refresh_dashboard(v_key.id)::integer;
  end loop;
  for v_key in
    select o.id from unnest(v_organizations) as o (id)
    where not exists (select from public.org_dashboard_snapshot as s where s.organization_id = o.id)
    order by o.id
  loop
    v_n[6] := v_n[6] + private.refresh_dashboard(v_key.id)::integer;
  end loop;

  v_result := jsonb_build_object(
    'employee_latest_sessions', v_n[1],
    'active_users', v_n[2],
    'employee_last_state', v_n[3],
    'employee_metrics_snapshot', v_n[4],
    'pending_expenses', v_n[5],
    'org_dashboard_snapshot', v_n[6]
  );
  insert into private.reconcile_runs (began_at, duration_ms, repaired)
  values (v_began, extract(epoch from clock_timestamp() - v_began) * 1000, v_result);
  delete from private.reconcile_runs as r where r.began_at < now() - interval '30 days';
  return v_result;
end;
$$;

comment on function private.reconcile_snapshots(integer, uuid) is
  'Body of public.reconcile_snapshot_tables; mends at most so many rows a table, of all organizations or of one. Null when another run is under way.';

grant execute on function private.reconcile_snapshots(integer, uuid) to service_role;

create function public.reconcile_snapshot_tables() returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.reconcile_snapshots();
$$;

comment on function public.reconcile_snapshot_tables() is
  'Compares all snapshot tables with the base tables and mends what differs. Answers how many rows of each table were mended:
{employee_latest_sessions, active_users, employee_last_state, employee_metrics_snapshot, pending_expenses,
org_dashboard_snapshot}, all 0 when all is well; null while another run is under way. For service_role; runs by schedule too.';

grant execute on function public.reconcile_snapshot_tables() to service_role;

create function private.reconcile_snapshots_of(in_organization_id uuid) returns bigint
language plpgsql volatile
set search_path = ''
as $$
begin
  return (
    select coalesce(sum(r.value::bigint), 0)
    from jsonb_each_text(private.reconcile_snapshots(300, in_organization_id)) as r
  );
end;
$$;

comment on function private.reconcile_snapshots_of(uuid) is
  'One organization''s turn, for when the comparison of all at once raised. Answers how many rows were mended.';

-- Of all organizations, whichever waited longest first: nobody knows which of them has something to mend.
insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'reconcile', 'reconcile',
  $sql$
    select o.id, null::timestamptz from public.organizations as o
    where exists (select from private.tenant_turns as t where t.loop_name = 'reconcile')
  $sql$,
  'reconcile_snapshots_of'
);

-- What the schedule calls: one number, as every schedule answers. All at once, in one pass a table; and when that raises
-- because of
-- somebody's data, organization by organization.
create function private.run_reconciliation(in_max_repairs integer default 300) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_repaired jsonb;
begin
  begin
    v_repaired := private.reconcile_snapshots(in_max_repairs);
    delete from private.tenant_turns as t where t.loop_name = 'reconcile' and t.failures = 0 and t.last_turn_at < now();
    update private.tenant_turns as t
    set failures = 0, failing_since = null, retry_at = null, error = null
    where t.loop_name = 'reconcile' and t.failures > 0;
  exception
    when others then
      raise warning 'loop reconcile: by organization, because of %', sqlstate;
      -- So that the loop's question finds them all.
      insert into private.tenant_turns (organization_id, loop_name, last_turn_at)
      select o.id, 'reconcile', '-infinity' from public.organizations as o
      on conflict do nothing;
      return private.take_turns('reconcile');
  end;
  -- There may be more: the next chunk in a transaction of its own, as soon as a worker comes by.
  if exists (
    select from jsonb_each_text(v_repaired) as r where r.value::integer >= in_max_repairs
  ) then
    perform private.enqueue('schedule', '{"name": "reconcile"}', 'reconcile');
  end if;
  return (select coalesce(sum(r.value::bigint), 0) from jsonb_each_text(v_repaired) as r);
end;
$$;

comment on function private.run_reconciliation(integer) is
  'One chunk of reconcile_snapshot_tables for the schedule: answers how many rows it mended, and asks for the next chunk if there '
  'may be more.';

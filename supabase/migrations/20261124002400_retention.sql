-- Retention: points past what an organization keeps, and rows that no longer say anything.
--
-- Forgetting changes no figure. A session whose points go is sealed (points_purged_at) in the transaction that deletes them: its
-- distance and its days stay as they are, later points and recalculations are refused, and daily figures are sums of
-- session_days. So
-- retention waits for a session whose distance is still to be computed.
-- What bears the stamp has no point left, whatever other organizations keep. Once points of sealed sessions waited until
-- their whole
-- month fell, which the longest retention of all organizations decided: one tenant's setting kept everybody's deleted positions
-- readable, for up to ten years. Now a month falls when nothing is in it.
-- Not covered: the event log's own retention (its chapter), backups (docs/operations.md).

-- Which sessions still have points, oldest first: retention's question, organization by organization.
create index attendance_sessions_unsealed on public.attendance_sessions (organization_id, checked_in_at)
  where points_purged_at is null;

-- An organization may keep positions for a shorter time than the log keeps events. Those that tell where a session was opened and
-- closed were written in the transactions that did it, so they bear its time.
create function private.forget_positions(in_organization_id uuid, in_session_id uuid, in_occurred_at timestamptz[]) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_events bigint[];
begin
  with forgotten as (
    update public.events as e
    set payload = e.payload || '{"position": null}'
    where e.organization_id = in_organization_id and e.occurred_at = any (in_occurred_at)
      and e.subject_id = in_session_id and e.payload -> 'position' <> 'null'
    returning e.id
  )
  select array_agg(f.id) into v_events from forgotten as f;
  -- What an endpoint answered may repeat what it was sent.
  update public.webhook_attempts as a
  set response = null
  from public.webhook_deliveries as d
  where d.organization_id = in_organization_id and d.event_id = any (v_events)
    and a.organization_id = d.organization_id and a.delivery_id = d.id and a.response is not null;
end;
$$;

comment on function private.forget_positions(uuid, uuid, timestamptz[]) is
  'Takes the positions out of the events of a session''s check-in and check-out, and what endpoints answered to them. For '
  'retention.';

-- Seals sessions that ended before their organization's retention, and deletes their points with the seal.
create function private.purge_locations_of(
  in_organization_id uuid, in_max_sessions integer default 100, in_max_points integer default 20000
) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_session record;
  v_points bigint;
  v_deleted bigint := 0;
  v_sealed bigint := 0;
begin
  for v_session in
    select s.organization_id, s.id, array[s.checked_in_received_at, s.checked_out_received_at] as received_at
    from public.organizations as o
    join public.attendance_sessions as s on s.organization_id = o.id
    where o.id = in_organization_id and s.points_purged_at is null and s.status = 'CLOSED'
      -- A distance that is still to come needs its points.
      and s.distance_status <> 'PENDING'
      and s.checked_in_at < now() - make_interval(days => o.location_retention_days)
      and s.checked_out_at < now() - make_interval(days => o.location_retention_days)
    order by s.checked_in_at
    limit in_max_sessions
    for no key update of s skip locked
  loop
    -- Where the person checked in and out are positions too.
    update public.attendance_sessions as s
    set points_purged_at = now(),
      check_in_latitude = null, check_in_longitude = null, check_in_accuracy_m = null,
      check_out_latitude = null, check_out_longitude = null, check_out_accuracy_m = null
    where s.organization_id = v_session.organization_id and s.id = v_session.id;
    update public.session_reports as r
    set latitude = null, longitude = null, accuracy_m = null
    where r.organization_id = v_session.organization_id and r.session_id = v_session.id and r.latitude is not null;
    perform private.forget_positions(v_session.organization_id, v_session.id, v_session.received_at);
    delete from public.gps_locations as g
    where g.organization_id = v_session.organization_id and g.session_id = v_session.id;
    get diagnostics v_points = row_count;
    v_sealed := v_sealed + 1;
    v_deleted := v_deleted + v_points;
    exit when v_deleted >= in_max_points;
  end loop;
  return v_sealed;
end;
$$;

comment on function private.purge_locations_of(uuid, integer, integer) is
  'One organization''s turn of retention: seals sessions that ended before what it keeps and deletes their points. Answers how many '
  'it sealed.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'location-retention', 'location-retention',
  -- Named as the query above; the first of an organization is its oldest.
  $sql$
    select o.id, s.checked_out_at + make_interval(days => o.location_retention_days)
    from public.organizations as o
    cross join lateral (
      select s.checked_out_at
      from public.attendance_sessions as s
      where s.organization_id = o.id and s.points_purged_at is null and s.status = 'CLOSED'
        and s.distance_status <> 'PENDING'
        and s.checked_in_at < now() - make_interval(days => o.location_retention_days)
        and s.checked_out_at < now() - make_interval(days => o.location_retention_days)
      order by s.checked_in_at
      limit 1
    ) as s
  $sql$,
  'purge_locations_of'
);

create function private.purge_locations() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.take_turns('location-retention');
end;
$$;

comment on function private.purge_locations() is
  'Retention of all organizations, in turns. Run by schedule; answers how many sessions it sealed.';

-- One partition a run, when it is empty: retention, erasure and organizations that left have taken every row of it. The look
-- into it
-- comes before the lock, and the lock waits two seconds at most: no writer queues behind it for longer.
create function private.drop_location_partition() returns integer
language plpgsql volatile security definer
set search_path = ''
set lock_timeout = '2s'
as $$
declare
  v_month record;
  v_has_points boolean;
begin
  for v_month in
    select c.relname::text as name,
      (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC' as ends_at
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'public.gps_locations'::regclass and c.relname ~ '^gps_locations_[0-9]{4}_[0-9]{2}$'
    order by c.relname
  loop
    -- Not the months that maintain_location_partitions() would make again.
    exit when v_month.ends_at > date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' - interval '2 months';
    execute format('select exists (select from gps.%I)', v_month.name) into v_has_points;
    continue when v_has_points;
    execute format('alter table public.gps_locations detach partition gps.%I', v_month.name);
    execute format('drop table gps.%I', v_month.name);
    return 1;
  end loop;
  return 0;
end;
$$;

comment on function private.drop_location_partition() is
  'Drops the oldest partition of gps_locations in which no point is left. Run by schedule; answers how many it dropped.';

-- Leftovers: what no longer says anything

-- An invitation that nobody took up, or that was taken back, is an address without a purpose: a month later it goes. Who
-- never came
-- is erased like a person who asked for it; of who did come, the address goes.
create function private.forget_invitations_of(in_organization_id uuid, in_max_invitations integer default 100) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_invitation record;
  v_deleted bigint := 0;
begin
  -- The person before the invitation, as who accepts it.
  for v_invitation in
    select i.organization_id, i.id, i.employee_id, i.email, e.erased_at
    from public.invitations as i
    join public.employees as e on e.organization_id = i.organization_id and e.id = i.employee_id
    where i.organization_id = in_organization_id
      and ((i.status = 'PENDING' and i.expires_at < now() - interval '30 days')
        or (i.status = 'REVOKED' and least(coalesce(i.revoked_at, i.updated_at), i.expires_at) < now() - interval '30 days'))
    limit in_max_invitations
    for update of e skip locked
  loop
    -- As it is now: it may have been renewed or accepted meanwhile.
    delete from public.invitations as i
    where i.organization_id = v_invitation.organization_id and i.id = v_invitation.id
      and (
        (i.status = 'PENDING' and i.expires_at < now() - interval '30 days')
        or (i.status = 'REVOKED' and least(coalesce(i.revoked_at, i.updated_at), i.expires_at) < now() - interval '30 days')
      );
    continue when not found;
    if private.never_came(v_invitation.organization_id, v_invitation.employee_id) then
      perform private.erase_employment(v_invitation.organization_id, v_invitation.employee_id);
      perform private.audit(v_invitation.organization_id, 'invitation.expired', 'employee', v_invitation.employee_id, null, null);
    else
      -- The audit log would keep the address for as long as the organization is there.
      perform set_config('fieldtrack.erasure', 'on', true);
      update public.audit_log as a
      set after = a.after - 'email'
      where a.organization_id = v_invitation.organization_id and a.subject_type = 'employee'
        and a.subject_id = v_invitation.employee_id and a.action = 'employee.invited'
        and a.after ->> 'email' = v_invitation.email
        and not exists (
          select from public.invitations as i
          where i.organization_id = a.organization_id and i.employee_id = a.subject_id and i.email = v_invitation.email
        );
      perform set_config('fieldtrack.erasure', '', true);
    end if;
    v_deleted := v_deleted + 1;
  end loop;
  return v_deleted;
end;
$$;

comment on function private.forget_invitations_of(uuid, integer) is
  'One organization''s turn: deletes invitations a month past their expiry or revocation, and erases the people who never came by '
  'one. Answers how many.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'invitations', 'leftovers',
  $sql$
    select i.organization_id, min(i.expires_at) + interval '30 days' from public.invitations as i
    where (i.status = 'PENDING' and i.expires_at < now() - interval '30 days')
      or (i.status = 'REVOKED' and least(coalesce(i.revoked_at, i.updated_at), i.expires_at) < now() - interval '30 days')
    group by i.organization_id
  $sql$,
  'forget_invitations_of'
);

-- Made by an invitation that nobody took up, and nothing was ever recorded under the name.
create function private.never_came(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return not exists (
    select from public.employees as e
    where e.organization_id = in_organization_id and e.id = in_employee_id
      and (e.user_id is not null or e.erased_at is not null)
    union all
    select from public.invitations as i
    where i.organization_id = in_organization_id and i.employee_id = in_employee_id
    union all
    select from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    union all
    select from public.expenses as x
    where x.organization_id = in_organization_id and x.employee_id = in_employee_id
    union all
    select from public.device_tokens as t
    where t.organization_id = in_organization_id and t.employee_id = in_employee_id
    union all
    -- Employed without an address, and invited later.
    select from public.audit_log as a
    where a.organization_id = in_organization_id and a.subject_type = 'employee' and a.subject_id = in_employee_id
      and a.action in ('employee.created', 'invitation.accepted', 'employee.account_deleted')
  );
end;
$$;

comment on function private.never_came(uuid, uuid) is
  'Whether an employee was invited and nothing else: no account, no other invitation, nothing recorded. For definers.';

create function private.purge_leftovers() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_rows bigint;
  v_deleted bigint := 0;
begin
  -- A bucket that nobody used for a day is full again.
  v_deleted := v_deleted + private.delete_in_turns('rate-buckets', 'private.rate_buckets',
    'r.refilled_at < now() - interval ''1 day''', 5000);
  -- Of deliveries that went while they were sent, mostly; a lease that has ended counts for nothing.
  v_deleted := v_deleted + private.delete_in_turns('webhook-leases', 'private.webhook_leases',
    'r.expires_at < now() - interval ''1 hour''', 5000);
  v_deleted := v_deleted + private.take_turns('invitations');
  -- A check-out whose check-in never came: what it could belong to would be refused by now.
  v_deleted := v_deleted + private.delete_in_turns('session-reports', 'public.session_reports',
    'r.session_id is null and r.received_at < now() - (select make_interval(days => o.location_retention_days) '
    'from public.organizations as o where o.id = r.organization_id)', 5000);

  -- pg_cron keeps a row a run for ever.
  if to_regclass('cron.job_run_details') is not null then
    execute format($sql$
      delete from %1$s as d
      where d.runid in (
        select d.runid from %1$s as d where d.end_time < now() - interval '7 days' limit 5000
      )
    $sql$, to_regclass('cron.job_run_details'));
    get diagnostics v_rows = row_count;
    v_deleted := v_deleted + v_rows;
  end if;
  return v_deleted;
end;
$$;

comment on function private.purge_leftovers() is
  'Deletes rate buckets unused for a day, leases that ended an hour ago, invitations a month past their expiry or revocation '
  '(who never came is erased) and pg_cron''s history past a week. Run by schedule; answers how many rows.';

-- Retention: points past what an organization keeps, and rows that no longer say anything.
--
-- Forgetting changes no figure. A session whose points go is sealed first (points_purged_at): its distance and its days stay
-- as they are, later points and recalculations are refused, and daily figures are sums of session_days. So retention waits for a
-- session whose distance is still to be computed.
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

-- Seals sessions that ended before their organization's retention, and deletes their points where no partition will fall for them
-- soon: in organizations that keep points for a shorter time than the longest.
create function private.purge_locations(in_max_sessions integer default 500, in_max_points integer default 50000) returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_longest integer := (select max(o.location_retention_days) from public.organizations as o);
  v_session record;
  v_points bigint;
  v_deleted bigint := 0;
  v_sealed integer := 0;
begin
  for v_session in
    select s.organization_id, s.id, s.received_at, o.location_retention_days
    from public.organizations as o
    cross join lateral (
      select s.organization_id, s.id, array[s.checked_in_received_at, s.checked_out_received_at] as received_at
      from public.attendance_sessions as s
      where s.organization_id = o.id and s.points_purged_at is null and s.status = 'CLOSED'
        -- A distance that is still to come needs its points.
        and s.distance_status <> 'PENDING'
        and s.checked_in_at < now() - make_interval(days => o.location_retention_days)
        and s.checked_out_at < now() - make_interval(days => o.location_retention_days)
      order by s.checked_in_at
      limit in_max_sessions
      for no key update of s skip locked
    ) as s
    limit in_max_sessions
  loop
    -- Where the person checked in and out are positions too.
    update public.attendance_sessions as s
    set points_purged_at = now(),
      check_in_latitude = null, check_in_longitude = null, check_in_accuracy_m = null,
      check_out_latitude = null, check_out_longitude = null, check_out_accuracy_m = null
    where s.organization_id = v_session.organization_id and s.id = v_session.id;
    perform private.forget_positions(v_session.organization_id, v_session.id, v_session.received_at);
    v_sealed := v_sealed + 1;
    if v_session.location_retention_days < v_longest then
      delete from public.gps_locations as g
      where g.organization_id = v_session.organization_id and g.session_id = v_session.id;
      get diagnostics v_points = row_count;
      v_deleted := v_deleted + v_points;
      exit when v_deleted >= in_max_points;
    end if;
  end loop;
  return v_sealed;
end;
$$;

comment on function private.purge_locations(integer, integer) is
  'Seals sessions past their organization''s retention and deletes their points, unless a whole partition will go with them. '
  'Run by schedule; answers how many it sealed.';

-- One partition a run, when every point in it is older than the longest retention and of a sealed session. The look into it
-- comes before the lock, and the lock waits two seconds at most: no writer queues behind it for longer.
create function private.drop_location_partition() returns integer
language plpgsql volatile security definer
set search_path = ''
set lock_timeout = '2s'
as $$
declare
  v_oldest text := (
    select min(c.relname)
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'public.gps_locations'::regclass and c.relname ~ '^gps_locations_[0-9]{4}_[0-9]{2}$'
  );
  v_ends_at timestamptz := (
    to_date(right(v_oldest, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC';
  v_has_unsealed boolean;
begin
  if v_ends_at is null or v_ends_at > now() - make_interval(
    days => coalesce((select max(o.location_retention_days) from public.organizations as o), 0))
    -- The months that maintain_location_partitions() would make again.
    or v_ends_at > date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
      - interval '2 months'
  then
    return 0;
  end if;
  -- From session to session through the partition's key: one step a session, not a row a point.
  execute format($sql$
    with recursive sessions as (
      (select g.organization_id, g.session_id from gps.%1$I as g order by g.organization_id, g.session_id limit 1)
      union all
      select n.organization_id, n.session_id
      from sessions as s
      cross join lateral (
        select g.organization_id, g.session_id from gps.%1$I as g
        where (g.organization_id, g.session_id) > (s.organization_id, s.session_id)
        order by g.organization_id, g.session_id
        limit 1
      ) as n
    )
    select exists (
      select from sessions as s
      join public.attendance_sessions as a on a.organization_id = s.organization_id and a.id = s.session_id
      where a.points_purged_at is null
    )
  $sql$, v_oldest) into v_has_unsealed;
  if v_has_unsealed then
    return 0;
  end if;
  execute format('alter table public.gps_locations detach partition gps.%I', v_oldest);
  execute format('drop table gps.%I', v_oldest);
  return 1;
end;
$$;

comment on function private.drop_location_partition() is
  'Drops the oldest partition of gps_locations if all its points are past every organization''s retention and of sealed '
  'sessions. Run by schedule; answers how many it dropped.';

-- Leftovers: what no longer says anything

-- An invitation that nobody took up, or that was taken back, is an address without a purpose: a month later it goes. Who never came
-- is erased like a person who asked for it; of who did come, the address goes.
create function private.forget_invitations() returns integer
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_invitation record;
  v_deleted integer := 0;
begin
  -- The person before the invitation, as who accepts it.
  for v_invitation in
    select i.organization_id, i.id, i.employee_id, i.email, e.erased_at
    from public.invitations as i
    join public.employees as e on e.organization_id = i.organization_id and e.id = i.employee_id
    where (i.status = 'PENDING' and i.expires_at < now() - interval '30 days')
      or (i.status = 'REVOKED' and least(coalesce(i.revoked_at, i.updated_at), i.expires_at) < now() - interval '30 days')
    limit 500
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

comment on function private.forget_invitations() is
  'Deletes invitations a month past their expiry or revocation, and erases the people who never came by one. For purge_leftovers.';

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
  delete from private.rate_buckets as b
  where b.ctid = any (array(
    select b.ctid from private.rate_buckets as b where b.refilled_at < now() - interval '1 day' limit 5000
  ));
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- Of deliveries that went while they were sent, mostly; a lease that has ended counts for nothing.
  delete from private.webhook_leases as l where l.expires_at < now() - interval '1 hour';
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  v_deleted := v_deleted + private.forget_invitations();

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

-- Attendance sessions: a person checks in, works, checks out; and how a session falls into local days.
--
-- Times of the phone (checked_in_at, checked_out_at) are what happened and count; the received times are kept apart. One
-- session of a person is open at a time (partial unique index) and sessions never overlap (exclusion constraint): both
-- hold for late, offline uploads too, and whatever code writes. Each transition is one guarded statement, so of two
-- callers one wins and the other is told so; a retry with the same client_request_id gets the first answer.
-- Not covered: the distance (its own chapter); corrections and forced check-outs (the working day's chapter).

create table public.attendance_sessions (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  status text not null default 'ACTIVE',
  checked_in_at timestamptz not null,
  checked_in_received_at timestamptz not null default now(),
  check_in_latitude private.latitude,
  check_in_longitude private.longitude,
  check_in_accuracy_m real,
  check_in_request_id uuid,
  checked_out_at timestamptz,
  checked_out_received_at timestamptz,
  check_out_latitude private.latitude,
  check_out_longitude private.longitude,
  check_out_accuracy_m real,
  check_out_request_id uuid,
  closed_by text,
  -- Whole seconds of the clock: cut at any midnights, the parts (session_days) add up to the same number.
  duration_s integer generated always as (
    (
      floor(extract(epoch from checked_out_at - timestamptz '2000-01-01 00:00:00+00'))
      - floor(extract(epoch from checked_in_at - timestamptz '2000-01-01 00:00:00+00'))
    )::integer
  ) stored,
  original_checked_in_at timestamptz,
  original_checked_out_at timestamptz,
  corrected_at timestamptz,
  distance_m numeric(12, 2),
  distance_status text not null default 'PENDING',
  distance_computed_at timestamptz,
  points_used integer,
  points_rejected integer,
  algorithm_version integer,
  distance_parameters jsonb,
  points_purged_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  -- What points refer to: with the employee in the key, a point cannot name a colleague's session.
  unique (organization_id, id, employee_id),
  -- What a retry is recognised by.
  unique (organization_id, employee_id, check_in_request_id),
  unique (organization_id, employee_id, check_out_request_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint status_is_valid check (status in ('ACTIVE', 'CLOSED')),
  constraint closed_by_is_valid check (closed_by in ('EMPLOYEE', 'ADMIN', 'AUTO')),
  constraint closed_has_time_and_cause check (
    (status = 'CLOSED') = (checked_out_at is not null)
    and (status = 'CLOSED') = (closed_by is not null)
    and (status = 'CLOSED') = (checked_out_received_at is not null)
  ),
  constraint checked_out_after_checked_in check (checked_out_at >= checked_in_at),
  constraint check_in_position_is_whole check ((check_in_latitude is null) = (check_in_longitude is null)),
  constraint check_out_position_is_whole check ((check_out_latitude is null) = (check_out_longitude is null)),
  constraint check_in_accuracy_is_not_negative check (check_in_accuracy_m between 0 and 1e7),
  constraint check_out_accuracy_is_not_negative check (check_out_accuracy_m between 0 and 1e7),
  constraint distance_status_is_valid check (distance_status in ('PENDING', 'DONE', 'FAILED')),
  constraint done_has_its_figures check (
    distance_status <> 'DONE' or (distance_m is not null and algorithm_version is not null)
  ),
  constraint sessions_of_a_person_never_overlap exclude using gist (
    organization_id with =,
    employee_id with =,
    tstzrange(checked_in_at, coalesce(checked_out_at, 'infinity'::timestamptz)) with &&
  )
) with (fillfactor = 85);

alter table public.attendance_sessions enable row level security;

-- One open session per employee: what check_in is decided by, and how the open one is found.
create unique index attendance_sessions_one_open
  on public.attendance_sessions (organization_id, employee_id) where status = 'ACTIVE';

-- The administrator's list, newest first.
create index attendance_sessions_newest
  on public.attendance_sessions (organization_id, checked_in_at desc, id);

-- A person's list, newest first; also the employee reference.
create index attendance_sessions_newest_of_employee
  on public.attendance_sessions (organization_id, employee_id, checked_in_at desc);

create trigger _100_set_updated_at before update on public.attendance_sessions
  for each row execute function private.tg_any__set_updated_at();

comment on table public.attendance_sessions is
  'Sessions of work. Administrators read all of their organization''s, an employee reads the own ones.';
comment on column public.attendance_sessions.status is 'ACTIVE (open) or CLOSED.';
comment on column public.attendance_sessions.checked_in_at is 'When it happened, by the phone''s clock.';
comment on column public.attendance_sessions.checked_in_received_at is 'When the check-in reached the database.';
comment on column public.attendance_sessions.check_in_latitude is 'WGS84 degrees, -90 to 90.';
comment on column public.attendance_sessions.check_in_longitude is 'WGS84 degrees, -180 to 180.';
comment on column public.attendance_sessions.check_in_accuracy_m is 'Reported error radius, metres.';
comment on column public.attendance_sessions.check_in_request_id is 'client_request_id of the check-in: recognises a retry.';
comment on column public.attendance_sessions.checked_out_at is 'When it happened, by the phone''s clock; null while open.';
comment on column public.attendance_sessions.checked_out_received_at is 'When the check-out reached the database.';
comment on column public.attendance_sessions.check_out_latitude is 'WGS84 degrees, -90 to 90.';
comment on column public.attendance_sessions.check_out_longitude is 'WGS84 degrees, -180 to 180.';
comment on column public.attendance_sessions.check_out_accuracy_m is 'Reported error radius, metres.';
comment on column public.attendance_sessions.check_out_request_id is 'client_request_id of the check-out: recognises a retry.';
comment on column public.attendance_sessions.closed_by is 'EMPLOYEE, ADMIN or AUTO; null while open.';
comment on column public.attendance_sessions.duration_s is 'Whole seconds from check-in to check-out; null while open.';
comment on column public.attendance_sessions.original_checked_in_at is 'Before the first correction; null if never corrected.';
comment on column public.attendance_sessions.original_checked_out_at is
  'Before the first correction; null if never corrected, or if it was open then.';
comment on column public.attendance_sessions.corrected_at is 'When an administrator last corrected the times.';
comment on column public.attendance_sessions.distance_m is 'Metres travelled, computed from the points; null until then.';
comment on column public.attendance_sessions.distance_status is
  'PENDING (open, or points came that are not counted yet), DONE, FAILED (the job gave up; an administrator can retry).';
comment on column public.attendance_sessions.distance_computed_at is 'When distance_m was computed.';
comment on column public.attendance_sessions.points_used is 'Points that count for the distance.';
comment on column public.attendance_sessions.points_rejected is 'Points flagged and left out; get_session_route says why.';
comment on column public.attendance_sessions.algorithm_version is 'Version of the distance algorithm that gave distance_m.';
comment on column public.attendance_sessions.distance_parameters is 'The parameters that it used, units in the key names.';
comment on column public.attendance_sessions.points_purged_at is
  'When retention deleted the points. From then on the session is sealed: its figures do not change any more.';

create policy select_member on public.attendance_sessions for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_worker on public.attendance_sessions for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on public.attendance_sessions for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

create policy select_key on public.attendance_sessions for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.attendance_sessions to authenticated, api_key, service_role, fieldtrack_worker;

grant update (
  distance_m, distance_status, distance_computed_at, points_used, points_rejected, algorithm_version,
  distance_parameters, updated_at
) on public.attendance_sessions to fieldtrack_worker;

-- NOTE: clients write through RPCs only; the worker may write a distance and nothing else.

create table public.session_days (
  organization_id uuid not null,
  session_id uuid not null,
  day date not null,
  employee_id uuid not null,
  time_zone text not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  duration_s integer generated always as (
    (
      floor(extract(epoch from ends_at - timestamptz '2000-01-01 00:00:00+00'))
      - floor(extract(epoch from starts_at - timestamptz '2000-01-01 00:00:00+00'))
    )::integer
  ) stored,
  distance_m numeric(12, 2) not null,
  primary key (organization_id, session_id, day),
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete cascade,
  constraint ends_after_start check (ends_at >= starts_at),
  constraint distance_is_not_negative check (distance_m >= 0)
);

alter table public.session_days enable row level security;

-- The session reference, which carries the employee.
create index session_days_session on public.session_days (organization_id, session_id, employee_id);

-- A day's figures: everybody's, or one person's.
create index session_days_day on public.session_days (organization_id, day, employee_id);

comment on table public.session_days is
  'The part of each closed session that falls on each local day of the organization. Daily figures are sums of these.';
comment on column public.session_days.day is 'Local date.';
comment on column public.session_days.time_zone is 'IANA name of the zone that made it that date.';
comment on column public.session_days.starts_at is 'Where the session''s part of the day begins.';
comment on column public.session_days.ends_at is 'Where it ends.';
comment on column public.session_days.duration_s is 'Whole seconds.';
comment on column public.session_days.distance_m is 'Metres travelled on this day.';

create policy select_member on public.session_days for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_worker on public.session_days for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.session_days for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy delete_worker on public.session_days for delete to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy select_key on public.session_days for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.session_days to authenticated, api_key, service_role, fieldtrack_worker;
grant insert (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
  on public.session_days to fieldtrack_worker;
grant delete on public.session_days to fieldtrack_worker;

-- Whoever writes what counts for a day holds the lock date from before it looks until it commits; update_organization holds it
-- exclusively while it moves it. So nothing that was let in by the old date comes after the new one. Taken before every row (the
-- person, the session, …): who waits here holds nothing that the other side could need.
create function private.hold_locked_until(in_organization_id uuid, in_exclusively boolean default false) returns date
language plpgsql volatile
set search_path = ''
as $$
declare
  v_key bigint := hashtextextended('fieldtrack.locked_until ' || in_organization_id::text, 0);
begin
  if in_exclusively then
    perform pg_advisory_xact_lock(v_key);
  else
    perform pg_advisory_xact_lock_shared(v_key);
  end if;
  return (select o.locked_until from public.organizations as o where o.id = in_organization_id);
end;
$$;

comment on function private.hold_locked_until(uuid, boolean) is
  'The organization''s locked_until, which stays what it is until the transaction ends. For definers.';

-- A phone's clock may be a little ahead: up to two minutes count as now. More is refused, as is what is older than the
-- organization's grace, or falls on a day that is locked.
create function private.accepted_time(in_organization_id uuid, in_at timestamptz) returns timestamptz
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_locked_until date := private.hold_locked_until(in_organization_id);
  v_organization public.organizations;
begin
  select o.* into strict v_organization from public.organizations as o where o.id = in_organization_id;
  if in_at > now() + interval '2 minutes' then
    perform private.fail('time_in_future', 'This time lies in the future.', in_at::text,
      'Check the clock of the phone.');
  end if;
  if in_at < now() - make_interval(hours => v_organization.late_upload_grace_hours) then
    perform private.fail('time_too_old',
      format('This time is more than %s hours ago.', v_organization.late_upload_grace_hours),
      in_at::text, 'Ask an administrator for a correction.');
  end if;
  if private.local_day(v_organization.id, in_at) < v_locked_until then
    perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until),
      in_at::text);
  end if;
  return least(in_at, now());
end;
$$;

comment on function private.accepted_time(uuid, timestamptz) is
  'The phone''s time if it may count, at most now. Errors: time_in_future, time_too_old, period_locked.';

-- What every change of a session shares: may it still change, and the job that follows. The caller holds the lock date.
create function private.refuse_settled_session(in_session public.attendance_sessions) returns void
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_locked_until date;
begin
  if (in_session).points_purged_at is not null then
    perform private.fail('session_sealed', 'The points of this session were deleted by retention; it is sealed.',
      (in_session).id::text);
  end if;
  select o.locked_until into v_locked_until
  from public.organizations as o
  where o.id = (in_session).organization_id;
  if private.local_day((in_session).organization_id, (in_session).checked_in_at) < v_locked_until then
    perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until),
      (in_session).id::text);
  end if;
end;
$$;

comment on function private.refuse_settled_session(public.attendance_sessions) is
  'Refuses a session that may not change any more. Errors: session_sealed, period_locked.';

create function private.request_distance(in_session public.attendance_sessions) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  perform private.enqueue(
    'distance',
    jsonb_build_object('organization_id', (in_session).organization_id, 'session_id', (in_session).id),
    (in_session).id::text
  );
end;
$$;

comment on function private.request_distance(public.attendance_sessions) is
  'Enqueues the distance job of a session. The caller holds the session''s row.';

create function private.check_in(
  in_checked_in_at timestamptz,
  in_client_request_id uuid,
  in_latitude double precision,
  in_longitude double precision,
  in_accuracy_m real
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_session public.attendance_sessions;
  v_at timestamptz;
  v_constraint text;
begin
  if in_client_request_id is null then
    perform private.fail('invalid_argument', 'client_request_id is missing.', 'client_request_id',
      'Make a uuid for each check-in and send the same one when you retry.');
  end if;
  if in_checked_in_at is null then
    perform private.fail('invalid_argument', 'checked_in_at is missing.', 'checked_in_at',
      'Send the phone''s time as ISO 8601 with an offset.');
  end if;
  -- A retry is answered before the time is judged: what was accepted once stays accepted.
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
    and s.check_in_request_id = in_client_request_id;
  if not found then
    v_at := private.accepted_time(v_employee.organization_id, in_checked_in_at);
    -- A deactivation that runs now closes the open session and sees none yet: wait for it, and look again. One that comes
    -- after this lock waits, and closes what is inserted here. It is the lock that the reference takes anyway.
    perform from public.employees as e
    where e.organization_id = v_employee.organization_id and e.id = v_employee.id and e.is_active
    for key share;
    if not found then
      perform private.fail('not_a_member', 'You are not an active member of an organization.', null,
        'Found one with create_organization or accept an invitation.');
    end if;
    insert into public.attendance_sessions (
      organization_id, employee_id, checked_in_at, check_in_latitude, check_in_longitude, check_in_accuracy_m,
      check_in_request_id
    ) values (
      v_employee.organization_id, v_employee.id, v_at, in_latitude, in_longitude, in_accuracy_m,
      in_client_request_id
    )
    on conflict do nothing
    returning * into v_session;
    if found then
      return v_session;
    end if;
    -- Something stood in the way: this very request sent twice at once, an open session, or an overlap.
    select s.* into v_session
    from public.attendance_sessions as s
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
      and s.check_in_request_id = in_client_request_id;
  end if;

  if v_session.id is not null then
    if coalesce(v_session.original_checked_in_at, v_session.checked_in_at)
      is distinct from least(in_checked_in_at, v_session.checked_in_received_at)
    then
      perform private.fail('idempotency_mismatch', 'This client_request_id was used for another check-in.',
        v_session.id::text, 'Use a new uuid for a new check-in.');
    end if;
    return v_session;
  end if;

  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id and s.status = 'ACTIVE';
  if found then
    perform private.fail('session_already_open',
      format('You are checked in since %s.', to_char(v_session.checked_in_at at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
      v_session.id::text, 'Check out first.');
  end if;
  perform private.fail('session_overlap', 'You were already at work at this time.', in_checked_in_at::text,
    'A check-in must lie after the check-out of the session before.');
exception
  when check_violation then
    get stacked diagnostics v_constraint = constraint_name;
    perform private.fail('invalid_argument', 'The position of the check-in is not valid.', v_constraint,
      'latitude -90 to 90 and longitude -180 to 180 go together; accuracy_m is not negative.');
end;
$$;

comment on function private.check_in(timestamptz, uuid, double precision, double precision, real) is
  'Body of public.check_in.';

grant execute on function private.check_in(timestamptz, uuid, double precision, double precision, real) to authenticated;

create function public.check_in(
  checked_in_at timestamptz,
  client_request_id uuid,
  latitude double precision default null,
  longitude double precision default null,
  accuracy_m real default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.check_in(checked_in_at, client_request_id, latitude, longitude, accuracy_m);
$$;

comment on function public.check_in(timestamptz, uuid, double precision, double precision, real) is
  'Opens a session for the caller at the phone''s time. A retry with the same client_request_id answers the same session.
Errors: session_already_open 409 (details: its id), session_overlap 409, time_in_future 422, time_too_old 422,
period_locked 409, idempotency_mismatch 422, invalid_argument 400, not_a_member 403.';

grant execute on function public.check_in(timestamptz, uuid, double precision, double precision, real) to authenticated;

create function private.check_out(
  in_checked_out_at timestamptz,
  in_client_request_id uuid,
  in_latitude double precision,
  in_longitude double precision,
  in_accuracy_m real
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_session public.attendance_sessions;
  v_at timestamptz;
  v_constraint text;
begin
  if in_client_request_id is null then
    perform private.fail('invalid_argument', 'client_request_id is missing.', 'client_request_id',
      'Make a uuid for each check-out and send the same one when you retry.');
  end if;
  if in_checked_out_at is null then
    perform private.fail('invalid_argument', 'checked_out_at is missing.', 'checked_out_at',
      'Send the phone''s time as ISO 8601 with an offset.');
  end if;
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
    and s.check_out_request_id = in_client_request_id;
  if not found then
    v_at := private.accepted_time(v_employee.organization_id, in_checked_out_at);
    update public.attendance_sessions as s
    set status = 'CLOSED',
      closed_by = 'EMPLOYEE',
      checked_out_at = v_at,
      checked_out_received_at = now(),
      check_out_latitude = in_latitude,
      check_out_longitude = in_longitude,
      check_out_accuracy_m = in_accuracy_m,
      check_out_request_id = in_client_request_id
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id and s.status = 'ACTIVE'
    returning s.* into v_session;
    if found then
      -- The update above holds the session's row, which the job locks before it reads.
      perform private.request_distance(v_session);
      return v_session;
    end if;
    -- Nothing open: this very request may have won meanwhile.
    select s.* into v_session
    from public.attendance_sessions as s
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
      and s.check_out_request_id = in_client_request_id;
  end if;

  if v_session.id is null then
    perform private.fail('no_open_session', 'You are not checked in.', null, 'Check in first.');
  end if;
  if coalesce(v_session.original_checked_out_at, v_session.checked_out_at)
    is distinct from least(in_checked_out_at, v_session.checked_out_received_at)
  then
    perform private.fail('idempotency_mismatch', 'This client_request_id was used for another check-out.',
      v_session.id::text, 'Use a new uuid for a new check-out.');
  end if;
  return v_session;
exception
  when check_violation then
    get stacked diagnostics v_constraint = constraint_name;
    if v_constraint = 'checked_out_after_checked_in' then
      perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.',
        in_checked_out_at::text, 'Check the clock of the phone.');
    end if;
    perform private.fail('invalid_argument', 'The position of the check-out is not valid.', v_constraint,
      'latitude -90 to 90 and longitude -180 to 180 go together; accuracy_m is not negative.');
end;
$$;

comment on function private.check_out(timestamptz, uuid, double precision, double precision, real) is
  'Body of public.check_out.';

grant execute on function private.check_out(timestamptz, uuid, double precision, double precision, real) to authenticated;

create function public.check_out(
  checked_out_at timestamptz,
  client_request_id uuid,
  latitude double precision default null,
  longitude double precision default null,
  accuracy_m real default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.check_out(checked_out_at, client_request_id, latitude, longitude, accuracy_m);
$$;

comment on function public.check_out(timestamptz, uuid, double precision, double precision, real) is
  'Closes the caller''s open session at the phone''s time; the distance follows within seconds (distance_status). A retry
with the same client_request_id answers the same session.
Errors: no_open_session 409, check_out_before_check_in 422, time_in_future 422, time_too_old 422, period_locked 409,
idempotency_mismatch 422, invalid_argument 400, not_a_member 403.';

grant execute on function public.check_out(timestamptz, uuid, double precision, double precision, real) to authenticated;

-- Attendance sessions: a person checks in, works, checks out; and how a session falls into local days.
--
-- Times of the phone (checked_in_at, checked_out_at) are what happened and count; the received times are kept apart. One
-- session of a person is open at a time (partial unique index) and sessions never overlap (exclusion constraint): both
-- hold for late, offline uploads too, and whatever code writes. A session that was voided stands outside both.
-- Not covered: check_in, check_out and record_session (the next chapter); the distance; corrections, voids and forced check-outs
-- (the chapters 001400 and 001410).

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
  -- Whether that check-out named its session, or came with it in one call: then no later check-in takes it over.
  check_out_is_named boolean not null default false,
  -- The end that was reported, where a check-in that lies before it cuts the session short.
  claimed_checked_out_at timestamptz,
  opened_by text not null default 'EMPLOYEE',
  closed_by text,
  provisional_until timestamptz,
  review_reasons text[] not null default '{}',
  reviewed_at timestamptz,
  reviewed_by uuid,
  voided_at timestamptz,
  voided_by uuid,
  void_reason text,
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
  needs_review boolean not null generated always as (
    voided_at is null and reviewed_at is null and review_reasons <> '{}'
  ) stored,
  -- Whether its hours count in figures: closed, not voided, and nothing that must be reviewed first.
  counts boolean not null generated always as (
    status = 'CLOSED' and voided_at is null
    and (reviewed_at is not null or not review_reasons && '{too_long,overlap,earlier_employment}'::text[])
  ) stored,
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
  constraint reviewer foreign key (organization_id, reviewed_by)
    references public.employees (organization_id, id) on delete set null (reviewed_by),
  constraint voider foreign key (organization_id, voided_by)
    references public.employees (organization_id, id) on delete set null (voided_by),
  constraint opened_by_is_valid check (opened_by in ('EMPLOYEE', 'DEVICE', 'ADMIN', 'API_KEY')),
  constraint closed_by_is_valid check (closed_by in ('EMPLOYEE', 'ADMIN', 'API_KEY', 'AUTO')),
  constraint review_reasons_are_valid check (
    review_reasons <@ array['too_long', 'overlap', 'before_employment', 'earlier_employment']
  ),
  constraint provisional_is_automatic check (provisional_until is null or closed_by = 'AUTO'),
  constraint claim_is_later_than_the_end check (claimed_checked_out_at > checked_out_at),
  constraint voided_is_closed_and_has_its_reason check (
    (voided_at is null) = (void_reason is null) and (voided_at is null or status = 'CLOSED')
  ),
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
  ) where (voided_at is null)
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

-- Where a corrected session began as it was reported: which check-out is whose is a question of what was reported.
create index attendance_sessions_reported
  on public.attendance_sessions (organization_id, employee_id, original_checked_in_at desc)
  where original_checked_in_at is not null;

-- What waits for a review, oldest first.
create index attendance_sessions_to_review
  on public.attendance_sessions (organization_id, checked_in_at, id) where needs_review;

-- The reviewer and voider references.
create index attendance_sessions_reviewer
  on public.attendance_sessions (organization_id, reviewed_by) where reviewed_by is not null;
create index attendance_sessions_voider
  on public.attendance_sessions (organization_id, voided_by) where voided_by is not null;

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
comment on column public.attendance_sessions.check_out_is_named is
  'The check-out named this session, or came with the check-in in one call; a later check-in does not take it over.';
comment on column public.attendance_sessions.claimed_checked_out_at is
  'The end that was reported, where another check-in before it cuts the session short (review reason overlap); else null.';
comment on column public.attendance_sessions.opened_by is 'EMPLOYEE, DEVICE (a phone''s first point), ADMIN or API_KEY.';
comment on column public.attendance_sessions.closed_by is
  'EMPLOYEE, ADMIN, API_KEY, or AUTO (nobody said when; the last point did); null while open.';
comment on column public.attendance_sessions.provisional_until is
  'Until when the person''s own check-out and points may still move an AUTO end; null for every other end.';
comment on column public.attendance_sessions.review_reasons is
  'What is doubtful: too_long, overlap, earlier_employment (not counted until reviewed), before_employment (counted).';
comment on column public.attendance_sessions.needs_review is 'It has a doubt that no administrator has looked at.';
comment on column public.attendance_sessions.counts is
  'Its hours are in the figures: closed, not voided, and no doubt that must be reviewed first.';
comment on column public.attendance_sessions.reviewed_at is 'When an administrator accepted it as it is.';
comment on column public.attendance_sessions.reviewed_by is 'Who (employees.id).';
comment on column public.attendance_sessions.voided_at is 'When it was taken back: it counts nowhere and overlaps nothing.';
comment on column public.attendance_sessions.voided_by is 'Who (employees.id); null if a key did.';
comment on column public.attendance_sessions.void_reason is 'Why it was taken back.';
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

create function private.iso_time(in_at timestamptz) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return to_char(in_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
end;
$$;

comment on function private.iso_time(timestamptz) is 'An instant as messages write it: ISO 8601 in UTC, whole seconds.';

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
      format('Check the clock of the phone. The server''s time is %s.', private.iso_time(now())));
  end if;
  if in_at < now() - make_interval(hours => v_organization.late_upload_grace_hours) then
    perform private.fail('time_too_old',
      format('This time is more than %s hours ago.', v_organization.late_upload_grace_hours),
      in_at::text, format('Ask for it with request_correction. The server''s time is %s.', private.iso_time(now())));
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
create function private.refuse_settled_session(in_session public.attendance_sessions, in_may_be_void boolean default false)
returns void
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_locked_until date;
begin
  if (in_session).voided_at is not null and not in_may_be_void then
    perform private.fail('session_voided', 'This session was taken back by an administrator.', (in_session).id::text,
      'Ask for it with request_correction.');
  end if;
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

comment on function private.refuse_settled_session(public.attendance_sessions, boolean) is
  'Refuses a session that may not change any more. Errors: session_voided, session_sealed, period_locked.';

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

-- Reports of work: check-ins, check-outs and whole sessions, in whatever order they arrive.
--
-- The sessions of a person are a function of the SET of reports, never of their order (docs/decisions.md, "Hours"):
--   1. A check-in begins a session. Two check-ins of a person at the same instant are one session.
--   2. A check-out that names a check-in (by its client_request_id) is that session's. One that names none belongs to the last
--      check-in that was reported before it. It may come first: then it waits in session_reports.
--   3. Of several check-outs of a session an administrator's wins, then one that names it, then the earliest. The session's
--      row holds the winner, session_reports what it beat: nothing that was acknowledged is lost.
--   4. A session without a check-out is open while no later check-in is known, and ends at its last point otherwise (AUTO). That
--      end is provisional: the person's own check-out replaces it, and points extend it.
--   5. A session ends at the next one's check-in at the latest. A report that claims more is cut there, keeps its claim
--      (claimed_checked_out_at) and waits for a review (overlap).
-- All of this is in private.settle_session, which any report leads to unless it is plain that nothing else is concerned.
-- Locks: the lock date, the person (for no key update: one report of a person at a time), then the sessions in order of time.

create table public.session_reports (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  kind text not null,
  session_id uuid,
  reported_at timestamptz not null,
  reported_by text not null default 'EMPLOYEE',
  client_request_id uuid,
  check_in_request_id uuid,
  is_named boolean not null default false,
  latitude private.latitude,
  longitude private.longitude,
  accuracy_m real,
  received_at timestamptz not null default now(),
  primary key (organization_id, id),
  -- What a retry is recognised by.
  unique (organization_id, employee_id, kind, client_request_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete cascade,
  constraint kind_is_valid check (kind in ('CHECK_IN', 'CHECK_OUT')),
  constraint reported_by_is_valid check (reported_by in ('EMPLOYEE', 'ADMIN', 'API_KEY')),
  constraint a_check_in_has_its_session check (kind = 'CHECK_OUT' or session_id is not null),
  constraint check_out_position_is_whole check ((latitude is null) = (longitude is null)),
  constraint check_out_accuracy_is_not_negative check (accuracy_m between 0 and 1e7)
);

alter table public.session_reports enable row level security;

-- A person's reports from some time on: what a check-in looks for.
create index session_reports_newest_of_employee
  on public.session_reports (organization_id, employee_id, reported_at desc);

-- The session reference.
create index session_reports_session on public.session_reports (organization_id, session_id, employee_id);

-- What names a check-in.
create index session_reports_check_in on public.session_reports (organization_id, employee_id, check_in_request_id)
  where check_in_request_id is not null;

comment on table public.session_reports is
  'Reports that were acknowledged and are not a session''s own times: check-outs that wait for their check-in, check-outs that '
  'another one beat, second check-ins of the same instant. Administrators read all, an employee the own ones.';
comment on column public.session_reports.kind is 'CHECK_IN or CHECK_OUT.';
comment on column public.session_reports.session_id is 'The session that it stands beside; null while a check-out waits.';
comment on column public.session_reports.reported_at is 'When it happened, by the phone''s clock.';
comment on column public.session_reports.reported_by is 'EMPLOYEE, ADMIN or API_KEY.';
comment on column public.session_reports.client_request_id is 'The report''s own id; null for a forced check-out.';
comment on column public.session_reports.check_in_request_id is 'client_request_id of the check-in that it names, or null.';
comment on column public.session_reports.is_named is 'Whether it names its session.';
comment on column public.session_reports.latitude is 'WGS84 degrees, -90 to 90.';
comment on column public.session_reports.longitude is 'WGS84 degrees, -180 to 180.';
comment on column public.session_reports.accuracy_m is 'Reported error radius, metres.';
comment on column public.session_reports.received_at is 'When it reached the database.';

create policy select_member on public.session_reports for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.session_reports for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.session_reports to authenticated, api_key, service_role;

-- NOTE: nobody writes but the functions below.

-- By what was reported, not by what a correction made of it: whose a check-out is must not depend on which came first. What an
-- administrator entered takes no check-out away; what was voided keeps its own.
create function private.last_reported_session(in_organization_id uuid, in_employee_id uuid, in_at timestamptz)
returns public.attendance_sessions
language sql stable
set search_path = ''
as $$
  select s.*
  from (
    (
      select l.* from public.attendance_sessions as l
      where l.organization_id = in_organization_id and l.employee_id = in_employee_id
        and l.original_checked_in_at is null and l.checked_in_at <= in_at and l.opened_by in ('EMPLOYEE', 'DEVICE')
      order by l.checked_in_at desc, l.checked_out_at desc nulls first
      limit 1
    )
    union all
    (
      select l.* from public.attendance_sessions as l
      where l.organization_id = in_organization_id and l.employee_id = in_employee_id
        and l.original_checked_in_at <= in_at and l.opened_by in ('EMPLOYEE', 'DEVICE')
      order by l.original_checked_in_at desc
      limit 1
    )
  ) as s
  -- Of those that began together (one that was left at once, by a clock that stood) the one that lasts.
  order by coalesce(s.original_checked_in_at, s.checked_in_at) desc, s.checked_out_at desc nulls first
  limit 1;
$$;

comment on function private.last_reported_session(uuid, uuid, timestamptz) is
  'The session of the last check-in of an employee that was reported at or before an instant, voided or not; or a row of nulls.';

create function private.next_reported_at(in_organization_id uuid, in_employee_id uuid, in_at timestamptz) returns timestamptz
language sql stable
set search_path = ''
as $$
  select least(
    (
      select min(l.checked_in_at) from public.attendance_sessions as l
      where l.organization_id = in_organization_id and l.employee_id = in_employee_id
        and l.original_checked_in_at is null and l.checked_in_at > in_at and l.opened_by in ('EMPLOYEE', 'DEVICE')
    ),
    (
      select min(l.original_checked_in_at) from public.attendance_sessions as l
      where l.organization_id = in_organization_id and l.employee_id = in_employee_id
        and l.original_checked_in_at > in_at and l.opened_by in ('EMPLOYEE', 'DEVICE')
    )
  );
$$;

comment on function private.next_reported_at(uuid, uuid, timestamptz) is
  'The first check-in of an employee that was reported for a time after an instant; null if there is none.';

create function private.next_session_at(in_organization_id uuid, in_employee_id uuid, in_at timestamptz) returns timestamptz
language sql stable
set search_path = ''
as $$
  select min(l.checked_in_at)
  from public.attendance_sessions as l
  where l.organization_id = in_organization_id and l.employee_id = in_employee_id
    and l.checked_in_at > in_at and l.voided_at is null;
$$;

comment on function private.next_session_at(uuid, uuid, timestamptz) is
  'When the first session of an employee after an instant begins, voided ones apart; null if there is none.';

-- What an administrator should look at. The day of joining counts as employment: an account is often made in the course of it.
create function private.review_reasons(in_session public.attendance_sessions) returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  v_reasons text[] := array[]::text[];
  v_ends_at timestamptz := coalesce((in_session).checked_out_at, (in_session).checked_in_at);
  v_employee public.employees;
  v_joined_at timestamptz;
begin
  if (in_session).claimed_checked_out_at is not null then
    v_reasons := v_reasons || 'overlap'::text;
  end if;
  if v_ends_at - (in_session).checked_in_at > interval '1 hour'
    and v_ends_at - (in_session).checked_in_at > (
      select make_interval(hours => o.max_session_hours)
      from public.organizations as o
      where o.id = (in_session).organization_id
    )
  then
    v_reasons := v_reasons || 'too_long'::text;
  end if;
  -- Who checks in now is employed now.
  if (in_session).checked_in_at > now() - interval '10 minutes' then
    return v_reasons;
  end if;
  select e.* into v_employee
  from public.employees as e
  where e.organization_id = (in_session).organization_id and e.id = (in_session).employee_id;
  v_joined_at := coalesce(
    (
      select max(i.accepted_at) from public.invitations as i
      where i.organization_id = v_employee.organization_id and i.employee_id = v_employee.id
    ),
    v_employee.created_at);
  if (in_session).checked_in_at < v_joined_at
    and private.local_day(v_employee.organization_id, (in_session).checked_in_at)
      < private.local_day(v_employee.organization_id, v_joined_at)
  then
    v_reasons := v_reasons || 'before_employment'::text;
  end if;
  if exists (
    select from public.employees as e
    join public.attendance_sessions as s on s.organization_id = e.organization_id and s.employee_id = e.id
    where e.user_id = v_employee.user_id and e.organization_id = v_employee.organization_id and e.id <> v_employee.id
      and s.voided_at is null
      and s.checked_in_at < greatest(v_ends_at, (in_session).checked_in_at + interval '1 second')
      and s.checked_out_at > (in_session).checked_in_at
  ) then
    v_reasons := v_reasons || 'earlier_employment'::text;
  end if;
  return v_reasons;
end;
$$;

comment on function private.review_reasons(public.attendance_sessions) is
  'What is doubtful about a session as it stands: overlap, too_long, before_employment, earlier_employment.';

-- Points of sessions that were taken back are those of the session that reaches over them.
create function private.take_over_voided(in_session public.attendance_sessions) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_voided public.attendance_sessions;
begin
  for v_voided in
    select s.* from public.attendance_sessions as s
    where s.organization_id = (in_session).organization_id and s.employee_id = (in_session).employee_id
      and s.voided_at is not null and s.checked_in_at between (in_session).checked_in_at and (in_session).checked_out_at
    order by s.checked_in_at
  loop
    perform private.move_points(v_voided, in_session, '-infinity', (in_session).checked_in_at,
      (in_session).checked_out_at + interval '1 microsecond');
  end loop;
end;
$$;

comment on function private.take_over_voided(public.attendance_sessions) is
  'Gives a session the points of voided ones that began in its course. The caller holds the person.';

-- Where a session that nobody checked out of ends: at its last point within the limit, and before the next check-in.
create function private.automatic_end(in_session public.attendance_sessions, in_next_at timestamptz) returns timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
  v_began_at timestamptz := coalesce((in_session).original_checked_in_at, (in_session).checked_in_at);
begin
  return coalesce(
    (
      select max(g.recorded_at)
      from public.gps_locations as g
      join public.organizations as o on o.id = (in_session).organization_id
      where g.organization_id = (in_session).organization_id and g.session_id = (in_session).id
        and g.recorded_at >= v_began_at
        and g.recorded_at <= v_began_at + make_interval(hours => o.max_session_hours)
        and (g.recorded_at < in_next_at) is not false
    ),
    v_began_at);
end;
$$;

comment on function private.automatic_end(public.attendance_sessions, timestamptz) is
  'The time of a session''s last point within max_session_hours and not after the next check-in; without one its check-in.';

-- The winning check-out of a session that the row holds, as a report; null if it holds none.
create function private.own_check_out(in_session public.attendance_sessions) returns public.session_reports
language plpgsql immutable
set search_path = ''
as $$
declare
  v_report public.session_reports;
  v_at timestamptz := case when (in_session).corrected_at is null
    then coalesce((in_session).claimed_checked_out_at, (in_session).checked_out_at)
    else (in_session).original_checked_out_at end;
begin
  if (in_session).closed_by = 'AUTO' or v_at is null then
    return null;
  end if;
  v_report.organization_id := (in_session).organization_id;
  v_report.employee_id := (in_session).employee_id;
  v_report.kind := 'CHECK_OUT';
  v_report.reported_at := v_at;
  v_report.reported_by := (in_session).closed_by;
  v_report.client_request_id := (in_session).check_out_request_id;
  v_report.is_named := (in_session).check_out_is_named;
  v_report.check_in_request_id := case when (in_session).check_out_is_named then (in_session).check_in_request_id end;
  v_report.latitude := (in_session).check_out_latitude;
  v_report.longitude := (in_session).check_out_longitude;
  v_report.accuracy_m := (in_session).check_out_accuracy_m;
  v_report.received_at := (in_session).checked_out_received_at;
  return v_report;
end;
$$;

comment on function private.own_check_out(public.attendance_sessions) is
  'The check-out that a session''s row holds, as a report; null if it has none (open, or closed by nobody).';

create function private.keep_report(in_report public.session_reports, in_session_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  insert into public.session_reports (
    organization_id, employee_id, kind, session_id, reported_at, reported_by, client_request_id, check_in_request_id, is_named,
    latitude, longitude, accuracy_m, received_at
  ) values (
    (in_report).organization_id, (in_report).employee_id, (in_report).kind, in_session_id, (in_report).reported_at,
    (in_report).reported_by, (in_report).client_request_id, (in_report).check_in_request_id, (in_report).is_named,
    (in_report).latitude, (in_report).longitude, (in_report).accuracy_m, (in_report).received_at
  );
end;
$$;

comment on function private.keep_report(public.session_reports, uuid) is 'Keeps a report beside a session, or waiting (null).';

-- The check-out that is a session's, by the rules at the head of this chapter: of the row's own and those kept beside.
create function private.best_check_out(
  in_session public.attendance_sessions, in_own public.session_reports, in_next_reported_at timestamptz
) returns public.session_reports
language sql stable
set search_path = ''
as $$
  select r.*
  from (
    select (in_own).* where (in_own).kind is not null
    union all
    select l.*
    from public.session_reports as l
    where l.organization_id = (in_session).organization_id and l.employee_id = (in_session).employee_id
      and l.kind = 'CHECK_OUT' and l.reported_at >= coalesce((in_session).original_checked_in_at, (in_session).checked_in_at)
      and (
        not l.is_named and (in_session).opened_by in ('EMPLOYEE', 'DEVICE')
        or l.check_in_request_id = (in_session).check_in_request_id
        or l.check_in_request_id in (
          select c.client_request_id from public.session_reports as c
          where c.organization_id = (in_session).organization_id and c.session_id = (in_session).id and c.kind = 'CHECK_IN'
        )
      )
  ) as r
  where r.is_named or in_next_reported_at is null or r.reported_at < in_next_reported_at
  order by r.reported_by <> 'EMPLOYEE' desc, r.is_named desc, r.reported_at, r.client_request_id
  limit 1;
$$;

comment on function private.best_check_out(public.attendance_sessions, public.session_reports, timestamptz) is
  'The check-out that ends a session, of its own and those that are kept; a row of nulls if there is none.';

create function private.settle_session(in_organization_id uuid, in_session_id uuid, in_next_at timestamptz default null)
returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_was public.attendance_sessions;
  v_is public.attendance_sessions;
  v_own public.session_reports;
  v_best public.session_reports;
  v_reported_at timestamptz;
  v_next_reported_at timestamptz;
  v_next_at timestamptz;
  v_ends_at timestamptz;
begin
  select s.* into v_was
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.id = in_session_id
  for no key update;
  if not found or v_was.points_purged_at is not null
    or private.local_day(v_was.organization_id, v_was.checked_in_at) < (
      select o.locked_until from public.organizations as o where o.id = v_was.organization_id
    )
  then
    return v_was;
  end if;
  v_is := v_was;
  v_reported_at := coalesce(v_was.original_checked_in_at, v_was.checked_in_at);
  if v_was.voided_at is null then
    v_next_at := least(case when in_next_at > v_was.checked_in_at then in_next_at end,
      private.next_session_at(v_was.organization_id, v_was.employee_id, v_was.checked_in_at));
  end if;
  v_next_reported_at := least(case when in_next_at > v_reported_at then in_next_at end,
    private.next_reported_at(v_was.organization_id, v_was.employee_id, v_reported_at));
  v_own := private.own_check_out(v_was);
  v_best := private.best_check_out(v_was, v_own, v_next_reported_at);

  if v_best is distinct from v_own then
    if v_best.id is not null then
      delete from public.session_reports as r where r.organization_id = v_best.organization_id and r.id = v_best.id;
    end if;
    if v_own.kind is not null then
      -- One that named nobody and lies after a later check-in is that one's: it waits, and is found there.
      perform private.keep_report(v_own,
        case when v_own.is_named or v_next_reported_at is null or v_own.reported_at < v_next_reported_at then v_was.id end);
    end if;
    v_is.check_out_request_id := v_best.client_request_id;
    v_is.check_out_is_named := coalesce(v_best.is_named, false);
    v_is.check_out_latitude := v_best.latitude;
    v_is.check_out_longitude := v_best.longitude;
    v_is.check_out_accuracy_m := v_best.accuracy_m;
    v_is.checked_out_received_at := coalesce(v_best.received_at, now());
  end if;

  -- What it beat stands beside it.
  update public.session_reports as r
  set session_id = v_was.id
  where r.organization_id = v_was.organization_id and r.employee_id = v_was.employee_id and r.kind = 'CHECK_OUT'
    and r.session_id is distinct from v_was.id
    and (
      r.check_in_request_id = v_was.check_in_request_id
      or not r.is_named and v_was.opened_by in ('EMPLOYEE', 'DEVICE') and r.reported_at >= v_reported_at
        and (r.reported_at < v_next_reported_at) is not false
    );

  if v_best.kind is not null then
    v_is.closed_by := v_best.reported_by;
    v_ends_at := v_best.reported_at;
  elsif v_was.closed_by = 'AUTO' or v_next_at is not null or v_next_reported_at is not null
    or v_own.kind is not null
  then
    v_is.closed_by := 'AUTO';
    v_ends_at := case when v_was.voided_at is null
      then private.automatic_end(v_was, least(v_next_at, v_next_reported_at)) else v_reported_at end;
  end if;

  if v_was.corrected_at is not null then
    -- The correction stands; what the reports say stands beside it.
    v_is.original_checked_out_at := v_ends_at;
    v_ends_at := coalesce(v_was.claimed_checked_out_at, v_was.checked_out_at);
  end if;
  if v_ends_at is not null then
    v_is.status := 'CLOSED';
    v_is.checked_out_at := least(v_ends_at, v_next_at);
    v_is.claimed_checked_out_at := case when v_is.checked_out_at < v_ends_at then v_ends_at end;
    v_is.checked_out_received_at := coalesce(v_is.checked_out_received_at, now());
    v_is.provisional_until := case when v_is.closed_by = 'AUTO' and v_is.corrected_at is null and v_is.voided_at is null
      then private.provisional_until(v_is) end;
  end if;
  v_is.review_reasons := private.review_reasons(v_is);
  v_is := private.write_settled(v_was, v_is);
  if v_is.voided_at is null and v_is.checked_out_at > coalesce(v_was.checked_out_at, v_was.checked_in_at) then
    perform private.take_over_voided(v_is);
  end if;
  return v_is;
end;
$$;

comment on function private.settle_session(uuid, uuid, timestamptz) is
  'Makes a session what all reports of its person say, as if a check-in at next_at were there already; answers the row. The '
  'caller holds the person. What is sealed or locked stays as it is.';

-- Reports of a time up to the limit of the session may come for as long as the grace.
create function private.provisional_until(in_session public.attendance_sessions) returns timestamptz
language sql stable
set search_path = ''
as $$
  select (in_session).checked_in_at + make_interval(hours => o.max_session_hours + o.late_upload_grace_hours)
  from public.organizations as o
  where o.id = (in_session).organization_id;
$$;

comment on function private.provisional_until(public.attendance_sessions) is
  'Until when reports may still move an automatic end of this session.';

create function private.write_settled(in_was public.attendance_sessions, in_is public.attendance_sessions)
returns public.attendance_sessions
language plpgsql volatile
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_moved boolean := (in_was).checked_out_at is distinct from (in_is).checked_out_at;
begin
  if in_was is not distinct from in_is then
    return in_was;
  end if;
  update public.attendance_sessions as s
  set status = (in_is).status,
    closed_by = (in_is).closed_by,
    checked_out_at = (in_is).checked_out_at,
    checked_out_received_at = (in_is).checked_out_received_at,
    check_out_latitude = (in_is).check_out_latitude,
    check_out_longitude = (in_is).check_out_longitude,
    check_out_accuracy_m = (in_is).check_out_accuracy_m,
    check_out_request_id = (in_is).check_out_request_id,
    check_out_is_named = (in_is).check_out_is_named,
    claimed_checked_out_at = (in_is).claimed_checked_out_at,
    original_checked_out_at = (in_is).original_checked_out_at,
    provisional_until = (in_is).provisional_until,
    review_reasons = (in_is).review_reasons,
    -- Other hours than those that were looked at are looked at again.
    reviewed_at = case when not v_moved then s.reviewed_at end,
    reviewed_by = case when not v_moved then s.reviewed_by end,
    distance_status = case when v_moved then 'PENDING' else s.distance_status end
  where s.organization_id = (in_was).organization_id and s.id = (in_was).id
  returning s.* into v_session;
  if v_moved or v_session.counts <> (in_was).counts then
    perform private.request_distance(v_session);
  end if;
  if (in_was).status = 'CLOSED' and v_moved then
    perform private.audit(v_session.organization_id, 'session.end_replaced', 'session', v_session.id,
      jsonb_build_object('closed_by', (in_was).closed_by, 'checked_out_at', (in_was).checked_out_at),
      jsonb_build_object('closed_by', v_session.closed_by, 'checked_out_at', v_session.checked_out_at));
  end if;
  return v_session;
end;
$$;

comment on function private.write_settled(public.attendance_sessions, public.attendance_sessions) is
  'Writes what private.settle_session found, if it differs; asks for the distance, audits an end that was replaced.';

create function private.move_points(
  in_from public.attendance_sessions, in_to public.attendance_sessions, in_after timestamptz, in_from_at timestamptz,
  in_until timestamptz
) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_is_gone boolean;
begin
  delete from public.gps_locations as g
  where g.organization_id = (in_from).organization_id and g.session_id = (in_from).id
    and g.recorded_at > in_after and g.recorded_at >= in_from_at and g.recorded_at < in_until
    and exists (
      select from public.gps_locations as l
      where l.organization_id = (in_to).organization_id and l.session_id = (in_to).id and l.recorded_at = g.recorded_at
    );
  v_is_gone := found;
  update public.gps_locations as g
  set session_id = (in_to).id
  where g.organization_id = (in_from).organization_id and g.session_id = (in_from).id
    and g.recorded_at > in_after and g.recorded_at >= in_from_at and g.recorded_at < in_until;
  if found or v_is_gone then
    perform private.refresh_last_state((in_to).organization_id, (in_to).employee_id);
    perform private.request_distance(in_from);
    perform private.request_distance(in_to);
  end if;
end;
$$;

comment on function private.move_points(
  public.attendance_sessions, public.attendance_sessions, timestamptz, timestamptz, timestamptz
) is 'Gives points from one time to before another, all after a third, to another session of the person, which the caller holds.';

-- Points of the session before that were taken after this check-in are this session's.
create function private.take_over_points(in_from public.attendance_sessions, in_to public.attendance_sessions) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  perform private.move_points(in_from, in_to,
    -- An empty session keeps the point of its instant; any other's last instant is the next one's, if that begins with it.
    case when (in_from).checked_out_at = (in_from).checked_in_at and (in_from).closed_by <> 'AUTO'
      then (in_from).checked_out_at else '-infinity' end,
    (in_to).checked_in_at,
    coalesce(private.next_session_at((in_to).organization_id, (in_to).employee_id, (in_to).checked_in_at), 'infinity'));
end;
$$;

comment on function private.take_over_points(public.attendance_sessions, public.attendance_sessions) is
  'Gives a session the points of the one before it that were taken after its check-in. The caller holds the person and both.';

-- One report of a person at a time. A deactivation holds the same row: it is over before this, or comes after it.
create function private.hold_reporter(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  perform from public.employees as e
  where e.organization_id = in_organization_id and e.id = in_employee_id and e.is_active
  for no key update;
  if not found then
    perform private.fail('not_a_member', 'You are not an active member of an organization.', null,
      'Found one with create_organization or accept an invitation.');
  end if;
end;
$$;

comment on function private.hold_reporter(uuid, uuid) is
  'Holds a person until the transaction ends, so that their reports are judged one after the other. Errors: not_a_member.';

create function private.session_of_check_in(in_organization_id uuid, in_employee_id uuid, in_client_request_id uuid)
returns public.attendance_sessions
language sql stable
set search_path = ''
as $$
  select s.*
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    and (
      s.check_in_request_id = in_client_request_id
      or s.id = (
        select r.session_id from public.session_reports as r
        where r.organization_id = in_organization_id and r.employee_id = in_employee_id and r.kind = 'CHECK_IN'
          and r.client_request_id = in_client_request_id
      )
    );
$$;

comment on function private.session_of_check_in(uuid, uuid, uuid) is
  'The session that a check-in with this client_request_id belongs to, or a row of nulls.';

-- The second check-in of an instant. The smaller id is the row's, whichever came first.
create function private.join_check_in(
  in_session public.attendance_sessions, in_client_request_id uuid, in_latitude double precision,
  in_longitude double precision, in_accuracy_m real
) returns public.attendance_sessions
language plpgsql volatile
set search_path = ''
as $$
declare
  v_other public.session_reports;
  v_is_the_rows boolean := coalesce(in_client_request_id < (in_session).check_in_request_id, true);
begin
  v_other.organization_id := (in_session).organization_id;
  v_other.employee_id := (in_session).employee_id;
  v_other.kind := 'CHECK_IN';
  v_other.reported_at := coalesce((in_session).original_checked_in_at, (in_session).checked_in_at);
  v_other.reported_by := 'EMPLOYEE';
  v_other.is_named := false;
  v_other.received_at := now();
  if not v_is_the_rows then
    v_other.client_request_id := in_client_request_id;
    v_other.latitude := in_latitude;
    v_other.longitude := in_longitude;
    v_other.accuracy_m := in_accuracy_m;
    perform private.keep_report(v_other, (in_session).id);
  else
    if (in_session).check_in_request_id is not null then
      v_other.client_request_id := (in_session).check_in_request_id;
      v_other.latitude := (in_session).check_in_latitude;
      v_other.longitude := (in_session).check_in_longitude;
      v_other.accuracy_m := (in_session).check_in_accuracy_m;
      v_other.received_at := (in_session).checked_in_received_at;
      perform private.keep_report(v_other, (in_session).id);
    end if;
    update public.attendance_sessions as s
    set check_in_request_id = in_client_request_id,
      check_in_latitude = in_latitude,
      check_in_longitude = in_longitude,
      check_in_accuracy_m = in_accuracy_m,
      opened_by = 'EMPLOYEE'
    where s.organization_id = (in_session).organization_id and s.id = (in_session).id;
  end if;
  return private.settle_session((in_session).organization_id, (in_session).id);
end;
$$;

comment on function private.join_check_in(public.attendance_sessions, uuid, double precision, double precision, real) is
  'Adds a check-in of the same instant to its session. The caller holds the person.';

-- Opens a session among those that are there. The caller holds the person and has judged the time.
create function private.place_check_in(
  in_organization_id uuid, in_employee_id uuid, in_at timestamptz, in_client_request_id uuid, in_opened_by text,
  in_latitude double precision, in_longitude double precision, in_accuracy_m real
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_at timestamptz := in_at;
  v_is_now boolean := in_at > now() - interval '2 minutes';
  v_before public.attendance_sessions;
  v_reported public.attendance_sessions;
  v_session public.attendance_sessions;
  v_is_later_known boolean;
begin
  if v_is_now then
    -- A phone that is slow by up to two minutes: who was checked out meanwhile checks in after that.
    select greatest(in_at, max(s.checked_out_at)) into v_at
    from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.voided_at is null
      and s.checked_in_at > in_at - interval '8 days' and s.checked_out_at between in_at and now();
  end if;
  select s.* into v_before
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    and s.checked_in_at <= v_at and s.voided_at is null
  order by s.checked_in_at desc, s.checked_out_at desc nulls first
  limit 1;
  -- The person is there to read it: nothing is recorded, and nothing is guessed. What comes late is.
  if in_at > now() - interval '10 minutes' and in_opened_by = 'EMPLOYEE' then
    select s.* into v_reported
    from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.status = 'ACTIVE'
      and (v_is_now or s.checked_in_at = in_at);
  end if;
  if v_reported.id is not null then
    perform private.fail('session_already_open',
      format('You are checked in since %s.', private.iso_time(v_reported.checked_in_at)), v_reported.id::text,
      format('Check out first. The server''s time is %s.', private.iso_time(now())));
  end if;
  v_reported := private.last_reported_session(in_organization_id, in_employee_id, v_at);
  -- One that was left at once is no reason not to begin again at that time.
  if coalesce(v_reported.original_checked_in_at, v_reported.checked_in_at) = v_at and not v_is_now
    and (v_reported.closed_by = 'EMPLOYEE' and v_reported.checked_out_at = v_reported.checked_in_at) is not true
  then
    return private.join_check_in(v_reported, in_client_request_id, in_latitude, in_longitude, in_accuracy_m);
  end if;
  v_is_later_known := private.next_session_at(in_organization_id, in_employee_id, v_at) is not null
    or private.next_reported_at(in_organization_id, in_employee_id, v_at) is not null;
  if v_before.id is not null and (v_before.checked_out_at is null or v_before.checked_out_at > v_at) then
    v_before := private.settle_session(in_organization_id, v_before.id, v_at);
  end if;
  if v_reported.id <> v_before.id then
    v_reported := private.settle_session(in_organization_id, v_reported.id, v_at);
  end if;

  v_session.organization_id := in_organization_id;
  v_session.employee_id := in_employee_id;
  v_session.checked_in_at := v_at;
  insert into public.attendance_sessions (
    organization_id, employee_id, checked_in_at, check_in_latitude, check_in_longitude, check_in_accuracy_m,
    check_in_request_id, opened_by, status, closed_by, checked_out_at, checked_out_received_at, provisional_until, review_reasons
  )
  select
    in_organization_id, in_employee_id, v_at, in_latitude, in_longitude, in_accuracy_m, in_client_request_id, in_opened_by,
    l.status, l.closed_by, l.checked_out_at, l.received_at, l.provisional_until, private.review_reasons(v_session)
  from (
    select 'ACTIVE' as status, null as closed_by, null::timestamptz as checked_out_at, null::timestamptz as received_at,
      null::timestamptz as provisional_until
    where not v_is_later_known
    union all
    select 'CLOSED', 'AUTO', v_at, now(), private.provisional_until(v_session) where v_is_later_known
  ) as l
  on conflict do nothing
  returning * into v_session;
  if not found then
    perform private.fail('session_overlap', 'These hours are part of a session that does not change any more.', in_at::text,
      'Ask for a change with request_correction.');
  end if;
  if v_session.status = 'CLOSED' then
    perform private.request_distance(v_session);
  end if;
  if v_before.id is not null then
    perform private.take_over_points(v_before, v_session);
  end if;
  if v_reported.id <> v_before.id or v_before.id is null and v_reported.id is not null then
    perform private.take_over_points(v_reported, v_session);
  end if;
  for v_reported in
    select s.* from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.employee_id = in_employee_id
      and s.checked_in_at between v_at - interval '30 days' and v_at and s.claimed_checked_out_at > v_at
      and s.id not in (v_before.id, v_session.id)
  loop
    perform private.take_over_points(v_reported, v_session);
  end loop;
  if v_is_later_known or exists (
    select from public.session_reports as r
    where r.organization_id = in_organization_id and r.employee_id = in_employee_id and r.reported_at >= v_at
  ) then
    return private.settle_session(in_organization_id, v_session.id);
  end if;
  return v_session;
end;
$$;

comment on function private.place_check_in(
  uuid, uuid, timestamptz, uuid, text, double precision, double precision, real
) is
  'Opens a session, or closes it at once where a later one is known, and makes room for it. The caller holds the person.';

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
  v_session := private.session_of_check_in(v_employee.organization_id, v_employee.id, in_client_request_id);
  if v_session.id is null then
    v_at := private.accepted_time(v_employee.organization_id, in_checked_in_at);
    perform private.hold_reporter(v_employee.organization_id, v_employee.id);
    -- The same request twice at once: the other one is over now.
    v_session := private.session_of_check_in(v_employee.organization_id, v_employee.id, in_client_request_id);
    if v_session.id is null then
      return private.place_check_in(v_employee.organization_id, v_employee.id, v_at, in_client_request_id, 'EMPLOYEE',
        in_latitude, in_longitude, in_accuracy_m);
    end if;
  end if;
  -- The time that was sent, or a little later: a fast clock counts as now, a slow one as the check-out before it.
  if coalesce(v_session.original_checked_in_at, v_session.checked_in_at)
      - least(in_checked_in_at, v_session.checked_in_received_at) not between interval '0' and interval '2 minutes'
  then
    perform private.fail('idempotency_mismatch', 'This client_request_id was used for another check-in.',
      v_session.id::text, 'Use a new uuid for a new check-in.');
  end if;
  -- The whole session came without a place and its check-in has one.
  if in_latitude is not null and v_session.check_in_request_id = in_client_request_id and v_session.points_purged_at is null then
    update public.attendance_sessions as s
    set check_in_latitude = in_latitude, check_in_longitude = in_longitude, check_in_accuracy_m = in_accuracy_m
    where s.organization_id = v_session.organization_id and s.id = v_session.id and s.check_in_latitude is null;
    v_session := private.session_of_check_in(v_employee.organization_id, v_employee.id, in_client_request_id);
  end if;
  return v_session;
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
  'Opens a session for the caller at the phone''s time; a retry with the same client_request_id answers the same session. It may
come late and in any order: where a later session is known it is closed (AUTO, provisional) until its check-out comes.
Errors: session_already_open 409 (a check-in of now; details: its id), session_overlap 409,
time_in_future 422, time_too_old 422, period_locked 409, idempotency_mismatch 422, invalid_argument 400, not_a_member 403.';

grant execute on function public.check_in(timestamptz, uuid, double precision, double precision, real) to authenticated;

-- What a retry of a check-out is answered with; a row of nulls if it is none.
create function private.session_of_check_out(
  in_organization_id uuid, in_employee_id uuid, in_client_request_id uuid, in_checked_out_at timestamptz
) returns public.attendance_sessions
language plpgsql stable
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_report public.session_reports;
begin
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    and s.check_out_request_id = in_client_request_id;
  if found then
    v_report := private.own_check_out(v_session);
  else
    select r.* into v_report
    from public.session_reports as r
    where r.organization_id = in_organization_id and r.employee_id = in_employee_id and r.kind = 'CHECK_OUT'
      and r.client_request_id = in_client_request_id;
    if not found then
      return null;
    end if;
    select s.* into v_session
    from public.attendance_sessions as s
    where s.organization_id = in_organization_id and s.id = v_report.session_id;
    if not found then
      v_session := private.waiting_check_out(v_report);
    end if;
  end if;
  if coalesce(v_report.reported_at, v_session.checked_out_at) is distinct from
    least(in_checked_out_at, coalesce(v_report.received_at, v_session.checked_out_received_at))
  then
    perform private.fail('idempotency_mismatch', 'This client_request_id was used for another check-out.',
      v_session.id::text, 'Use a new uuid for a new check-out.');
  end if;
  return v_session;
end;
$$;

comment on function private.session_of_check_out(uuid, uuid, uuid, timestamptz) is
  'The session that a check-out with this client_request_id went to, or what is answered while it waits. Errors: '
  'idempotency_mismatch.';

-- The answer to a check-out that came before its check-in: a session that is not there yet.
create function private.waiting_check_out(in_report public.session_reports) returns public.attendance_sessions
language plpgsql stable
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
begin
  v_session.organization_id := (in_report).organization_id;
  v_session.employee_id := (in_report).employee_id;
  v_session.status := 'WAITING';
  v_session.check_in_request_id := (in_report).check_in_request_id;
  v_session.checked_out_at := (in_report).reported_at;
  v_session.checked_out_received_at := (in_report).received_at;
  v_session.check_out_request_id := (in_report).client_request_id;
  v_session.check_out_is_named := true;
  v_session.counts := false;
  return v_session;
end;
$$;

comment on function private.waiting_check_out(public.session_reports) is
  'What check_out answers for a check-out whose check-in is not here yet: status WAITING, id null.';

-- Which session a new check-out is for; a row of nulls if it names a check-in that is not here yet.
create function private.session_to_check_out_of(
  in_organization_id uuid, in_employee_id uuid, in_at timestamptz, in_check_in_request_id uuid
) returns public.attendance_sessions
language plpgsql stable
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_own public.session_reports;
begin
  if in_check_in_request_id is not null then
    v_session := private.session_of_check_in(in_organization_id, in_employee_id, in_check_in_request_id);
    if v_session.id is null then
      return null;
    end if;
  else
    v_session := private.last_reported_session(in_organization_id, in_employee_id, in_at);
    if v_session.id is null and not exists (
      select from public.attendance_sessions as s
      where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.status = 'ACTIVE'
    ) then
      perform private.fail('no_open_session', 'You are not checked in.', null,
        'Check in first. A check-out that names its check-in (check_in_request_id) is kept until that one comes.');
    end if;
  end if;
  if v_session.id is null
    or in_at < coalesce(v_session.original_checked_in_at, v_session.checked_in_at)
  then
    perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.', in_at::text,
      format('Check the clock of the phone. The server''s time is %s.', private.iso_time(now())));
  end if;
  v_own := private.own_check_out(v_session);
  if in_check_in_request_id is null and v_own.reported_by = 'EMPLOYEE'
    and (in_at > v_own.reported_at or in_at > now() - interval '2 minutes')
  then
    if exists (
      select from public.attendance_sessions as s
      where s.organization_id = in_organization_id and s.employee_id = in_employee_id and s.status = 'ACTIVE'
    ) then
      perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.', in_at::text,
        format('Check the clock of the phone. The server''s time is %s.', private.iso_time(now())));
    end if;
    perform private.fail('no_open_session', 'You are not checked in.', null,
      'Check in first. A check-out that names its check-in (check_in_request_id) is kept until that one comes.');
  end if;
  return v_session;
end;
$$;

comment on function private.session_to_check_out_of(uuid, uuid, timestamptz, uuid) is
  'The session that a check-out at a time is for: the one it names, else that of the last check-in before it. Errors: '
  'no_open_session, check_out_before_check_in.';

create function private.place_check_out(
  in_organization_id uuid, in_employee_id uuid, in_at timestamptz, in_client_request_id uuid, in_check_in_request_id uuid,
  in_latitude double precision, in_longitude double precision, in_accuracy_m real
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_session public.attendance_sessions := private.session_to_check_out_of(
    in_organization_id, in_employee_id, in_at, in_check_in_request_id);
  v_report public.session_reports;
begin
  if v_session.id is not null and v_session.voided_at is null then
    perform private.refuse_settled_session(v_session);
  end if;
  if v_session.status = 'ACTIVE' and not exists (
    select from public.session_reports as r
    where r.organization_id = in_organization_id and r.employee_id = in_employee_id and r.kind = 'CHECK_OUT'
      and r.reported_at >= v_session.checked_in_at
  ) then
    -- The plain case, in one guarded statement.
    v_session.checked_out_at := in_at;
    update public.attendance_sessions as s
    set status = 'CLOSED',
      closed_by = 'EMPLOYEE',
      checked_out_at = in_at,
      checked_out_received_at = now(),
      check_out_latitude = in_latitude,
      check_out_longitude = in_longitude,
      check_out_accuracy_m = in_accuracy_m,
      check_out_request_id = in_client_request_id,
      check_out_is_named = in_check_in_request_id is not null,
      review_reasons = private.review_reasons(v_session)
    where s.organization_id = in_organization_id and s.id = v_session.id and s.status = 'ACTIVE'
    returning s.* into v_session;
    if found then
      -- The update above holds the session's row, which the job locks before it reads.
      perform private.request_distance(v_session);
      return v_session;
    end if;
    v_session := private.session_to_check_out_of(in_organization_id, in_employee_id, in_at, in_check_in_request_id);
  end if;

  insert into public.session_reports (
    organization_id, employee_id, kind, session_id, reported_at, client_request_id, check_in_request_id, is_named, latitude,
    longitude, accuracy_m
  ) values (
    in_organization_id, in_employee_id, 'CHECK_OUT', v_session.id, in_at, in_client_request_id, in_check_in_request_id,
    in_check_in_request_id is not null, in_latitude, in_longitude, in_accuracy_m
  )
  returning * into v_report;
  if v_session.id is null then
    return private.waiting_check_out(v_report);
  end if;
  return private.settle_session(in_organization_id, v_session.id);
end;
$$;

comment on function private.place_check_out(
  uuid, uuid, timestamptz, uuid, uuid, double precision, double precision, real
) is 'Ends the session that a check-out is for, or keeps the check-out. The caller holds the person and has judged the time.';

create function private.check_out(
  in_checked_out_at timestamptz,
  in_client_request_id uuid,
  in_latitude double precision,
  in_longitude double precision,
  in_accuracy_m real,
  in_check_in_request_id uuid
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
  v_session := private.session_of_check_out(v_employee.organization_id, v_employee.id, in_client_request_id, in_checked_out_at);
  if v_session.organization_id is not null then
    return v_session;
  end if;
  v_at := private.accepted_time(v_employee.organization_id, in_checked_out_at);
  perform private.hold_reporter(v_employee.organization_id, v_employee.id);
  -- The same request twice at once: the other one is over now.
  v_session := private.session_of_check_out(v_employee.organization_id, v_employee.id, in_client_request_id, in_checked_out_at);
  if v_session.organization_id is not null then
    return v_session;
  end if;
  return private.place_check_out(v_employee.organization_id, v_employee.id, v_at, in_client_request_id,
    in_check_in_request_id, in_latitude, in_longitude, in_accuracy_m);
exception
  when check_violation then
    get stacked diagnostics v_constraint = constraint_name;
    perform private.fail('invalid_argument', 'The position of the check-out is not valid.', v_constraint,
      'latitude -90 to 90 and longitude -180 to 180 go together; accuracy_m is not negative.');
end;
$$;

comment on function private.check_out(timestamptz, uuid, double precision, double precision, real, uuid) is
  'Body of public.check_out.';

grant execute on function private.check_out(timestamptz, uuid, double precision, double precision, real, uuid) to authenticated;

create function public.check_out(
  checked_out_at timestamptz,
  client_request_id uuid,
  latitude double precision default null,
  longitude double precision default null,
  accuracy_m real default null,
  check_in_request_id uuid default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.check_out(checked_out_at, client_request_id, latitude, longitude, accuracy_m, check_in_request_id);
$$;

comment on function public.check_out(timestamptz, uuid, double precision, double precision, real, uuid) is
  'Ends the caller''s session at the phone''s time; the distance follows within seconds (distance_status). It is the session
of the check-in with client_request_id = check_in_request_id, else of the last check-in before it. One that names a check-in may
come before it: it is kept (status WAITING, id null) and counts when that comes. A retry with the same client_request_id answers
the same session. It replaces an automatic end.
Errors: no_open_session 409, check_out_before_check_in 422, session_sealed 409, time_in_future 422,
time_too_old 422, period_locked 409, idempotency_mismatch 422, invalid_argument 400, not_a_member 403.';

grant execute on function public.check_out(timestamptz, uuid, double precision, double precision, real, uuid)
  to authenticated;

create function private.record_session(
  in_checked_in_at timestamptz, in_checked_out_at timestamptz, in_client_request_id uuid, in_places jsonb
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_key text;
begin
  perform private.hold_locked_until(v_employee.organization_id);
  if in_checked_out_at < in_checked_in_at then
    perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.', in_checked_out_at::text);
  end if;
  if in_places is not null and jsonb_typeof(in_places) <> 'object' then
    perform private.fail('invalid_argument', 'places is an object of places.', 'places',
      'Send {"check_in": {latitude, longitude, accuracy_m?}, "check_out": {…}}.');
  end if;
  for v_key in
    select k.key || '.' || f.key
    from jsonb_each(coalesce(in_places, '{}')) as k
    cross join lateral jsonb_each(case when jsonb_typeof(k.value) = 'object' then k.value else '{"":""}' end) as f
    where k.key not in ('check_in', 'check_out') or f.key not in ('latitude', 'longitude', 'accuracy_m')
      or not coalesce(nullif(f.value, 'null') between '-1e7' and '1e7', true)
  loop
    perform private.fail('invalid_argument', 'A place has a latitude, a longitude and perhaps accuracy_m, as numbers.',
      'places.' || v_key);
  end loop;
  perform private.check_in(in_checked_in_at, in_client_request_id,
    (in_places #>> '{check_in,latitude}')::double precision, (in_places #>> '{check_in,longitude}')::double precision,
    (in_places #>> '{check_in,accuracy_m}')::real);
  return private.check_out(in_checked_out_at, in_client_request_id,
    (in_places #>> '{check_out,latitude}')::double precision, (in_places #>> '{check_out,longitude}')::double precision,
    (in_places #>> '{check_out,accuracy_m}')::real, in_client_request_id);
end;
$$;

comment on function private.record_session(timestamptz, timestamptz, uuid, jsonb) is 'Body of public.record_session.';

grant execute on function private.record_session(timestamptz, timestamptz, uuid, jsonb) to authenticated;

create function public.record_session(
  checked_in_at timestamptz, checked_out_at timestamptz, client_request_id uuid, places jsonb default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.record_session(checked_in_at, checked_out_at, client_request_id, places);
$$;

comment on function public.record_session(timestamptz, timestamptz, uuid, jsonb) is
  'Records a whole session of the caller, for queues of phones that were offline: the same as check_in and check_out with
this client_request_id, whichever of them came before. places: {check_in: {latitude, longitude, accuracy_m?}, check_out: {…}}.
Errors: those of check_in and check_out.';

grant execute on function public.record_session(timestamptz, timestamptz, uuid, jsonb) to authenticated;

-- When the day did not go as the phone said: corrections, forced check-outs, forgotten sessions, recalculation.
--
-- Every change of a session's times goes through private.change_session_times: it keeps the originals, writes the audit row
-- and asks for the figures again. What is sealed (points gone by retention) or locked (locked_until) does not change.

-- Closes an open session for its person. One guarded statement: null when nothing is open.
create function private.close_session(
  in_organization_id uuid, in_employee_id uuid, in_closed_at timestamptz, in_closed_by text, in_action text, in_reason text
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_reasons text[];
begin
  update public.attendance_sessions as s
  set status = 'CLOSED',
    closed_by = in_closed_by,
    checked_out_at = greatest(in_closed_at, s.checked_in_at),
    checked_out_received_at = now(),
    provisional_until = case when in_closed_by = 'AUTO' then private.provisional_until(s.*) end
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
    and s.status = 'ACTIVE'
  returning s.* into v_session;
  if not found then
    return null;
  end if;
  v_reasons := private.review_reasons(v_session);
  if v_reasons <> v_session.review_reasons then
    update public.attendance_sessions as s
    set review_reasons = v_reasons
    where s.organization_id = v_session.organization_id and s.id = v_session.id
    returning s.* into v_session;
  end if;
  perform private.request_distance(v_session);
  perform private.audit(v_session.organization_id, in_action, 'session', v_session.id,
    jsonb_build_object('status', 'ACTIVE'),
    jsonb_build_object(
      'status', 'CLOSED', 'closed_by', v_session.closed_by, 'checked_out_at', v_session.checked_out_at),
    in_reason);
  return v_session;
end;
$$;

comment on function private.close_session(uuid, uuid, timestamptz, text, text, text) is
  'Closes the open session of an employee, audits it and asks for its distance; null when none is open.';

create function private.force_check_out(in_employee_id uuid, in_checked_out_at timestamptz, in_reason text)
returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_leader();
  v_session public.attendance_sessions;
begin
  if not private.leads(v_admin, in_employee_id) then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  if in_checked_out_at > now() then
    perform private.fail('time_in_future', 'This time lies in the future.', in_checked_out_at::text);
  end if;
  if exists (
    select from public.attendance_sessions as s
    where s.organization_id = v_admin.organization_id and s.employee_id = in_employee_id
      and s.status = 'ACTIVE' and s.checked_in_at > in_checked_out_at
  ) then
    perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.',
      in_checked_out_at::text);
  end if;
  v_session := private.close_session(v_admin.organization_id, in_employee_id,
    coalesce(in_checked_out_at, now()), 'ADMIN', 'session.force_checked_out',
    in_reason);
  if v_session.id is null then
    perform private.fail('no_open_session', 'This employee is not checked in.', in_employee_id::text);
  end if;
  return v_session;
end;
$$;

comment on function private.force_check_out(uuid, timestamptz, text) is 'Body of public.force_check_out.';

grant execute on function private.force_check_out(uuid, timestamptz, text) to authenticated;

create function public.force_check_out(
  employee_id uuid, checked_out_at timestamptz default null, reason text default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.force_check_out(employee_id, checked_out_at, reason);
$$;

comment on function public.force_check_out(uuid, timestamptz, text) is
  'Closes the open session of an employee, now or at a past time. Administrators, and managers for their teams; audited.
Errors: admin_required 403, employee_not_found 404, no_open_session 409, time_in_future 422,
check_out_before_check_in 422.';

grant execute on function public.force_check_out(uuid, timestamptz, text) to authenticated;

create function private.settle_neighbour(in_session public.attendance_sessions, in_at timestamptz) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_before uuid := (
    select s.id from public.attendance_sessions as s
    where s.organization_id = (in_session).organization_id and s.employee_id = (in_session).employee_id
      and s.checked_in_at <= in_at and s.id <> (in_session).id and s.voided_at is null
    order by s.checked_in_at desc
    limit 1
  );
begin
  if v_before is not null then
    perform private.settle_session((in_session).organization_id, v_before);
  end if;
end;
$$;

comment on function private.settle_neighbour(public.attendance_sessions, timestamptz) is
  'Settles the session before a time at which another one came or went. The caller holds the person.';

-- Hours that somebody enters by hand: bound by what retention would delete at once, and by now, before anything is changed.
create function private.judge_hours(in_organization_id uuid, in_checked_in_at timestamptz, in_checked_out_at timestamptz)
returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_days integer := (select o.location_retention_days from public.organizations as o where o.id = in_organization_id);
begin
  if in_checked_out_at < in_checked_in_at then
    perform private.fail('check_out_before_check_in', 'The check-out lies before the check-in.',
      in_checked_out_at::text);
  end if;
  if in_checked_out_at > now() then
    perform private.fail('time_in_future', 'This time lies in the future.', in_checked_out_at::text,
      format('The server''s time is %s.', private.iso_time(now())));
  end if;
  if in_checked_in_at < now() - make_interval(days => v_days) then
    perform private.fail('time_too_old', format('This time is more than %s days ago.', v_days), in_checked_in_at::text,
      'Hours cannot lie before what the organization keeps (location_retention_days): is the year right?');
  end if;
  if in_checked_out_at - in_checked_in_at > interval '168 hours' then
    perform private.fail('invalid_argument', 'A session is at most 168 hours long.', 'checked_out_at');
  end if;
end;
$$;

comment on function private.judge_hours(uuid, timestamptz, timestamptz) is
  'Refuses hours that nobody can mean. Errors: check_out_before_check_in, time_in_future, time_too_old, invalid_argument.';

-- Nobody decides about the own hours alone, where the organization says so. By account: a person may have had two employments.
create function private.refuse_own_hours(in_caller private.caller, in_employee_id uuid) returns void
language plpgsql stable
set search_path = ''
as $$
begin
  if exists (
    select from public.organizations as o where o.id = (in_caller).organization_id and not o.own_hours_by_hand
  ) and exists (
    select from public.employees as e
    join public.employees as c on c.organization_id = e.organization_id and (c.id = e.id or c.user_id = e.user_id)
    where e.organization_id = (in_caller).organization_id and e.id = in_employee_id and c.id = (in_caller).employee_id
  ) then
    perform private.fail('own_session', 'Nobody changes the own hours alone in this organization.', in_employee_id::text,
      'Ask with request_correction; another administrator decides.');
  end if;
end;
$$;

comment on function private.refuse_own_hours(private.caller, uuid) is
  'Refuses whoever acts on the own hours where the organization forbids it (own_hours_by_hand). Errors: own_session.';

-- The lock date, the person, then the session: the order of all reports.
create function private.hold_session(in_caller private.caller, in_session_id uuid) returns public.attendance_sessions
language plpgsql volatile
set search_path = ''
as $$
declare
  v_employee_id uuid := (
    select s.employee_id from public.attendance_sessions as s
    where s.organization_id = (in_caller).organization_id and s.id = in_session_id
  );
  v_session public.attendance_sessions;
begin
  perform private.hold_locked_until((in_caller).organization_id);
  perform from public.employees as e
  where e.organization_id = (in_caller).organization_id and e.id = v_employee_id
  for no key update;
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = (in_caller).organization_id and s.id = in_session_id
    and private.leads(in_caller, s.employee_id)
  for no key update;
  if not found then
    perform private.fail('session_not_found', 'There is no such session.', in_session_id::text);
  end if;
  perform private.refuse_own_hours(in_caller, v_session.employee_id);
  return v_session;
end;
$$;

comment on function private.hold_session(private.caller, uuid) is
  'A session that the caller decides about, held with its person and the lock date. Errors: session_not_found, own_session.';

create function private.correct_session(
  in_session_id uuid, in_checked_in_at timestamptz, in_checked_out_at timestamptz, in_reason text
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_leader();
  v_before public.attendance_sessions;
  v_after public.attendance_sessions;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'A correction needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  if in_checked_in_at is null or in_checked_out_at is null then
    perform private.fail('invalid_argument', 'A correction names both times.', 'checked_in_at, checked_out_at');
  end if;
  perform private.judge_hours(v_admin.organization_id, in_checked_in_at, in_checked_out_at);
  v_before := private.hold_session(v_admin, in_session_id);
  -- Neither the days it leaves nor the days it comes to may be locked.
  perform private.refuse_settled_session(v_before);
  v_after := v_before;
  v_after.checked_in_at := in_checked_in_at;
  perform private.refuse_settled_session(v_after);

  update public.attendance_sessions as s
  set checked_in_at = in_checked_in_at,
    checked_out_at = in_checked_out_at,
    checked_out_received_at = coalesce(s.checked_out_received_at, now()),
    status = 'CLOSED',
    closed_by = coalesce(s.closed_by, 'ADMIN'),
    claimed_checked_out_at = null,
    provisional_until = null,
    reviewed_at = null,
    reviewed_by = null,
    original_checked_in_at = coalesce(s.original_checked_in_at, s.checked_in_at),
    -- Null stays null: who was still at work when it was first corrected had not checked out.
    original_checked_out_at = case when s.corrected_at is null then coalesce(s.claimed_checked_out_at, s.checked_out_at)
      else s.original_checked_out_at end,
    corrected_at = now(),
    distance_status = 'PENDING'
  where s.organization_id = v_before.organization_id and s.id = v_before.id
  returning s.* into v_after;
  v_after := private.settle_session(v_after.organization_id, v_after.id);
  -- The one that it left or came to may end elsewhere now.
  perform private.settle_neighbour(v_after, v_before.checked_in_at);
  perform private.settle_neighbour(v_after, v_after.checked_in_at);
  perform private.request_distance(v_after);
  perform private.audit(v_after.organization_id, 'session.corrected', 'session', v_after.id,
    jsonb_build_object('checked_in_at', v_before.checked_in_at, 'checked_out_at', v_before.checked_out_at),
    jsonb_build_object('checked_in_at', v_after.checked_in_at, 'checked_out_at', v_after.checked_out_at),
    btrim(in_reason));
  return v_after;
exception
  when exclusion_violation then
    perform private.fail('session_overlap', 'These times fall into another session of the person.',
      in_session_id::text);
end;
$$;

comment on function private.correct_session(uuid, timestamptz, timestamptz, text) is 'Body of public.correct_session.';

grant execute on function private.correct_session(uuid, timestamptz, timestamptz, text) to authenticated;

create function public.correct_session(
  session_id uuid, checked_in_at timestamptz, checked_out_at timestamptz, reason text
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.correct_session(session_id, checked_in_at, checked_out_at, reason);
$$;

comment on function public.correct_session(uuid, timestamptz, timestamptz, text) is
  'Sets the times of a session (an open one is closed by it); the first times are kept as original_…, the figures follow.
Administrators; audited with the reason.
Errors: admin_required 403, own_session 403, session_not_found 404, session_overlap 409, session_voided 409,
session_sealed 409, period_locked 409, time_in_future 422, time_too_old 422, check_out_before_check_in 422,
invalid_argument 400.';

grant execute on function public.correct_session(uuid, timestamptz, timestamptz, text) to authenticated;

create function private.recalculate_session(in_session_id uuid) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_session public.attendance_sessions;
begin
  perform private.hold_locked_until(v_employee.organization_id);
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = v_employee.organization_id and s.id = in_session_id
    and (
      v_employee.app_role = 'ADMIN' or s.employee_id = v_employee.id
      or s.employee_id = any (private.managed_employee_ids())
    )
  for no key update;
  if not found then
    perform private.fail('session_not_found', 'There is no such session, or it is not yours to see.',
      in_session_id::text);
  end if;
  if v_session.status = 'ACTIVE' then
    perform private.fail('session_open', 'The session is still open; its distance is computed at check-out.',
      v_session.id::text);
  end if;
  perform private.refuse_settled_session(v_session);
  perform private.take_token(v_employee.organization_id, 'recalculations', v_employee.id);
  update public.attendance_sessions as s
  set distance_status = 'PENDING'
  where s.organization_id = v_session.organization_id and s.id = v_session.id
  returning s.* into v_session;
  perform private.request_distance(v_session);
  return v_session;
end;
$$;

comment on function private.recalculate_session(uuid) is 'Body of public.recalculate_session.';

grant execute on function private.recalculate_session(uuid) to authenticated;

create function public.recalculate_session(session_id uuid) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.recalculate_session(session_id);
$$;

comment on function public.recalculate_session(uuid) is
  'Asks for the distance of a closed session again; distance_status is PENDING until it is there. At most 5 a minute.
Errors: session_not_found 404, session_open 409, session_sealed 409, period_locked 409, rate_limited 429.';

grant execute on function public.recalculate_session(uuid) to authenticated;

-- Forgotten sessions of an organization, oldest first: the schedule's question.
create index attendance_sessions_open_by_age on public.attendance_sessions (organization_id, checked_in_at)
  where status = 'ACTIVE';

create function private.close_forgotten_sessions_of(in_organization_id uuid, in_at_most integer default 100) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_forgotten record;
  v_closed bigint := 0;
begin
  for v_forgotten in
    select s.organization_id, s.id, s.employee_id, s.checked_in_at, o.max_session_hours
    from public.attendance_sessions as s
    join public.organizations as o on o.id = s.organization_id
    where s.organization_id = in_organization_id and s.status = 'ACTIVE' and s.checked_in_at < now() - interval '1 hour'
      -- A day that was spent without signal comes late and all at once: its points and its check-out are still on their way.
      and s.checked_in_received_at < now() - interval '1 hour'
      and s.checked_in_at < now() - make_interval(hours => o.max_session_hours)
    order by s.checked_in_at
    limit in_at_most
    for no key update of s skip locked
  loop
    -- With the row locked no batch is half-way; the last point says until when there is evidence of work, and the limit
    -- until when it may count. Without any point the check-in is all the evidence there is.
    perform private.close_session(
      v_forgotten.organization_id, v_forgotten.employee_id,
      coalesce(
        (
          select max(g.recorded_at)
          from public.gps_locations as g
          where g.organization_id = v_forgotten.organization_id and g.session_id = v_forgotten.id
            and g.recorded_at <= v_forgotten.checked_in_at
              + make_interval(hours => v_forgotten.max_session_hours)
        ),
        v_forgotten.checked_in_at
      ),
      'AUTO', 'session.auto_checked_out', null);
    v_closed := v_closed + 1;
  end loop;
  return v_closed;
end;
$$;

comment on function private.close_forgotten_sessions_of(uuid, integer) is
  'One organization''s turn: closes sessions open for longer than its max_session_hours, at the time of their last point. Answers '
  'how many it closed.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'forgotten-sessions', 'forgotten-sessions',
  $sql$
    select o.id, greatest(
      s.checked_in_at + make_interval(hours => o.max_session_hours), s.checked_in_received_at + interval '1 hour')
    from public.organizations as o
    cross join lateral (
      select s.checked_in_at, s.checked_in_received_at
      from public.attendance_sessions as s
      where s.organization_id = o.id and s.status = 'ACTIVE'
        and s.checked_in_at < now() - interval '1 hour' and s.checked_in_received_at < now() - interval '1 hour'
        and s.checked_in_at < now() - make_interval(hours => o.max_session_hours)
      order by s.checked_in_at
      limit 1
    ) as s
  $sql$,
  'close_forgotten_sessions_of'
);

create function private.close_forgotten_sessions() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.take_turns('forgotten-sessions');
end;
$$;

comment on function private.close_forgotten_sessions() is
  'Closes forgotten sessions of all organizations, in turns. Run by schedule; answers how many it closed.';

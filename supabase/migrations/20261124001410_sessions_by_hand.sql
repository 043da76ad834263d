-- Sessions by hand: what was never recorded is entered, what never was is taken back, what is doubtful is accepted; and a person
-- asks for it.
--
-- Bound by the lock date and by retention, not by the grace. A session that an administrator enters must fit between those that
-- are there: they see the refusal, and can change the other one first. Void sessions stay as rows, count nowhere, overlap nothing
-- and keep their reports. correction_requests work as expenses do: one guarded update decides, and what was decided is done in
-- the same transaction or not at all.

create function private.enter_session(
  in_caller private.caller, in_employee_id uuid, in_checked_in_at timestamptz, in_checked_out_at timestamptz, in_reason text,
  in_client_request_id uuid
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_before uuid;
  v_by text := case when (in_caller).api_key_id is null then 'ADMIN' else 'API_KEY' end;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'A session by hand needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  if in_checked_in_at is null or in_checked_out_at is null then
    perform private.fail('invalid_argument', 'A session by hand has both times.', 'checked_in_at, checked_out_at');
  end if;
  perform private.hold_locked_until((in_caller).organization_id);
  perform from public.employees as e
  where e.organization_id = (in_caller).organization_id and e.id = in_employee_id and e.erased_at is null
  for no key update;
  if not found or not private.leads(in_caller, in_employee_id) then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  perform private.refuse_own_hours(in_caller, in_employee_id);
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = (in_caller).organization_id and s.employee_id = in_employee_id
    and s.check_in_request_id = in_client_request_id;
  if found then
    if (coalesce(v_session.original_checked_in_at, v_session.checked_in_at), (private.own_check_out(v_session)).reported_at)
      is distinct from (in_checked_in_at, in_checked_out_at)
    then
      perform private.fail('idempotency_mismatch', 'This client_request_id was used for another session.',
        v_session.id::text, 'Use a new uuid for a new session.');
    end if;
    return v_session;
  end if;
  perform private.judge_hours((in_caller).organization_id, in_checked_in_at, in_checked_out_at);
  v_session.organization_id := (in_caller).organization_id;
  v_session.employee_id := in_employee_id;
  v_session.checked_in_at := in_checked_in_at;
  v_session.checked_out_at := in_checked_out_at;
  perform private.refuse_settled_session(v_session);
  -- An end that nobody reported makes room.
  select s.id into v_before
  from public.attendance_sessions as s
  where s.organization_id = v_session.organization_id and s.employee_id = in_employee_id and s.voided_at is null
    and s.checked_in_at <= in_checked_in_at and s.checked_out_at > in_checked_in_at and s.closed_by = 'AUTO'
  order by s.checked_in_at desc
  limit 1;
  if found then
    perform private.settle_session(v_session.organization_id, v_before, in_checked_in_at);
  end if;
  insert into public.attendance_sessions (
    organization_id, employee_id, status, checked_in_at, check_in_request_id, checked_out_at, checked_out_received_at,
    check_out_is_named, opened_by, closed_by, review_reasons
  ) values (
    v_session.organization_id, in_employee_id, 'CLOSED', in_checked_in_at, in_client_request_id, in_checked_out_at, now(),
    true, v_by, v_by, private.review_reasons(v_session)
  )
  returning * into v_session;
  perform private.request_distance(v_session);
  perform private.audit(v_session.organization_id, 'session.created', 'session', v_session.id, null,
    jsonb_build_object('employee_id', in_employee_id, 'checked_in_at', v_session.checked_in_at,
      'checked_out_at', v_session.checked_out_at),
    btrim(in_reason));
  return v_session;
exception
  when exclusion_violation then
    perform private.fail('session_overlap', 'These times fall into another session of the person.', in_employee_id::text,
      'Correct or void that one first.');
end;
$$;

comment on function private.enter_session(private.caller, uuid, timestamptz, timestamptz, text, uuid) is
  'Makes a closed session of a person by hand, audited. For definers.';

create function private.create_session(
  in_employee_id uuid, in_checked_in_at timestamptz, in_checked_out_at timestamptz, in_reason text, in_client_request_id uuid
) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_leader('sessions:write');
begin
  perform private.hold_locked_until(v_caller.organization_id);
  return private.enter_session(v_caller, in_employee_id, in_checked_in_at, in_checked_out_at,
    in_reason, in_client_request_id);
end;
$$;

comment on function private.create_session(uuid, timestamptz, timestamptz, text, uuid) is 'Body of public.create_session.';

grant execute on function private.create_session(uuid, timestamptz, timestamptz, text, uuid) to authenticated, api_key;

create function public.create_session(
  employee_id uuid, checked_in_at timestamptz, checked_out_at timestamptz, reason text, client_request_id uuid default null
) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.create_session(employee_id, checked_in_at, checked_out_at, reason, client_request_id);
$$;

comment on function public.create_session(uuid, timestamptz, timestamptz, text, uuid) is
  'Enters a whole session of an employee by hand; a retry with the same client_request_id answers the same session.
Administrators, managers for their teams, keys with sessions:write; audited with the reason.
Errors: admin_required 403, scope_missing 403, own_session 403, employee_not_found 404, session_overlap 409, period_locked 409,
time_in_future 422, time_too_old 422 (before retention), check_out_before_check_in 422, idempotency_mismatch 422,
invalid_argument 400.';

grant execute on function public.create_session(uuid, timestamptz, timestamptz, text, uuid) to authenticated, api_key;

create function private.take_back_session(in_caller private.caller, in_session_id uuid, in_reason text)
returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_before public.attendance_sessions;
  v_after public.attendance_sessions;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'A session is taken back with a reason of 3 to 1000 characters.', 'reason');
  end if;
  v_before := private.hold_session(in_caller, in_session_id);
  if v_before.voided_at is not null then
    return v_before;
  end if;
  perform private.refuse_settled_session(v_before);
  update public.attendance_sessions as s
  set voided_at = now(),
    voided_by = (in_caller).employee_id,
    void_reason = btrim(in_reason),
    status = 'CLOSED',
    closed_by = coalesce(s.closed_by, 'AUTO'),
    checked_out_at = coalesce(s.checked_out_at, s.checked_in_at),
    checked_out_received_at = coalesce(s.checked_out_received_at, now()),
    provisional_until = null
  where s.organization_id = v_before.organization_id and s.id = v_before.id
  returning s.* into v_after;
  v_after := private.settle_session(v_after.organization_id, v_after.id);
  -- The one before may have been cut short by it.
  perform private.settle_neighbour(v_after, v_after.checked_in_at);
  perform private.request_distance(v_after);
  perform private.audit(v_after.organization_id, 'session.voided', 'session', v_after.id,
    jsonb_build_object('checked_in_at', v_before.checked_in_at, 'checked_out_at', v_before.checked_out_at),
    jsonb_build_object('voided_at', v_after.voided_at), btrim(in_reason));
  return v_after;
end;
$$;

comment on function private.take_back_session(private.caller, uuid, text) is 'Voids a session, audited. For definers.';

create function private.void_session(in_session_id uuid, in_reason text) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_leader('sessions:write');
begin
  perform private.hold_locked_until(v_caller.organization_id);
  return private.take_back_session(v_caller, in_session_id, in_reason);
end;
$$;

comment on function private.void_session(uuid, text) is 'Body of public.void_session.';

grant execute on function private.void_session(uuid, text) to authenticated, api_key;

create function public.void_session(session_id uuid, reason text) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.void_session(session_id, reason);
$$;

comment on function public.void_session(uuid, text) is
  'Takes a session back: it stays as a row, counts nowhere and overlaps nothing. Calling it again is safe. Administrators,
managers for their teams, keys with sessions:write; audited with the reason.
Errors: admin_required 403, scope_missing 403, own_session 403, session_not_found 404, session_sealed 409, period_locked 409,
invalid_argument 400.';

grant execute on function public.void_session(uuid, text) to authenticated, api_key;

create function private.review_session(in_session_id uuid, in_comment text) returns public.attendance_sessions
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_leader('sessions:write');
  v_session public.attendance_sessions;
  v_comment text := nullif(btrim(in_comment), '');
begin
  if char_length(v_comment) > 1000 then
    perform private.fail('invalid_argument', 'A comment has at most 1000 characters.', 'comment');
  end if;
  v_session := private.hold_session(v_caller, in_session_id);
  perform private.refuse_settled_session(v_session);
  if not v_session.needs_review then
    return v_session;
  end if;
  update public.attendance_sessions as s
  set reviewed_at = now(), reviewed_by = v_caller.employee_id
  where s.organization_id = v_session.organization_id and s.id = v_session.id
  returning s.* into v_session;
  if v_session.status = 'CLOSED' then
    perform private.request_distance(v_session);
  end if;
  perform private.audit(v_session.organization_id, 'session.reviewed', 'session', v_session.id, null,
    jsonb_build_object('review_reasons', v_session.review_reasons, 'reviewed_at', v_session.reviewed_at), v_comment);
  return v_session;
end;
$$;

comment on function private.review_session(uuid, text) is 'Body of public.review_session.';

grant execute on function private.review_session(uuid, text) to authenticated, api_key;

create function public.review_session(session_id uuid, comment text default null) returns public.attendance_sessions
language sql volatile
set search_path = ''
as $$
  select private.review_session(session_id, comment);
$$;

comment on function public.review_session(uuid, text) is
  'Accepts a session that needs_review as it is, so that it counts; what is wrong is corrected or voided instead. Calling it
again is safe. Administrators, managers for their teams, keys with sessions:write; audited.
Errors: admin_required 403, scope_missing 403, own_session 403, session_not_found 404, session_voided 409, session_sealed 409,
period_locked 409, invalid_argument 400.';

grant execute on function public.review_session(uuid, text) to authenticated, api_key;

create table public.correction_requests (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  session_id uuid,
  kind text not null,
  checked_in_at timestamptz,
  checked_out_at timestamptz,
  reason text not null,
  status text not null default 'PENDING',
  client_request_id uuid not null,
  review_comment text,
  reviewer_id uuid,
  reviewed_at timestamptz,
  requested_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  -- What a retry is recognised by.
  unique (organization_id, employee_id, client_request_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete set null (session_id),
  constraint reviewer foreign key (organization_id, reviewer_id)
    references public.employees (organization_id, id) on delete set null (reviewer_id),
  constraint kind_is_valid check (kind in ('CREATE', 'CORRECT', 'VOID')),
  constraint status_is_valid check (status in ('PENDING', 'APPROVED', 'REJECTED')),
  constraint reason_has_3_to_1000_characters check (char_length(reason) between 3 and 1000),
  constraint review_comment_has_1_to_1000_characters check (char_length(review_comment) between 1 and 1000),
  constraint reviewed_has_its_time check ((status = 'PENDING') = (reviewed_at is null)),
  constraint times_go_together check (
    (kind = 'VOID') = (checked_in_at is null) and (checked_in_at is null) = (checked_out_at is null)
  )
);

alter table public.correction_requests enable row level security;

-- What waits, oldest first.
create index correction_requests_pending on public.correction_requests (organization_id, requested_at, id)
  where status = 'PENDING';

-- A person's, newest first; also the employee reference.
create index correction_requests_newest_of_employee
  on public.correction_requests (organization_id, employee_id, requested_at desc, id);

-- The session and reviewer references.
create index correction_requests_session on public.correction_requests (organization_id, session_id, employee_id);
create index correction_requests_reviewer on public.correction_requests (organization_id, reviewer_id)
  where reviewer_id is not null;

create trigger _100_set_updated_at before update on public.correction_requests
  for each row execute function private.tg_any__set_updated_at();

comment on table public.correction_requests is
  'What people ask to be changed about their hours. Administrators read all of their organization''s, an employee the own ones.';
comment on column public.correction_requests.session_id is 'The session it is about; null for one that is missing, until approved.';
comment on column public.correction_requests.kind is 'CREATE (one is missing), CORRECT (its times are wrong), VOID (it never was).';
comment on column public.correction_requests.checked_in_at is 'When the work began, as the person says; null for VOID.';
comment on column public.correction_requests.checked_out_at is 'When it ended, as the person says; null for VOID.';
comment on column public.correction_requests.reason is 'Why, in the person''s words.';
comment on column public.correction_requests.status is 'PENDING, APPROVED (done in the same moment) or REJECTED.';
comment on column public.correction_requests.client_request_id is 'Recognises a retry.';
comment on column public.correction_requests.review_comment is 'What the reviewer said.';
comment on column public.correction_requests.reviewer_id is 'Who decided (employees.id).';
comment on column public.correction_requests.reviewed_at is 'When it was decided; null while it waits.';
comment on column public.correction_requests.requested_at is 'When it was asked for.';

create policy select_member on public.correction_requests for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.correction_requests for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.correction_requests to authenticated, api_key, service_role;

-- NOTE: nobody writes but the two functions below.

create function private.request_correction(
  in_reason text, in_client_request_id uuid, in_session_id uuid, in_checked_in_at timestamptz, in_checked_out_at timestamptz
) returns public.correction_requests
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_session public.attendance_sessions;
  v_request public.correction_requests;
  v_kind text := case when in_session_id is null then 'CREATE' when in_checked_in_at is null and in_checked_out_at is null
    then 'VOID' else 'CORRECT' end;
begin
  if in_client_request_id is null then
    perform private.fail('invalid_argument', 'client_request_id is missing.', 'client_request_id',
      'Make a uuid for each request and send the same one when you retry.');
  end if;
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'A request needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  if v_kind <> 'VOID' and (in_checked_in_at is null or in_checked_out_at is null) then
    perform private.fail('invalid_argument', 'Name both times, or a session_id alone to have it taken back.',
      'checked_in_at, checked_out_at');
  end if;
  perform private.hold_locked_until(v_employee.organization_id);
  perform private.hold_reporter(v_employee.organization_id, v_employee.id);
  select r.* into v_request
  from public.correction_requests as r
  where r.organization_id = v_employee.organization_id and r.employee_id = v_employee.id
    and r.client_request_id = in_client_request_id;
  if found then
    if (v_request.kind, v_request.checked_in_at, v_request.checked_out_at)
      is distinct from (v_kind, in_checked_in_at, in_checked_out_at)
    then
      perform private.fail('idempotency_mismatch', 'This client_request_id was used for another request.',
        v_request.id::text, 'Use a new uuid for a new request.');
    end if;
    return v_request;
  end if;
  v_session.organization_id := v_employee.organization_id;
  v_session.checked_in_at := in_checked_in_at;
  if in_session_id is not null then
    select s.* into v_session
    from public.attendance_sessions as s
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id and s.id = in_session_id;
    if not found then
      perform private.fail('session_not_found', 'There is no such session of yours.', in_session_id::text);
    end if;
  end if;
  if v_kind <> 'VOID' then
    perform private.judge_hours(v_employee.organization_id, in_checked_in_at, in_checked_out_at);
  end if;
  perform private.refuse_settled_session(v_session);
  insert into public.correction_requests (
    organization_id, employee_id, session_id, kind, checked_in_at, checked_out_at, reason, client_request_id
  ) values (
    v_employee.organization_id, v_employee.id, in_session_id, v_kind, in_checked_in_at, in_checked_out_at, btrim(in_reason),
    in_client_request_id
  )
  returning * into v_request;
  return v_request;
end;
$$;

comment on function private.request_correction(text, uuid, uuid, timestamptz, timestamptz) is
  'Body of public.request_correction.';

grant execute on function private.request_correction(text, uuid, uuid, timestamptz, timestamptz) to authenticated;

create function public.request_correction(
  reason text,
  client_request_id uuid,
  session_id uuid default null,
  checked_in_at timestamptz default null,
  checked_out_at timestamptz default null
) returns public.correction_requests
language sql volatile
set search_path = ''
as $$
  select private.request_correction(reason, client_request_id, session_id, checked_in_at, checked_out_at);
$$;

comment on function public.request_correction(text, uuid, uuid, timestamptz, timestamptz) is
  'Asks for other hours: with session_id and both times that they be corrected, with session_id alone that it be taken back,
with both times alone that a missing session be entered. An administrator decides (review_correction). A retry with the same
client_request_id answers the same request.
Errors: not_a_member 403, session_not_found 404, session_voided 409, session_sealed 409, period_locked 409, time_in_future 422,
time_too_old 422 (before retention), check_out_before_check_in 422, idempotency_mismatch 422, invalid_argument 400.';

grant execute on function public.request_correction(text, uuid, uuid, timestamptz, timestamptz) to authenticated;

create function private.review_correction(in_correction_request_id uuid, in_status text, in_comment text)
returns public.correction_requests
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_leader();
  v_request public.correction_requests;
  v_session_id uuid;
  v_comment text := nullif(btrim(in_comment), '');
begin
  if in_status is null or in_status not in ('APPROVED', 'REJECTED') then
    perform private.fail('invalid_argument', 'status is APPROVED or REJECTED.', 'status');
  end if;
  if in_status = 'REJECTED' and v_comment is null or char_length(v_comment) > 1000 then
    perform private.fail('invalid_argument', 'A rejection needs a comment, and a comment has at most 1000 characters.',
      'comment');
  end if;
  perform private.hold_locked_until(v_caller.organization_id);
  select r.* into v_request
  from public.correction_requests as r
  where r.organization_id = v_caller.organization_id and r.id = in_correction_request_id
    and (r.employee_id = v_caller.employee_id or private.leads(v_caller, r.employee_id));
  if not found then
    perform private.fail('correction_not_found', 'There is no such request.', in_correction_request_id::text);
  end if;
  if exists (
    select from public.employees as e
    join public.employees as c on c.organization_id = e.organization_id and (c.id = e.id or c.user_id = e.user_id)
    where e.organization_id = v_caller.organization_id and e.id = v_request.employee_id and c.id = v_caller.employee_id
  ) then
    perform private.fail('own_session', 'Nobody decides about the own request.', v_request.id::text,
      'Another administrator has to do it.');
  end if;
  -- The person before the request, as whoever asks for one.
  perform from public.employees as e
  where e.organization_id = v_caller.organization_id and e.id = v_request.employee_id
  for no key update;
  update public.correction_requests as r
  set status = in_status, review_comment = v_comment, reviewer_id = v_caller.employee_id, reviewed_at = now()
  where r.organization_id = v_caller.organization_id and r.id = v_request.id and r.status = 'PENDING'
  returning r.* into v_request;
  if not found then
    perform private.fail('correction_already_reviewed', 'Somebody has decided about this request already.',
      in_correction_request_id::text);
  end if;
  if v_request.status = 'APPROVED' then
    if v_request.kind = 'CREATE' then
      v_session_id := (private.enter_session(v_caller, v_request.employee_id, v_request.checked_in_at,
        v_request.checked_out_at, v_request.reason, v_request.id)).id;
      update public.correction_requests as r
      set session_id = v_session_id
      where r.organization_id = v_request.organization_id and r.id = v_request.id
      returning r.* into v_request;
    elsif v_request.kind = 'CORRECT' then
      perform private.correct_session(v_request.session_id, v_request.checked_in_at, v_request.checked_out_at,
        v_request.reason);
    else
      perform private.take_back_session(v_caller, v_request.session_id, v_request.reason);
    end if;
  end if;
  perform private.audit(v_request.organization_id, format('correction.%s', lower(v_request.status)), 'correction_request',
    v_request.id, jsonb_build_object('status', 'PENDING'), jsonb_build_object('status', v_request.status), v_comment);
  return v_request;
end;
$$;

comment on function private.review_correction(uuid, text, text) is 'Body of public.review_correction.';

grant execute on function private.review_correction(uuid, text, text) to authenticated;

create function public.review_correction(correction_request_id uuid, status text, comment text default null)
returns public.correction_requests
language sql volatile
set search_path = ''
as $$
  select private.review_correction(correction_request_id, status, comment);
$$;

comment on function public.review_correction(uuid, text, text) is
  'Decides about a request: APPROVED does it in the same moment, or is refused with the reason; REJECTED needs a comment.
Administrators, and managers for their teams; nobody decides about the own request. Audited.
Errors: admin_required 403, own_session 403, correction_not_found 404, correction_already_reviewed 409, session_overlap 409,
session_voided 409, session_sealed 409, period_locked 409, time_too_old 422, invalid_argument 400.';

grant execute on function public.review_correction(uuid, text, text) to authenticated;

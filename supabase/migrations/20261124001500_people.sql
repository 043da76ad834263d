-- People and settings: what administrators change about employees and the organization, and what a person sees of the own.
--
-- Changes come as one json object with only the keys to change, so null can mean "none". An organization always keeps an
-- active administrator: both functions that could take the last one lock the organization first.

create function private.require_another_admin(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform from public.organizations as o where o.id = in_organization_id for no key update;
  if not exists (
    select from public.employees as e
    where e.organization_id = in_organization_id and e.id <> in_employee_id
      and e.app_role = 'ADMIN' and e.is_active and e.user_id is not null
  ) then
    perform private.fail('last_admin', 'An organization keeps at least one active administrator.', null,
      'Make another person administrator first.');
  end if;
end;
$$;

comment on function private.require_another_admin(uuid, uuid) is
  'Refuses (last_admin) if nobody else is an active administrator. Locks the organization, so that two cannot go at once.';

create function private.update_employee(in_employee_id uuid, in_changes jsonb) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('employees:write');
  v_before public.employees;
  v_after public.employees;
  v_constraint text;
  v_column text;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['name', 'phone', 'employee_code', 'app_role', 'team_id'] <> '{}'
  then
    perform private.fail('invalid_argument', 'changes is an object of name, phone, employee_code, app_role and team_id.',
      'changes',
      'Send only the keys to change.');
  end if;
  select e.* into v_before
  from public.employees as e
  -- Who was erased is nobody: a new name would be one of theirs again.
  where e.organization_id = v_admin.organization_id and e.id = in_employee_id and e.erased_at is null
  for update;
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  v_after := jsonb_populate_record(v_before, in_changes);
  if 'ADMIN' in (v_before.app_role, v_after.app_role) then
    perform private.require_person(v_admin);
  end if;
  if v_before.app_role = 'ADMIN' and v_after.app_role is distinct from 'ADMIN' then
    perform private.require_another_admin(v_admin.organization_id, v_before.id);
  end if;
  update public.employees as e
  set name = btrim(v_after.name),
    phone = v_after.phone,
    employee_code = v_after.employee_code,
    app_role = v_after.app_role,
    team_id = v_after.team_id
  where e.organization_id = v_admin.organization_id and e.id = v_before.id
  returning e.* into v_after;
  perform private.audit(v_admin.organization_id, 'employee.updated', 'employee', v_after.id, c.old_values, c.new_values)
  from private.changed(to_jsonb(v_before), to_jsonb(v_after)) as c
  where c.new_values is not null;
  return v_after;
exception
  when unique_violation then
    perform private.fail('employee_code_taken', 'This employee code is taken.', 'employee_code');
  when foreign_key_violation then
    perform private.fail('team_not_found', 'There is no such team.', in_changes ->> 'team_id');
  when invalid_text_representation then
    perform private.fail('invalid_argument', 'team_id is a uuid or null.', 'team_id');
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The employee cannot have these values.', v_constraint,
      'name has 1 to 200 characters, phone at most 40, app_role is ADMIN or EMPLOYEE.');
end;
$$;

comment on function private.update_employee(uuid, jsonb) is 'Body of public.update_employee.';

grant execute on function private.update_employee(uuid, jsonb) to authenticated, api_key;

create function public.update_employee(employee_id uuid, changes jsonb) returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.update_employee(employee_id, changes);
$$;

comment on function public.update_employee(uuid, jsonb) is
  'Changes an employee: {name?, phone?, employee_code?, app_role?, team_id?}; null clears the phone, and takes
the person out of the team. Administrators, and keys with
employees:write (nothing of an administrator); audited.
Errors: admin_required 403, employee_not_found 404, employee_code_taken 409, team_not_found 404, last_admin 409,
invalid_argument 400.';

grant execute on function public.update_employee(uuid, jsonb) to authenticated, api_key;

-- What ends with an employment, whoever ends it. The caller holds the row `for update` and has judged whether it may end.
create function private.end_employment(in_employee public.employees, in_closed_by text, in_reason text) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  perform private.close_session(in_employee.organization_id, in_employee.id, now(), in_closed_by,
    'session.force_checked_out', in_reason);
  update public.invitations as i
  set status = 'REVOKED', revoked_at = now()
  where i.organization_id = in_employee.organization_id and i.employee_id = in_employee.id and i.status = 'PENDING';
  -- For good: a phone that was lost must not report again because the person is back.
  update public.device_tokens as t
  set revoked_at = now()
  where t.organization_id = in_employee.organization_id and t.employee_id = in_employee.id and t.revoked_at is null;
  update public.employees as e
  set is_active = false
  where e.organization_id = in_employee.organization_id and e.id = in_employee.id
  returning e.* into v_employee;
  return v_employee;
end;
$$;

comment on function private.end_employment(public.employees, text, text) is
  'Deactivates an employee: the open session is closed, pending invitations and device tokens are revoked. For definers.';

create function private.set_employee_active(in_employee_id uuid, in_is_active boolean) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('employees:write');
  v_employee public.employees;
begin
  if in_is_active is null then
    perform private.fail('invalid_argument', 'is_active is true or false.', 'is_active');
  end if;
  select e.* into v_employee
  from public.employees as e
  where e.organization_id = v_admin.organization_id and e.id = in_employee_id and e.erased_at is null
  for update;
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  if v_employee.app_role = 'ADMIN' then
    perform private.require_person(v_admin);
  end if;
  if v_employee.is_active = in_is_active then
    if not in_is_active then
      -- A former employee whose return was offered: that is taken back.
      update public.invitations as i
      set status = 'REVOKED', revoked_at = now()
      where i.organization_id = v_admin.organization_id and i.employee_id = v_employee.id and i.status = 'PENDING';
    end if;
    return v_employee;
  end if;
  if not in_is_active then
    if v_employee.app_role = 'ADMIN' then
      perform private.require_another_admin(v_admin.organization_id, v_employee.id);
    end if;
    v_employee := private.end_employment(v_employee, 'ADMIN', 'deactivation');
  else
    -- Coming back is the person's decision. It would also tell whether the account works elsewhere now, and show its new address.
    if v_employee.user_id is not null then
      perform private.fail('invitation_needed', 'Whoever had an account here comes back by an invitation.',
        in_employee_id::text, 'Call invite_employee with the address and this employee_id; accepting it activates the person.');
    end if;
    update public.employees as e
    set is_active = true
    where e.organization_id = v_admin.organization_id and e.id = v_employee.id
    returning e.* into v_employee;
  end if;
  perform private.audit(v_admin.organization_id,
    case when v_employee.is_active then 'employee.activated' else 'employee.deactivated' end, 'employee', v_employee.id,
    jsonb_build_object('is_active', not v_employee.is_active),
    jsonb_build_object('is_active', v_employee.is_active));
  return v_employee;
end;
$$;

comment on function private.set_employee_active(uuid, boolean) is 'Body of public.set_employee_active.';

grant execute on function private.set_employee_active(uuid, boolean) to authenticated, api_key;

create function public.set_employee_active(employee_id uuid, is_active boolean) returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.set_employee_active(employee_id, is_active);
$$;

comment on function public.set_employee_active(uuid, boolean) is
  'Deactivates a person (the open session is closed, a pending invitation and device tokens are revoked, the next statement of a
valid token is refused, the history stays),
  or activates one without an account. Whoever has an account comes back by an invitation
(invite_employee with employee_id). Administrators, and keys with employees:write (no administrator); audited. Calling it again is
safe. Errors: admin_required 403, employee_not_found 404, last_admin 409, invitation_needed 409, invalid_argument 400.';

grant execute on function public.set_employee_active(uuid, boolean) to authenticated, api_key;

-- An account that Auth deletes takes user_id with it (on delete set null). Nobody would be at work in its name any more.
create function private.tg_employees__end_without_account() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.audit(new.organization_id, 'employee.account_deleted', 'employee', new.id,
    jsonb_build_object('is_active', new.is_active), jsonb_build_object('is_active', false));
  if new.is_active then
    perform private.end_employment(new, 'AUTO', 'account deleted');
  end if;
  return null;
end;
$$;

comment on function private.tg_employees__end_without_account() is
  'After the account of an employee went, other than by an erasure: closes the session, deactivates, audits.';

create trigger _200_end_without_account after update of user_id on public.employees
  for each row when (old.user_id is not null and new.user_id is null and new.erased_at is null)
  execute function private.tg_employees__end_without_account();

-- An organization whose last administrator's account was deleted has nobody who could name another: an operator does.
create function private.appoint_administrator(in_employee_id uuid, in_reason text) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'An appointment needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  select e.* into v_employee from public.employees as e
  where e.organization_id is not null and e.id = in_employee_id and e.is_active and e.user_id is not null
  for update;
  if not found then
    perform private.fail('employee_not_found', 'There is no such active employee with an account.', in_employee_id::text);
  end if;
  update public.employees as e
  set app_role = 'ADMIN'
  where e.organization_id = v_employee.organization_id and e.id = v_employee.id
  returning e.* into v_employee;
  perform private.audit(v_employee.organization_id, 'employee.appointed', 'employee', v_employee.id, null,
    jsonb_build_object('app_role', 'ADMIN'), btrim(in_reason));
  return v_employee;
end;
$$;

comment on function private.appoint_administrator(uuid, text) is 'Body of public.appoint_administrator.';

grant execute on function private.appoint_administrator(uuid, text) to service_role;

create function public.appoint_administrator(employee_id uuid, reason text) returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.appoint_administrator(employee_id, reason);
$$;

comment on function public.appoint_administrator(uuid, text) is
  'Makes an active employee with an account administrator, where the organization lost its last one. Operators (service_role); audited.
Errors: employee_not_found 404, invalid_argument 400.';

grant execute on function public.appoint_administrator(uuid, text) to service_role;

create function private.leave_organization() returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
begin
  select e.* into strict v_employee
  from public.employees as e
  where e.organization_id = v_employee.organization_id and e.id = v_employee.id
  for update;
  if not v_employee.is_active then
    return v_employee;
  end if;
  if v_employee.app_role = 'ADMIN' then
    perform private.require_another_admin(v_employee.organization_id, v_employee.id);
  end if;
  perform private.audit(v_employee.organization_id, 'employee.left', 'employee', v_employee.id,
    jsonb_build_object('is_active', true), jsonb_build_object('is_active', false));
  -- Afterwards the caller is nobody's employee; the event names who acted all the same.
  perform set_config('fieldtrack.leaving_id', v_employee.id::text, true);
  v_employee := private.end_employment(v_employee, 'EMPLOYEE', 'left');
  perform set_config('fieldtrack.leaving_id', '', true);
  return v_employee;
end;
$$;

comment on function private.leave_organization() is 'Body of public.leave_organization.';

grant execute on function private.leave_organization() to authenticated;

create function public.leave_organization() returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.leave_organization();
$$;

comment on function public.leave_organization() is
  'Ends the caller''s employment: the open session is closed, device tokens are revoked, the history stays with the organization. The
account is free to join or found another one. Audited. Errors: not_a_member 403, last_admin 409.';

grant execute on function public.leave_organization() to authenticated;

-- A lock date is worth that nothing behind it changes any more. So it moves over settled sessions only; those before the old date
-- are.
create function private.refuse_unsettled_period(in_organization_id uuid, in_locked_from date, in_locked_until date) returns void
language plpgsql stable
set search_path = ''
as $$
declare
  v_sessions text[];
begin
  v_sessions := array(
    select s.id::text
    from public.attendance_sessions as s
    where s.organization_id = in_organization_id
      and s.checked_in_at >= coalesce(in_locked_from::timestamptz - interval '2 days', '-infinity')
      and (s.status = 'ACTIVE' or s.distance_status <> 'DONE') and s.points_purged_at is null
      and private.local_day(s.organization_id, s.checked_in_at) < in_locked_until
    order by s.checked_in_at, s.id
    limit 10
  );
  if cardinality(v_sessions) > 0 then
    perform private.fail('period_unsettled',
      format('Sessions that began before %s are open or have no figures yet.', in_locked_until),
      array_to_string(v_sessions, ', '),
      'Check out or correct who is still at work; figures follow a check-out within seconds (distance_status).');
  end if;
end;
$$;

comment on function private.refuse_unsettled_period(uuid, date, date) is
  'Refuses (period_unsettled) if sessions that began on days from locked_from (null: any) until before locked_until are open or '
  'have no figures yet. The caller holds the lock date exclusively.';

create function private.update_organization(in_changes jsonb, in_reason text) returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_before public.organizations;
  v_after public.organizations;
  v_constraint text;
  v_column text;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['name', 'time_zone', 'currency', 'locked_until', 'max_accuracy_m',
      'max_speed_mps', 'gap_s', 'stop_s', 'max_session_hours', 'late_upload_grace_hours', 'location_retention_days',
      'device_checks_in', 'allows_self_review', 'own_hours_by_hand', 'expense_categories', 'shares_leaderboard',
      'key_notice_hours'] <> '{}'
  then
    perform private.fail('invalid_argument', 'changes is an object of the organization''s settings.', 'changes',
      'name, time_zone, currency, locked_until, max_accuracy_m, max_speed_mps, gap_s, stop_s, max_session_hours, '
      'late_upload_grace_hours, location_retention_days, device_checks_in, allows_self_review, own_hours_by_hand, '
      'expense_categories, shares_leaderboard and key_notice_hours; only those to change.');
  end if;
  if in_changes ? 'locked_until' then
    if jsonb_typeof(in_changes -> 'locked_until') <> 'null'
      and in_changes ->> 'locked_until' !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
    then
      perform private.fail('invalid_argument', 'locked_until is a date such as 2026-11-30.', 'locked_until');
    end if;
    perform private.hold_locked_until(v_admin.organization_id, in_exclusively => true);
  end if;
  select o.* into strict v_before from public.organizations as o where o.id = v_admin.organization_id for no key update;
  v_after := jsonb_populate_record(v_before, in_changes);
  -- A day that is not over cannot be locked, and a year that nobody means would stop everybody.
  if in_changes ? 'locked_until' and v_after.locked_until > private.local_day(v_before.id, now()) then
    perform private.fail('invalid_argument', 'Only days that are over can be locked.', 'locked_until',
      format('Days before locked_until are locked; today is %s: is the year right?', private.local_day(v_before.id, now())));
  end if;
  update public.organizations as o
  set name = btrim(v_after.name),
    time_zone = v_after.time_zone,
    currency = v_after.currency,
    locked_until = v_after.locked_until,
    max_accuracy_m = v_after.max_accuracy_m,
    max_speed_mps = v_after.max_speed_mps,
    gap_s = v_after.gap_s,
    stop_s = v_after.stop_s,
    max_session_hours = v_after.max_session_hours,
    late_upload_grace_hours = v_after.late_upload_grace_hours,
    location_retention_days = v_after.location_retention_days,
    device_checks_in = v_after.device_checks_in,
    allows_self_review = v_after.allows_self_review,
    own_hours_by_hand = v_after.own_hours_by_hand,
    expense_categories = v_after.expense_categories,
    shares_leaderboard = v_after.shares_leaderboard,
    key_notice_hours = v_after.key_notice_hours
  where o.id = v_admin.organization_id
  returning o.* into v_after;
  if v_after.locked_until > coalesce(v_before.locked_until, '-infinity') then
    perform private.refuse_unsettled_period(v_after.id, v_before.locked_until, v_after.locked_until);
  end if;
  if v_before.locked_until > coalesce(v_after.locked_until, '-infinity')
    and coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000
  then
    perform private.fail('invalid_argument', 'Unlocking days needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  perform private.audit(v_after.id, 'organization.updated', 'organization', v_after.id, c.old_values, c.new_values,
    nullif(btrim(in_reason), ''))
  from private.changed(to_jsonb(v_before), to_jsonb(v_after)) as c
  where c.new_values is not null;
  return v_after;
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The organization cannot have these settings.', v_constraint);
end;
$$;

comment on function private.update_organization(jsonb, text) is 'Body of public.update_organization.';

grant execute on function private.update_organization(jsonb, text) to authenticated;

create function public.update_organization(changes jsonb, reason text default null) returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.update_organization(changes, reason);
$$;

comment on function public.update_organization(jsonb, text) is
  'Changes settings of the caller''s organization: any of name, time_zone, currency, locked_until, max_accuracy_m,
max_speed_mps, gap_s, stop_s, max_session_hours, late_upload_grace_hours, location_retention_days, device_checks_in,
allows_self_review, expense_categories, shares_leaderboard, key_notice_hours.
locked_until moves forward when every session that began before it is closed and has its figures, and back with a reason only,
  which
is told (organization.unlocked). Administrators; audited.
Errors: admin_required 403, invalid_argument 400 (details: the rule that was broken), period_unsettled 409 (details: the first of
the sessions).';

grant execute on function public.update_organization(jsonb, text) to authenticated;

create function public.get_my_profile() returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_organization public.organizations;
  v_open_session_id uuid;
begin
  select o.* into strict v_organization from public.organizations as o where o.id = v_employee.organization_id;
  select s.id into v_open_session_id
  from public.attendance_sessions as s
  where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id and s.status = 'ACTIVE';
  return jsonb_build_object(
    'employee_id', v_employee.id,
    'name', v_employee.name,
    'employee_code', v_employee.employee_code,
    'phone', v_employee.phone,
    'app_role', v_employee.app_role,
    'created_at', v_employee.created_at,
    'open_session_id', v_open_session_id,
    'organization', jsonb_build_object(
      'id', v_organization.id,
      'name', v_organization.name,
      'slug', v_organization.slug,
      'time_zone', v_organization.time_zone,
      'currency', v_organization.currency,
      'late_upload_grace_hours', v_organization.late_upload_grace_hours
    )
  );
end;
$$;

comment on function public.get_my_profile() is
  'The caller: {employee_id, name, employee_code, phone, app_role, created_at, open_session_id, organization: {id, name, slug,
time_zone, currency, late_upload_grace_hours}}. Errors: not_a_member 403.';

grant execute on function public.get_my_profile() to authenticated;
grant execute on function private.require_employee() to authenticated;

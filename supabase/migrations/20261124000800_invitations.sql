-- Invitations: how a person comes into an organization.
--
-- Inviting makes the employee at once (so that work can be planned for it); accepting ties the signed-in user to it. The
-- token is shown once and stored as a hash. Inviting the same address again replaces the token of the invitation that
-- still waits: that is also what to do when the answer with the token was lost. The role is that of the newest word: who
-- invites an employee has made no administrator, whatever was said before.
-- Who was here before continues: inviting the address again, or naming the employee, leads to the same row, and it is the
-- person who
-- comes back by accepting. Only the organization's own invitations are looked at for that, never the accounts of Auth.
-- Not covered: sending the e-mail. The caller gets the token and sends the link.

create table public.invitations (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  email text not null,
  status text not null default 'PENDING',
  expires_at timestamptz not null,
  invited_by uuid,
  accepted_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint inviter foreign key (organization_id, invited_by)
    references public.employees (organization_id, id) on delete set null (invited_by),
  constraint email_is_plausible check (char_length(email) <= 320 and email ~ '^[^@\s]+@[^@\s]+$'),
  constraint email_is_lower_case check (email = lower(email)),
  constraint status_is_valid check (status in ('PENDING', 'ACCEPTED', 'REVOKED')),
  constraint accepted_has_its_time check ((status = 'ACCEPTED') = (accepted_at is not null)),
  constraint revoked_has_its_time check (status = 'REVOKED' or revoked_at is null)
);

alter table public.invitations enable row level security;

-- One invitation waits per address and organization.
create unique index invitations_one_pending on public.invitations (organization_id, email) where status = 'PENDING';

-- The employee and inviter references.
create index invitations_employee on public.invitations (organization_id, employee_id);
create index invitations_inviter on public.invitations (organization_id, invited_by);

-- Who was invited under this address before?
create index invitations_email on public.invitations (organization_id, email);

-- The administrator's list, newest first.
create index invitations_newest on public.invitations (organization_id, created_at desc, id);

create trigger _100_set_updated_at before update on public.invitations
  for each row execute function private.tg_any__set_updated_at();

comment on table public.invitations is 'Invitations of the organization, for its administrators.';
comment on column public.invitations.expires_at is 'Not accepted after this.';
comment on column public.invitations.invited_by is 'The administrator (employees.id) who invited.';
comment on column public.invitations.accepted_at is 'When a user accepted; null while it waits.';
comment on column public.invitations.revoked_at is 'When it was revoked; null unless REVOKED. A month later it is forgotten.';
comment on column public.invitations.email is 'Address the invitation is for, in lower case. Only a user with it can accept.';
comment on column public.invitations.status is 'PENDING, ACCEPTED or REVOKED. A PENDING one past expires_at is refused.';

create policy select_admin on public.invitations for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.invitations for select to api_key using (
  organization_id = (select private.key_organization_id('employees:read'))
);

grant select on public.invitations to authenticated, api_key, service_role;

-- What an invitation is recognised by stands apart, so that reading every column of an invitation shows no secret.
create table private.invitation_tokens (
  organization_id uuid not null,
  invitation_id uuid not null,
  token_hash bytea not null unique,
  primary key (organization_id, invitation_id),
  constraint invitation foreign key (organization_id, invitation_id)
    references public.invitations (organization_id, id) on delete cascade
);

alter table private.invitation_tokens enable row level security;

comment on table private.invitation_tokens is 'SHA-256 of each invitation''s newest token.';

-- NOTE: nothing is granted on it: invite_employee writes it, accept_invitation finds by it.

-- The employee that an invitation is for, held against acceptance and deactivation: the one that is named, the one that waits
-- or was
-- here before under this address, or a new one.
create function private.find_or_make_invited(
  in_admin private.caller, in_email text, in_name text, in_app_role text, in_phone text, in_employee_code text,
  in_employee_id uuid
) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  -- The person before the invitation, like who accepts it.
  if in_employee_id is not null then
    select e.* into v_employee
    from public.employees as e
    where e.organization_id = in_admin.organization_id and e.id = in_employee_id and e.erased_at is null
    for no key update;
    if not found then
      perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
    end if;
    if v_employee.is_active and v_employee.user_id is not null then
      perform private.fail('already_a_member', 'This person is a member already.', 'employee_id');
    end if;
  else
    select e.* into v_employee
    from public.invitations as i
    join public.employees as e on e.organization_id = i.organization_id and e.id = i.employee_id
    where i.organization_id = in_admin.organization_id and i.email = in_email and e.erased_at is null
      and (i.status = 'PENDING' or not e.is_active)
    order by (i.status = 'PENDING') desc, (i.status = 'ACCEPTED') desc, i.created_at desc
    limit 1
    for no key update of e;
    if not found then
      insert into public.employees (organization_id, name, app_role, phone, employee_code)
      values (in_admin.organization_id, btrim(in_name), in_app_role, in_phone, in_employee_code)
      returning * into v_employee;
      return v_employee;
    end if;
  end if;
  -- A key may not renew what it could not have made.
  if v_employee.app_role = 'ADMIN' then
    perform private.require_person(in_admin);
  end if;
  update public.employees as e
  set app_role = in_app_role,
    name = case when e.is_active then e.name else coalesce(nullif(btrim(in_name), ''), e.name) end,
    phone = case when e.is_active then e.phone else coalesce(in_phone, e.phone) end,
    employee_code = case when e.is_active then e.employee_code else coalesce(in_employee_code, e.employee_code) end
  where e.organization_id = in_admin.organization_id and e.id = v_employee.id
  returning e.* into v_employee;
  return v_employee;
end;
$$;

comment on function private.find_or_make_invited(private.caller, text, text, text, text, text, uuid) is
  'The employee whom an invitation is for, with the role as it is said now. For private.invite_employee.';

create function private.invite_employee(
  in_email text, in_name text, in_app_role text, in_phone text, in_employee_code text, in_employee_id uuid
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('employees:write');
  v_email text := lower(btrim(in_email));
  v_token text := private.make_token('fti_');
  v_invitation public.invitations;
  v_employee public.employees;
  v_constraint text;
  v_column text;
begin
  if in_app_role = 'ADMIN' then
    perform private.require_person(v_admin);
  end if;
  perform private.take_token(v_admin.organization_id, 'invitations', v_admin.organization_id);
  -- From the organization's own people to their addresses, never the other way: a join would look the address up first, and
  -- the time that takes tells whether it has an account, perhaps in another organization.
  if exists (
    select from public.employees as e
    where e.organization_id = v_admin.organization_id and e.is_active
      and (select lower(u.email) from auth.users as u where u.id = e.user_id) = v_email
  ) then
    perform private.fail('already_a_member', 'A person with this address is already a member.', 'email');
  end if;
  v_employee := private.find_or_make_invited(
    v_admin, v_email, in_name, in_app_role, in_phone, in_employee_code, in_employee_id);

  update public.invitations as i
  set expires_at = now() + interval '7 days', invited_by = v_admin.employee_id
  where i.organization_id = v_admin.organization_id and i.employee_id = v_employee.id and i.email = v_email
    and i.status = 'PENDING'
  returning i.* into v_invitation;
  if not found then
    -- One invitation waits for a person: who is invited under another address now is not awaited under the first.
    update public.invitations as i
    set status = 'REVOKED', revoked_at = now()
    where i.organization_id = v_admin.organization_id and i.employee_id = v_employee.id and i.status = 'PENDING';
    insert into public.invitations (organization_id, employee_id, email, expires_at, invited_by)
    values (v_admin.organization_id, v_employee.id, v_email, now() + interval '7 days', v_admin.employee_id)
    returning * into v_invitation;
  end if;
  insert into private.invitation_tokens (organization_id, invitation_id, token_hash)
  values (v_invitation.organization_id, v_invitation.id, private.hash_token(v_token))
  on conflict (organization_id, invitation_id) do update set token_hash = excluded.token_hash;
  perform private.audit(v_invitation.organization_id, 'employee.invited', 'employee', v_invitation.employee_id, null,
    jsonb_build_object('email', v_email, 'app_role', in_app_role,
      'expires_at', v_invitation.expires_at));

  return jsonb_build_object(
    'invitation_id', v_invitation.id,
    'employee_id', v_invitation.employee_id,
    'token', v_token,
    'expires_at', v_invitation.expires_at
  );
exception
  when unique_violation then
    get stacked diagnostics v_constraint = constraint_name;
    if v_constraint = 'invitations_one_pending' then
      perform private.fail('conflict_retry', 'An invitation of another employee waits for this address, or is made right now.',
        'email', 'Deactivate that employee, or try again.');
    end if;
    perform private.fail('employee_code_taken', 'This employee code is taken.', 'employee_code');
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The invitation cannot be made with these values.', v_constraint,
      'email must be an address, name has 1 to 200 characters, app_role is ADMIN or EMPLOYEE.');
end;
$$;

comment on function private.invite_employee(text, text, text, text, text, uuid) is 'Body of public.invite_employee.';

grant execute on function private.invite_employee(text, text, text, text, text, uuid) to authenticated, api_key;

create function public.invite_employee(
  email text, name text default null, app_role text default 'EMPLOYEE', phone text default null,
  employee_code text default null, employee_id uuid default null
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.invite_employee(email, name, app_role, phone, employee_code, employee_id);
$$;

comment on function public.invite_employee(text, text, text, text, text, uuid) is
  'Makes an employee and an invitation for the address, valid for 7 days; again for the same address: a new token for the
invitation that still waits, and app_role as it is said now. Who was here before under the address, or is named by employee_id (a
former employee, or one without an account), continues in the same row by accepting. Answers {invitation_id, employee_id, token,
expires_at}; the token is shown only here. Administrators, and keys with employees:write (no administrator); 30 an hour for the
organization; audited. Errors: admin_required 403, already_a_member 409, employee_not_found 404, employee_code_taken 409,
conflict_retry 409, rate_limited 429, invalid_argument 400.';

grant execute on function public.invite_employee(text, text, text, text, text, uuid) to authenticated, api_key;

create function private.create_employee(in_name text, in_phone text, in_employee_code text) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('employees:write');
  v_employee public.employees;
  v_constraint text;
  v_column text;
begin
  perform private.take_token(v_admin.organization_id, 'invitations', v_admin.organization_id);
  insert into public.employees (organization_id, name, phone, employee_code)
  values (v_admin.organization_id, btrim(in_name), in_phone, in_employee_code)
  returning * into v_employee;
  perform private.audit(v_employee.organization_id, 'employee.created', 'employee', v_employee.id, null,
    jsonb_build_object('name', v_employee.name, 'employee_code', v_employee.employee_code));
  return v_employee;
exception
  when unique_violation then
    perform private.fail('employee_code_taken', 'This employee code is taken.', 'employee_code');
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The employee cannot have these values.', v_constraint,
      'name has 1 to 200 characters, phone at most 40, employee_code at most 40.');
end;
$$;

comment on function private.create_employee(text, text, text) is 'Body of public.create_employee.';

grant execute on function private.create_employee(text, text, text) to authenticated, api_key;

create function public.create_employee(name text, phone text default null, employee_code text default null)
returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.create_employee(name, phone, employee_code);
$$;

comment on function public.create_employee(text, text, text) is
  'Employs a person without an e-mail address, who reports with a device token (create_device_token); an address can be given later
(invite_employee with employee_id). Administrators, and keys with employees:write; 30 an hour for the organization, with
invitations; audited. Errors: admin_required 403, employee_code_taken 409, rate_limited 429, invalid_argument 400.';

grant execute on function public.create_employee(text, text, text) to authenticated, api_key;

create function private.accept_invitation(in_token text) returns public.employees
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
  v_email text;
  v_invitation public.invitations;
  v_employee public.employees;
begin
  if v_user_id is null then
    perform private.fail('not_authenticated', 'Sign in first.', null, 'Send a user''s access token as Bearer token.');
  end if;
  -- An address that was never confirmed proves nothing.
  select lower(u.email) into v_email
  from auth.users as u
  where u.id = v_user_id and u.email_confirmed_at is not null;

  -- The person before the invitation, like a deactivation or an erasure, which would wait for us while we wait for them.
  perform from private.invitation_tokens as t
  join public.invitations as i on i.organization_id = t.organization_id and i.id = t.invitation_id
  join public.employees as e on e.organization_id = i.organization_id and e.id = i.employee_id
  where t.token_hash = private.hash_token(in_token) and i.email = v_email
  for update of e;
  select i.* into v_invitation
  from private.invitation_tokens as t
  join public.invitations as i on i.organization_id = t.organization_id and i.id = t.invitation_id
  where t.token_hash = private.hash_token(in_token) and i.status <> 'REVOKED'
  for update of i;
  if not found then
    perform private.fail('invitation_not_found', 'There is no such invitation.', null,
      'It may have been replaced by a newer one; ask your administrator.');
  end if;
  if v_email is distinct from v_invitation.email then
    perform private.fail('invitation_email_mismatch', 'This invitation is for another e-mail address.', null,
      'Sign in with the confirmed address that was invited.');
  end if;
  if v_invitation.status = 'ACCEPTED' then
    -- The same person again: a retry gets the same answer.
    select e.* into v_employee
    from public.employees as e
    where e.organization_id = v_invitation.organization_id and e.id = v_invitation.employee_id
      and e.user_id = v_user_id and e.is_active;
    if not found then
      perform private.fail('invitation_not_found', 'This invitation was used before.');
    end if;
    return v_employee;
  end if;
  if v_invitation.expires_at <= now() then
    perform private.fail('invitation_expired', 'This invitation has expired.', null, 'Ask your administrator for a new one.');
  end if;

  -- A row that has an account already is taken up by that account only: the history is one person's.
  update public.employees as e
  set user_id = v_user_id, is_active = true
  where e.organization_id = v_invitation.organization_id and e.id = v_invitation.employee_id
    and (e.user_id is null or (e.user_id = v_user_id and not e.is_active))
  returning e.* into v_employee;
  if not found then
    perform private.fail('invitation_email_mismatch', 'This invitation is for another account.', null,
      'Sign in with the account that you had here before, or ask your administrator.');
  end if;
  update public.invitations as i
  set status = 'ACCEPTED', accepted_at = now()
  where i.organization_id = v_invitation.organization_id and i.id = v_invitation.id;
  perform private.audit(v_employee.organization_id, 'invitation.accepted', 'employee', v_employee.id, null,
    jsonb_build_object('invitation_id', v_invitation.id, 'app_role', v_employee.app_role));
  return v_employee;
exception
  when unique_violation then
    perform private.fail('already_in_organization', 'You already belong to an organization.', null,
      'A user has one active organization at a time.');
end;
$$;

comment on function private.accept_invitation(text) is 'Body of public.accept_invitation.';

grant execute on function private.accept_invitation(text) to authenticated;

create function public.accept_invitation(token text) returns public.employees
language sql volatile
set search_path = ''
as $$
  select private.accept_invitation(token);
$$;

comment on function public.accept_invitation(text) is
  'Ties the signed-in user to the invited employee, or takes up the employment again that the user had here. The user''s confirmed
e-mail address must be the invited one. Audited. Twice is not an error. Refresh the access token afterwards to see the new claims.
Errors: invitation_not_found 404, invitation_expired 410, invitation_email_mismatch 403, already_in_organization 409.';

grant execute on function public.accept_invitation(text) to authenticated;

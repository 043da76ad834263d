-- Who calls? The questions of every policy and of every RPC, and the policies of the chapters so far.
--
-- A person's tenant and role are read from employees, a key's tenant and scopes from api_keys, at each statement and never
-- from the token: deactivation, a changed role or a revoked key takes effect on the next statement. The helpers are SECURITY
-- DEFINER so that the policies of these very tables can call them without recursion (the system before this one recursed,
-- so its policies never worked). Scalar, stable and wrapped in (select …) by the policies, they run once a statement.

create function private.current_api_key() returns public.api_keys
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_claims jsonb := private.jwt();
  v_key public.api_keys;
begin
  if v_claims ->> 'role' is distinct from 'api_key' then
    return null;
  end if;
  select k.* into v_key
  from public.api_keys as k
  where k.organization_id = (v_claims ->> 'organization_id')::uuid and k.id = (v_claims ->> 'api_key_id')::uuid
    and (k.revoked_at is null or k.revoked_at > now()) and k.is_active
    and (k.expires_at is null or k.expires_at > now());
  return v_key;
end;
$$;

comment on function private.current_api_key() is
  'The API key that calls, as it is now; null for anybody else and for a key that expired or was revoked.';

create function private.current_organization_id() returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  if v_user_id is null then
    return (private.current_api_key()).organization_id;
  end if;
  return (select e.organization_id from public.employees as e where e.user_id = v_user_id and e.is_active);
end;
$$;

comment on function private.current_organization_id() is
  'The organization in which the signed-in caller is active now, or that of the calling API key; or null.';

create function private.current_employee_id() returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  return (select e.id from public.employees as e where e.user_id = v_user_id and e.is_active);
end;
$$;

comment on function private.current_employee_id() is 'The signed-in caller''s active employee row, or null.';

create function private.is_admin() returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  return exists (
    select from public.employees as e where e.user_id = v_user_id and e.is_active and e.app_role = 'ADMIN'
  );
end;
$$;

comment on function private.is_admin() is 'Whether the signed-in caller is an active administrator of the own organization.';

-- One scalar where only administrators read: each costs a lookup of its own.
create function private.admin_organization_id() returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  return (
    select e.organization_id from public.employees as e where e.user_id = v_user_id and e.is_active and e.app_role = 'ADMIN'
  );
end;
$$;

comment on function private.admin_organization_id() is
  'The organization of which the signed-in caller is an active administrator now, or null.';

-- An array and not a set, so that a policy compares with it as with a scalar: asked once a statement. For most people it is
-- empty,
-- and finding that out costs one look into team_managers.
create function private.managed_employee_ids() returns uuid[]
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  return (
    select coalesce(array_agg(e.id), '{}')
    from public.employees as me
    join public.team_managers as m on m.organization_id = me.organization_id and m.employee_id = me.id
    join public.employees as e on e.organization_id = m.organization_id and e.team_id = m.team_id
    -- Nobody decides for themselves, not even where they belong to the team that they manage.
    where me.user_id = v_user_id and me.is_active and e.id <> me.id
  );
end;
$$;

comment on function private.managed_employee_ids() is
  'The people of the teams that the signed-in caller manages now, without the caller; empty for everybody else.';

grant execute on function private.managed_employee_ids() to authenticated, service_role;

grant execute on function private.current_organization_id() to authenticated, api_key, service_role;
grant execute on function private.current_employee_id() to authenticated, service_role;
grant execute on function private.is_admin() to authenticated, service_role;
grant execute on function private.admin_organization_id() to authenticated, service_role;

-- They raise rather than answer false, so that a key learns what it lacks (403) instead of reading an empty list.

create function private.require_scope(in_scope text) returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
  v_key public.api_keys := private.current_api_key();
begin
  if v_key.id is null then
    perform private.fail('api_key_invalid', 'This API key is not valid any more.', null,
      'It was revoked or has expired; ask an administrator for a new one.');
  end if;
  if not in_scope = any (v_key.scopes) then
    perform private.fail('scope_missing', format('This API key lacks the scope %s.', in_scope),
      in_scope, 'An administrator can make a key with this scope.');
  end if;
  return true;
end;
$$;

comment on function private.require_scope(text) is
  'True if the calling API key has the scope; with null, if it is valid at all. Errors: api_key_invalid 401, scope_missing 403.';

-- What policies `to api_key` compare organization_id with. One scalar for both questions: a second condition beside it was
-- asked only where a row had passed the first, so a key without the scope read an empty list of what it had named wrongly.
create function private.key_organization_id(in_scope text) returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
  perform private.require_scope(in_scope);
  return (private.current_api_key()).organization_id;
end;
$$;

comment on function private.key_organization_id(text) is
  'The organization of the calling API key if it has the scope (null: if it is valid). Errors: those of require_scope.';

grant execute on function private.current_api_key() to api_key;
grant execute on function private.require_scope(text) to api_key;
grant execute on function private.key_organization_id(text) to api_key;

-- Bodies of RPCs begin with one of these: who calls, or a refusal that says what is wrong.

create function private.require_employee() returns public.employees
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
  v_employee public.employees;
begin
  if v_user_id is null then
    perform private.fail('not_authenticated', 'Sign in first.', null, 'Send a user''s access token as Bearer token.');
  end if;
  select e.* into v_employee from public.employees as e where e.user_id = v_user_id and e.is_active;
  if not found then
    perform private.fail('not_a_member', 'You are not an active member of an organization.', null,
      case when exists (select from public.employees as e where e.user_id = v_user_id)
        then 'You were once; ask an administrator to invite you again.'
        else 'Found one with create_organization or accept an invitation.' end);
  end if;
  return v_employee;
end;
$$;

comment on function private.require_employee() is
  'The caller''s active employee row. Errors: not_authenticated, not_a_member.';

-- Who calls an administrator's RPC: a person (employee_id), or an API key (api_key_id) where the RPC names a scope.
create type private.caller as (organization_id uuid, employee_id uuid, api_key_id uuid);

comment on type private.caller is 'An administrator or an API key with its organization; the other id is null.';

create function private.require_admin(in_scope text default null) returns private.caller
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
  v_key public.api_keys;
begin
  if private.jwt() ->> 'role' = 'api_key' then
    if in_scope is null then
      perform private.fail('admin_required', 'Only an administrator may do this, no API key.');
    end if;
    perform private.require_scope(in_scope);
    v_key := private.current_api_key();
    return row(v_key.organization_id, null, v_key.id)::private.caller;
  end if;
  v_employee := private.require_employee();
  if v_employee.app_role <> 'ADMIN' then
    perform private.fail('admin_required', 'Only an administrator may do this.');
  end if;
  return row(v_employee.organization_id, v_employee.id, null)::private.caller;
end;
$$;

comment on function private.require_admin(text) is
  'The calling administrator, or the calling API key if it has the scope; with no scope named no key may call. Errors: '
  'not_authenticated, not_a_member, admin_required, api_key_invalid, scope_missing.';

grant execute on function private.require_admin(text) to authenticated, api_key;

create function private.managed_team_topics() returns text[]
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
begin
  return (
    select coalesce(array_agg('team:' || m.team_id), '{}')
    from public.employees as me
    join public.team_managers as m on m.organization_id = me.organization_id and m.employee_id = me.id
    where me.user_id = v_user_id and me.is_active
  );
end;
$$;

comment on function private.managed_team_topics() is
  'The Realtime channels (team:<team_id>) of the teams that the signed-in caller manages now.';

grant execute on function private.managed_team_topics() to authenticated;

create function private.is_manager(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return exists (
    select from public.team_managers as m
    where m.organization_id = in_organization_id and m.employee_id = in_employee_id
  );
end;
$$;

comment on function private.is_manager(uuid, uuid) is 'Whether a person manages a team. For definers.';

-- Acts that a manager may do for the own team begin with this, and name the person by private.leads before they touch a row.
create function private.require_leader(in_scope text default null) returns private.caller
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  if private.jwt() ->> 'role' = 'api_key' then
    return private.require_admin(in_scope);
  end if;
  v_employee := private.require_employee();
  if v_employee.app_role <> 'ADMIN' and not private.is_manager(v_employee.organization_id, v_employee.id) then
    perform private.fail('admin_required', 'Only an administrator, or the manager of the person''s team, may do this.');
  end if;
  return row(v_employee.organization_id, v_employee.id, null)::private.caller;
end;
$$;

comment on function private.require_leader(text) is
  'The calling administrator or manager of some team, or the calling API key if it has the scope. Whom a manager leads is asked by '
  'private.leads. Errors: those of require_admin.';

create function private.leads(in_caller private.caller, in_employee_id uuid) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_is_member boolean := exists (
    select from public.employees as e where e.organization_id = (in_caller).organization_id and e.id = in_employee_id
  );
begin
  return v_is_member
    and ((in_caller).api_key_id is not null or private.is_admin() or in_employee_id = any (private.managed_employee_ids()));
end;
$$;

comment on function private.leads(private.caller, uuid) is
  'Whether the caller of private.require_leader decides for this person: a key and an administrator for everybody of the '
  'organization, a manager for the people of the teams they manage. What is false looks to the caller as if it did not exist.';

grant execute on function private.require_leader(text) to authenticated, api_key;
grant execute on function private.leads(private.caller, uuid) to authenticated, api_key;

-- A key that could make an administrator could make itself one, and with that any key. So no key gives, takes or holds up
-- that role: where an administrator is concerned, a person has to act.
create function private.require_person(in_caller private.caller) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
  if (in_caller).employee_id is null then
    perform private.fail('admin_required', 'Only an administrator may do this to an administrator, no API key.');
  end if;
end;
$$;

comment on function private.require_person(private.caller) is
  'Refuses an API key (admin_required). For definers, where the role ADMIN is concerned.';

-- A rule about persons holds for every credential of theirs: the person has several employments over the years, and the keys that
-- the person made or gave scopes to. So accounts are compared where there are any, not ids of rows.
create function private.is_same_person(in_caller private.caller, in_employee_id uuid) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return exists (
    select
    from (
      select (in_caller).employee_id
      union all
      select m.employee_id
      from public.api_keys as k
      cross join lateral (values (k.created_by), (k.scopes_set_by)) as m (employee_id)
      where k.organization_id = (in_caller).organization_id and k.id = (in_caller).api_key_id
    ) as c (employee_id)
    join public.employees as a on a.organization_id = (in_caller).organization_id and a.id = c.employee_id
    join public.employees as b on b.organization_id = a.organization_id and b.id = in_employee_id
    where a.id = b.id or a.user_id = b.user_id
  );
end;
$$;

comment on function private.is_same_person(private.caller, uuid) is
  'Whether the employee is the caller: the person, a key that the person made or gave its scopes, or another employment of the '
  'same account. For definers behind require_admin.';

create function private.current_actor() returns private.actor
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_role text := private.jwt() ->> 'role';
begin
  if v_role = 'authenticated' then
    -- Who leaves sets the second (private.leave_organization): by then there is no active employment.
    return row('employee', coalesce(
      private.current_employee_id(), nullif(current_setting('fieldtrack.leaving_id', true), '')::uuid))::private.actor;
  elsif v_role = 'api_key' then
    return row('api_key', (private.current_api_key()).id)::private.actor;
  elsif v_role = 'service_role' then
    return row('service', null)::private.actor;
  elsif session_user = 'fieldtrack_worker' then
    return row('worker', null)::private.actor;
  elsif session_user = 'fieldtrack_edge' and current_setting('fieldtrack.device_id', true) <> '' then
    -- private.ingest_locations set it, once it knew the token.
    return row('device', current_setting('fieldtrack.device_id')::uuid)::private.actor;
  end if;
  return row('system', null)::private.actor;
end;
$$;

comment on function private.current_actor() is
  'Who acts in this transaction: from the token, else from the login role; system for schedules and operators.';

grant execute on function private.current_actor() to authenticated, api_key, service_role, fieldtrack_worker;

create policy select_member on public.employees for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or id = (select private.current_employee_id())
    or id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_worker on public.employees for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy select_key on public.employees for select to api_key using (
  organization_id = (select private.key_organization_id('employees:read'))
);

grant select on public.employees to authenticated, api_key, service_role, fieldtrack_worker;

-- NOTE: no insert, update or delete for anyone: RPCs do that. A colleague's row is withheld from an employee.

create policy select_member on public.organizations for select to authenticated using (
  id = (select private.current_organization_id())
);

create policy select_worker on public.organizations for select to fieldtrack_worker using (
  id = (select private.worker_organization_id())
);

create policy select_key on public.organizations for select to api_key using (
  id = (select private.key_organization_id(null))
);

grant select on public.organizations to authenticated, api_key, service_role, fieldtrack_worker;

create policy select_member on public.organization_time_zones for select to authenticated using (
  organization_id = (select private.current_organization_id())
);

create policy select_worker on public.organization_time_zones for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy select_key on public.organization_time_zones for select to api_key using (
  organization_id = (select private.key_organization_id(null))
);

grant select on public.organization_time_zones to authenticated, api_key, service_role, fieldtrack_worker;

create policy select_member on public.teams for select to authenticated using (
  organization_id = (select private.current_organization_id())
);

create policy select_key on public.teams for select to api_key using (
  organization_id = (select private.key_organization_id('employees:read'))
);

grant select on public.teams to authenticated, api_key, service_role;

create policy select_member on public.team_managers for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and ((select private.is_admin()) or employee_id = (select private.current_employee_id()))
);

create policy select_key on public.team_managers for select to api_key using (
  organization_id = (select private.key_organization_id('employees:read'))
);

grant select on public.team_managers to authenticated, api_key, service_role;

-- NOTE: nobody writes teams and their managers but the RPCs of 000770_team_management.

create policy select_admin on public.api_keys for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

grant select on public.api_keys to authenticated, service_role;

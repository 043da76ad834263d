-- Employees: who belongs to an organization and in which role; and the questions every policy asks.
--
-- A person's tenant and role are read from this table at each statement, never from the token: deactivation or a changed
-- role takes effect on the next statement. The helpers are SECURITY DEFINER so that the policy of this very table can
-- call them without recursion (the system before this one recursed, so its policies never worked).
-- A user has one active organization at a time; the user's other employments stay as inactive rows.

create table public.employees (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete set null (user_id),
  name text not null,
  phone text,
  employee_code text not null,
  app_role text not null default 'EMPLOYEE',
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, employee_code),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint phone_has_1_to_40_characters check (char_length(phone) between 1 and 40),
  constraint employee_code_has_1_to_40_characters check (employee_code ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$'),
  constraint app_role_is_valid check (app_role in ('ADMIN', 'EMPLOYEE'))
);

alter table public.employees enable row level security;

-- Who is this user, now? At most one active row: the answer to every policy's question, and a global unique rule.
create unique index employees_one_active_organization on public.employees (user_id) where is_active;

-- The reference to auth.users: on delete of a user, all the user's rows are found by it.
create index employees_user_id on public.employees (user_id);

-- The administrator's list, by name.
create index employees_by_name on public.employees (organization_id, name, id);

create trigger _200_set_updated_at before update on public.employees
  for each row execute function private.tg_any__set_updated_at();

comment on table public.employees is
  'People of an organization. Administrators read all of their organization''s, an employee reads the own row.';
comment on column public.employees.user_id is 'auth.users.id; null until the invitation is accepted.';
comment on column public.employees.employee_code is 'Unique in the organization; made as EMP0001, EMP0002, … when absent.';
comment on column public.employees.app_role is 'ADMIN or EMPLOYEE.';
comment on column public.employees.is_active is 'False: the person may do nothing more; the history stays.';

-- A counter per organization, so that codes of one tenant do not tell how many people another one has.
create table private.employee_code_counters (
  organization_id uuid primary key constraint organization references public.organizations (id) on delete cascade,
  last_number integer not null
);

alter table private.employee_code_counters enable row level security;

comment on table private.employee_code_counters is 'The last number given out for an employee_code, per organization.';

create function private.tg_employees__make_code() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_number integer;
begin
  -- A code that an administrator chose by hand may be the next of the row, hence the loop.
  loop
    insert into private.employee_code_counters as c (organization_id, last_number)
    values (new.organization_id, 1)
    on conflict (organization_id) do update set last_number = c.last_number + 1
    returning c.last_number into v_number;
    new.employee_code := 'EMP' || pg_catalog.lpad(v_number::text, greatest(4, pg_catalog.length(v_number::text)), '0');
    exit when not exists (
      select from public.employees as e
      where e.organization_id = new.organization_id and e.employee_code = new.employee_code
    );
  end loop;
  return new;
end;
$$;

comment on function private.tg_employees__make_code() is 'Before insert without a code: EMP and the organization''s next number.';

create trigger _100_make_code before insert on public.employees
  for each row when (new.employee_code is null) execute function private.tg_employees__make_code();

-- The questions of every policy. Scalar, stable and wrapped in (select …) by the policies, they run once a statement.

create function private.current_organization_id() returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    select e.organization_id from public.employees as e
    where e.user_id = private.current_user_id() and e.is_active
  );
end;
$$;

comment on function private.current_organization_id() is
  'The organization in which the signed-in caller is active now, or null.';

create function private.current_employee_id() returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    select e.id from public.employees as e
    where e.user_id = private.current_user_id() and e.is_active
  );
end;
$$;

comment on function private.current_employee_id() is 'The signed-in caller''s active employee row, or null.';

create function private.is_admin() returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return exists (
    select from public.employees as e
    where e.user_id = private.current_user_id() and e.is_active and e.app_role = 'ADMIN'
  );
end;
$$;

comment on function private.is_admin() is 'Whether the signed-in caller is an active administrator of the own organization.';

grant execute on function private.current_organization_id() to authenticated, service_role;
grant execute on function private.current_employee_id() to authenticated, service_role;
grant execute on function private.is_admin() to authenticated, service_role;

-- Definer bodies of RPCs begin with one of these two: the caller's row, or a refusal that says what is wrong.

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
      'Found one with create_organization or accept an invitation.');
  end if;
  return v_employee;
end;
$$;

comment on function private.require_employee() is
  'The caller''s active employee row. Errors: not_authenticated, not_a_member.';

create function private.require_admin() returns public.employees
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
begin
  if v_employee.app_role <> 'ADMIN' then
    perform private.fail('admin_required', 'Only an administrator may do this.');
  end if;
  return v_employee;
end;
$$;

comment on function private.require_admin() is
  'The caller''s active employee row if it is an administrator''s. Errors: not_authenticated, not_a_member, admin_required.';

create function private.current_actor() returns private.actor
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_role text := private.jwt() ->> 'role';
begin
  if v_role = 'authenticated' then
    return row('employee', private.current_employee_id())::private.actor;
  elsif v_role = 'api_key' then
    return row('api_key', (private.jwt() ->> 'api_key_id')::uuid)::private.actor;
  elsif v_role = 'service_role' then
    return row('service', null)::private.actor;
  elsif session_user = 'fieldtrack_worker' then
    return row('worker', null)::private.actor;
  end if;
  return row('system', null)::private.actor;
end;
$$;

comment on function private.current_actor() is
  'Who acts in this transaction: from the token, else from the login role; system for schedules and operators.';

grant execute on function private.current_actor() to authenticated, api_key, service_role, fieldtrack_worker;

create policy select_member on public.employees for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and ((select private.is_admin()) or id = (select private.current_employee_id()))
);

create policy select_worker on public.employees for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select on public.employees to authenticated, service_role, fieldtrack_worker;

-- NOTE: no insert, update or delete for anyone: RPCs do that. A colleague's row is withheld from an employee.

create policy select_member on public.organizations for select to authenticated using (
  id = (select private.current_organization_id())
);

create policy select_worker on public.organizations for select to fieldtrack_worker using (
  id = (select private.worker_organization_id())
);

grant select on public.organizations to authenticated, service_role, fieldtrack_worker;

create policy select_member on public.organization_time_zones for select to authenticated using (
  organization_id = (select private.current_organization_id())
);

create policy select_worker on public.organization_time_zones for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select on public.organization_time_zones to authenticated, service_role, fieldtrack_worker;

-- Founding an organization: the founder becomes its first administrator.

create function private.create_organization(name text, slug text, time_zone text, currency text)
returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
  v_organization public.organizations;
  v_constraint text;
begin
  if v_user_id is null then
    perform private.fail('not_authenticated', 'Sign in first.', null, 'Send a user''s access token as Bearer token.');
  end if;
  insert into public.organizations (name, slug, time_zone, currency)
  values (pg_catalog.btrim(create_organization.name), create_organization.slug, create_organization.time_zone,
    create_organization.currency)
  returning * into v_organization;
  insert into public.employees (organization_id, user_id, name, app_role)
  select v_organization.id, v_user_id,
    -- The local part of the address is a first name to show; update_employee changes it.
    pg_catalog.left(coalesce(nullif(pg_catalog.btrim(u.raw_user_meta_data ->> 'full_name'), ''),
      pg_catalog.split_part(u.email, '@', 1)), 200),
    'ADMIN'
  from auth.users as u
  where u.id = v_user_id;
  if not found then
    perform private.fail('not_authenticated', 'This user does not exist any more.');
  end if;
  return v_organization;
exception
  when unique_violation then
    get stacked diagnostics v_constraint = constraint_name;
    if v_constraint = 'employees_one_active_organization' then
      perform private.fail('already_in_organization', 'You already belong to an organization.', null,
        'A user has one active organization at a time.');
    end if;
    perform private.fail('slug_taken', 'This slug is taken.', 'slug', 'Choose another one.');
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name;
    perform private.fail('invalid_argument', 'The organization cannot be founded with these values.', v_constraint,
      'name has 1 to 200 characters, slug a-z, 0-9 and single hyphens, currency is an ISO 4217 code such as EUR.');
end;
$$;

comment on function private.create_organization(text, text, text, text) is 'Body of public.create_organization.';

grant execute on function private.create_organization(text, text, text, text) to authenticated;

create function public.create_organization(name text, slug text, time_zone text, currency text default 'EUR')
returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.create_organization(name, slug, time_zone, currency);
$$;

comment on function public.create_organization(text, text, text, text) is
  'Founds an organization; the caller becomes its first administrator. time_zone is an IANA name, currency ISO 4217.
Errors: not_authenticated 401, invalid_argument 400, slug_taken 409, already_in_organization 409.';

grant execute on function public.create_organization(text, text, text, text) to authenticated;

-- The access token hook: Supabase Auth calls it when it makes a token. It adds claims for clients to read; policies do not
-- trust them. The claim `role` stays: PostgREST switches to it, and ADMIN is no database role.
create function private.custom_access_token_hook(event jsonb) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  select e.* into v_employee
  from public.employees as e
  where e.user_id = (event ->> 'user_id')::uuid and e.is_active;
  if not found then
    return pg_catalog.jsonb_build_object(
      'claims', (event -> 'claims') - array['organization_id', 'employee_id', 'app_role']);
  end if;
  return pg_catalog.jsonb_build_object('claims', (event -> 'claims') || pg_catalog.jsonb_build_object(
    'organization_id', v_employee.organization_id,
    'employee_id', v_employee.id,
    'app_role', v_employee.app_role
  ));
end;
$$;

comment on function private.custom_access_token_hook(jsonb) is
  'Supabase Auth hook: adds organization_id, employee_id and app_role; none for a user without an active employment.';

grant execute on function private.custom_access_token_hook(jsonb) to supabase_auth_admin;

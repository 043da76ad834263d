-- Founding an organization, and the claims a token carries from then on.
--
-- The founder becomes the organization's first administrator. The access token hook adds claims for clients to read;
-- policies do not trust them.

create function private.create_organization(in_name text, in_slug text, in_time_zone text, in_currency text)
returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
  v_organization public.organizations;
  v_constraint text;
  v_column text;
begin
  if v_user_id is null then
    perform private.fail('not_authenticated', 'Sign in first.', null, 'Send a user''s access token as Bearer token.');
  end if;
  -- First of all: who may not found one learns nothing of the slugs of others, and costs no look among the time zones.
  if exists (select from public.employees as e where e.user_id = v_user_id and e.is_active) then
    perform private.fail('already_in_organization', 'You already belong to an organization.', null,
      'A user has one active organization at a time.');
  end if;
  insert into public.organizations (name, slug, time_zone, currency)
  values (btrim(in_name), in_slug, in_time_zone,
    in_currency)
  returning * into v_organization;
  insert into public.employees (organization_id, user_id, name, app_role)
  select v_organization.id, v_user_id,
    -- The local part of the address is a first name to show; update_employee changes it.
    left(coalesce(nullif(btrim(u.raw_user_meta_data ->> 'full_name'), ''),
      split_part(u.email, '@', 1)), 200),
    'ADMIN'
  from auth.users as u
  where u.id = v_user_id;
  if not found then
    perform private.fail('not_authenticated', 'This user does not exist any more.');
  end if;
  perform private.audit(v_organization.id, 'organization.founded', 'organization', v_organization.id, null,
    jsonb_build_object('name', v_organization.name, 'slug', v_organization.slug,
      'time_zone', v_organization.time_zone, 'currency', v_organization.currency));
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
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
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
  'Founds an organization; the caller becomes its first administrator. time_zone is an IANA name, currency ISO 4217. Audited.
Errors: not_authenticated 401, invalid_argument 400, slug_taken 409, already_in_organization 409.';

grant execute on function public.create_organization(text, text, text, text) to authenticated;

-- The access token hook: Supabase Auth calls it when it makes a token. It adds claims for clients to read; policies do not
-- trust them. The claim `role` stays: PostgREST switches to it, and ADMIN is no database role.
create function private.custom_access_token_hook(in_event jsonb) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_employee public.employees;
begin
  select e.* into v_employee
  from public.employees as e
  where e.user_id = (in_event ->> 'user_id')::uuid and e.is_active;
  if not found then
    return jsonb_build_object(
      'claims', (in_event -> 'claims') - array['organization_id', 'employee_id', 'app_role']);
  end if;
  return jsonb_build_object('claims', (in_event -> 'claims') || jsonb_build_object(
    'organization_id', v_employee.organization_id,
    'employee_id', v_employee.id,
    'app_role', v_employee.app_role
  ));
end;
$$;

comment on function private.custom_access_token_hook(jsonb) is
  'Supabase Auth hook: adds organization_id, employee_id and app_role; none for a user without an active employment.';

grant execute on function private.custom_access_token_hook(jsonb) to supabase_auth_admin;

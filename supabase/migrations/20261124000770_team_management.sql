-- How teams are made, named, given managers and taken apart. Whom a person belongs to is set by update_employee.
--
-- A manager may see and decide much, so only administrators as persons name one: a key that could would give itself the rights of
-- a manager by way of a person it invited. Each act is audited and is an event, which the live streams of managers wait for.

create function private.emit_team_event(in_type text, in_team public.teams) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform private.emit_event((in_team).organization_id, in_type, 'team', (in_team).id, null,
    jsonb_build_object(
      'team_id', (in_team).id,
      'name', (in_team).name,
      'manager_ids', (
        select coalesce(jsonb_agg(m.employee_id order by m.employee_id), '[]')
        from public.team_managers as m
        where m.organization_id = (in_team).organization_id and m.team_id = (in_team).id
      )));
end;
$$;

comment on function private.emit_team_event(text, public.teams) is 'Writes team.created, team.updated or team.deleted.';

-- The team for a change, or a refusal.
create function private.lock_team(in_organization_id uuid, in_team_id uuid) returns public.teams
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_team public.teams;
begin
  select t.* into v_team
  from public.teams as t
  where t.organization_id = in_organization_id and t.id = in_team_id
  for no key update;
  if not found then
    perform private.fail('team_not_found', 'There is no such team.', in_team_id::text);
  end if;
  return v_team;
end;
$$;

comment on function private.lock_team(uuid, uuid) is 'Locks a team of the organization and answers it. Errors: team_not_found.';

-- One name for both ways to give a team a name, so that both refuse alike.
create function private.save_team(in_team_id uuid, in_name text) returns public.teams
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('employees:write');
  v_before public.teams;
  v_team public.teams;
  v_constraint text;
  v_column text;
begin
  if in_team_id is null then
    insert into public.teams (organization_id, name) values (v_admin.organization_id, btrim(in_name)) returning * into v_team;
  else
    v_before := private.lock_team(v_admin.organization_id, in_team_id);
    update public.teams as t set name = btrim(in_name)
    where t.organization_id = v_admin.organization_id and t.id = in_team_id
    returning t.* into v_team;
    if v_before.name = v_team.name then
      return v_team;
    end if;
  end if;
  perform private.audit(v_admin.organization_id, case when in_team_id is null then 'team.created' else 'team.updated' end,
    'team', v_team.id, case when in_team_id is not null then jsonb_build_object('name', v_before.name) end,
    jsonb_build_object('name', v_team.name));
  perform private.emit_team_event(case when in_team_id is null then 'team.created' else 'team.updated' end, v_team);
  return v_team;
exception
  when unique_violation then
    perform private.fail('team_name_taken', 'Another team has this name.', 'name');
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    perform private.fail('invalid_argument', 'A team has a name of 1 to 100 characters.',
      coalesce(nullif(v_constraint, ''), v_column));
end;
$$;

comment on function private.save_team(uuid, text) is 'Body of public.create_team (without a team) and of public.update_team.';

grant execute on function private.save_team(uuid, text) to authenticated, api_key;

create function public.create_team(name text) returns public.teams
language sql volatile
set search_path = ''
as $$
  select private.save_team(null, name);
$$;

comment on function public.create_team(text) is
  'Makes a team without people or managers. Administrators, and keys with employees:write; audited; event team.created.
Errors: admin_required 403, team_name_taken 409, invalid_argument 400.';

grant execute on function public.create_team(text) to authenticated, api_key;

create function public.update_team(team_id uuid, name text) returns public.teams
language sql volatile
set search_path = ''
as $$
  select private.save_team(team_id, name);
$$;

comment on function public.update_team(uuid, text) is
  'Gives a team another name. Administrators, and keys with employees:write; audited; event team.updated.
Errors: admin_required 403, team_not_found 404, team_name_taken 409, invalid_argument 400.';

grant execute on function public.update_team(uuid, text) to authenticated, api_key;

create function private.delete_team(in_team_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_team public.teams := private.lock_team(v_admin.organization_id, in_team_id);
begin
  perform private.emit_team_event('team.deleted', v_team);
  delete from public.teams as t where t.organization_id = v_admin.organization_id and t.id = in_team_id;
  perform private.audit(v_admin.organization_id, 'team.deleted', 'team', in_team_id, jsonb_build_object('name', v_team.name),
    null);
end;
$$;

comment on function private.delete_team(uuid) is 'Body of public.delete_team.';

grant execute on function private.delete_team(uuid) to authenticated;

create function public.delete_team(team_id uuid) returns void
language sql volatile
set search_path = ''
as $$
  select private.delete_team(team_id);
$$;

comment on function public.delete_team(uuid) is
  'Deletes a team. Its people stay and belong to no team; its managers lead nobody through it any more. Administrators; audited;
event team.deleted. Errors: admin_required 403, team_not_found 404.';

grant execute on function public.delete_team(uuid) to authenticated;

create function private.set_team_manager(in_team_id uuid, in_employee_id uuid, in_is_manager boolean) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_team public.teams;
  v_changed integer;
begin
  if in_is_manager is null then
    perform private.fail('invalid_argument', 'is_manager is true or false.', 'is_manager');
  end if;
  -- The person before the team, in the order of locks of 000700_employees; who was erased leads nobody.
  perform from public.employees as e
  where e.organization_id = v_admin.organization_id and e.id = in_employee_id and e.erased_at is null
  for key share;
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  v_team := private.lock_team(v_admin.organization_id, in_team_id);
  if in_is_manager then
    insert into public.team_managers (organization_id, team_id, employee_id)
    values (v_admin.organization_id, in_team_id, in_employee_id)
    on conflict do nothing;
  else
    delete from public.team_managers as m
    where m.organization_id = v_admin.organization_id and m.team_id = in_team_id and m.employee_id = in_employee_id;
  end if;
  get diagnostics v_changed = row_count;
  if v_changed = 0 then
    return;
  end if;
  perform private.audit(v_admin.organization_id, 'team.manager_changed', 'team', in_team_id, null,
    jsonb_build_object('employee_id', in_employee_id, 'is_manager', in_is_manager));
  perform private.emit_team_event('team.updated', v_team);
end;
$$;

comment on function private.set_team_manager(uuid, uuid, boolean) is 'Body of public.set_team_manager.';

grant execute on function private.set_team_manager(uuid, uuid, boolean) to authenticated;

create function public.set_team_manager(team_id uuid, employee_id uuid, is_manager boolean default true) returns void
language sql volatile
set search_path = ''
as $$
  select private.set_team_manager(team_id, employee_id, is_manager);
$$;

comment on function public.set_team_manager(uuid, uuid, boolean) is
  'Lets a person manage a team, or no longer. It counts from the next statement; calling it again is safe. Administrators as persons,
no key; audited; event team.updated.
Errors: admin_required 403, team_not_found 404, employee_not_found 404, invalid_argument 400.';

grant execute on function public.set_team_manager(uuid, uuid, boolean) to authenticated;

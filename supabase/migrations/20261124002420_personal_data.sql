-- A person's data, for the person: everything that is kept about one, in pages.

create function private.export_employee_data(in_employee_id uuid, in_after_session_id uuid, in_after_recorded_at timestamptz)
returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller public.employees := private.require_employee();
  v_employee public.employees;
  v_max_points constant integer := 10000;
  v_points jsonb;
  v_last jsonb;
  v_page jsonb;
begin
  select e.* into v_employee
  from public.employees as e
  where e.organization_id = v_caller.organization_id
    and e.id = coalesce(in_employee_id, v_caller.id)
    and (v_caller.app_role = 'ADMIN' or e.id = v_caller.id);
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee, or it is not yours to export.',
      in_employee_id::text);
  end if;
  perform private.take_token(v_caller.organization_id, 'personal_data', v_caller.id);

  select jsonb_agg(to_jsonb(p) order by p.session_id, p.recorded_at)
  into v_points
  from (
    select g.session_id, g.recorded_at, g.received_at, g.latitude, g.longitude, g.accuracy_m, g.speed_mps, g.heading_deg,
      g.battery_pct, g.is_mock, g.sequence_number
    from public.attendance_sessions as s
    cross join lateral (
      select g.* from public.gps_locations as g
      where g.organization_id = s.organization_id and g.session_id = s.id
        and (s.id <> in_after_session_id or g.recorded_at > in_after_recorded_at)
          is not false
      order by g.recorded_at
      limit v_max_points
    ) as g
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
      and (s.id >= in_after_session_id) is not false
    order by s.id, g.recorded_at
    limit v_max_points
  ) as p;
  if jsonb_array_length(v_points) = v_max_points then
    v_last := v_points -> -1;
  end if;
  v_page := jsonb_build_object(
    'points', coalesce(v_points, '[]'),
    'next', case when v_last is not null then jsonb_build_object(
      'after_session_id', v_last -> 'session_id', 'after_recorded_at', v_last -> 'recorded_at') end);
  if in_after_session_id is not null then
    return v_page;
  end if;

  perform private.audit(v_caller.organization_id, 'employee.exported', 'employee', v_employee.id, null, null);
  return jsonb_build_object(
    'employee', to_jsonb(v_employee),
    'organization', (
      select jsonb_build_object(
        'id', o.id, 'name', o.name, 'time_zone', o.time_zone, 'location_retention_days', o.location_retention_days)
      from public.organizations as o where o.id = v_employee.organization_id
    ),
    'account', (
      select jsonb_build_object('email', u.email, 'created_at', u.created_at)
      from auth.users as u
      -- The account is the person's: its address after they left, perhaps another organization's, is not for this one to see.
      where u.id = v_employee.user_id and v_employee.is_active
    ),
    'invitations', (
      select coalesce(jsonb_agg(to_jsonb(i) order by i.created_at), '[]')
      from public.invitations as i
      where i.organization_id = v_employee.organization_id and i.employee_id = v_employee.id
    ),
    'sessions', (
      select coalesce(jsonb_agg(to_jsonb(s) order by s.checked_in_at), '[]')
      from public.attendance_sessions as s
      where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
    ),
    'session_days', (
      select coalesce(jsonb_agg(to_jsonb(d) order by d.day, d.session_id), '[]')
      from public.session_days as d
      where d.organization_id = v_employee.organization_id and d.employee_id = v_employee.id
    ),
    'expenses', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.submitted_at), '[]')
      from public.expenses as x
      where x.organization_id = v_employee.organization_id and x.employee_id = v_employee.id
    ),
    'device_tokens', (
      select coalesce(jsonb_agg(to_jsonb(t) order by t.created_at), '[]')
      from public.device_tokens as t
      where t.organization_id = v_employee.organization_id and t.employee_id = v_employee.id
    ),
    'acts_on_the_person', (
      select coalesce(jsonb_agg(to_jsonb(a) - 'actor_id' order by a.id), '[]')
      from public.audit_log as a
      where a.organization_id = v_employee.organization_id and a.subject_type = 'employee' and a.subject_id = v_employee.id
    ),
    'receipts', to_jsonb(private.receipt_paths(v_employee.organization_id, v_employee.id))
  ) || v_page;
end;
$$;

comment on function private.export_employee_data(uuid, uuid, timestamptz) is 'Body of public.export_employee_data.';

grant execute on function private.export_employee_data(uuid, uuid, timestamptz) to authenticated;

create function public.export_employee_data(
  employee_id uuid default null, after_session_id uuid default null, after_recorded_at timestamptz default null
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.export_employee_data(employee_id, after_session_id, after_recorded_at);
$$;

comment on function public.export_employee_data(uuid, uuid, timestamptz) is
  'All data about a person: the caller''s own, or for administrators any employee''s. The first page has everything but points:
{employee, organization, account (null: no member any more), invitations, sessions, session_days, expenses, device_tokens,
acts_on_the_person, receipts}, and each page {points, next}: 10,000 points, and what to send for the next page (null: that was
all). Audited; 60 pages a minute. Errors: employee_not_found 404, rate_limited 429, not_a_member 403.';

grant execute on function public.export_employee_data(uuid, uuid, timestamptz) to authenticated;

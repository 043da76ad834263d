-- A person's data, for the person: everything that is kept about one, in pages.

-- Rows of what is kept about a person, by the names that the export gives them. A test compares them with every table that says
-- whose row it is: none may be missing.
create function private.rows_about_person(in_organization_id uuid, in_ids uuid[]) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'employments', (
      select coalesce(jsonb_agg(to_jsonb(e) order by e.created_at), '[]') from public.employees as e
      where e.organization_id = in_organization_id and e.id = any (in_ids)
    ),
    'invitations', (
      select coalesce(jsonb_agg(to_jsonb(i) order by i.created_at), '[]') from public.invitations as i
      where i.organization_id = in_organization_id and i.employee_id = any (in_ids)
    ),
    'visits', (
      select coalesce(jsonb_agg(to_jsonb(v) order by v.entered_at), '[]') from public.visits as v
      where v.organization_id = in_organization_id and v.employee_id = any (in_ids)
    ),
    'managed_teams', (
      select coalesce(jsonb_agg(to_jsonb(m) order by m.created_at), '[]') from public.team_managers as m
      where m.organization_id = in_organization_id and m.employee_id = any (in_ids)
    ),
    'sessions', (
      select coalesce(jsonb_agg(to_jsonb(s) order by s.checked_in_at), '[]') from public.attendance_sessions as s
      where s.organization_id = in_organization_id and s.employee_id = any (in_ids)
    ),
    'session_reports', (
      select coalesce(jsonb_agg(to_jsonb(r) order by r.reported_at, r.id), '[]') from public.session_reports as r
      where r.organization_id = in_organization_id and r.employee_id = any (in_ids)
    ),
    'correction_requests', (
      select coalesce(jsonb_agg(to_jsonb(r) order by r.requested_at, r.id), '[]') from public.correction_requests as r
      where r.organization_id = in_organization_id and r.employee_id = any (in_ids)
    ),
    'session_days', (
      select coalesce(jsonb_agg(to_jsonb(d) order by d.day, d.session_id), '[]') from public.session_days as d
      where d.organization_id = in_organization_id and d.employee_id = any (in_ids)
    ),
    'expenses', (
      select coalesce(jsonb_agg(to_jsonb(x) order by x.submitted_at), '[]') from public.expenses as x
      where x.organization_id = in_organization_id and x.employee_id = any (in_ids)
    ),
    'device_tokens', (
      select coalesce(jsonb_agg(to_jsonb(t) order by t.created_at), '[]') from public.device_tokens as t
      where t.organization_id = in_organization_id and t.employee_id = any (in_ids)
    ),
    'daily_figures', (
      select coalesce(jsonb_agg(to_jsonb(m) order by m.day), '[]') from public.employee_daily_metrics as m
      where m.organization_id = in_organization_id and m.employee_id = any (in_ids)
    ),
    'monthly_figures', (
      select coalesce(jsonb_agg(to_jsonb(m) order by m.month), '[]') from public.employee_monthly_metrics as m
      where m.organization_id = in_organization_id and m.employee_id = any (in_ids)
    ),
    'state', jsonb_build_object(
      'latest_session', (
        select coalesce(jsonb_agg(to_jsonb(l)), '[]') from public.employee_latest_sessions as l
        where l.organization_id = in_organization_id and l.employee_id = any (in_ids)
      ),
      'at_work', (
        select coalesce(jsonb_agg(to_jsonb(a)), '[]') from public.active_users as a
        where a.organization_id = in_organization_id and a.employee_id = any (in_ids)
      ),
      'last_seen', (
        select coalesce(jsonb_agg(to_jsonb(l)), '[]') from public.employee_last_state as l
        where l.organization_id = in_organization_id and l.employee_id = any (in_ids)
      ),
      'totals', (
        select coalesce(jsonb_agg(to_jsonb(m)), '[]') from public.employee_metrics_snapshot as m
        where m.organization_id = in_organization_id and m.employee_id = any (in_ids)
      ),
      'pending_expenses', (
        select coalesce(jsonb_agg(to_jsonb(p)), '[]') from public.pending_expenses as p
        where p.organization_id = in_organization_id and p.employee_id = any (in_ids)
      )
    ),
    'events', (
      select coalesce(jsonb_agg(to_jsonb(e) - 'traceparent' order by e.id), '[]') from public.events as e
      where e.organization_id = in_organization_id and e.employee_id = any (in_ids)
    )
  );
$$;

comment on function private.rows_about_person(uuid, uuid[]) is
  'What the tables hold about employees who are one person. For export_employee_data.';

-- What was done about the person, what the person did, and who was told.
create function private.acts_about_person(in_organization_id uuid, in_ids uuid[]) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'acts_on_the_person', (
      select coalesce(jsonb_agg(to_jsonb(a) - 'actor_id' order by a.id), '[]')
      from (
        select 'employee' as type, i.id from unnest(in_ids) as i (id)
        union all
        select 'session', s.id from public.attendance_sessions as s
        where s.organization_id = in_organization_id and s.employee_id = any (in_ids)
        union all
        select 'expense', x.id from public.expenses as x
        where x.organization_id = in_organization_id and x.employee_id = any (in_ids)
        union all
        select 'device_token', t.id from public.device_tokens as t
        where t.organization_id = in_organization_id and t.employee_id = any (in_ids)
      ) as o
      join public.audit_log as a
        on a.organization_id = in_organization_id and a.subject_type = o.type and a.subject_id = o.id
    ),
    -- Of acts on others what was done, when and the words; the values are theirs.
    'acts_by_the_person', (
      select coalesce(jsonb_agg(to_jsonb(a) - array['before', 'after'] order by a.id), '[]') from public.audit_log as a
      where a.organization_id = in_organization_id and a.actor_type = 'employee' and a.actor_id = any (in_ids)
    ),
    'reviews_by_the_person', (
      select coalesce(jsonb_agg(jsonb_build_object('expense_id', x.id, 'status', x.status, 'reviewed_at', x.reviewed_at,
        'review_comment', x.review_comment) order by x.reviewed_at), '[]')
      from public.expenses as x
      where x.organization_id = in_organization_id and x.reviewer_id = any (in_ids)
    ),
    'made_by_the_person', jsonb_build_object(
      'api_keys', (
        select coalesce(jsonb_agg(to_jsonb(k) order by k.created_at), '[]') from public.api_keys as k
        where k.organization_id = in_organization_id and (k.created_by = any (in_ids) or k.scopes_set_by = any (in_ids))
      ),
      'invitations', (
        select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'employee_id', i.employee_id, 'status', i.status,
          'created_at', i.created_at) order by i.created_at), '[]')
        from public.invitations as i
        where i.organization_id = in_organization_id and i.invited_by = any (in_ids)
      ),
      'device_tokens', (
        select coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'employee_id', t.employee_id, 'created_at', t.created_at)
          order by t.created_at), '[]')
        from public.device_tokens as t
        where t.organization_id = in_organization_id and t.created_by = any (in_ids)
      )
    ),
    -- Whoever receives events of the person: by the host, since the rest of an address may be a secret.
    'told_by_webhook', (
      select coalesce(jsonb_agg(to_jsonb(r) order by r.last_at desc), '[]')
      from (
        select substring(w.url from '^https?://([^/?#]+)') as host, count(*) as events, min(e.occurred_at) as first_at,
          max(e.occurred_at) as last_at
        from public.events as e
        join public.webhook_deliveries as d on d.organization_id = e.organization_id and d.event_id = e.id
        join public.webhooks as w on w.organization_id = d.organization_id and w.id = d.webhook_id
        where e.organization_id = in_organization_id and e.employee_id = any (in_ids)
        group by 1
      ) as r
    )
  );
$$;

comment on function private.acts_about_person(uuid, uuid[]) is
  'Acts on and by employees who are one person, and the webhooks that were told of them. For export_employee_data.';

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
  v_ids uuid[];
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
  v_ids := private.rows_of_person(v_employee.organization_id, v_employee.id);

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
    where s.organization_id = v_employee.organization_id and s.employee_id = any (v_ids)
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
    'receipts', (
      select coalesce(jsonb_agg(r.path), '[]')
      from unnest(v_ids) as i (id) cross join unnest(private.receipt_paths(v_employee.organization_id, i.id)) as r (path)
    )
  ) || private.rows_about_person(v_employee.organization_id, v_ids) || private.acts_about_person(v_employee.organization_id,
    v_ids)
    || v_page;
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
  'All data about a person, with every employment: the caller''s own, or for administrators any employee''s. The first page has
everything but points: {employee, organization, account (null: no member any more), employments, invitations, visits,
  managed_teams,
sessions, session_reports, correction_requests, session_days, expenses, device_tokens, daily_figures, monthly_figures, state,
  events, acts_on_the_person,
acts_by_the_person, reviews_by_the_person, made_by_the_person, told_by_webhook (hosts), receipts}, and each page {points, next}:
10,000 points, and what to send for the next page (null: that was all). Audited; 60 pages a minute.
Errors: employee_not_found 404, rate_limited 429, not_a_member 403.';

grant execute on function public.export_employee_data(uuid, uuid, timestamptz) to authenticated;

-- What is forgotten: points past an organization's retention, a person who asks for it, an organization that leaves.
--
-- Forgetting changes no figure. A session whose points go is sealed first (points_purged_at): its distance and its days stay
-- as they are, later points and recalculations are refused, and daily figures are sums of session_days. So retention waits for a
-- session whose distance is still to be computed, and erasure computes it before it takes the points.
-- Everything works in bounded steps: an RPC does what is small at once, schedules do the rest.
-- Not covered: the event log's own retention (its chapter), backups (docs/operations.md), the account in Auth, which is the
-- person's and may belong to no organization or another one.

-- Retention of points

-- Which sessions still have points, oldest first: retention's question, organization by organization.
create index attendance_sessions_unsealed on public.attendance_sessions (organization_id, checked_in_at)
  where points_purged_at is null;

-- Seals sessions that ended before their organization's retention, and deletes their points where no partition will fall for them
-- soon: in organizations that keep points for a shorter time than the longest.
create function private.purge_locations(max_sessions integer default 500, max_points integer default 50000) returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_longest integer := (select pg_catalog.max(o.location_retention_days) from public.organizations as o);
  v_session record;
  v_points bigint;
  v_deleted bigint := 0;
  v_sealed integer := 0;
begin
  for v_session in
    select s.organization_id, s.id, o.location_retention_days
    from public.organizations as o
    cross join lateral (
      select s.organization_id, s.id
      from public.attendance_sessions as s
      where s.organization_id = o.id and s.points_purged_at is null and s.status = 'CLOSED'
        -- A distance that is still to come needs its points.
        and s.distance_status <> 'PENDING'
        and s.checked_in_at < pg_catalog.now() - pg_catalog.make_interval(days => o.location_retention_days)
        and s.checked_out_at < pg_catalog.now() - pg_catalog.make_interval(days => o.location_retention_days)
      order by s.checked_in_at
      limit purge_locations.max_sessions
      for no key update of s skip locked
    ) as s
    limit purge_locations.max_sessions
  loop
    -- Where the person checked in and out are positions too.
    update public.attendance_sessions as s
    set points_purged_at = pg_catalog.now(),
      check_in_latitude = null, check_in_longitude = null, check_in_accuracy_m = null,
      check_out_latitude = null, check_out_longitude = null, check_out_accuracy_m = null
    where s.organization_id = v_session.organization_id and s.id = v_session.id;
    v_sealed := v_sealed + 1;
    if v_session.location_retention_days < v_longest then
      delete from public.gps_locations as g
      where g.organization_id = v_session.organization_id and g.session_id = v_session.id;
      get diagnostics v_points = row_count;
      v_deleted := v_deleted + v_points;
      exit when v_deleted >= purge_locations.max_points;
    end if;
  end loop;
  return v_sealed;
end;
$$;

comment on function private.purge_locations(integer, integer) is
  'Seals sessions past their organization''s retention and deletes their points, unless a whole partition will go with them. '
  'Run by schedule; answers how many it sealed.';

-- One partition a run, when every point in it is older than the longest retention and of a sealed session. The look into it
-- comes before the lock, and the lock waits two seconds at most: no writer queues behind it for longer.
create function private.drop_location_partition() returns integer
language plpgsql volatile security definer
set search_path = ''
set lock_timeout = '2s'
as $$
declare
  v_oldest text := (
    select pg_catalog.min(c.relname)
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'public.gps_locations'::regclass and c.relname ~ '^gps_locations_\d{4}_\d{2}$'
  );
  v_ends_at timestamptz := (
    pg_catalog.to_date(pg_catalog.right(v_oldest, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC';
  v_has_unsealed boolean;
begin
  if v_ends_at is null or v_ends_at > pg_catalog.now() - pg_catalog.make_interval(
    days => coalesce((select pg_catalog.max(o.location_retention_days) from public.organizations as o), 0))
    -- The months that maintain_location_partitions() would make again.
    or v_ends_at > pg_catalog.date_trunc('month', pg_catalog.now() at time zone 'UTC') at time zone 'UTC'
      - interval '2 months'
  then
    return 0;
  end if;
  -- From session to session through the partition's key: one step a session, not a row a point.
  execute pg_catalog.format($sql$
    with recursive sessions as (
      (select g.organization_id, g.session_id from gps.%1$I as g order by g.organization_id, g.session_id limit 1)
      union all
      select n.organization_id, n.session_id
      from sessions as s
      cross join lateral (
        select g.organization_id, g.session_id from gps.%1$I as g
        where (g.organization_id, g.session_id) > (s.organization_id, s.session_id)
        order by g.organization_id, g.session_id
        limit 1
      ) as n
    )
    select exists (
      select from sessions as s
      join public.attendance_sessions as a on a.organization_id = s.organization_id and a.id = s.session_id
      where a.points_purged_at is null
    )
  $sql$, v_oldest) into v_has_unsealed;
  if v_has_unsealed then
    return 0;
  end if;
  execute pg_catalog.format('alter table public.gps_locations detach partition gps.%I', v_oldest);
  execute pg_catalog.format('drop table gps.%I', v_oldest);
  return 1;
end;
$$;

comment on function private.drop_location_partition() is
  'Drops the oldest partition of gps_locations if all its points are past every organization''s retention and of sealed '
  'sessions. Run by schedule; answers how many it dropped.';

-- Erasure of a person

create table private.erasures (
  organization_id uuid not null,
  employee_id uuid not null,
  requested_at timestamptz not null default now(),
  -- Events up to here are cleaned; null: not begun.
  events_cleaned_to bigint,
  completed_at timestamptz,
  primary key (organization_id, employee_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
);

alter table private.erasures enable row level security;

-- What is still to be done, oldest first.
create index erasures_unfinished on private.erasures (requested_at) where completed_at is null;

comment on table private.erasures is 'People whose data is being taken out, step by step, by the schedule erasures.';

-- What of an event's payload tells who or where somebody was. The shape stays that of types/events.ts.
create function private.erased_payload(payload jsonb) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return payload
    || case when payload ? 'position' then '{"position": null}'::jsonb else '{}' end
    || case when payload ? 'name' then '{"name": "Erased"}'::jsonb else '{}' end
    || case when payload ? 'employee_code' then '{"employee_code": "ERASED"}'::jsonb else '{}' end
    || case when payload ? 'review_comment' then '{"review_comment": null}'::jsonb else '{}' end;
end;
$$;

comment on function private.erased_payload(jsonb) is 'A payload without position, name, code and comment.';

-- One step. The next one finds what is left; nothing is done twice that matters.
create function private.continue_erasure(organization_id uuid, employee_id uuid, max_points integer, max_events integer)
returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_erasure private.erasures;
  v_session record;
  v_points bigint;
  v_deleted bigint := 0;
  v_last_event bigint;
begin
  select x.* into v_erasure
  from private.erasures as x
  where x.organization_id = continue_erasure.organization_id and x.employee_id = continue_erasure.employee_id
  for update;
  if not found or v_erasure.completed_at is not null then
    return true;
  end if;

  for v_session in
    select s.id, s.distance_status
    from public.attendance_sessions as s
    where s.organization_id = v_erasure.organization_id and s.employee_id = v_erasure.employee_id
      and (
        s.points_purged_at is null
        -- Sealed by retention, which leaves where the person checked in and out; and the partition that will go holds the
        -- points still.
        or s.check_in_latitude is not null or s.check_out_latitude is not null
        or exists (
          select from public.gps_locations as g where g.organization_id = s.organization_id and g.session_id = s.id
        )
      )
    order by s.checked_in_at
    for no key update of s
  loop
    if v_session.distance_status = 'PENDING' then
      perform private.compute_session_distance(v_erasure.organization_id, v_session.id);
    end if;
    delete from private.live_distances as l
    where l.organization_id = v_erasure.organization_id and l.session_id = v_session.id;
    delete from public.gps_locations as g
    where g.organization_id = v_erasure.organization_id and g.session_id = v_session.id;
    get diagnostics v_points = row_count;
    v_deleted := v_deleted + v_points;
    update public.attendance_sessions as s
    set points_purged_at = coalesce(s.points_purged_at, pg_catalog.now()),
      check_in_latitude = null, check_in_longitude = null, check_in_accuracy_m = null,
      check_out_latitude = null, check_out_longitude = null, check_out_accuracy_m = null
    where s.organization_id = v_erasure.organization_id and s.id = v_session.id;
    if v_deleted >= continue_erasure.max_points then
      return false;
    end if;
  end loop;

  -- The organization's events in the order of their key, a bounded piece of it at a time.
  select pg_catalog.max(e.id) into v_last_event
  from (
    select e.id from public.events as e
    where e.organization_id = v_erasure.organization_id and e.id > coalesce(v_erasure.events_cleaned_to, 0)
    order by e.id
    limit continue_erasure.max_events
  ) as e;
  if v_last_event is not null then
    update public.events as e
    set payload = private.erased_payload(e.payload)
    where e.organization_id = v_erasure.organization_id and e.employee_id = v_erasure.employee_id
      and e.id > coalesce(v_erasure.events_cleaned_to, 0) and e.id <= v_last_event;
    -- What an endpoint answered may repeat what it was sent. Deliveries have no copy of the payload: they read the event.
    update public.webhook_attempts as a
    set response = null
    from public.webhook_deliveries as d
    join public.events as e on e.organization_id = d.organization_id and e.id = d.event_id
    where d.organization_id = v_erasure.organization_id and e.employee_id = v_erasure.employee_id
      and d.event_id > coalesce(v_erasure.events_cleaned_to, 0) and d.event_id <= v_last_event
      and a.organization_id = d.organization_id and a.delivery_id = d.id and a.response is not null;
    update private.erasures as x
    set events_cleaned_to = v_last_event
    where x.organization_id = v_erasure.organization_id and x.employee_id = v_erasure.employee_id;
    return false;
  end if;

  update private.erasures as x
  set completed_at = pg_catalog.now()
  where x.organization_id = v_erasure.organization_id and x.employee_id = v_erasure.employee_id;
  return true;
end;
$$;

comment on function private.continue_erasure(uuid, uuid, integer, integer) is
  'One bounded step of a person''s erasure: points and positions of sessions, then payloads of events. True when done.';

create function private.continue_erasures() returns integer
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_erasure record;
  v_steps integer := 0;
begin
  for v_erasure in
    select x.organization_id, x.employee_id from private.erasures as x
    where x.completed_at is null
    order by x.requested_at
    limit 10
  loop
    perform private.continue_erasure(v_erasure.organization_id, v_erasure.employee_id, 20000, 5000);
    v_steps := v_steps + 1;
  end loop;
  return v_steps;
end;
$$;

comment on function private.continue_erasures() is 'The next step of the erasures that are not done. Run by schedule.';

-- Where Storage is present, the person's receipts: the administrator deletes the files through Storage, which a policy allows for
-- erased people. Rows alone are not deleted here: the files behind them would stay for ever.
create function private.receipt_paths(organization_id uuid, employee_id uuid) returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  v_objects regclass := pg_catalog.to_regclass('storage.objects');
  v_paths text[];
begin
  if v_objects is null then
    return array[]::text[];
  end if;
  -- Put together, because the table is not there everywhere and plpgsql_check reads this function too.
  execute pg_catalog.format($sql$
    select coalesce(pg_catalog.array_agg(o.name order by o.name), '{}')
    from %s as o
    where o.bucket_id = 'receipts' and o.name like $1
  $sql$, v_objects) into v_paths using pg_catalog.format('%s/%s/%%', organization_id, employee_id);
  return v_paths;
end;
$$;

comment on function private.receipt_paths(uuid, uuid) is 'Paths of the files that a person put into the bucket receipts.';

create function private.erase_employee(employee_id uuid, reason text) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_employee public.employees;
  v_is_done boolean;
begin
  if coalesce(pg_catalog.char_length(pg_catalog.btrim(erase_employee.reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'An erasure needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  select e.* into v_employee
  from public.employees as e
  where e.organization_id = v_admin.organization_id and e.id = erase_employee.employee_id
  for update;
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee.', erase_employee.employee_id::text);
  end if;

  if v_employee.erased_at is null then
    if v_employee.app_role = 'ADMIN' and v_employee.is_active then
      perform private.require_another_admin(v_admin.organization_id, v_employee.id);
    end if;
    perform private.close_session(v_admin.organization_id, v_employee.id, pg_catalog.now(), 'ADMIN',
      'session.force_checked_out', null);
    update public.employees as e
    set name = 'Erased',
      phone = null,
      user_id = null,
      employee_code = 'ERASED-' || pg_catalog.replace(e.id::text, '-', ''),
      is_active = false,
      erased_at = pg_catalog.now()
    where e.organization_id = v_admin.organization_id and e.id = v_employee.id;
    delete from public.invitations as i
    where i.organization_id = v_admin.organization_id and i.employee_id = v_employee.id;
    update public.expenses as x
    set description = 'Erased',
      review_comment = case when x.status = 'REJECTED' then 'Erased' end,
      receipt_path = null
    where x.organization_id = v_admin.organization_id and x.employee_id = v_employee.id;
    delete from private.rate_buckets as b
    where b.organization_id = v_admin.organization_id and b.subject_id = v_employee.id;
    -- Before the device tokens go: they say which acts were on the person's phones.
    perform private.erase_audit_values(v_admin.organization_id, v_employee.id);
    -- The phone's way in, and what the person called it.
    delete from public.device_tokens as t
    where t.organization_id = v_admin.organization_id and t.employee_id = v_employee.id;
    insert into private.erasures (organization_id, employee_id) values (v_admin.organization_id, v_employee.id);
    -- The reason is the administrator's and stays: it must not name the person, which docs/api.md says.
    perform private.audit(v_admin.organization_id, 'employee.erased', 'employee', v_employee.id, null, null,
      pg_catalog.btrim(erase_employee.reason));
  end if;

  -- Small histories are gone at once; of large ones this is the first step.
  v_is_done := private.continue_erasure(v_admin.organization_id, v_employee.id, 20000, 5000)
    or private.continue_erasure(v_admin.organization_id, v_employee.id, 20000, 5000);
  return pg_catalog.jsonb_build_object(
    'employee_id', v_employee.id,
    'is_done', v_is_done,
    'receipts', pg_catalog.to_jsonb(private.receipt_paths(v_admin.organization_id, v_employee.id))
  );
end;
$$;

comment on function private.erase_employee(uuid, text) is 'Body of public.erase_employee.';

-- Values and reasons of acts on the person, and on the person's sessions, expenses and device tokens. The rows stay: what was
-- done, when, by whom.
create function private.erase_audit_values(organization_id uuid, employee_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform pg_catalog.set_config('fieldtrack.erasure', 'on', true);
  update public.audit_log as a
  set before = a.before - array['name', 'phone', 'employee_code', 'email', 'user_id', 'description', 'review_comment'],
    after = a.after - array['name', 'phone', 'employee_code', 'email', 'user_id', 'description', 'review_comment'],
    reason = null
  where a.organization_id = erase_audit_values.organization_id
    and (a.subject_type, a.subject_id) in (
      select 'employee', erase_audit_values.employee_id
      union all
      select 'session', s.id from public.attendance_sessions as s
      where s.organization_id = erase_audit_values.organization_id and s.employee_id = erase_audit_values.employee_id
      union all
      select 'expense', x.id from public.expenses as x
      where x.organization_id = erase_audit_values.organization_id and x.employee_id = erase_audit_values.employee_id
      union all
      -- Phones are named by their people.
      select 'device_token', t.id from public.device_tokens as t
      where t.organization_id = erase_audit_values.organization_id and t.employee_id = erase_audit_values.employee_id
    );
  perform pg_catalog.set_config('fieldtrack.erasure', '', true);
end;
$$;

comment on function private.erase_audit_values(uuid, uuid) is
  'Takes a person''s values and the reasons out of the audit log; the rows stay. For the erasure only.';

grant execute on function private.erase_employee(uuid, text) to authenticated;

create function public.erase_employee(employee_id uuid, reason text) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.erase_employee(employee_id, reason);
$$;

comment on function public.erase_employee(uuid, text) is
  'Erases a person: name, phone, account link, invitations, device tokens, positions, points, free texts and receipts go; ids,
times, distances, durations and amounts stay, so no figure changes. Cannot be undone. The rest of a long history follows within
minutes; call again to see (is_done). Delete the listed receipts with Storage''s remove(). The reason is kept: do not name the
person in it. Answers {employee_id, is_done, receipts: [path]}. Administrators; audited.
Errors: admin_required 403, employee_not_found 404, last_admin 409, invalid_argument 400.';

grant execute on function public.erase_employee(uuid, text) to authenticated;

-- A person's data, for the person

create function private.export_employee_data(employee_id uuid, after_session_id uuid, after_recorded_at timestamptz)
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
    and e.id = coalesce(export_employee_data.employee_id, v_caller.id)
    and (v_caller.app_role = 'ADMIN' or e.id = v_caller.id);
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee, or it is not yours to export.',
      export_employee_data.employee_id::text);
  end if;
  perform private.take_token(v_caller.organization_id, 'personal_data', v_caller.id);

  select pg_catalog.jsonb_agg(pg_catalog.to_jsonb(p) order by p.session_id, p.recorded_at)
  into v_points
  from (
    select g.session_id, g.recorded_at, g.received_at, g.latitude, g.longitude, g.accuracy_m, g.speed_mps, g.heading_deg,
      g.battery_pct, g.is_mock, g.sequence_number
    from public.attendance_sessions as s
    cross join lateral (
      select g.* from public.gps_locations as g
      where g.organization_id = s.organization_id and g.session_id = s.id
        and (s.id <> export_employee_data.after_session_id or g.recorded_at > export_employee_data.after_recorded_at)
          is not false
      order by g.recorded_at
      limit v_max_points
    ) as g
    where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
      and (s.id >= export_employee_data.after_session_id) is not false
    order by s.id, g.recorded_at
    limit v_max_points
  ) as p;
  if pg_catalog.jsonb_array_length(v_points) = v_max_points then
    v_last := v_points -> -1;
  end if;
  v_page := pg_catalog.jsonb_build_object(
    'points', coalesce(v_points, '[]'),
    'next', case when v_last is not null then pg_catalog.jsonb_build_object(
      'after_session_id', v_last -> 'session_id', 'after_recorded_at', v_last -> 'recorded_at') end);
  if export_employee_data.after_session_id is not null then
    return v_page;
  end if;

  perform private.audit(v_caller.organization_id, 'employee.exported', 'employee', v_employee.id, null, null);
  return pg_catalog.jsonb_build_object(
    'employee', pg_catalog.to_jsonb(v_employee),
    'organization', (
      select pg_catalog.jsonb_build_object(
        'id', o.id, 'name', o.name, 'time_zone', o.time_zone, 'location_retention_days', o.location_retention_days)
      from public.organizations as o where o.id = v_employee.organization_id
    ),
    'account', (
      select pg_catalog.jsonb_build_object('email', u.email, 'created_at', u.created_at)
      from auth.users as u where u.id = v_employee.user_id
    ),
    'invitations', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(i) order by i.created_at), '[]')
      from public.invitations as i
      where i.organization_id = v_employee.organization_id and i.employee_id = v_employee.id
    ),
    'sessions', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(s) order by s.checked_in_at), '[]')
      from public.attendance_sessions as s
      where s.organization_id = v_employee.organization_id and s.employee_id = v_employee.id
    ),
    'session_days', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(d) order by d.day, d.session_id), '[]')
      from public.session_days as d
      where d.organization_id = v_employee.organization_id and d.employee_id = v_employee.id
    ),
    'expenses', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x) order by x.submitted_at), '[]')
      from public.expenses as x
      where x.organization_id = v_employee.organization_id and x.employee_id = v_employee.id
    ),
    'device_tokens', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(t) order by t.created_at), '[]')
      from public.device_tokens as t
      where t.organization_id = v_employee.organization_id and t.employee_id = v_employee.id
    ),
    'acts_on_the_person', (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(a) - 'actor_id' order by a.id), '[]')
      from public.audit_log as a
      where a.organization_id = v_employee.organization_id and a.subject_type = 'employee' and a.subject_id = v_employee.id
    ),
    'receipts', pg_catalog.to_jsonb(private.receipt_paths(v_employee.organization_id, v_employee.id))
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
{employee, organization, account, invitations, sessions, session_days, expenses, device_tokens, acts_on_the_person, receipts}, and
each page {points, next}: 10,000 points, and what to send for the next page (null: that was all). Audited; 60 pages a minute.
Errors: employee_not_found 404, rate_limited 429, not_a_member 403.';

grant execute on function public.export_employee_data(uuid, uuid, timestamptz) to authenticated;

-- An organization that leaves

create function private.delete_organization(slug text, reason text) returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_organization public.organizations;
begin
  update public.organizations as o
  set deletion_due_at = coalesce(o.deletion_due_at, pg_catalog.now() + interval '30 days')
  where o.id = v_admin.organization_id and o.slug = delete_organization.slug
  returning o.* into v_organization;
  if not found then
    perform private.fail('invalid_argument', 'This is not the slug of your organization.', 'slug',
      'To delete it, name it: everything goes, for everybody.');
  end if;
  perform private.audit(v_organization.id, 'organization.deletion_requested', 'organization', v_organization.id, null,
    pg_catalog.jsonb_build_object('deletion_due_at', v_organization.deletion_due_at), delete_organization.reason);
  return v_organization;
end;
$$;

comment on function private.delete_organization(text, text) is 'Body of public.delete_organization.';

grant execute on function private.delete_organization(text, text) to authenticated;

create function public.delete_organization(slug text, reason text default null) returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.delete_organization(slug, reason);
$$;

comment on function public.delete_organization(text, text) is
  'Gives notice: in 30 days (deletion_due_at) everything of the caller''s organization is deleted, unless keep_organization is
called before. Until then all works as always. Again: the first date stays. Administrators; audited.
Errors: admin_required 403, invalid_argument 400 (slug is not the organization''s).';

grant execute on function public.delete_organization(text, text) to authenticated;

create function private.keep_organization() returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_organization public.organizations;
begin
  update public.organizations as o
  set deletion_due_at = null
  where o.id = v_admin.organization_id and o.deletion_due_at is not null
  returning o.* into v_organization;
  if found then
    perform private.audit(v_organization.id, 'organization.deletion_withdrawn', 'organization', v_organization.id, null, null);
    return v_organization;
  end if;
  select o.* into strict v_organization from public.organizations as o where o.id = v_admin.organization_id;
  return v_organization;
end;
$$;

comment on function private.keep_organization() is 'Body of public.keep_organization.';

grant execute on function private.keep_organization() to authenticated;

create function public.keep_organization() returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.keep_organization();
$$;

comment on function public.keep_organization() is
  'Takes delete_organization back, while its 30 days run. Without a notice nothing happens. Administrators; audited.
Errors: admin_required 403.';

grant execute on function public.keep_organization() to authenticated;

-- Rows of one organization, at most so many, from whatever tables the catalog says have any: the ones that others refer to come
-- last, so that no statement cascades into a large table. The organization's own row goes when nothing else is left.
create function private.delete_due_organizations(max_rows integer default 20000) returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_organization_id uuid;
  v_table record;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  select o.id into v_organization_id
  from public.organizations as o
  where o.deletion_due_at <= pg_catalog.now()
  order by o.deletion_due_at
  limit 1
  for update skip locked;
  if not found then
    return 0;
  end if;
  -- Nobody writes into it any more: its people are locked out first, whatever is still left.
  update public.employees as e set is_active = false
  where e.organization_id = v_organization_id and e.is_active;
  perform pg_catalog.set_config('fieldtrack.erasure', 'on', true);
  for v_table in
    with recursive depths as (
      select c.oid, 0 as depth
      from pg_catalog.pg_class as c
      join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
      where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace)
      union all
      -- One level above whatever refers to it.
      select k.confrelid, d.depth + 1
      from depths as d
      join pg_catalog.pg_constraint as k on k.conrelid = d.oid and k.contype = 'f' and k.confrelid <> k.conrelid
      where d.depth < 20
    )
    select d.oid::regclass as name, pg_catalog.max(d.depth) as depth
    from depths as d
    where d.oid <> 'public.organizations'::regclass and d.oid in (
      select a.attrelid from pg_catalog.pg_attribute as a where a.attname = 'organization_id' and not a.attisdropped
    )
    group by d.oid
    order by 2, 1
  loop
    execute pg_catalog.format($sql$
      delete from %1$s where ctid = any (array(
        select t.ctid from %1$s as t where t.organization_id = $1 limit $2
      ))
    $sql$, v_table.name) using v_organization_id, max_rows - v_deleted;
    get diagnostics v_rows = row_count;
    v_deleted := v_deleted + v_rows;
    if v_deleted >= max_rows then
      return v_deleted;
    end if;
  end loop;
  delete from public.organizations as o where o.id = v_organization_id;
  return v_deleted + 1;
end;
$$;

comment on function private.delete_due_organizations(integer) is
  'Deletes up to max_rows rows of the organization whose notice has run out first, and at last the organization. Run by schedule.';

-- Leftovers: what no longer says anything

create function private.purge_leftovers() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_rows bigint;
  v_deleted bigint := 0;
  v_invitation record;
begin
  -- A bucket that nobody used for a day is full again.
  delete from private.rate_buckets as b
  where b.ctid = any (array(
    select b.ctid from private.rate_buckets as b where b.refilled_at < pg_catalog.now() - interval '1 day' limit 5000
  ));
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- An invitation that nobody took up is an address without a purpose; a month later it goes, and who never came is no employee.
  for v_invitation in
    select i.organization_id, i.id, i.employee_id
    from public.invitations as i
    where i.status = 'PENDING' and i.expires_at < pg_catalog.now() - interval '30 days'
    limit 500
    for update of i skip locked
  loop
    delete from public.invitations as i
    where i.organization_id = v_invitation.organization_id and i.id = v_invitation.id;
    update public.employees as e
    set is_active = false
    where e.organization_id = v_invitation.organization_id and e.id = v_invitation.employee_id
      and e.user_id is null and e.is_active;
    perform private.audit(v_invitation.organization_id, 'invitation.expired', 'employee', v_invitation.employee_id, null, null);
    v_deleted := v_deleted + 1;
  end loop;

  -- pg_cron keeps a row a run for ever.
  if pg_catalog.to_regclass('cron.job_run_details') is not null then
    execute pg_catalog.format($sql$
      delete from %1$s as d
      where d.runid in (
        select d.runid from %1$s as d where d.end_time < pg_catalog.now() - interval '7 days' limit 5000
      )
    $sql$, pg_catalog.to_regclass('cron.job_run_details'));
    get diagnostics v_rows = row_count;
    v_deleted := v_deleted + v_rows;
  end if;
  return v_deleted;
end;
$$;

comment on function private.purge_leftovers() is
  'Deletes rate buckets unused for a day, invitations a month past their expiry (their employees are deactivated) and pg_cron''s '
  'history past a week. Run by schedule; answers how many rows.';

-- Erasure of a person who asks for it: small things at once, the rest in bounded steps by schedule.
--
-- Distances are computed before the points go, so no figure changes; the identity is replaced, the rows stay.
-- Not covered: the account in Auth, which is the person's and may belong to no organization or another one.

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

-- An id, a date or time, or a word of a list such as REJECTED.
create function private.harmless_text() returns text
language sql immutable
set search_path = ''
as $$
  select '^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+([+-][0-9:]+|Z)?)?|[A-Z]{3,20})$'
$$;

comment on function private.harmless_text() is 'The pattern of texts that say nothing of a person, whatever column they come from.';

-- What of an event's payload tells who or where somebody was. The shape stays that of types/events.ts. A text that is no id,
-- no time
-- and no word of a list is somebody's own, whatever its name: what is added to a payload later is erased without being named
-- here.
create function private.erased_payload(in_payload jsonb) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_object_agg(p.key, case
      when p.key = 'name' then '"Erased"'
      when p.key = 'employee_code' then '"ERASED"'
      when p.key in ('position', 'user_id') then 'null'
      when jsonb_typeof(p.value) = 'string' and p.value #>> '{}' !~ private.harmless_text() then 'null'
      else p.value
    end), '{}')
    from jsonb_each(in_payload) as p
  );
end;
$$;

comment on function private.erased_payload(jsonb) is 'A payload without position, name, code and free texts.';

-- Values of the audit log have no contract: what is not harmless goes with its key.
create function private.erased_values(in_values jsonb) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_object_agg(v.key, v.value), '{}')
    from jsonb_each(in_values) as v
    where v.key not in ('name', 'employee_code', 'user_id') and v.key !~ '(latitude|longitude|accuracy_m)$'
      and case jsonb_typeof(v.value)
        when 'string' then v.value #>> '{}' ~ private.harmless_text()
        when 'object' then false
        when 'array' then v.value::text !~ '[^][0-9a-f",. -]'
        else true
      end
  );
end;
$$;

comment on function private.erased_values(jsonb) is
  'Of an audit row''s values those that say nothing of a person: numbers, truth, ids, times and words of lists.';

-- All rows that stand for one person: employments of the same account, and what was invited under an address of the person. A row
-- that belongs to another account is another person's, although the address may once have been given to both.
create function private.rows_of_person(in_organization_id uuid, in_employee_id uuid) returns uuid[]
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select e.id from public.employees as e where e.organization_id = in_organization_id and e.id = in_employee_id
  );
  v_users uuid[];
  v_emails text[];
  v_found uuid[];
begin
  loop
    v_users := array(
      select e.user_id from public.employees as e
      where e.organization_id = in_organization_id and e.id = any (v_ids) and e.user_id is not null
    );
    v_emails := array(
      select i.email from public.invitations as i
      where i.organization_id = in_organization_id and i.employee_id = any (v_ids)
      union
      select lower(u.email) from auth.users as u where u.id = any (v_users)
    );
    v_found := array(
      select e.id
      from public.employees as e
      where e.organization_id = in_organization_id
        and (
          e.id = any (v_ids)
          or e.user_id = any (v_users)
          or ((e.user_id is null or e.user_id = any (v_users)) and e.id in (
            select i.employee_id from public.invitations as i
            where i.organization_id = in_organization_id and i.email = any (v_emails)
          ))
        )
      order by e.id
    );
    exit when cardinality(v_found) = cardinality(v_ids);
    v_ids := v_found;
  end loop;
  return v_ids;
end;
$$;

comment on function private.rows_of_person(uuid, uuid) is
  'Ids of all employees of the organization that are the same person, by account and by invited address; empty if there is none.';

create function private.hold_sessions(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  perform from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.employee_id = in_employee_id
  order by s.id
  for no key update;
end;
$$;

comment on function private.hold_sessions(uuid, uuid) is
  'Holds all sessions of a person until the transaction ends. The caller holds the person, so none comes meanwhile.';

-- One step. The next one finds what is left; nothing is done twice that matters.
create function private.continue_erasure(
  in_organization_id uuid, in_employee_id uuid, in_max_points integer, in_max_events integer
)
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
  -- The person, then all of the sessions, then what hangs on them (chapter 000700 has the order).
  perform private.hold_employee(in_organization_id, in_employee_id);
  select x.* into v_erasure
  from private.erasures as x
  where x.organization_id = in_organization_id and x.employee_id = in_employee_id
  for update;
  if not found or v_erasure.completed_at is not null then
    return true;
  end if;

  perform private.hold_sessions(v_erasure.organization_id, v_erasure.employee_id);
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
    set points_purged_at = coalesce(s.points_purged_at, now()),
      check_in_latitude = null, check_in_longitude = null, check_in_accuracy_m = null,
      check_out_latitude = null, check_out_longitude = null, check_out_accuracy_m = null
    where s.organization_id = v_erasure.organization_id and s.id = v_session.id;
    update public.session_reports as r
    set latitude = null, longitude = null, accuracy_m = null
    where r.organization_id = v_erasure.organization_id and r.session_id = v_session.id and r.latitude is not null;
    if v_deleted >= in_max_points then
      return false;
    end if;
  end loop;

  -- What people wrote about the person's hours.
  update public.attendance_sessions as s
  set void_reason = '-'
  where s.organization_id = v_erasure.organization_id and s.employee_id = v_erasure.employee_id and s.void_reason <> '-';
  update public.correction_requests as r
  set reason = '---', review_comment = null
  where r.organization_id = v_erasure.organization_id and r.employee_id = v_erasure.employee_id
    and (r.reason <> '---' or r.review_comment is not null);

  -- Check-outs that wait for a check-in that will not come now.
  delete from public.session_reports as r
  where r.organization_id = v_erasure.organization_id and r.employee_id = v_erasure.employee_id and r.session_id is null;

  -- The person's events in the order of their ids, a bounded number of them at a time: found by index, whatever else happens
  -- in the
  -- organization, so colleagues who write events faster than they are read cannot keep an erasure from its end.
  select max(e.id) into v_last_event
  from (
    select e.id from public.events as e
    where e.organization_id = v_erasure.organization_id and e.employee_id = v_erasure.employee_id
      and e.id > coalesce(v_erasure.events_cleaned_to, 0)
    order by e.id
    limit in_max_events
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
    -- Nor is an answer recorded to what is being sent right now: who sends it finds the lease gone, and it is sent anew as it
    -- is now.
    delete from private.webhook_leases as l
    using public.webhook_deliveries as d
    join public.events as e on e.organization_id = d.organization_id and e.id = d.event_id
    where d.organization_id = v_erasure.organization_id and e.employee_id = v_erasure.employee_id
      and d.event_id > coalesce(v_erasure.events_cleaned_to, 0) and d.event_id <= v_last_event
      and l.organization_id = d.organization_id and l.webhook_id = d.webhook_id and l.delivery_id = d.id;
    update private.erasures as x
    set events_cleaned_to = v_last_event
    where x.organization_id = v_erasure.organization_id and x.employee_id = v_erasure.employee_id;
    return false;
  end if;

  update private.erasures as x
  set completed_at = now()
  where x.organization_id = v_erasure.organization_id and x.employee_id = v_erasure.employee_id;
  return true;
end;
$$;

comment on function private.continue_erasure(uuid, uuid, integer, integer) is
  'One bounded step of a person''s erasure: points and positions of sessions, then payloads of events. True when done.';

create function private.continue_erasures_of(in_organization_id uuid, in_max_erasures integer default 5) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_erasure record;
  v_steps bigint := 0;
begin
  for v_erasure in
    select x.organization_id, x.employee_id from private.erasures as x
    where x.organization_id = in_organization_id and x.completed_at is null
    order by x.requested_at
    limit in_max_erasures
  loop
    perform private.continue_erasure(v_erasure.organization_id, v_erasure.employee_id, 5000, 2000);
    v_steps := v_steps + 1;
  end loop;
  return v_steps;
end;
$$;

comment on function private.continue_erasures_of(uuid, integer) is
  'One organization''s turn: the next step of its erasures that are not done. Answers how many steps.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'erasures', 'erasures',
  $sql$
    select x.organization_id, min(x.requested_at) from private.erasures as x
    where x.completed_at is null group by x.organization_id
  $sql$,
  'continue_erasures_of'
);

create function private.continue_erasures() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.take_turns('erasures');
end;
$$;

comment on function private.continue_erasures() is
  'The next steps of the erasures that are not done, of all organizations in turns. Run by schedule.';

-- Where Storage is present, the person's receipts: the administrator deletes the files through Storage, which a policy allows for
-- erased people. Rows alone are not deleted here: the files behind them would stay for ever.
create function private.receipt_paths(in_organization_id uuid, in_employee_id uuid) returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  v_objects regclass := to_regclass('storage.objects');
  v_paths text[];
begin
  if v_objects is null then
    return array[]::text[];
  end if;
  -- Put together, because the table is not there everywhere and plpgsql_check reads this function too.
  execute format($sql$
    select coalesce(array_agg(o.name order by o.name), '{}')
    from %s as o
    where o.bucket_id = 'receipts' and o.name like $1
  $sql$, v_objects) into v_paths using format('%s/%s/%%', in_organization_id, in_employee_id);
  return v_paths;
end;
$$;

comment on function private.receipt_paths(uuid, uuid) is 'Paths of the files that a person put into the bucket receipts.';

-- What is small, at once; positions and events follow in steps (private.continue_erasure). The caller holds the row `for update`.
create function private.erase_employment(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform private.hold_sessions(in_organization_id, in_employee_id);
  perform private.close_session(in_organization_id, in_employee_id, now(), 'ADMIN', 'session.force_checked_out', null);
  update public.employees as e
  set name = 'Erased',
    phone = null,
    user_id = null,
    employee_code = 'ERASED-' || replace(e.id::text, '-', ''),
    is_active = false,
    erased_at = now()
  where e.organization_id = in_organization_id and e.id = in_employee_id;
  delete from public.invitations as i
  where i.organization_id = in_organization_id and i.employee_id = in_employee_id;
  update public.expenses as x
  set description = 'Erased',
    review_comment = case when x.status = 'REJECTED' then 'Erased' end,
    receipt_path = null, receipt_paths = '{}', receipt_digests = '{}', payment_reference = null
  where x.organization_id = in_organization_id and x.employee_id = in_employee_id;
  -- But those of calls that run now and wait for us: purge_leftovers takes them a day later.
  delete from private.rate_buckets as b
  where b.ctid = any (array(
    select b.ctid from private.rate_buckets as b
    where b.organization_id = in_organization_id and b.subject_id = in_employee_id
    for update skip locked
  ));
  -- Before the device tokens go: they say which acts were on the person's phones.
  perform private.erase_audit_values(in_organization_id, in_employee_id);
  -- The phone's way in, and what the person called it.
  delete from public.device_tokens as t
  where t.organization_id = in_organization_id and t.employee_id = in_employee_id;
  insert into private.erasures (organization_id, employee_id) values (in_organization_id, in_employee_id);
end;
$$;

comment on function private.erase_employment(uuid, uuid) is
  'Takes one employment''s identity, texts, invitations and tokens, and registers the rest for the schedule erasures.';

create function private.erase_employee(in_employee_id uuid, in_reason text) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_employee public.employees;
  v_is_done boolean := true;
  v_receipts jsonb := '[]'::jsonb;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'An erasure needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  -- A person who left and came back, or was invited twice, has a row for each time.
  for v_employee in
    select e.*
    from public.employees as e
    where e.organization_id = v_admin.organization_id
      and e.id = any (private.rows_of_person(v_admin.organization_id, in_employee_id))
    order by e.id
    for update
  loop
    if v_employee.erased_at is null then
      if v_employee.app_role = 'ADMIN' and v_employee.is_active then
        perform private.require_another_admin(v_admin.organization_id, v_employee.id);
      end if;
      perform private.erase_employment(v_admin.organization_id, v_employee.id);
      -- The reason is the administrator's and stays: it must not name the person, which docs/api.md says.
      perform private.audit(v_admin.organization_id, 'employee.erased', 'employee', v_employee.id, null, null,
        btrim(in_reason));
    end if;

    -- Small histories are gone at once; of large ones this is the first step.
    v_is_done := v_is_done and (
      private.continue_erasure(v_admin.organization_id, v_employee.id, 20000, 5000)
      or private.continue_erasure(v_admin.organization_id, v_employee.id, 20000, 5000)
    );
    v_receipts := v_receipts || to_jsonb(private.receipt_paths(v_admin.organization_id, v_employee.id));
  end loop;
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
  end if;
  return jsonb_build_object(
    'employee_id', in_employee_id,
    'is_done', v_is_done,
    'receipts', v_receipts
  );
end;
$$;

comment on function private.erase_employee(uuid, text) is 'Body of public.erase_employee.';

-- Values and reasons of acts on the person, and on the person's sessions, expenses and device tokens. The rows stay: what was
-- done, when, by whom.
create function private.erase_audit_values(in_organization_id uuid, in_employee_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform set_config('fieldtrack.erasure', 'on', true);
  update public.audit_log as a
  set before = private.erased_values(a.before), after = private.erased_values(a.after), reason = null
  where a.organization_id = in_organization_id
    and (a.subject_type, a.subject_id) in (
      select 'employee', in_employee_id
      union all
      select 'session', s.id from public.attendance_sessions as s
      where s.organization_id = in_organization_id and s.employee_id = in_employee_id
      union all
      select 'expense', x.id from public.expenses as x
      where x.organization_id = in_organization_id and x.employee_id = in_employee_id
      union all
      select 'correction_request', r.id from public.correction_requests as r
      where r.organization_id = in_organization_id and r.employee_id = in_employee_id
      union all
      -- Phones are named by their people.
      select 'device_token', t.id from public.device_tokens as t
      where t.organization_id = in_organization_id and t.employee_id = in_employee_id
    );
  perform set_config('fieldtrack.erasure', '', true);
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
times, distances, durations and amounts stay, so no figure changes. It takes each employment of the account, and whoever was
invited under an address of the person. Cannot be undone. The rest of a long history follows within
minutes; call again to see (is_done). Delete the listed receipts with Storage''s remove(). The reason is kept: do not name the
person in it. Answers {employee_id, is_done, receipts: [path]}. Administrators; audited.
Errors: admin_required 403, employee_not_found 404, last_admin 409, invalid_argument 400.';

grant execute on function public.erase_employee(uuid, text) to authenticated;

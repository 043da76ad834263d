-- Device tokens: phones that report with an app of somebody else (Traccar Client, OsmAnd, OwnTracks, Overland).
--
-- Such an app knows no session and no login: it sends points to an address, with a token in it. A token belongs to one
-- employee; it can send that person's points and nothing else. The edge function `ingest` turns what each app sends into
-- points and calls private.ingest_locations, as fieldtrack_edge.
-- A point goes to the session in which it was recorded: the open one, or a closed one whose points came late, because the
-- phone had no signal. A point that falls into none is counted on the token and kept nowhere; it is not refused, since these
-- apps would send it again for ever. An organization may let the first point of a local day check its person in.

create table public.device_tokens (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  name text not null,
  last_four text not null,
  created_by uuid,
  revoked_at timestamptz,
  last_seen_at timestamptz,
  last_protocol text,
  points_stored bigint not null default 0,
  points_without_session bigint not null default 0,
  points_refused bigint not null default 0,
  points_corrected bigint not null default 0,
  refused_by_reason jsonb not null default '{}',
  lost_in_a_row integer not null default 0,
  last_stored_at timestamptz,
  clock_offset_s integer,
  clock_series jsonb,
  app text,
  setup_problem text,
  phone_state jsonb not null default '{}',
  phone_state_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint creator foreign key (organization_id, created_by)
    references public.employees (organization_id, id) on delete set null (created_by),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint name_is_readable check (private.is_readable(name)),
  constraint setup_problem_is_known check (setup_problem in ('osmand_speed_in_knots')),
  constraint last_protocol_is_valid check (last_protocol in ('osmand', 'owntracks', 'overland'))
) with (fillfactor = 70);

alter table public.device_tokens enable row level security;

-- A person's tokens; also the employee reference.
create index device_tokens_employee on public.device_tokens (organization_id, employee_id);

-- The creator reference.
create index device_tokens_creator on public.device_tokens (organization_id, created_by);

comment on table public.device_tokens is
  'Tokens of phones. Administrators read all of their organization''s, an employee reads the own. Shown once.';
comment on column public.device_tokens.name is 'Which phone it is, in words.';
comment on column public.device_tokens.last_four is 'The last four characters of the token, to recognise it by.';
comment on column public.device_tokens.created_by is 'The administrator or the person (employees.id) who made it.';
comment on column public.device_tokens.revoked_at is 'The token is refused from then on; null: not revoked.';
comment on column public.device_tokens.last_seen_at is 'When the phone last reported.';
comment on column public.device_tokens.last_protocol is 'What its app spoke: osmand, owntracks or overland.';
comment on column public.device_tokens.points_stored is 'Points that were stored.';
comment on column public.device_tokens.points_without_session is 'Points that fell into no session and were not kept.';
comment on column public.device_tokens.points_refused is 'Points that were not valid, or came too late.';
comment on column public.device_tokens.points_corrected is
  'Points that were stored with another time than the phone sent, because its clock is known to be wrong.';
comment on column public.device_tokens.refused_by_reason is
  'How many points were answered as delivered and not kept, by reason: {point_in_future: 3, without_session: 12}.';
comment on column public.device_tokens.lost_in_a_row is 'Points refused since the last one that was kept.';
comment on column public.device_tokens.last_stored_at is 'When a point of this phone was last kept.';
comment on column public.device_tokens.clock_offset_s is
  'By how many seconds the phone''s clock is ahead (negative: behind); its points are corrected by that. Null: it is right.';
comment on column public.device_tokens.clock_series is
  'What the clock is judged by: {at, heard, requests}, where a series of requests began whose delay stays the same.';
comment on column public.device_tokens.app is 'What the app calls itself (User-Agent).';
comment on column public.device_tokens.setup_problem is
  'osmand_speed_in_knots: the app has the address of an older page, which misnames speed and accuracy; they are read as meant.';
comment on column public.device_tokens.phone_state is
  'What the app last said of the phone: {location: on|off, permission: always|in_use|denied, battery_saver, alarm}.';
comment on column public.device_tokens.phone_state_at is 'When phone_state last changed.';

create policy select_member on public.device_tokens for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.device_tokens for select to api_key using (
  organization_id = (select private.key_organization_id('employees:read'))
);

grant select on public.device_tokens to authenticated, api_key, service_role;

-- NOTE: nobody writes but the functions below.

create table private.device_token_secrets (
  organization_id uuid not null,
  device_token_id uuid not null,
  token_hash bytea not null unique,
  primary key (organization_id, device_token_id),
  constraint device_token foreign key (organization_id, device_token_id)
    references public.device_tokens (organization_id, id) on delete cascade
);

alter table private.device_token_secrets enable row level security;

comment on table private.device_token_secrets is 'SHA-256 of each device token (256 random bits, so no salt is needed).';

-- NOTE: nothing is granted on it.

create function private.issue_device_token(
  in_organization_id uuid, in_employee_id uuid, in_name text, in_created_by uuid
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_token text := 'ft_device_' || private.random_base62(43);
  v_row public.device_tokens;
  v_constraint text;
  v_column text;
begin
  -- A person's own come from the person's bucket: nobody can use up what an administrator needs to rotate a leaked key.
  if in_created_by = in_employee_id then
    perform private.take_token(in_organization_id, 'device_tokens', in_employee_id);
  else
    perform private.take_token(in_organization_id, 'credentials', in_organization_id);
  end if;
  insert into public.device_tokens (organization_id, employee_id, name, last_four, created_by)
  values (in_organization_id, in_employee_id, btrim(in_name),
    right(v_token, 4), in_created_by)
  returning * into v_row;
  insert into private.device_token_secrets (organization_id, device_token_id, token_hash)
  values (v_row.organization_id, v_row.id, private.hash_token(v_token));
  perform private.audit(v_row.organization_id, 'device_token.created', 'device_token', v_row.id, null,
    jsonb_build_object('employee_id', v_row.employee_id, 'name', v_row.name));
  return jsonb_build_object(
    'id', v_row.id, 'employee_id', v_row.employee_id, 'name', v_row.name, 'token', v_token);
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The token cannot be made with these values.', v_constraint,
      'name has 1 to 200 characters.');
end;
$$;

comment on function private.issue_device_token(uuid, uuid, text, uuid) is
  'Makes a device token and audits it. For definers that know whose it is to be.';

create function private.create_device_token(in_employee_id uuid, in_name text) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
begin
  if not exists (
    select from public.employees as e
    where e.organization_id = v_admin.organization_id and e.id = in_employee_id and e.is_active
  ) then
    perform private.fail('employee_not_found', 'There is no such active employee.', in_employee_id::text);
  end if;
  return private.issue_device_token(v_admin.organization_id, in_employee_id, in_name,
    v_admin.employee_id);
end;
$$;

comment on function private.create_device_token(uuid, text) is 'Body of public.create_device_token.';

grant execute on function private.create_device_token(uuid, text) to authenticated;

create function public.create_device_token(employee_id uuid, name text default 'Phone') returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.create_device_token(employee_id, name);
$$;

comment on function public.create_device_token(uuid, text) is
  'Makes a token with which an employee''s phone reports through /functions/v1/ingest: {id, employee_id, name, token}; token is
shown only here. Administrators, no API key; audited; 60 new keys and device tokens an hour.
Errors: admin_required 403, employee_not_found 404, invalid_argument 400, rate_limited 429.';

grant execute on function public.create_device_token(uuid, text) to authenticated;

create function private.my_device_token(in_name text) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
begin
  return private.issue_device_token(v_employee.organization_id, v_employee.id, in_name, v_employee.id);
end;
$$;

comment on function private.my_device_token(text) is 'Body of public.my_device_token.';

grant execute on function private.my_device_token(text) to authenticated;

create function public.my_device_token(name text default 'Phone') returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.my_device_token(name);
$$;

comment on function public.my_device_token(text) is
  'Makes a token for the caller''s own phone: {id, employee_id, name, token}; token is shown only here. 10 an hour. Audited.
Errors: not_a_member 403, invalid_argument 400, rate_limited 429.';

grant execute on function public.my_device_token(text) to authenticated;

create function private.revoke_device_token(in_device_token_id uuid) returns public.device_tokens
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_row public.device_tokens;
begin
  select t.* into v_row
  from public.device_tokens as t
  where t.organization_id = v_employee.organization_id and t.id = in_device_token_id
    and (v_employee.app_role = 'ADMIN' or t.employee_id = v_employee.id)
  for no key update;
  if not found then
    perform private.fail('device_token_not_found', 'There is no such device token, or it is not yours.',
      in_device_token_id::text);
  end if;
  if v_row.revoked_at is null then
    update public.device_tokens as t
    set revoked_at = now()
    where t.organization_id = v_row.organization_id and t.id = v_row.id
    returning t.* into v_row;
    perform private.audit(v_row.organization_id, 'device_token.revoked', 'device_token', v_row.id,
      jsonb_build_object('revoked_at', null), jsonb_build_object('revoked_at', v_row.revoked_at));
  end if;
  return v_row;
end;
$$;

comment on function private.revoke_device_token(uuid) is 'Body of public.revoke_device_token.';

grant execute on function private.revoke_device_token(uuid) to authenticated;

create function public.revoke_device_token(device_token_id uuid) returns public.device_tokens
language sql volatile
set search_path = ''
as $$
  select private.revoke_device_token(device_token_id);
$$;

comment on function public.revoke_device_token(uuid) is
  'Ends a device token at once: the own, or as administrator any of the organization. Twice is not an error. Audited.
Errors: not_a_member 403, device_token_not_found 404.';

grant execute on function public.revoke_device_token(uuid) to authenticated;

-- An empty session (a check-in taken back at once) holds no instant, and may lie at the beginning of another one or within it:
-- it must not hide that one.
create function private.session_at(in_organization_id uuid, in_employee_id uuid, in_at timestamptz) returns uuid
language sql stable
set search_path = ''
as $$
  select s.id
  from (
    select l.id, l.checked_out_at, l.checked_in_at, l.provisional_until
    from public.attendance_sessions as l
    where l.organization_id = in_organization_id and l.employee_id = in_employee_id
      and l.checked_in_at <= in_at and l.voided_at is null
      and (l.checked_out_at is distinct from l.checked_in_at or l.provisional_until > now())
    order by l.checked_in_at desc
    limit 1
  ) as s
  where s.checked_out_at is null or s.checked_out_at >= in_at
    -- A provisional end is moved by points up to the limit.
    or s.provisional_until > now() and in_at <= s.checked_in_at + (
      select make_interval(hours => o.max_session_hours) from public.organizations as o where o.id = in_organization_id
    );
$$;

comment on function private.session_at(uuid, uuid, timestamptz) is
  'The session of an employee in which an instant falls, or null. Sessions of a person never overlap; empty ones hold nothing.';

-- Opens a session at the first point of a local day that has none. Only the day's first: an app that goes on reporting after
-- the check-out must not check its person in again.
create function private.check_in_by_device(
  in_organization_id uuid, in_employee_id uuid, in_at timestamptz, in_point jsonb
) returns boolean
language plpgsql volatile
set search_path = ''
as $$
declare
  v_locked_until date := private.hold_locked_until(in_organization_id);
  v_organization public.organizations;
  v_day date;
begin
  select o.* into strict v_organization from public.organizations as o where o.id = in_organization_id;
  v_day := private.local_day(v_organization.id, in_at);
  if not v_organization.device_checks_in
    or v_day < v_locked_until
    or in_at > now() + interval '2 minutes'
    or in_at
      < now() - make_interval(hours => v_organization.late_upload_grace_hours)
    or exists (
      select from public.attendance_sessions as s
      where s.organization_id = v_organization.id and s.employee_id = in_employee_id
        and s.checked_in_at > in_at - interval '2 days'
        and (s.status = 'ACTIVE' or private.local_day(v_organization.id, s.checked_in_at) = v_day)
    )
  then
    return false;
  end if;
  -- As in private.check_in: a deactivation is over before this, or comes after it.
  perform from public.employees as e
  where e.organization_id = v_organization.id and e.id = in_employee_id and e.is_active
  for key share;
  if not found then
    return false;
  end if;
  insert into public.attendance_sessions (
    organization_id, employee_id, checked_in_at, check_in_latitude, check_in_longitude, check_in_accuracy_m
  ) values (
    v_organization.id, in_employee_id, least(in_at, now()),
    (in_point ->> 'latitude')::double precision, (in_point ->> 'longitude')::double precision, (in_point ->> 'accuracy_m')::real
  )
  on conflict do nothing;
  return found;
end;
$$;

comment on function private.check_in_by_device(uuid, uuid, timestamptz, jsonb) is
  'Checks an employee in at a point of the phone, if the organization wants that and the local day has no session yet.';

-- Points whose time is wrong by exactly what receivers and apps are known to get wrong: one or two rollovers of the GPS week
-- (1,024 weeks), or seconds counted from 2001 as if they were from 1970. Only a time that then lies in the last forty days is
-- one.
create function private.undo_known_shift(in_at timestamptz) returns timestamptz
language sql stable
set search_path = ''
as $$
  select case
    when in_at > now() - interval '15 years' and in_at < now() + interval '1 day' then in_at
    else coalesce((
      select in_at + make_interval(secs => s.seconds)
      from (values (619315200), (1238630400), (978307200), (-619315200)) as s (seconds)
      where in_at + make_interval(secs => s.seconds) between now() - interval '40 days' and now() + interval '1 day'
      limit 1
    ), in_at)
  end;
$$;

comment on function private.undo_known_shift(timestamptz) is
  'A time of a phone without the rollover of GPS weeks or the epoch of 2001, where one of them explains it; else as it is.';

-- Whether a phone's clock is wrong, and by how much, from the newest point of each request.
-- Ahead: no honest point comes from more than two minutes in the future, so one request is enough. A single wild time among good
-- ones is none: the future ones have to go on where the others end.
-- Behind, or not as much ahead as was thought: the delay between taken and received stays the same over at least three requests
-- and ten seconds. A backlog that is sent fast does not look like that: its delay shrinks with every request.
-- Right again: the newest point is of now.
create function private.judge_clock(in_offset_s integer, in_series jsonb, in_times timestamptz[]) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_newest timestamptz;
  v_first_ahead timestamptz;
  v_last_good timestamptz;
  v_delay double precision;
  v_heard double precision;
  v_taken double precision;
  v_series jsonb := in_series;
  v_offset_s integer := in_offset_s;
begin
  select max(t.at), min(t.at) filter (where t.at > now() + interval '2 minutes'),
    max(t.at) filter (where t.at <= now() + interval '2 minutes')
  into v_newest, v_first_ahead, v_last_good
  from unnest(in_times) as t (at);
  if v_newest is null then
    return jsonb_build_object('offset_s', v_offset_s, 'series', v_series);
  end if;
  if v_first_ahead - v_last_good > interval '10 minutes' then
    v_newest := v_last_good;
  end if;
  v_delay := extract(epoch from v_newest - now());
  v_heard := extract(epoch from now() - (v_series ->> 'heard')::timestamptz);
  v_taken := extract(epoch from v_newest - (v_series ->> 'at')::timestamptz);
  if abs(v_heard - v_taken) <= 2 + 0.02 * v_heard then
    v_series := jsonb_set(v_series, '{requests}', to_jsonb((v_series ->> 'requests')::integer + 1));
  else
    v_series := jsonb_build_object('at', v_newest, 'heard', now(), 'requests', 1);
  end if;
  if abs(v_delay) <= 60 then
    v_offset_s := null;
  elsif v_delay between 120 and 26 * 3600 and v_delay > coalesce(v_offset_s, 0) + 5
    or abs(v_delay) between 120 and 26 * 3600
      and (v_series ->> 'requests')::integer >= 3 and v_heard >= 10
      and abs(v_delay - coalesce(v_offset_s, 0)) > 10
  then
    v_offset_s := round(v_delay);
  end if;
  return jsonb_build_object('offset_s', v_offset_s, 'series', v_series);
end;
$$;

comment on function private.judge_clock(integer, jsonb, timestamptz[]) is
  '{offset_s, series} of a phone after a request with points of these times: by how much its clock is ahead, or null.';

-- The points with their times as they are right. Nothing is rewritten while all is well.
create function private.correct_times(in_points jsonb, in_offset_s integer) returns jsonb
language sql stable
set search_path = ''
as $$
  select coalesce(jsonb_agg(
    case when c.at = c.sent then e.point else e.point || jsonb_build_object(
      'recorded_at', to_char(c.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'was_corrected', true) end
    order by e.ordinality), '[]')
  from jsonb_array_elements(in_points) with ordinality as e (point, ordinality)
  cross join lateral (select (e.point ->> 'recorded_at')::timestamptz as sent) as r
  cross join lateral (
    select r.sent, private.undo_known_shift(r.sent) - make_interval(secs => coalesce(in_offset_s, 0)) as at
  ) as c;
$$;

comment on function private.correct_times(jsonb, integer) is
  'Points of a phone with known shifts undone and the offset of its clock taken off; those that changed say was_corrected.';

-- Words of the app itself are not kept: they would be a person's data in the log of events.
create function private.known_phone_state(in_state jsonb) returns jsonb
language sql immutable
set search_path = ''
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'location', case when in_state ->> 'location' in ('on', 'off') then in_state -> 'location' end,
    'permission', case when in_state ->> 'permission' in ('always', 'in_use', 'denied') then in_state -> 'permission' end,
    'battery_saver', case when in_state -> 'battery_saver' in ('true', 'false') then in_state -> 'battery_saver' end,
    'alarm', case when in_state ->> 'alarm' in ('sos', 'lowBattery', 'powerOff', 'fallDown', 'tampering')
      then in_state -> 'alarm'
      when in_state ->> 'alarm' <> '' then '"general"' end));
$$;

comment on function private.known_phone_state(jsonb) is 'What of {location, permission, battery_saver, alarm} has a known value.';

create function private.add_counts(in_counts jsonb, in_more jsonb) returns jsonb
language sql immutable
set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.reason, s.points), '{}')
  from (
    select c.key as reason, sum(c.value::bigint) as points
    from (select * from jsonb_each_text(in_counts) union all select * from jsonb_each_text(in_more)) as c (key, value)
    group by c.key
  ) as s
  where s.points > 0;
$$;

comment on function private.add_counts(jsonb, jsonb) is 'The sums of two {reason: count}.';

-- Puts points into the sessions in which they were recorded: {stored, duplicates, reasons}. Those of no session are counted.
create function private.place_points(in_device public.device_tokens, in_points jsonb) returns jsonb
language plpgsql volatile
set search_path = ''
as $$
declare
  v_batch record;
  v_result jsonb;
  v_stored bigint := 0;
  v_duplicates bigint := 0;
  v_reasons jsonb := jsonb_build_object();
begin
  for v_batch in
    with placed as (
      select e.ordinality, e.point - 'was_corrected' as point,
        private.session_at(in_device.organization_id, in_device.employee_id, (e.point ->> 'recorded_at')::timestamptz)
          as session_id
      from jsonb_array_elements(in_points) with ordinality as e (point, ordinality)
    ),
    -- insert_locations takes a hundred at a time.
    numbered as (
      select p.*, (row_number() over (partition by p.session_id order by p.ordinality) - 1) / 100 as part
      from placed as p
    )
    select n.session_id, n.part, count(*) as points, jsonb_agg(n.point order by n.ordinality) as batch
    from numbered as n
    group by n.session_id, n.part
    order by n.session_id, n.part
  loop
    if v_batch.session_id is null then
      v_reasons := private.add_counts(v_reasons, jsonb_build_object('without_session', v_batch.points));
      continue;
    end if;
    begin
      v_result := private.insert_locations(in_device.organization_id, in_device.employee_id, v_batch.session_id, v_batch.batch,
        false);
      v_stored := v_stored + (v_result ->> 'inserted')::bigint;
      v_duplicates := v_duplicates + (v_result ->> 'duplicates')::bigint;
      if v_result -> 'rejected' <> '[]' then
        v_reasons := private.add_counts(v_reasons, (
          select jsonb_object_agg(r.code, r.points)
          from (
            select j.value ->> 'code' as code, count(*) as points
            from jsonb_array_elements(v_result -> 'rejected') as j
            group by j.value ->> 'code'
          ) as r
        ));
      end if;
    exception
      -- The session is sealed or locked, or was closed too long ago. Sending again would change nothing.
      when sqlstate 'PGRST' then
        v_reasons := private.add_counts(v_reasons, jsonb_build_object(sqlerrm::jsonb ->> 'code', v_batch.points));
    end;
  end loop;
  return jsonb_build_object('stored', v_stored, 'duplicates', v_duplicates, 'reasons', v_reasons);
end;
$$;

comment on function private.place_points(public.device_tokens, jsonb) is
  'Stores a phone''s points in the sessions they were recorded in; for private.ingest_locations.';

-- What the function `ingest` calls. It trusts the shape of the points (the function made them: recorded_at is a UTC time,
-- numbers are numbers and in range; what had no place or time is only counted), not their truth, of which
-- private.insert_locations judges. `told` is what else the request said: {protocol, unreadable: {reason: count}, state,
-- setup, app}.
create function private.ingest_locations(
  in_token_hash bytea, in_points jsonb, in_told jsonb, in_traceparent text
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_device public.device_tokens;
  v_clock jsonb;
  v_points jsonb;
  v_first record;
  v_result jsonb;
  v_reasons jsonb;
  v_refused bigint;
  v_without_session bigint;
  v_kept bigint;
begin
  select t.* into v_device
  from private.device_token_secrets as s
  join public.device_tokens as t on t.organization_id = s.organization_id and t.id = s.device_token_id
  join public.employees as e on e.organization_id = t.organization_id and e.id = t.employee_id
  where s.token_hash = in_token_hash and t.revoked_at is null and e.is_active;
  if not found then
    perform private.fail('device_token_invalid', 'This device token is not valid.', null,
      'Make a new one with my_device_token, or ask an administrator.');
  end if;
  perform private.take_token(v_device.organization_id, 'ingest', v_device.id);
  perform set_config('fieldtrack.device_id', v_device.id::text, true);
  perform set_config('fieldtrack.traceparent', coalesce(in_traceparent, ''), true);

  v_clock := private.judge_clock(v_device.clock_offset_s, v_device.clock_series, (
    select array_agg(private.undo_known_shift((e.point ->> 'recorded_at')::timestamptz))
    from jsonb_array_elements(in_points) as e (point)
  ));
  v_points := private.correct_times(in_points, (v_clock ->> 'offset_s')::integer);

  -- The first point that falls into no session.
  select p.at, p.point into v_first
  from (
    select (e.point ->> 'recorded_at')::timestamptz as at, e.point
    from jsonb_array_elements(v_points) as e (point)
  ) as p
  where private.session_at(v_device.organization_id, v_device.employee_id, p.at) is null
  order by p.at
  limit 1;
  if found then
    perform private.check_in_by_device(v_device.organization_id, v_device.employee_id, v_first.at, v_first.point);
  end if;

  v_result := private.place_points(v_device, v_points);
  v_reasons := private.add_counts(v_result -> 'reasons', coalesce(in_told -> 'unreadable', '{}'));
  v_without_session := coalesce((v_reasons ->> 'without_session')::bigint, 0);
  select coalesce(sum(r.value::bigint), 0) - v_without_session into v_refused from jsonb_each_text(v_reasons) as r;
  v_kept := (v_result ->> 'stored')::bigint + (v_result ->> 'duplicates')::bigint;

  update public.device_tokens as t
  set last_seen_at = now(),
    last_protocol = in_told ->> 'protocol',
    last_stored_at = case when (v_result ->> 'stored')::bigint > 0 then now() else t.last_stored_at end,
    points_stored = t.points_stored + (v_result ->> 'stored')::bigint,
    points_without_session = t.points_without_session + v_without_session,
    points_refused = t.points_refused + v_refused,
    points_corrected = t.points_corrected + case when (v_result ->> 'stored')::bigint = 0 then 0 else least(
      (v_result ->> 'stored')::bigint,
      jsonb_array_length(jsonb_path_query_array(v_points, '$[*] ? (@.was_corrected == true)'))) end,
    refused_by_reason = case when v_reasons = '{}' then t.refused_by_reason
      else private.add_counts(t.refused_by_reason, v_reasons) end,
    lost_in_a_row = case when v_kept > 0 then 0 else least(t.lost_in_a_row + v_refused, 1000000) end,
    clock_offset_s = (v_clock ->> 'offset_s')::integer,
    clock_series = nullif(v_clock -> 'series', 'null'),
    app = coalesce(left(in_told ->> 'app', 100), t.app),
    setup_problem = case when in_points = '[]' then t.setup_problem else in_told ->> 'setup' end,
    phone_state = t.phone_state || private.known_phone_state(in_told -> 'state'),
    phone_state_at = case when t.phone_state @> private.known_phone_state(in_told -> 'state') then t.phone_state_at
      else now() end
  where t.organization_id = v_device.organization_id and t.id = v_device.id;
  return jsonb_build_object(
    'device_id', v_device.id,
    'stored', v_result -> 'stored',
    'duplicates', v_result -> 'duplicates',
    'refused', v_refused,
    'without_session', v_without_session
  );
end;
$$;

comment on function private.ingest_locations(bytea, jsonb, jsonb, text) is
  'Stores points of a phone in the sessions they were recorded in: {device_id, stored, duplicates, refused, without_session}. '
  'Errors: device_token_invalid 401, rate_limited 429.';

grant execute on function private.ingest_locations(bytea, jsonb, jsonb, text) to fieldtrack_edge;

create function private.tg_device_tokens__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_base jsonb := jsonb_build_object('device_id', new.id, 'employee_id', new.employee_id);
begin
  if new.clock_offset_s is distinct from old.clock_offset_s then
    perform private.emit_event(new.organization_id, 'device.clock_changed', 'device', new.id, new.employee_id,
      v_base || jsonb_build_object('clock_offset_s', new.clock_offset_s));
  end if;
  if new.lost_in_a_row >= 10 and old.lost_in_a_row < 10 then
    perform private.emit_event(new.organization_id, 'device.points_lost', 'device', new.id, new.employee_id,
      v_base || jsonb_build_object('points', new.lost_in_a_row, 'refused_by_reason', new.refused_by_reason,
        'last_stored_at', new.last_stored_at));
  end if;
  if new.phone_state <> old.phone_state or new.setup_problem is distinct from old.setup_problem then
    perform private.emit_event(new.organization_id, 'device.state_changed', 'device', new.id, new.employee_id,
      v_base || jsonb_build_object('phone_state', private.known_phone_state(new.phone_state),
        'setup_problem', new.setup_problem));
  end if;
  return null;
end;
$$;

comment on function private.tg_device_tokens__emit() is
  'After a report of a phone: device.clock_changed, device.points_lost (ten in a row), device.state_changed.';

create trigger _300_emit_on_update
  after update of clock_offset_s, lost_in_a_row, phone_state, setup_problem on public.device_tokens
  for each row
  when (old.clock_offset_s is distinct from new.clock_offset_s or new.lost_in_a_row >= 10 and old.lost_in_a_row < 10
    or old.phone_state <> new.phone_state or old.setup_problem is distinct from new.setup_problem)
  execute function private.tg_device_tokens__emit();

create function public.get_device_health(employee_id uuid default null) returns table (
  device_id uuid,
  person_id uuid,
  name text,
  app text,
  protocol text,
  last_heard_at timestamptz,
  last_stored_at timestamptz,
  points_stored bigint,
  points_corrected bigint,
  points_without_session bigint,
  points_refused bigint,
  refused_by_reason jsonb,
  lost_in_a_row integer,
  clock_offset_s integer,
  setup_problem text,
  phone_state jsonb,
  phone_state_at timestamptz
)
language plpgsql stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  -- A statement of its own: joined, it would not be asked where there is no row to join.
  perform private.require_employee();
  return query
  select t.id, t.employee_id, t.name, t.app, t.last_protocol, t.last_seen_at, t.last_stored_at, t.points_stored,
    t.points_corrected, t.points_without_session, t.points_refused, t.refused_by_reason, t.lost_in_a_row, t.clock_offset_s,
    t.setup_problem, t.phone_state, t.phone_state_at
  from public.device_tokens as t
  where t.revoked_at is null and (get_device_health.employee_id is null or t.employee_id = get_device_health.employee_id)
  order by t.employee_id, t.created_at, t.id;
end;
$$;

comment on function public.get_device_health(uuid) is
  'How the phones with a token are doing: last heard, last stored, what was refused and why, whether the clock is wrong
(clock_offset_s, ahead), what the app says of the phone. The caller''s own; administrators see all, managers
their team''s. Optionally of one employee. A key with employees:read reads the table device_tokens.
Errors: not_a_member 403.';

grant execute on function public.get_device_health(uuid) to authenticated;

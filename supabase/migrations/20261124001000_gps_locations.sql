-- Points: what the phones report, often late, in bursts and twice.
--
-- The key is (organization, session, recorded_at): a point sent twice is the same point. One foreign key leads to the
-- session and carries the employee, so a point can name neither another tenant's session nor a colleague's. Partitioned
-- by month, so that retention drops a partition (43 ms) instead of deleting rows (2.6 s for 1.5 million, plus bloat).
-- Partitions live in schema gps with row level security on and no grants: a partition in `public` answered anon although
-- its parent refused.
-- Not covered: live positions and live distance (the snapshots' chapter), retention (the schedules' chapter).

create table public.gps_locations (
  organization_id uuid not null,
  session_id uuid not null,
  recorded_at timestamptz not null,
  employee_id uuid not null,
  latitude private.latitude not null,
  longitude private.longitude not null,
  accuracy_m real,
  speed_mps real,
  heading_deg real,
  battery_pct smallint,
  is_mock boolean not null default false,
  sequence_number bigint,
  received_at timestamptz not null default now(),
  primary key (organization_id, session_id, recorded_at),
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete cascade
) partition by range (recorded_at);

alter table public.gps_locations enable row level security;

comment on table public.gps_locations is
  'Points of sessions, as reported; none is changed or deleted but by retention and erasure. Reading: get_session_route.';
comment on column public.gps_locations.recorded_at is 'When the phone took the fix, by its clock.';
comment on column public.gps_locations.latitude is 'WGS84 degrees, -90 to 90.';
comment on column public.gps_locations.longitude is 'WGS84 degrees, -180 to 180.';
comment on column public.gps_locations.accuracy_m is 'Reported error radius, metres; null if the phone did not say.';
comment on column public.gps_locations.speed_mps is 'Reported speed, metres per second.';
comment on column public.gps_locations.heading_deg is 'Reported heading, degrees clockwise from north, 0 to 360.';
comment on column public.gps_locations.battery_pct is 'Charge of the phone''s battery, 0 to 100.';
comment on column public.gps_locations.is_mock is 'The phone said that an app made the position up.';
comment on column public.gps_locations.sequence_number is 'The phone''s own count, if it keeps one.';
comment on column public.gps_locations.received_at is 'When the point reached the database.';

create policy select_member on public.gps_locations for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_worker on public.gps_locations for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy select_key on public.gps_locations for select to api_key using (
  organization_id = (select private.key_organization_id('locations:read'))
);

grant select on public.gps_locations to authenticated, api_key, service_role, fieldtrack_worker;

-- NOTE: nobody may insert directly; record_locations judges each point.

-- Makes the partitions of a range of months, those that are missing. CREATE TABLE … PARTITION OF would lock the parent
-- against reads and writes; ATTACH does not. lock_timeout keeps a long reader from turning this into a queue of writers.
create function private.create_location_partitions(in_first_month date, in_last_month date) returns integer
language plpgsql volatile
set search_path = ''
set lock_timeout = '2s'
as $$
declare
  v_month date := date_trunc('month', in_first_month)::date;
  v_name text;
  v_created integer := 0;
begin
  while v_month <= in_last_month loop
    v_name := format('gps_locations_%s', to_char(v_month, 'YYYY_MM'));
    if to_regclass(format('gps.%I', v_name)) is null then
      execute format('create table gps.%I (like public.gps_locations including all)', v_name);
      execute format('alter table gps.%I enable row level security', v_name);
      execute format(
        'alter table public.gps_locations attach partition gps.%I for values from (%L) to (%L)', v_name,
        to_char(v_month, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(v_month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
      v_created := v_created + 1;
    end if;
    v_month := (v_month + interval '1 month')::date;
  end loop;
  return v_created;
end;
$$;

comment on function private.create_location_partitions(date, date) is
  'Makes the missing monthly partitions (UTC) of public.gps_locations from one month to another; returns how many.';

-- Two months back (the longest grace and session together are 37 days) and three ahead.
create function private.maintain_location_partitions() returns integer
language plpgsql volatile
set search_path = ''
as $$
declare
  v_today date := (now() at time zone 'UTC')::date;
begin
  return private.create_location_partitions(
    (v_today - interval '2 months')::date, (v_today + interval '3 months')::date);
end;
$$;

comment on function private.maintain_location_partitions() is
  'Keeps partitions from two months back to three months ahead. Run by schedule; returns how many it made.';

select private.maintain_location_partitions();

-- How many points were refused, and why, for the operators' metrics. A sequence an answer: counting takes no row lock, is not
-- undone with a strict batch, and costs the good points nothing. Accepted points need no counter: PostgreSQL's own statistics
-- count the inserts of each partition. A counter row would have made every batch of every phone wait for every other.
create sequence private.rejected_point_time_invalid;
create sequence private.rejected_point_position_invalid;
create sequence private.rejected_point_field_invalid;
create sequence private.rejected_point_in_future;
create sequence private.rejected_point_before_session;
create sequence private.rejected_point_after_session;
create sequence private.rejected_point_too_old;

create function private.count_rejected_points(in_rejected jsonb) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  perform nextval(('private.rejected_' || (r.value ->> 'code'))::regclass)
  from jsonb_array_elements(in_rejected) as r;
end;
$$;

comment on function private.count_rejected_points(jsonb) is 'Counts [{code}] for the metric of rejected points. For definers.';

-- The body that all ways in share: the app's RPC, API keys and device protocols. The caller has proved that the employee may
-- write to the session.
create function private.insert_locations(
  in_organization_id uuid, in_employee_id uuid, in_session_id uuid, in_points jsonb, in_strict boolean
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_organization public.organizations;
  v_received integer;
  v_inserted integer;
  v_first_recorded_at timestamptz;
  v_last_recorded_at timestamptz;
  v_rejected jsonb;
  -- Until when points are taken: an automatic end is provisional, and points within its limit extend it.
  v_takes_until timestamptz;
begin
  if jsonb_typeof(in_points) is distinct from 'array' then
    perform private.fail('invalid_argument', 'points is not an array.', 'points', 'Send a JSON array of 1 to 100 points.');
  end if;
  v_received := jsonb_array_length(in_points);
  if v_received not between 1 and 100 then
    perform private.fail('batch_size', format('%s points in one call.', v_received), 'points',
      'Send 1 to 100 points a call.');
  end if;

  perform private.hold_locked_until(in_organization_id);
  -- The lock settles two races. With check_out: it waits, so the job it enqueues sees these points. With a distance job:
  -- the job holds this row while it reads, so what it may have missed is written after it, and enqueued again below.
  select s.* into v_session
  from public.attendance_sessions as s
  where s.organization_id = in_organization_id and s.id = in_session_id
    and s.employee_id = in_employee_id
  for no key update;
  if not found then
    perform private.fail('session_not_found', 'There is no such session of this employee.', in_session_id::text);
  end if;
  select o.* into strict v_organization from public.organizations as o where o.id = in_organization_id;
  v_takes_until := coalesce(v_session.claimed_checked_out_at, v_session.checked_out_at);
  if v_session.status = 'CLOSED' then
    perform private.refuse_settled_session(v_session, true);
    if v_session.voided_at is not null or v_session.provisional_until > now() then
      -- What was taken back keeps its points as its reports: a session that is not known yet may be theirs.
      v_takes_until := least(
        (private.own_check_out(v_session)).reported_at,
        v_session.checked_in_at + make_interval(hours => v_organization.max_session_hours),
        private.next_session_at(v_session.organization_id, v_session.employee_id, v_session.checked_in_at)
          - interval '1 microsecond',
        private.next_reported_at(v_session.organization_id, v_session.employee_id, v_session.checked_in_at)
          - interval '1 microsecond');
    elsif v_session.claimed_checked_out_at is null then
      -- The instant at which the next one begins is that one's.
      v_takes_until := least(v_takes_until,
        private.next_session_at(v_session.organization_id, v_session.employee_id, v_session.checked_in_at)
          - interval '1 microsecond');
    end if;
    if v_session.voided_at is null and (v_session.provisional_until > now()) is not true
      and now() > v_session.checked_out_received_at
      + make_interval(hours => v_organization.late_upload_grace_hours)
    then
      perform private.fail('upload_too_late',
        format('The session was closed more than %s hours ago.', v_organization.late_upload_grace_hours),
        v_session.id::text);
    end if;
  end if;

  -- One statement: read each point without trusting it, judge it, insert the good ones. Casts are guarded by the tests
  -- before them, so that a bad point is rejected by its index and never fails the batch. In the order of jsonb a number
  -- lies between two numbers only if it is one: strings and null sort below all numbers, booleans, arrays and objects above,
  -- the empty array below. So one comparison tells type and range.
  -- Each step is materialized: merged into one, they would read and parse a value as often as it is mentioned.
  with raw as materialized (
    select
      (e.ordinality - 1)::integer as index,
      e.point ->> 'recorded_at' as recorded_at,
      e.point -> 'latitude' as latitude,
      e.point -> 'longitude' as longitude,
      nullif(e.point -> 'accuracy_m', 'null') as accuracy_m,
      nullif(e.point -> 'speed_mps', 'null') as speed_mps,
      nullif(e.point -> 'heading_deg', 'null') as heading_deg,
      nullif(e.point -> 'battery_pct', 'null') as battery_pct,
      nullif(e.point -> 'sequence_number', 'null') as sequence_number,
      nullif(e.point -> 'is_mock', 'null') as is_mock
    from jsonb_array_elements(in_points) with ordinality as e (point, ordinality)
  ),
  -- [0-9] and not the class of digits, which under ICU has those of every script: the casts below would fail on them.
  -- A hundred times in one match cost a tenth of a hundred matches. No text of fewer than 41 characters holds two of them,
  -- so if all match, each does. Those of a batch with an unusual one are matched one by one below.
  times as materialized (
    select coalesce(
      max(length(r.recorded_at)) < 41
      and ';' || string_agg(r.recorded_at, ';')
        ~ '^(;[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9]))+$',
      false) as are_usual
    from raw as r
  ),
  parsed as materialized (
    -- Nine decimals are a tenth of a millimetre; rounding also keeps what is too small for a float from being an error.
    select
      r.index,
      case when (t.are_usual or r.recorded_at
          ~ '^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)([.,][0-9]{1,9})?)?(Z|z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$')
        and case
          when substr(r.recorded_at, 9, 2) <= '28' then true
          else substr(r.recorded_at, 9, 2)::integer <= extract(
            day from (substr(r.recorded_at, 1, 7) || '-01')::date + interval '1 month -1 day')
        end
        then replace(r.recorded_at, ',', '.')::timestamptz end as recorded_at,
      case when r.latitude between '-90' and '90'
        then round(r.latitude::numeric, 9)::double precision end as latitude,
      case when r.longitude between '-180' and '180'
        then round(r.longitude::numeric, 9)::double precision end as longitude,
      case when r.accuracy_m between '0' and '1e7' then round(r.accuracy_m::numeric, 9)::real end as accuracy_m,
      case when r.speed_mps between '0' and '1e4' then round(r.speed_mps::numeric, 9)::real end as speed_mps,
      case when r.heading_deg between '0' and '360' then round(r.heading_deg::numeric, 9)::real end as heading_deg,
      case when r.battery_pct between '0' and '100' then r.battery_pct::smallint end as battery_pct,
      case when r.sequence_number between '0' and '9007199254740991' then r.sequence_number::bigint end as sequence_number,
      case r.is_mock when 'true' then true when 'false' then false end as is_mock,
      num_nonnulls(r.accuracy_m, r.speed_mps, r.heading_deg, r.battery_pct, r.sequence_number, r.is_mock) as fields
    from raw as r
    cross join times as t
  ),
  judged as (
    select
      p.*,
      case
        when p.recorded_at is null then 'point_time_invalid'
        when p.latitude is null or p.longitude is null then 'point_position_invalid'
        -- What a phone sends that has no place.
        when p.latitude = 0 and p.longitude = 0 then 'point_position_invalid'
        -- One of those that are there could not be read.
        when p.fields <> num_nonnulls(
          p.accuracy_m, p.speed_mps, p.heading_deg, p.battery_pct, p.sequence_number, p.is_mock) then 'point_field_invalid'
        when p.recorded_at > now() + interval '2 minutes' then 'point_in_future'
        when p.recorded_at < v_session.checked_in_at then 'point_before_session'
        when p.recorded_at > v_takes_until then 'point_after_session'
        when p.recorded_at < now()
          - make_interval(hours => v_organization.late_upload_grace_hours + v_organization.max_session_hours)
          then 'point_too_old'
      end as code
    from parsed as p
  ),
  inserted as (
    insert into public.gps_locations (
      organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m, speed_mps, heading_deg,
      battery_pct, is_mock, sequence_number
    )
    select
      v_session.organization_id, v_session.id, j.recorded_at, v_session.employee_id, j.latitude, j.longitude,
      j.accuracy_m, j.speed_mps, j.heading_deg, j.battery_pct, coalesce(j.is_mock, false), j.sequence_number
    from judged as j
    where j.code is null
    on conflict do nothing
    returning recorded_at
  )
  select
    i.points, i.first_recorded_at, i.last_recorded_at,
    coalesce(jsonb_agg(
      jsonb_build_object(
        'index', j.index,
        'code', j.code,
        'message', case j.code
          when 'point_time_invalid' then 'recorded_at is not an ISO 8601 time with an offset.'
          when 'point_position_invalid' then 'latitude (-90 to 90) and longitude (-180 to 180) are needed, as numbers, and not both 0.'
          when 'point_field_invalid' then format('%s is out of its range or of the wrong type.', (
            select case
              when r.accuracy_m is not null and j.accuracy_m is null then 'accuracy_m'
              when r.speed_mps is not null and j.speed_mps is null then 'speed_mps'
              when r.heading_deg is not null and j.heading_deg is null then 'heading_deg'
              when r.battery_pct is not null and j.battery_pct is null then 'battery_pct'
              when r.sequence_number is not null and j.sequence_number is null then 'sequence_number'
              else 'is_mock'
            end
            from raw as r
            where r.index = j.index
          ))
          when 'point_in_future' then 'recorded_at is more than 2 minutes ahead.'
          when 'point_before_session' then 'recorded_at lies before the check-in.'
          when 'point_after_session' then 'recorded_at lies after the check-out.'
          when 'point_too_old' then 'recorded_at is older than the organization accepts.'
        end
      ) order by j.index
    ) filter (where j.code is not null), '[]')
  into v_inserted, v_first_recorded_at, v_last_recorded_at, v_rejected
  from judged as j
  cross join (
    select count(*) as points, min(i.recorded_at) as first_recorded_at,
      max(i.recorded_at) as last_recorded_at
    from inserted as i
  ) as i
  group by i.points, i.first_recorded_at, i.last_recorded_at;

  if v_rejected <> '[]' then
    perform private.count_rejected_points(v_rejected);
  end if;
  if in_strict and v_rejected <> '[]' then
    perform private.fail('batch_rejected', format('%s of %s points are not valid; none was stored.',
      jsonb_array_length(v_rejected), v_received), v_rejected::text,
      case when v_received > 1 then 'Without strict the good points are kept.' end);
  end if;

  if v_session.status = 'ACTIVE' and v_inserted > 0 then
    perform private.advance_live_distance(v_session, v_first_recorded_at, v_last_recorded_at);
  elsif v_inserted > 0 then
    update public.attendance_sessions as s
    set distance_status = 'PENDING'
    where s.organization_id = v_session.organization_id and s.id = v_session.id and s.distance_status <> 'PENDING';
    perform private.request_distance(v_session);
    if v_session.provisional_until > now() and v_last_recorded_at > v_session.checked_out_at then
      perform private.settle_session(v_session.organization_id, v_session.id);
    end if;
  end if;

  return jsonb_build_object(
    'session_id', v_session.id,
    'received', v_received,
    'inserted', v_inserted,
    'duplicates', v_received - v_inserted - jsonb_array_length(v_rejected),
    'rejected', v_rejected
  );
end;
$$;

comment on function private.insert_locations(uuid, uuid, uuid, jsonb, boolean) is
  'Stores the good points of a batch in a session; the shared body of all ways in. See public.record_locations.';

-- Points past the end of the session that they name, where the person's next session has begun already: they are that one's, as
-- they would be had they come before its check-in.
create function private.point_time(in_text text) returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
  return case when in_text ~ '^[12][0-9]{3}-' then in_text::timestamptz end;
exception
  when datetime_field_overflow or invalid_datetime_format or invalid_text_representation then
    return null;
end;
$$;

comment on function private.point_time(text) is 'The time of a point, or null if it cannot be read; private.insert_locations says so.';

-- The result of a part of a batch, added to that of the whole: the part's own indexes are those of the whole again.
create function private.merge_batches(in_whole jsonb, in_part jsonb, in_indexes integer[]) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return in_whole || jsonb_build_object(
    'inserted', (in_whole ->> 'inserted')::integer + (in_part ->> 'inserted')::integer,
    'duplicates', (in_whole ->> 'duplicates')::integer + (in_part ->> 'duplicates')::integer,
    'rejected', (
      select coalesce(jsonb_agg(r.value order by (r.value ->> 'index')::integer), '[]')
      from (
        select l.value from jsonb_array_elements(in_whole -> 'rejected') as l
        where (l.value ->> 'index')::integer <> all (in_indexes)
        union all
        select l.value || jsonb_build_object('index', in_indexes[(l.value ->> 'index')::integer + 1])
        from jsonb_array_elements(in_part -> 'rejected') as l
      ) as r
    ));
end;
$$;

comment on function private.merge_batches(jsonb, jsonb, integer[]) is
  'A batch''s result with that of some of its points, which were tried in another session. For private.record_locations.';

create function private.pass_on_points(
  in_organization_id uuid, in_employee_id uuid, in_points jsonb, in_strict boolean, in_result jsonb
) returns jsonb
language plpgsql volatile
set search_path = ''
as $$
declare
  v_batch record;
  v_part jsonb;
  v_result jsonb := in_result;
begin
  if in_strict or not jsonb_path_exists(in_result, '$.rejected[*] ? (@.code == "point_after_session")') then
    return in_result;
  end if;
  for v_batch in
    select p.session_id, array_agg(p.index order by p.index) as indexes,
      jsonb_agg(in_points -> p.index order by p.index) as points
    from (
      select (r.value ->> 'index')::integer as index,
        private.session_at(in_organization_id, in_employee_id,
          private.point_time(in_points -> (r.value ->> 'index')::integer ->> 'recorded_at')) as session_id
      from jsonb_array_elements(in_result -> 'rejected') as r
      where r.value ->> 'code' = 'point_after_session'
    ) as p
    where p.session_id <> (in_result ->> 'session_id')::uuid
    group by p.session_id
    order by p.session_id
  loop
    v_part := private.insert_locations(in_organization_id, in_employee_id, v_batch.session_id, v_batch.points, false);
    v_result := private.merge_batches(v_result, v_part, v_batch.indexes);
  end loop;
  return v_result;
exception
  -- That session is settled: the points stay refused.
  when sqlstate 'PGRST' then
    return in_result;
end;
$$;

comment on function private.pass_on_points(uuid, uuid, jsonb, boolean, jsonb) is
  'Stores points that were refused as later than their session in the session they fall into; answers the result of both.';

create function private.record_locations(in_session_id uuid, in_employee_id uuid, in_points jsonb, in_strict boolean)
returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_organization_id uuid;
  v_employee_id uuid;
  v_session_id uuid := in_session_id;
  v_result jsonb;
  v_left integer[];
begin
  if private.jwt() ->> 'role' = 'api_key' then
    select c.organization_id into v_organization_id from private.require_admin('locations:write') as c;
    if v_session_id is not null then
      select s.employee_id into v_employee_id
      from public.attendance_sessions as s
      where s.organization_id = v_organization_id and s.id = v_session_id
        and s.employee_id = coalesce(in_employee_id, s.employee_id);
      if not found then
        perform private.fail('session_not_found', 'There is no such session of this employee.', v_session_id::text);
      end if;
    elsif in_employee_id is not null then
      select e.id into v_employee_id
      from public.employees as e
      where e.organization_id = v_organization_id and e.id = in_employee_id;
      if not found then
        perform private.fail('employee_not_found', 'There is no such employee.', in_employee_id::text);
      end if;
    else
      perform private.fail('invalid_argument', 'An API key names whose points these are.', 'employee_id',
        'Send employee_id (the open session) or session_id.');
    end if;
  else
    select e.organization_id, e.id into v_organization_id, v_employee_id from private.require_employee() as e;
    if in_employee_id <> v_employee_id then
      perform private.fail('invalid_argument', 'A person sends the own points only.', 'employee_id',
        'Leave employee_id out; API keys with locations:write send for others.');
    end if;
  end if;
  perform private.take_token(v_organization_id, 'locations', v_employee_id);
  if v_session_id is null then
    select s.id into v_session_id
    from public.attendance_sessions as s
    where s.organization_id = v_organization_id and s.employee_id = v_employee_id and s.status = 'ACTIVE';
    if not found then
      perform private.fail('no_open_session', 'The employee is not checked in.', null,
        'Check in first, or name the session_id of the session that these points belong to.');
    end if;
  end if;
  if not coalesce(in_strict, false) and jsonb_typeof(in_points) = 'array' and exists (
    select from public.attendance_sessions as s
    where s.organization_id = v_organization_id and s.id = v_session_id and s.employee_id = v_employee_id
      and (s.voided_at is not null or s.claimed_checked_out_at is not null)
  ) then
    -- Points of a session that was taken back or cut short are those of the sessions they fall into; what is left stays with it.
    v_result := private.pass_on_points(v_organization_id, v_employee_id, in_points, false, jsonb_build_object(
      'session_id', v_session_id, 'received', jsonb_array_length(in_points), 'inserted', 0, 'duplicates', 0,
      'rejected', (
        select coalesce(jsonb_agg(jsonb_build_object('index', e.ordinality - 1, 'code', 'point_after_session',
          'message', '') order by e.ordinality), '[]')
        from jsonb_array_elements(in_points) with ordinality as e (point, ordinality)
      )));
    select array_agg((r.value ->> 'index')::integer order by (r.value ->> 'index')::integer) into v_left
    from jsonb_array_elements(v_result -> 'rejected') as r;
    if v_left is not null then
      v_result := private.merge_batches(v_result, private.insert_locations(v_organization_id, v_employee_id, v_session_id, (
        select jsonb_agg(in_points -> l.index order by l.index) from unnest(v_left) as l (index)
      ), false), v_left);
    end if;
    return v_result;
  end if;
  return private.pass_on_points(v_organization_id, v_employee_id, in_points, coalesce(in_strict, false),
    private.insert_locations(v_organization_id, v_employee_id, v_session_id, in_points, coalesce(in_strict, false)));
end;
$$;

comment on function private.record_locations(uuid, uuid, jsonb, boolean) is 'Body of public.record_locations.';

grant execute on function private.record_locations(uuid, uuid, jsonb, boolean) to authenticated, api_key;

create function public.record_locations(
  points jsonb, session_id uuid default null, strict boolean default false, employee_id uuid default null
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.record_locations(session_id, employee_id, points, strict);
$$;

comment on function public.record_locations(jsonb, uuid, boolean, uuid) is
  'Stores 1 to 100 points in the caller''s session (default: the open one); a key with locations:write names the
employee_id (the open session) or the session_id. A point: {recorded_at (ISO 8601 with offset),
latitude, longitude, accuracy_m?, speed_mps?, heading_deg?, battery_pct?, is_mock?, sequence_number?}. Points sent before
are not errors. Good points of a batch with bad ones are kept, unless strict. Points for a closed session are taken within
the organization''s grace and the distance is computed again.
Answers {session_id, received, inserted, duplicates, rejected: [{index, code, message}]}.
Errors: no_open_session 409, session_not_found 404, employee_not_found 404 (a key), batch_size 400, batch_rejected 422 (strict),
upload_too_late 422, session_sealed 409, period_locked 409, rate_limited 429 (one call a second, a burst of 60),
invalid_argument 400, not_a_member 403.';

grant execute on function public.record_locations(jsonb, uuid, boolean, uuid) to authenticated, api_key;

create function public.record_location(
  recorded_at timestamptz,
  latitude double precision,
  longitude double precision,
  accuracy_m real default null,
  speed_mps real default null,
  heading_deg real default null,
  battery_pct integer default null,
  is_mock boolean default false,
  sequence_number bigint default null,
  session_id uuid default null,
  employee_id uuid default null
) returns jsonb
language sql volatile
set search_path = ''
as $$
  -- One point is a batch of one under the same rules; strict, because there is no other point to keep.
  select private.record_locations(
    session_id,
    employee_id,
    jsonb_build_array(jsonb_build_object(
      'recorded_at', recorded_at, 'latitude', latitude, 'longitude', longitude, 'accuracy_m', accuracy_m,
      'speed_mps', speed_mps, 'heading_deg', heading_deg, 'battery_pct', battery_pct,
      'is_mock', coalesce(is_mock, false), 'sequence_number', sequence_number)),
    true
  );
$$;

comment on function public.record_location(
  timestamptz, double precision, double precision, real, real, real, integer, boolean, bigint, uuid, uuid
) is
  'Stores one point in the caller''s session (default: the open one; a key names employee_id or session_id), by
the rules of record_locations; sent before is not an error. Answers {session_id, received, inserted, duplicates, rejected: []}.
Errors: those of record_locations; a point that is not valid is batch_rejected 422 with the reason in details.';

grant execute on function public.record_location(
  timestamptz, double precision, double precision, real, real, real, integer, boolean, bigint, uuid, uuid
) to authenticated, api_key;

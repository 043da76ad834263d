-- Visits: who was at which site, from when to when, out of the points of a session.
--
-- A person is in a site when a point lies inside, and has left it when two points in a row lie clearly outside: further than
-- the larger of
-- 20 m and a tenth of the radius, after the fix's own accuracy (at most 100 m) is taken off, in the same direction and as
-- near to one
-- another as somebody can have gone; three where the phone says that it lies still. A wild fix so moves nobody. Points with
-- an accuracy over 300 m are not asked. What
-- lasts less than two minutes is no visit: somebody drove by.
-- Visits follow from the set of points and nothing else: points in order go on from the state that the session is in, a late
-- point
-- has the session's visits made anew. They are positions, so they go with the points of their session.
-- Not covered: alerts about who is not at a site.

create function private.visit_rules(out max_accuracy_m real, out min_dwell interval, out exit_m real, out exit_share real)
language sql immutable
set search_path = ''
as $$
  select 300::real, interval '120 seconds', 20::real, 0.1::real;
$$;

comment on function private.visit_rules() is 'The numbers by which visits are judged; the header of this chapter says why.';

create table public.visits (
  organization_id uuid not null,
  session_id uuid not null,
  site_id uuid not null,
  entered_at timestamptz not null,
  left_at timestamptz,
  employee_id uuid not null,
  primary key (organization_id, session_id, site_id, entered_at),
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete cascade,
  constraint site foreign key (organization_id, site_id) references public.sites (organization_id, id) on delete cascade,
  constraint left_after_entered check (left_at >= entered_at)
);

alter table public.visits enable row level security;

-- The session reference, which carries the employee.
create index visits_session on public.visits (organization_id, session_id, employee_id);

-- Who was at a site, newest first; also the site reference.
create index visits_of_site on public.visits (organization_id, site_id, entered_at desc);

-- Where a person was, newest first.
create index visits_of_employee on public.visits (organization_id, employee_id, entered_at desc);

comment on table public.visits is
  'When people were at sites, at least two minutes each. Administrators read all, managers their teams'', an employee their own.';
comment on column public.visits.session_id is 'The session whose points say so.';
comment on column public.visits.site_id is 'The site (sites.id).';
comment on column public.visits.entered_at is 'The first point inside.';
comment on column public.visits.left_at is
  'The first of the points outside, or the check-out; null while the person is there.';
comment on column public.visits.employee_id is 'The person (employees.id).';

create policy select_member on public.visits for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.visits for select to api_key using (
  organization_id = (select private.key_organization_id('locations:read'))
);

grant select on public.visits to authenticated, api_key, service_role;

-- NOTE: nobody writes visits but the triggers below.

-- Where the points that were read so far leave a session at a site: in it since entered_at, perhaps already seen outside once.
create table private.visit_states (
  organization_id uuid not null,
  session_id uuid not null,
  site_id uuid not null,
  entered_at timestamptz not null,
  last_inside_at timestamptz not null,
  out_at timestamptz,
  out_place point,
  last_out_at timestamptz,
  out_fixes smallint not null default 0,
  out_moves boolean not null default false,
  primary key (organization_id, session_id, site_id),
  constraint session foreign key (organization_id, session_id)
    references public.attendance_sessions (organization_id, id) on delete cascade,
  constraint site foreign key (organization_id, site_id) references public.sites (organization_id, id) on delete cascade
);

alter table private.visit_states enable row level security;

-- The site reference.
create index visit_states_site on private.visit_states (organization_id, site_id);

comment on table private.visit_states is 'Sites that open sessions are in, as far as their points were read.';

-- One site, over the points of a session from a time on. It answers the visits that ended and leaves the state behind.
create function private.follow_site(
  in_site public.sites, in_session public.attendance_sessions, in_from timestamptz
) returns table (entered_at timestamptz, left_at timestamptz)
language plpgsql volatile security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  v_rules record;
  v_state private.visit_states;
  v_point record;
  v_outside_m double precision;
  v_place point;
  v_last_out_at timestamptz;
begin
  select r.* into v_rules from private.visit_rules() as r;
  select t.* into v_state
  from private.visit_states as t
  where t.organization_id = (in_session).organization_id and t.session_id = (in_session).id and t.site_id = (in_site).id;
  v_last_out_at := v_state.last_out_at;
  for v_point in
    select g.recorded_at, g.latitude, g.longitude, g.speed_mps, coalesce(g.accuracy_m, 20) as accuracy_m
    from public.gps_locations as g
    where g.organization_id = (in_session).organization_id and g.session_id = (in_session).id
      and g.recorded_at >= greatest(in_from, (in_session).checked_in_at)
      and g.recorded_at <= coalesce((in_session).checked_out_at, 'infinity')
      and coalesce(g.accuracy_m, 20) <= v_rules.max_accuracy_m
    order by g.recorded_at
  loop
    v_outside_m := private.metres_outside(in_site, v_point.latitude, v_point.longitude);
    if v_outside_m = 0 then
      if v_state.entered_at is null then
        v_state.entered_at := v_point.recorded_at;
      end if;
      v_state.last_inside_at := v_point.recorded_at;
      v_state.out_at := null;
      v_state.out_fixes := 0;
      v_state.out_moves := false;
    elsif v_state.entered_at is not null and v_outside_m - least(v_point.accuracy_m, 100)
      > greatest(v_rules.exit_m, v_rules.exit_share * coalesce((in_site).radius_m, 0))
    then
      v_place := private.site_plane((in_site).latitude, (in_site).longitude, v_point.latitude, v_point.longitude);
      -- In the same direction from the site, and as near to one another as a person can have gone: else the fix begins anew.
      if v_state.out_at is not null
        and (v_state.out_place operator(pg_catalog.<->) v_place)
          <= 50 + 40 * extract(epoch from v_point.recorded_at - v_last_out_at)
        and v_state.out_place[0] * v_place[0] + v_state.out_place[1] * v_place[1]
          > 0.5 * (v_state.out_place operator(pg_catalog.<->) point(0, 0)) * (v_place operator(pg_catalog.<->) point(0, 0))
      then
        v_state.out_fixes := v_state.out_fixes + 1;
      else
        v_state.out_at := v_point.recorded_at;
        v_state.out_fixes := 1;
        v_state.out_moves := false;
      end if;
      v_state.out_place := v_place;
      v_last_out_at := v_point.recorded_at;
      v_state.out_moves := v_state.out_moves or coalesce(v_point.speed_mps, 1) >= 0.5;
      -- A phone that says that it lies still is believed to have left after the third fix only.
      if v_state.out_fixes >= (case when v_state.out_moves then 2 else 3 end) then
        if v_state.out_at - v_state.entered_at >= v_rules.min_dwell then
          entered_at := v_state.entered_at;
          left_at := v_state.out_at;
          return next;
        end if;
        v_state.entered_at := null;
        v_state.out_at := null;
        v_state.out_fixes := 0;
        v_state.out_moves := false;
      end if;
    end if;
  end loop;

  if v_state.entered_at is not null and (in_session).checked_out_at is not null then
    v_state.out_at := coalesce(v_state.out_at, (in_session).checked_out_at);
    if v_state.out_at - v_state.entered_at >= v_rules.min_dwell then
      entered_at := v_state.entered_at;
      left_at := v_state.out_at;
      return next;
    end if;
    v_state.entered_at := null;
  end if;
  if v_state.entered_at is null then
    delete from private.visit_states as t
    where t.organization_id = (in_session).organization_id and t.session_id = (in_session).id and t.site_id = (in_site).id;
  else
    insert into private.visit_states as t (organization_id, session_id, site_id, entered_at, last_inside_at, out_at, out_place,
      last_out_at, out_fixes, out_moves)
    values ((in_session).organization_id, (in_session).id, (in_site).id, v_state.entered_at, v_state.last_inside_at,
      v_state.out_at, v_state.out_place, v_last_out_at, coalesce(v_state.out_fixes, 0), coalesce(v_state.out_moves, false))
    on conflict on constraint visit_states_pkey do update
    set entered_at = excluded.entered_at, last_inside_at = excluded.last_inside_at, out_at = excluded.out_at,
      out_place = excluded.out_place, last_out_at = excluded.last_out_at, out_fixes = excluded.out_fixes,
      out_moves = excluded.out_moves;
    if v_state.last_inside_at - v_state.entered_at >= v_rules.min_dwell then
      entered_at := v_state.entered_at;
      left_at := null;
      return next;
    end if;
  end if;
end;
$$;

comment on function private.follow_site(public.sites, public.attendance_sessions, timestamptz) is
  'The visits of one session at one site that end at or after a time, or last; keeps what the next points need to know.';

-- The whole session (in_from '-infinity'), or what comes after what was read before.
create function private.follow_visits(in_session public.attendance_sessions, in_from timestamptz) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_box box;
  v_visits jsonb;
begin
  select box(point(min(g.longitude), min(g.latitude)), point(max(g.longitude), max(g.latitude))) into v_box
  from public.gps_locations as g
  where g.organization_id = (in_session).organization_id and g.session_id = (in_session).id and g.recorded_at >= in_from;
  if in_from = '-infinity' then
    delete from private.visit_states as t
    where t.organization_id = (in_session).organization_id and t.session_id = (in_session).id;
  end if;

  select coalesce(jsonb_agg(jsonb_build_object('site_id', s.id, 'entered_at', f.entered_at, 'left_at', f.left_at)), '[]')
  into v_visits
  from public.sites as s
  cross join lateral private.follow_site(s, in_session, in_from) as f
  where s.organization_id = (in_session).organization_id
    and (
      s.is_active and s.area operator(pg_catalog.&&) v_box
      -- A site that has been closed since keeps the visits that it had.
      or exists (
        select from public.visits as v
        where v.organization_id = s.organization_id and v.session_id = (in_session).id and v.site_id = s.id
      )
      or exists (
        select from private.visit_states as t
        where t.organization_id = s.organization_id and t.session_id = (in_session).id and t.site_id = s.id
      )
    );

  if in_from = '-infinity' then
    delete from public.visits as v
    where v.organization_id = (in_session).organization_id and v.session_id = (in_session).id
      and not exists (
        select from jsonb_to_recordset(v_visits) as n (site_id uuid, entered_at timestamptz)
        where n.site_id = v.site_id and n.entered_at = v.entered_at
      );
  end if;
  insert into public.visits as v (organization_id, session_id, site_id, entered_at, left_at, employee_id)
  select (in_session).organization_id, (in_session).id, n.site_id, n.entered_at, n.left_at, (in_session).employee_id
  from jsonb_to_recordset(v_visits) as n (site_id uuid, entered_at timestamptz, left_at timestamptz)
  on conflict on constraint visits_pkey do update
  set left_at = excluded.left_at
  where v.left_at is distinct from excluded.left_at;
end;
$$;

comment on function private.follow_visits(public.attendance_sessions, timestamptz) is
  'Brings the visits of a session up to its points: all of them (-infinity), or those from a time on.';

-- Once a statement. Most batches come from people who are at no site: for them this is one look into the index of sites.
create function private.tg_gps_locations__follow_visits() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_batch record;
  v_session public.attendance_sessions;
  v_is_known boolean;
  v_is_late boolean;
begin
  for v_batch in
    select p.organization_id, p.session_id, min(p.recorded_at) as first_at, count(*) as points,
      box(point(min(p.longitude), min(p.latitude)), point(max(p.longitude), max(p.latitude))) as area
    from new_points as p
    group by p.organization_id, p.session_id
  loop
    v_is_known := exists (
        select from private.visit_states as t
        where t.organization_id = v_batch.organization_id and t.session_id = v_batch.session_id
      ) or exists (
        select from public.visits as v
        where v.organization_id = v_batch.organization_id and v.session_id = v_batch.session_id
      );
    continue when not v_is_known and not exists (
      select from public.sites as s
      where s.organization_id = v_batch.organization_id and s.is_active and s.area operator(pg_catalog.&&) v_batch.area
    );
    select s.* into v_session
    from public.attendance_sessions as s
    where s.organization_id = v_batch.organization_id and s.id = v_batch.session_id;
    v_is_late := v_batch.points < (
      select count(*)
      from (
        select from public.gps_locations as g
        where g.organization_id = v_batch.organization_id and g.session_id = v_batch.session_id
          and g.recorded_at >= v_batch.first_at
        limit v_batch.points + 1
      ) as g
    );
    perform private.follow_visits(v_session, case
      when v_is_known and v_is_late or v_session.status = 'CLOSED' then '-infinity'
      else v_batch.first_at
    end);
  end loop;
  return null;
end;
$$;

comment on function private.tg_gps_locations__follow_visits() is 'After each insert statement: visits of the sessions whose points came.';

create trigger _500_follow_visits after insert on public.gps_locations
  referencing new table as new_points
  for each statement execute function private.tg_gps_locations__follow_visits();

-- Other times of a session hold other points, and at its end the person leaves. Points that are deleted take their visits along.
create function private.tg_attendance_sessions__follow_visits() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if new.points_purged_at is not null then
    delete from public.visits as v where v.organization_id = new.organization_id and v.session_id = new.id;
    delete from private.visit_states as t where t.organization_id = new.organization_id and t.session_id = new.id;
    return null;
  end if;
  if exists (select from public.sites as s where s.organization_id = new.organization_id) then
    perform private.follow_visits(new, '-infinity');
  end if;
  return null;
end;
$$;

comment on function private.tg_attendance_sessions__follow_visits() is
  'After a session got other times or was sealed: makes its visits anew, or deletes them.';

create trigger _500_follow_visits after update of checked_in_at, checked_out_at, status, points_purged_at
  on public.attendance_sessions
  for each row when (
    (old.checked_in_at, old.checked_out_at, old.points_purged_at) is distinct from
    (new.checked_in_at, new.checked_out_at, new.points_purged_at)
  ) execute function private.tg_attendance_sessions__follow_visits();

create function private.tg_visits__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_payload jsonb := jsonb_build_object('session_id', new.session_id, 'employee_id', new.employee_id, 'site_id', new.site_id,
    'entered_at', new.entered_at);
begin
  if tg_op = 'INSERT' then
    perform private.emit_event(new.organization_id, 'visit.started', 'session', new.session_id, new.employee_id, v_payload);
  end if;
  if new.left_at is not null then
    perform private.emit_event(new.organization_id, 'visit.ended', 'session', new.session_id, new.employee_id,
      v_payload || jsonb_build_object('left_at', new.left_at));
  end if;
  return null;
end;
$$;

comment on function private.tg_visits__emit() is
  'After insert or another end: visit.started, visit.ended. A late point may end a visit again, at another time.';

create trigger _300_emit after insert or update of left_at on public.visits
  for each row execute function private.tg_visits__emit();

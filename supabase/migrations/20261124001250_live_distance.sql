-- The distance of an open session so far: updated with each batch, at a cost that does not grow with the session.
--
-- private.insert_locations holds the session's row when it calls private.advance_live_distance, which takes the stored state
-- over the new points only. A batch that comes in order gives exactly what a recalculation of the points so far would. A late
-- point lies before the state and cannot be added to it: the figure is marked provisional and the distance job, once, makes
-- it anew from all points. At check-out the job computes the final figures and the row goes.
-- Not covered: where clients read it (the snapshots' chapter).

create table private.live_distances (
  organization_id uuid not null,
  session_id uuid not null,
  state private.distance_state not null,
  -- Those the state was made with: a change of settings counts from the next recalculation, never in the middle.
  parameters jsonb not null,
  distance_m numeric(12, 2) not null,
  is_provisional boolean not null default false,
  primary key (organization_id, session_id),
  constraint session foreign key (organization_id, session_id)
    references public.attendance_sessions (organization_id, id) on delete cascade
) with (fillfactor = 70);

alter table private.live_distances enable row level security;

comment on table private.live_distances is
  'Open sessions with points: the state of private.advance_distance after the last one, and the distance so far.';

create policy select_worker on private.live_distances for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on private.live_distances for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on private.live_distances for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

create policy delete_worker on private.live_distances for delete to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select, delete, insert (organization_id, session_id, state, parameters, distance_m, is_provisional),
  update (state, parameters, distance_m, is_provisional)
  on private.live_distances to fieldtrack_worker;

-- NOTE: no client reads it; the state is an implementation's, and the figure is in the snapshots.

-- What a session would measure if it ended at the state: the point that waits for its confirmation counts.
create function private.distance_so_far_m(in_state private.distance_state) returns numeric
language plpgsql immutable
set search_path = ''
as $$
begin
  return round(((in_state).distance_m + coalesce((in_state).candidate_leg_m, 0))::numeric, 2);
end;
$$;

comment on function private.distance_so_far_m(private.distance_state) is 'Metres, to the centimetre, at a state.';

grant execute on function private.distance_so_far_m(private.distance_state) to fieldtrack_worker;

create function private.advance_live_distance(
  in_session public.attendance_sessions, in_first_recorded_at timestamptz, in_last_recorded_at timestamptz
) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_live private.live_distances;
  v_is_late boolean;
  v_state private.distance_state;
begin
  select l.* into v_live
  from private.live_distances as l
  where l.organization_id = (in_session).organization_id and l.session_id = (in_session).id;
  if not found then
    v_live.parameters := private.distance_parameters((in_session).organization_id);
    v_live.is_provisional := false;
  end if;
  v_is_late := coalesce(in_first_recorded_at <= (v_live.state).last_recorded_at, false);
  v_state := v_live.state;
  if in_last_recorded_at > (v_live.state).last_recorded_at is not false then
    v_state := (
      select a.new_state
      from private.advance_distance((in_session).organization_id, (in_session).id, (in_session).checked_in_at, 'infinity',
        v_live.parameters, v_live.state, coalesce((v_live.state).last_recorded_at, '-infinity'), in_last_recorded_at,
        'state') as a
    );
  end if;

  insert into private.live_distances as l (
    organization_id, session_id, state, parameters, distance_m, is_provisional
  ) values (
    (in_session).organization_id, (in_session).id, v_state, v_live.parameters, private.distance_so_far_m(v_state),
    v_is_late or v_live.is_provisional
  )
  on conflict (organization_id, session_id) do update
  set state = excluded.state,
    distance_m = excluded.distance_m,
    is_provisional = excluded.is_provisional
  where l.organization_id = (in_session).organization_id;

  -- Once: the job that waits for this session's row will see every point that comes before it runs.
  if v_is_late and not v_live.is_provisional then
    perform private.request_distance(in_session);
  end if;
end;
$$;

comment on function private.advance_live_distance(public.attendance_sessions, timestamptz, timestamptz) is
  'Brings an open session''s live distance over points that were just inserted; the caller holds the session''s row.';

create function private.compute_live_distance(in_session public.attendance_sessions) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_parameters jsonb := private.distance_parameters((in_session).organization_id);
  v_state private.distance_state := (
    select a.new_state
    from private.advance_distance((in_session).organization_id, (in_session).id, (in_session).checked_in_at, 'infinity',
      v_parameters, null, '-infinity', 'infinity', 'state') as a
  );
begin
  insert into private.live_distances as l (
    organization_id, session_id, state, parameters, distance_m, is_provisional
  ) values (
    (in_session).organization_id, (in_session).id, v_state, v_parameters, private.distance_so_far_m(v_state), false
  )
  on conflict (organization_id, session_id) do update
  set state = excluded.state,
    parameters = excluded.parameters,
    distance_m = excluded.distance_m,
    is_provisional = false
  where l.organization_id = (in_session).organization_id;
end;
$$;

comment on function private.compute_live_distance(public.attendance_sessions) is
  'Makes the live distance of an open session anew from all its points; the caller holds the session''s row.';

grant execute on function private.compute_live_distance(public.attendance_sessions) to fieldtrack_worker;

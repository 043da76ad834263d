-- The distance of a session: from noisy points to metres that can be paid.
--
-- One pass over the points in order of time, with a state of fixed size, so that the same steps serve a recalculation, the
-- route that explains it, and the live distance of an open session. Movement counts from an anchor, the last place that
-- surely was reached, once a point lies further away than the errors of both explain; a phone that stays is at rest, and
-- its anchor becomes the mean of what it reports, unless it reports that it moves.
-- A reported speed is a witness and not the judge. Phones' apps send speeds in other units and in coarse steps, so speeds are
-- compared with places on straight stretches, and the factor between them is applied; until it is known the straight line counts.
-- A point that leaves and returns as nothing drives (a spike) is cut. A place that no reported speed explains is held until six
-- points confirm it: a few wrong fixes add nothing, and a way that the receiver did not see counts once, as a straight leg.
-- A fix that is sent again to the last digit while it claims a speed is a silence.
-- The result is a function of the set of points: order of arrival, batches and repetition change no byte. Points are flagged,
-- never changed. Over 120 lines, because calls within the loop would cost more than it (docs/decisions.md); how good the result
-- is, docs/accuracy.md says.

create function private.distance_algorithm_version() returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return 3;
end;
$$;

comment on function private.distance_algorithm_version() is
  'Version of private.advance_distance; raised with each change that can change a figure.';

grant execute on function private.distance_algorithm_version() to authenticated, api_key, service_role, fieldtrack_worker;

create function private.distance_parameters(in_organization_id uuid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'max_accuracy_m', o.max_accuracy_m,
      'max_speed_mps', o.max_speed_mps,
      'gap_s', o.gap_s,
      'stop_s', o.stop_s,
      -- The others are the algorithm's own, and change with its version only.
      -- What a point without an accuracy (or with zero) is taken for: a receiver under open sky.
      'default_accuracy_m', 5,
      -- Claims below it are not believed.
      'min_accuracy_m', 3,
      -- Movement counts beyond this many times the combined radius of both points (68 % each); from rest, this many.
      'moved_radii', 2.5,
      'rest_radii', 3.5,
      -- Slower than this on average and still within that circle: at rest.
      'rest_speed_mps', 0.5,
      -- Reported speeds below it are noise.
      'min_speed_mps', 0.7,
      -- A spike: turning round would have taken more than this. 3 is hard braking; nobody drives so both ways at once.
      'spike_mps2', 1.5,
      -- A place that no reported speed explains counts once so many points in a row confirm it; where the receiver says that it
      -- lies still, for so long besides.
      'confirm_points', 6,
      'confirm_still_s', 600,
      -- How long a reported speed says something about the way to the next point.
      'speed_says_s', 90,
      -- Straight stretches by which reported speeds are compared with places: so many radii long, and so many metres.
      'scale_radii', 12,
      'scale_m', 40
    )
    from public.organizations as o
    where o.id = in_organization_id
  );
end;
$$;

comment on function private.distance_parameters(uuid) is
  'Every parameter of private.advance_distance for an organization; units in the key names. Kept with each result.';

grant execute on function private.distance_parameters(uuid) to authenticated, api_key, service_role, fieldtrack_worker;

-- How much longer than the straight line a way is that began with one heading and ended with another: 1 straight on, up to
-- 1.42 round one corner. Streets meet at about right angles, so headings that are parallel to each other but oblique to the
-- line, or one heading alone, mean corners too; below 30 degrees it may be noise or a bend, which hardly lengthens.
create function private.corner_factor(
  in_x double precision, in_y double precision, in_z double precision,
  in_dx double precision, in_dy double precision, in_dz double precision,
  in_heading_from_deg double precision, in_heading_to_deg double precision
) returns double precision
language plpgsql immutable
set search_path = ''
as $$
declare
  v_r double precision := sqrt(in_x * in_x + in_y * in_y);
  v_bearing_deg double precision;
  v_from_deg double precision;
  v_to_deg double precision;
  v_turn_deg double precision;
begin
  -- No heading, or at a pole, where headings mean nothing.
  if in_heading_from_deg is null and in_heading_to_deg is null or v_r < 1000 then
    return 1;
  end if;
  -- East and north of the step; the earth is round enough for an angle.
  v_bearing_deg := atan2d(
    (in_x * in_dy - in_y * in_dx) / v_r,
    (in_dz * v_r - in_z * (in_x * in_dx + in_y * in_dy) / v_r) / sqrt(in_x * in_x + in_y * in_y + in_z * in_z));
  v_from_deg := v_bearing_deg - in_heading_from_deg;
  v_from_deg := v_from_deg - 360 * round(v_from_deg / 360);
  v_to_deg := in_heading_to_deg - v_bearing_deg;
  v_to_deg := v_to_deg - 360 * round(v_to_deg / 360);
  v_turn_deg := v_from_deg + v_to_deg;
  if v_from_deg * v_to_deg > 0 and abs(v_turn_deg) < 150 then
    -- One corner: two sides of a triangle over the third (law of sines).
    return least(cosd((v_from_deg - v_to_deg) / 2) / cosd(v_turn_deg / 2), 1.42);
  end if;
  return greatest(
    case when abs(v_from_deg) between 30 and 150
      then abs(cosd(v_from_deg)) + abs(sind(v_from_deg)) end,
    case when abs(v_to_deg) between 30 and 150
      then abs(cosd(v_to_deg)) + abs(sind(v_to_deg)) end,
    1);
end;
$$;

comment on function private.corner_factor(double precision, double precision, double precision, double precision,
  double precision, double precision, double precision, double precision) is
  'Length of a way with corners over its straight line, 1 to 1.42: from a place (earth-centred metres), the step from it, '
  'and the headings at both ends (degrees or null).';

grant execute on function private.corner_factor(double precision, double precision, double precision, double precision,
  double precision, double precision, double precision, double precision)
  to authenticated, api_key, service_role, fieldtrack_worker;

-- Everything that one point must know of the points before it.
create type private.distance_state as (
  last_recorded_at timestamptz,
  distance_m double precision,
  points_seen integer,
  points_rejected integer,
  -- The anchor: where the person surely was, and what the receiver said there (its radius squared).
  anchor_x double precision,
  anchor_y double precision,
  anchor_z double precision,
  anchor_variance_m2 double precision,
  anchor_at_s double precision,
  anchor_speed_mps double precision,
  anchor_heading_deg double precision,
  -- Points averaged into the anchor; 0 while the person is on the way.
  rest_points integer,
  -- The last point that was near the anchor, or was it.
  near_at_s double precision,
  -- The last point that counts, and the way since the anchor by reported speed; null where a speed was missing.
  before_at_s double precision,
  before_speed_mps double precision,
  travelled_m double precision,
  -- A point that has moved and waits for the next one to confirm it; null if none waits.
  candidate_recorded_at timestamptz,
  candidate_x double precision,
  candidate_y double precision,
  candidate_z double precision,
  candidate_variance_m2 double precision,
  candidate_at_s double precision,
  candidate_speed_mps double precision,
  candidate_heading_deg double precision,
  candidate_chord_m double precision,
  candidate_leg_m double precision,
  candidate_left_s double precision,
  candidate_is_gap boolean,
  -- The last place, to know it again.
  last_x double precision,
  last_y double precision,
  last_z double precision,
  -- Whether every speed since the anchor was reported, above zero and much the same.
  is_steady boolean,
  -- Whether the heading turned back since the anchor.
  has_turned boolean,
  -- A far place that nothing explains yet: where it began, how many points confirm it, and the way since; and whether this
  -- receiver was found to say zero whatever it does.
  held_points integer,
  zeros_lie boolean,
  held_x double precision,
  held_y double precision,
  held_z double precision,
  held_at_s double precision,
  held_last_x double precision,
  held_last_y double precision,
  held_last_z double precision,
  held_last_at_s double precision,
  held_way_m double precision,
  -- The stretch over which reported speeds are compared with places, and what the stretches so far say.
  scale_x double precision,
  scale_y double precision,
  scale_z double precision,
  scale_middle_x double precision,
  scale_middle_y double precision,
  scale_middle_z double precision,
  scale_way_m double precision,
  scale_stretches integer,
  scale_passed_over integer,
  scale_places_m double precision,
  scale_speeds_m double precision,
  scale double precision
);

comment on type private.distance_state is
  'State of private.advance_distance between two points: of fixed size, however long the session. Metres, seconds since '
  '1970, earth-centred coordinates.';

create type private.distance_step as (
  recorded_at timestamptz,
  flag text,
  leg_m double precision,
  is_gap boolean,
  new_state private.distance_state
);

comment on type private.distance_step is 'A row of private.advance_distance: a point, or the state after the last one.';

-- plpgsql, because a point depends on what became of the one before; the alternatives are measured in docs/decisions.md.
-- Every statement of the loop costs some 3 ms in a session of 50,000 points, so there are few, and what is rare is last.
create function private.advance_distance(
  in_organization_id uuid, in_session_id uuid, in_starts_at timestamptz, in_ends_at timestamptz, in_parameters jsonb,
  in_state private.distance_state, in_after timestamptz, in_until timestamptz, in_emits text
) returns setof private.distance_step
language plpgsql stable
set search_path = ''
-- Planned once a connection: planning the partitions anew for each batch would cost more than a batch's points.
set plan_cache_mode = force_generic_plan
as $$
declare
  v_step private.distance_step;
  v_max_accuracy_m double precision := (in_parameters ->> 'max_accuracy_m')::double precision;
  v_max_speed_mps double precision := (in_parameters ->> 'max_speed_mps')::double precision;
  v_default_accuracy_m double precision := (in_parameters ->> 'default_accuracy_m')::double precision;
  v_min_accuracy_m double precision := (in_parameters ->> 'min_accuracy_m')::double precision;
  v_moved_radii double precision := (in_parameters ->> 'moved_radii')::double precision;
  v_rest_radii double precision := (in_parameters ->> 'rest_radii')::double precision;
  v_rest_speed_mps double precision := (in_parameters ->> 'rest_speed_mps')::double precision;
  v_min_speed_mps double precision := (in_parameters ->> 'min_speed_mps')::double precision;
  v_spike_mps2 double precision := (in_parameters ->> 'spike_mps2')::double precision;
  v_gap_s double precision := (in_parameters ->> 'gap_s')::double precision;
  v_emits_points boolean := in_emits = 'points';
  v_emits_legs boolean := in_emits in ('points', 'legs');
  -- The point at hand.
  v_recorded_at timestamptz;
  v_at_s double precision;
  v_x double precision;
  v_y double precision;
  v_z double precision;
  v_variance_m2 double precision;
  v_speed_mps double precision;
  v_heading_deg double precision;
  -- The state, in variables: fields of a record cost twice as much.
  v_distance_m double precision := coalesce(in_state.distance_m, 0);
  v_seen integer := coalesce(in_state.points_seen, 0);
  v_rejected integer := coalesce(in_state.points_rejected, 0);
  v_anchor_x double precision := in_state.anchor_x;
  v_anchor_y double precision := in_state.anchor_y;
  v_anchor_z double precision := in_state.anchor_z;
  v_anchor_variance_m2 double precision := in_state.anchor_variance_m2;
  v_anchor_at_s double precision := in_state.anchor_at_s;
  v_anchor_speed_mps double precision := in_state.anchor_speed_mps;
  v_anchor_heading_deg double precision := in_state.anchor_heading_deg;
  v_rest_points integer := coalesce(in_state.rest_points, 0);
  v_near_at_s double precision := in_state.near_at_s;
  v_before_at_s double precision := in_state.before_at_s;
  v_before_speed_mps double precision := in_state.before_speed_mps;
  v_travelled_m double precision := in_state.travelled_m;
  v_has_candidate boolean := in_state.candidate_recorded_at is not null;
  v_candidate_recorded_at timestamptz := in_state.candidate_recorded_at;
  v_candidate_x double precision := in_state.candidate_x;
  v_candidate_y double precision := in_state.candidate_y;
  v_candidate_z double precision := in_state.candidate_z;
  v_candidate_variance_m2 double precision := in_state.candidate_variance_m2;
  v_candidate_at_s double precision := in_state.candidate_at_s;
  v_candidate_speed_mps double precision := in_state.candidate_speed_mps;
  v_candidate_heading_deg double precision := in_state.candidate_heading_deg;
  v_candidate_chord_m double precision := in_state.candidate_chord_m;
  v_candidate_leg_m double precision := in_state.candidate_leg_m;
  v_candidate_left_s double precision := in_state.candidate_left_s;
  v_candidate_is_gap boolean := in_state.candidate_is_gap;
  v_last_x double precision := in_state.last_x;
  v_last_y double precision := in_state.last_y;
  v_last_z double precision := in_state.last_z;
  v_is_steady boolean := coalesce(in_state.is_steady, false);
  v_has_turned boolean := coalesce(in_state.has_turned, false);
  v_held_points integer := coalesce(in_state.held_points, 0);
  v_zeros_lie boolean := coalesce(in_state.zeros_lie, false);
  v_held_x double precision := in_state.held_x;
  v_held_y double precision := in_state.held_y;
  v_held_z double precision := in_state.held_z;
  v_held_at_s double precision := in_state.held_at_s;
  v_held_last_x double precision := in_state.held_last_x;
  v_held_last_y double precision := in_state.held_last_y;
  v_held_last_z double precision := in_state.held_last_z;
  v_held_last_at_s double precision := in_state.held_last_at_s;
  v_held_way_m double precision := in_state.held_way_m;
  v_scale_x double precision := in_state.scale_x;
  v_scale_y double precision := in_state.scale_y;
  v_scale_z double precision := in_state.scale_z;
  v_scale_middle_x double precision := in_state.scale_middle_x;
  v_scale_middle_y double precision := in_state.scale_middle_y;
  v_scale_middle_z double precision := in_state.scale_middle_z;
  v_scale_way_m double precision := in_state.scale_way_m;
  v_scale_stretches integer := coalesce(in_state.scale_stretches, 0);
  v_scale_passed_over integer := coalesce(in_state.scale_passed_over, 0);
  v_scale_places_m double precision := coalesce(in_state.scale_places_m, 0);
  v_scale_speeds_m double precision := coalesce(in_state.scale_speeds_m, 0);
  v_scale double precision := coalesce(in_state.scale, 1);
  v_confirm_points integer := (in_parameters ->> 'confirm_points')::integer;
  v_confirm_still_s double precision := (in_parameters ->> 'confirm_still_s')::double precision;
  v_speed_says_s double precision := (in_parameters ->> 'speed_says_s')::double precision;
  v_scale_radii double precision := (in_parameters ->> 'scale_radii')::double precision;
  v_scale_m double precision := (in_parameters ->> 'scale_m')::double precision;
  -- What follows from both.
  v_step_s double precision;
  v_said_m double precision;
  v_chord_m double precision;
  v_leg_m double precision;
  v_back_m double precision;
  v_noise_m double precision;
  v_radii double precision := case when in_state.rest_points > 0 then v_rest_radii else v_moved_radii end;
  v_turn_s double precision;
  v_turn_m double precision;
  v_known_mps double precision;
  v_is_fast boolean;
  v_flag text;
  v_is_gap boolean;
  v_moves boolean;
  v_bent_m double precision;
  v_reach double precision;
begin
  for v_recorded_at, v_at_s, v_x, v_y, v_z, v_variance_m2, v_speed_mps, v_heading_deg in
    select
      g.recorded_at,
      g.at_s,
      -- Metres from the centre of the earth: then every leg is the length of a difference, at any latitude, over the
      -- antimeridian and at the poles alike. Written out: a call a point would cost as much as the rest of the loop.
      g.n * g.cosine * cosd(g.longitude),
      g.n * g.cosine * sind(g.longitude),
      g.n * (1 - 0.0066943799901413165) * g.sine,
      -- Null: the point does not count.
      case when g.recorded_at between in_starts_at and in_ends_at and g.radius_m <= v_max_accuracy_m
        then greatest(g.radius_m, v_min_accuracy_m) * greatest(g.radius_m, v_min_accuracy_m) end,
      case when g.speed_mps < v_min_speed_mps then 0 when g.speed_mps <= v_max_speed_mps then g.speed_mps end,
      -- At rest a receiver's heading is an accident.
      case when g.speed_mps >= v_min_speed_mps then g.heading_deg end
    from (
      select
        l.recorded_at, l.longitude, l.sine, l.cosine,
        -- In the variables' types: PL/pgSQL's own conversion costs more.
        l.speed_mps::double precision as speed_mps, l.heading_deg::double precision as heading_deg,
        date_part('epoch', l.recorded_at) as at_s,
        coalesce(nullif(l.accuracy_m, 0), v_default_accuracy_m) as radius_m,
        6378137 / sqrt(1 - 0.0066943799901413165 * l.sine * l.sine) as n
      from (
        select l.recorded_at, l.longitude, l.speed_mps, l.heading_deg, l.accuracy_m,
          sind(l.latitude) as sine, cosd(l.latitude) as cosine
        from public.gps_locations as l
        where l.organization_id = in_organization_id and l.session_id = in_session_id
          and l.recorded_at > in_after and l.recorded_at <= in_until
        order by l.recorded_at
        -- Keeps the planner from writing the sine and the cosine, and n, out at every mention.
        offset 0
      ) as l
      offset 0
    ) as g
  loop
    v_seen := v_seen + 1;
    if v_variance_m2 is null then
      v_rejected := v_rejected + 1;
      if v_emits_points then
        v_step.recorded_at := v_recorded_at;
        v_step.flag := case when v_recorded_at between in_starts_at and in_ends_at then 'low_accuracy' else 'outside_session' end;
        v_step.leg_m := 0;
        v_step.is_gap := false;
        return next v_step;
      end if;
      continue;
    end if;

    if v_zeros_lie then
      v_zeros_lie := coalesce(v_speed_mps, 0) = 0;
      v_speed_mps := nullif(v_speed_mps, 0);
    end if;
    -- The same place to the last digit, at a speed: the phone sends its last fix again, and knows nothing new.
    if v_speed_mps > 0 and v_x = v_last_x and v_y = v_last_y and v_z = v_last_z then
      if v_emits_points then
        v_step.recorded_at := v_recorded_at;
        v_step.flag := 'jitter';
        v_step.leg_m := 0;
        v_step.is_gap := false;
        return next v_step;
      end if;
      continue;
    end if;
    v_last_x := v_x;
    v_last_y := v_y;
    v_last_z := v_z;

    -- The way by reported speed, in the scale that places give it; null where a speed is missing or the pause is too long for a
    -- guess. At rest it begins with the first point that reports a speed again.
    v_step_s := v_at_s - v_before_at_s;
    v_said_m := (v_speed_mps + v_before_speed_mps) / 2 * v_step_s;
    v_travelled_m := case
      when v_rest_points > 0 and v_speed_mps = 0 then 0
      when v_step_s <= v_gap_s then v_travelled_m + v_scale * v_said_m
    end;
    v_scale_way_m := case when v_step_s <= v_speed_says_s then v_scale_way_m + v_said_m end;
    -- Slow work in a small area, whose way no straight line shows. At the speed of cars a place that does not move is a
    -- frozen one.
    v_is_steady := v_is_steady and coalesce(v_step_s <= v_speed_says_s and v_said_m is not null
      and least(v_speed_mps, v_before_speed_mps) > 0 and greatest(v_speed_mps, v_before_speed_mps) < 4
      and greatest(v_speed_mps, v_before_speed_mps) < 1.5 * least(v_speed_mps, v_before_speed_mps), false);
    v_has_turned := v_has_turned or coalesce(cosd(v_heading_deg - v_anchor_heading_deg) < 0, false);
    v_chord_m := sqrt((v_x - v_anchor_x) * (v_x - v_anchor_x) + (v_y - v_anchor_y) * (v_y - v_anchor_y)
      + (v_z - v_anchor_z) * (v_z - v_anchor_z));

    if v_has_candidate then
      v_has_candidate := false;
      v_back_m := sqrt((v_x - v_candidate_x) * (v_x - v_candidate_x) + (v_y - v_candidate_y) * (v_y - v_candidate_y)
        + (v_z - v_candidate_z) * (v_z - v_candidate_z));
      v_turn_s := least(v_candidate_left_s, v_step_s);
      v_turn_m := least(v_candidate_chord_m, v_back_m);
      v_known_mps := case when v_speed_mps is not null and v_candidate_speed_mps is not null
        then v_scale * greatest(v_speed_mps, v_candidate_speed_mps, v_anchor_speed_mps) end;
      -- Away and back at once. Turning round within v_turn_s takes an acceleration of 4 d / t^2. Or it was slow enough to
      -- be driven, but the receiver reported no such speed (or none) and this point is as near as if it had not happened.
      if v_chord_m < v_back_m and (
        4 * v_turn_m > v_spike_mps2 * v_turn_s * v_turn_s
        or v_turn_s <= v_gap_s and coalesce(4 * v_known_mps * v_turn_s, 0) < v_turn_m
          and v_chord_m <= v_moved_radii * sqrt(v_anchor_variance_m2 + v_variance_m2)
            + coalesce(1.5 * v_known_mps * (v_at_s - v_near_at_s), 0)
      ) then
        v_rejected := v_rejected + 1;
        if v_emits_points then
          v_step.recorded_at := v_candidate_recorded_at;
          v_step.flag := 'impossible_speed';
          v_step.leg_m := 0;
          v_step.is_gap := false;
          return next v_step;
        end if;
      else
        if v_emits_legs then
          v_step.recorded_at := v_candidate_recorded_at;
          v_step.flag := 'ok';
          v_step.leg_m := v_candidate_leg_m;
          v_step.is_gap := v_candidate_is_gap;
          return next v_step;
        end if;
        v_distance_m := v_distance_m + v_candidate_leg_m;
        v_anchor_x := v_candidate_x;
        v_anchor_y := v_candidate_y;
        v_anchor_z := v_candidate_z;
        v_anchor_variance_m2 := v_candidate_variance_m2;
        v_anchor_at_s := v_candidate_at_s;
        v_anchor_speed_mps := v_candidate_speed_mps;
        v_anchor_heading_deg := v_candidate_heading_deg;
        v_near_at_s := v_candidate_at_s;
        v_rest_points := 0;
        v_radii := v_moved_radii;
        v_travelled_m := case when v_step_s <= v_gap_s then v_scale * v_said_m end;
        v_is_steady := coalesce(v_speed_mps > 0 and v_before_speed_mps > 0, false);
        v_has_turned := coalesce(cosd(v_heading_deg - v_anchor_heading_deg) < 0, false);
        v_chord_m := v_back_m;
      end if;
    end if;

    v_flag := 'ok';
    v_leg_m := 0;
    v_is_gap := false;
    v_moves := false;
    v_noise_m := sqrt(v_anchor_variance_m2 + v_variance_m2);
    if v_chord_m <= v_radii * v_noise_m and not (v_is_steady and v_has_turned and v_travelled_m > 1.5 * v_radii * v_noise_m) then
      v_flag := 'jitter';
      v_near_at_s := v_at_s;
      v_held_points := 0;
      if v_rest_points > 0 then
        -- A mean of three hundred points hardly moves.
        if v_rest_points < 300 then
          v_rest_points := v_rest_points + 1;
          v_anchor_x := v_anchor_x + (v_x - v_anchor_x) / v_rest_points;
          v_anchor_y := v_anchor_y + (v_y - v_anchor_y) / v_rest_points;
          v_anchor_z := v_anchor_z + (v_z - v_anchor_z) / v_rest_points;
        end if;
      -- Never against a speed that the receiver reports.
      elsif coalesce(v_speed_mps, 0) = 0 and (v_at_s - v_anchor_at_s) * v_rest_speed_mps > v_radii * v_noise_m then
        v_rest_points := 1;
        v_radii := v_rest_radii;
        v_anchor_speed_mps := 0;
        v_anchor_heading_deg := null;
      end if;
    elsif v_anchor_x is null then
      v_moves := true;
    else
      v_known_mps := v_scale * greatest(v_speed_mps, v_before_speed_mps);
      v_is_fast := v_chord_m - (v_radii + 1) * v_noise_m > v_max_speed_mps * (v_at_s - v_near_at_s);
      -- Before speeds were compared with places they may be any unit's.
      v_reach := case when v_scale_stretches < 3 then 2.5 else 1.5 end * v_known_mps;
      v_back_m := sqrt((v_x - v_held_last_x) * (v_x - v_held_last_x) + (v_y - v_held_last_y) * (v_y - v_held_last_y)
        + (v_z - v_held_last_z) * (v_z - v_held_last_z));
      if v_is_fast or v_step_s <= v_speed_says_s and v_said_m is not null and (
          v_chord_m > v_radii * v_noise_m + case when v_known_mps = 0 then 0 else
            v_noise_m + 1.3 * greatest(v_reach * (v_at_s - v_near_at_s), coalesce(v_travelled_m, 0)) end
          or v_held_points > 0 and v_back_m <= 1.3 * v_reach * (v_at_s - v_held_last_at_s) + v_moved_radii * v_noise_m
        )
      then
        -- No speed explains this place: a wild fix, a few of them, or a way that the receiver did not see. It is held until the
        -- points that follow say which. A way counts once, as a straight leg over a pause.
        if v_held_points > 0
          and v_back_m <= coalesce(1.3 * nullif(v_reach, 0), 5 * v_max_speed_mps) * (v_at_s - v_held_last_at_s)
            + v_moved_radii * v_noise_m
        then
          v_held_points := v_held_points + 1;
          if v_back_m > v_moved_radii * v_noise_m then
            v_held_way_m := v_held_way_m + v_back_m;
            v_held_last_x := v_x;
            v_held_last_y := v_y;
            v_held_last_z := v_z;
            v_held_last_at_s := v_at_s;
          end if;
        else
          v_held_points := 1;
          v_held_x := v_x;
          v_held_y := v_y;
          v_held_z := v_z;
          v_held_at_s := v_at_s;
          v_held_way_m := 0;
          v_held_last_x := v_x;
          v_held_last_y := v_y;
          v_held_last_z := v_z;
          v_held_last_at_s := v_at_s;
        end if;
        if v_held_points >= v_confirm_points and (
            v_known_mps > 0 or v_known_mps is null or v_at_s - v_held_at_s >= v_confirm_still_s
            -- Further than any scatter: this receiver says zero whatever it does.
            or v_chord_m > 30 * v_noise_m
          )
        then
          v_is_gap := true;
          v_moves := true;
          v_zeros_lie := coalesce(v_known_mps = 0, false) and v_at_s - v_held_at_s < v_confirm_still_s;
          -- Unless the place that it is far from is a first fix that nothing confirmed and no speed explains.
          v_leg_m := v_held_way_m;
          if not (v_is_fast and v_distance_m = 0 and v_near_at_s = v_anchor_at_s) then
            v_chord_m := sqrt((v_held_x - v_anchor_x) * (v_held_x - v_anchor_x) + (v_held_y - v_anchor_y) * (v_held_y - v_anchor_y)
              + (v_held_z - v_anchor_z) * (v_held_z - v_anchor_z));
            v_leg_m := v_chord_m * (1 + v_chord_m * v_chord_m / 974157e9) + v_held_way_m;
          end if;
        elsif v_is_fast or v_known_mps > 0 then
          v_flag := 'impossible_speed';
          v_rejected := v_rejected + 1;
        else
          v_flag := 'jitter';
        end if;
      else
        -- The chord lies under the surface: c (1 + c^2 / 24 R^2) is the arc over it. On 100 km the second term is 1e-5, so which
        -- radius the earth has there does not matter. Speeds that fall far short of the straight line are not the way's; those
        -- beyond it are what corners allow at most. Until speeds were compared with places, the straight line counts, except for
        -- somebody who goes to and fro, of whose way it says nothing.
        v_leg_m := v_chord_m * (1 + v_chord_m * v_chord_m / 974157e9);
        if v_travelled_m >= v_chord_m - 2 * v_noise_m then
          if v_is_steady and v_has_turned or v_scale_stretches >= 3 and v_travelled_m <= v_chord_m + v_noise_m then
            v_leg_m := v_travelled_m;
          elsif v_travelled_m > v_chord_m then
            v_leg_m := least(v_travelled_m, case when v_scale_stretches >= 3 then v_noise_m else 0 end
              + v_leg_m * private.corner_factor(
                v_anchor_x, v_anchor_y, v_anchor_z, v_x - v_anchor_x, v_y - v_anchor_y, v_z - v_anchor_z,
                v_anchor_heading_deg, v_heading_deg));
          end if;
        end if;
        v_held_points := 0;
        if v_chord_m <= v_reach * (v_at_s - v_near_at_s) + v_noise_m
          or v_is_steady and v_travelled_m >= v_chord_m - 2 * v_noise_m
        then
          -- The receiver itself says that it moves like this; nothing is left to confirm.
          v_is_gap := v_step_s > v_gap_s;
          v_moves := true;
        else
          v_flag := null;
          v_has_candidate := true;
          v_candidate_recorded_at := v_recorded_at;
          v_candidate_x := v_x;
          v_candidate_y := v_y;
          v_candidate_z := v_z;
          v_candidate_variance_m2 := v_variance_m2;
          v_candidate_at_s := v_at_s;
          v_candidate_speed_mps := v_speed_mps;
          v_candidate_heading_deg := v_heading_deg;
          v_candidate_chord_m := v_chord_m;
          v_candidate_leg_m := v_leg_m;
          v_candidate_left_s := v_step_s;
          v_candidate_is_gap := v_step_s > v_gap_s;
        end if;
      end if;
    end if;

    if v_moves then
      v_distance_m := v_distance_m + v_leg_m;
      v_anchor_x := v_x;
      v_anchor_y := v_y;
      v_anchor_z := v_z;
      v_anchor_variance_m2 := v_variance_m2;
      v_anchor_at_s := v_at_s;
      v_anchor_speed_mps := v_speed_mps;
      v_anchor_heading_deg := v_heading_deg;
      v_near_at_s := v_at_s;
      v_rest_points := 0;
      v_radii := v_moved_radii;
      v_held_points := 0;
      v_travelled_m := 0;
      v_is_steady := v_speed_mps > 0;
      v_has_turned := false;
      -- Speeds against places, on straight stretches: there the way is the straight line, whatever the receiver calls it.
      -- Straight
      -- is what a place near the middle does not bend.
      v_back_m := sqrt((v_x - v_scale_x) * (v_x - v_scale_x) + (v_y - v_scale_y) * (v_y - v_scale_y)
        + (v_z - v_scale_z) * (v_z - v_scale_z));
      v_reach := greatest(v_scale_radii * v_noise_m, v_scale_m);
      if v_scale_way_m is not null and not v_is_gap and v_scale_middle_x is null and v_back_m >= v_reach / 2
        and v_scale_way_m <= 6 * v_reach
      then
        v_scale_middle_x := v_x;
        v_scale_middle_y := v_y;
        v_scale_middle_z := v_z;
      elsif v_scale_way_m is null or v_is_gap or v_back_m >= v_reach or v_scale_way_m > 6 * v_reach then
        if v_scale_way_m > 0 and not v_is_gap and v_back_m >= v_reach and v_scale_middle_x is not null then
          v_bent_m := sqrt((v_scale_middle_x - v_scale_x) * (v_scale_middle_x - v_scale_x)
              + (v_scale_middle_y - v_scale_y) * (v_scale_middle_y - v_scale_y)
              + (v_scale_middle_z - v_scale_z) * (v_scale_middle_z - v_scale_z))
            + sqrt((v_x - v_scale_middle_x) * (v_x - v_scale_middle_x) + (v_y - v_scale_middle_y) * (v_y - v_scale_middle_y)
              + (v_z - v_scale_middle_z) * (v_z - v_scale_middle_z));
          if v_bent_m <= 1.02 * v_back_m then
            -- Bends make places fall short of speeds and nothing makes them exceed it, so the stretches with the most metres a
            -- reported metre tell the scale; the others are passed over, unless there are only such.
            v_known_mps := v_back_m / v_scale_way_m;
            if v_scale_speeds_m = 0 or v_known_mps > 1.08 * v_scale_places_m / v_scale_speeds_m or v_scale_passed_over >= 5 then
              v_scale_stretches := 1;
              v_scale_places_m := v_back_m;
              v_scale_speeds_m := v_scale_way_m;
              v_scale_passed_over := 0;
            elsif v_known_mps >= 0.93 * v_scale_places_m / v_scale_speeds_m then
              v_scale_stretches := v_scale_stretches + 1;
              v_scale_places_m := 0.97 * v_scale_places_m + v_back_m;
              v_scale_speeds_m := 0.97 * v_scale_speeds_m + v_scale_way_m;
              v_scale_passed_over := 0;
            else
              v_scale_passed_over := v_scale_passed_over + 1;
            end if;
            v_known_mps := v_scale_places_m / v_scale_speeds_m;
            v_scale := case when v_scale_stretches >= 3 and (
                v_known_mps > 1.015 + 0.08 / least(v_scale_stretches, 20)
                or v_known_mps < 0.97 - 0.1 / least(v_scale_stretches, 20)
              ) then least(greatest(v_known_mps, 0.3), 3) else 1 end;
          end if;
        end if;
        v_scale_x := v_x;
        v_scale_y := v_y;
        v_scale_z := v_z;
        v_scale_middle_x := null;
        v_scale_way_m := 0;
      end if;
    end if;
    if v_flag is not null and (v_emits_points or v_emits_legs and v_moves) then
      v_step.recorded_at := v_recorded_at;
      v_step.flag := v_flag;
      v_step.leg_m := v_leg_m;
      v_step.is_gap := v_is_gap;
      return next v_step;
    end if;
    v_before_at_s := v_at_s;
    v_before_speed_mps := v_speed_mps;
  end loop;

  if v_has_candidate and v_emits_legs then
    v_step.recorded_at := v_candidate_recorded_at;
    v_step.flag := 'ok';
    v_step.leg_m := v_candidate_leg_m;
    v_step.is_gap := v_candidate_is_gap;
    return next v_step;
  end if;

  v_step := null;
  -- No row leaves the loop's variables null.
  v_step.new_state.last_recorded_at := coalesce(v_recorded_at, in_state.last_recorded_at);
  v_step.new_state.distance_m := v_distance_m;
  v_step.new_state.points_seen := v_seen;
  v_step.new_state.points_rejected := v_rejected;
  v_step.new_state.anchor_x := v_anchor_x;
  v_step.new_state.anchor_y := v_anchor_y;
  v_step.new_state.anchor_z := v_anchor_z;
  v_step.new_state.anchor_variance_m2 := v_anchor_variance_m2;
  v_step.new_state.anchor_at_s := v_anchor_at_s;
  v_step.new_state.anchor_speed_mps := v_anchor_speed_mps;
  v_step.new_state.anchor_heading_deg := v_anchor_heading_deg;
  v_step.new_state.rest_points := v_rest_points;
  v_step.new_state.near_at_s := v_near_at_s;
  v_step.new_state.before_at_s := v_before_at_s;
  v_step.new_state.before_speed_mps := v_before_speed_mps;
  v_step.new_state.travelled_m := v_travelled_m;
  v_step.new_state.last_x := v_last_x;
  v_step.new_state.last_y := v_last_y;
  v_step.new_state.last_z := v_last_z;
  v_step.new_state.is_steady := v_is_steady;
  v_step.new_state.has_turned := v_has_turned;
  v_step.new_state.held_points := v_held_points;
  v_step.new_state.zeros_lie := v_zeros_lie;
  v_step.new_state.held_x := v_held_x;
  v_step.new_state.held_y := v_held_y;
  v_step.new_state.held_z := v_held_z;
  v_step.new_state.held_at_s := v_held_at_s;
  v_step.new_state.held_last_x := v_held_last_x;
  v_step.new_state.held_last_y := v_held_last_y;
  v_step.new_state.held_last_z := v_held_last_z;
  v_step.new_state.held_last_at_s := v_held_last_at_s;
  v_step.new_state.held_way_m := v_held_way_m;
  v_step.new_state.scale_x := v_scale_x;
  v_step.new_state.scale_y := v_scale_y;
  v_step.new_state.scale_z := v_scale_z;
  v_step.new_state.scale_middle_x := v_scale_middle_x;
  v_step.new_state.scale_middle_y := v_scale_middle_y;
  v_step.new_state.scale_middle_z := v_scale_middle_z;
  v_step.new_state.scale_way_m := v_scale_way_m;
  v_step.new_state.scale_stretches := v_scale_stretches;
  v_step.new_state.scale_passed_over := v_scale_passed_over;
  v_step.new_state.scale_places_m := v_scale_places_m;
  v_step.new_state.scale_speeds_m := v_scale_speeds_m;
  v_step.new_state.scale := v_scale;
  if v_has_candidate then
    v_step.new_state.candidate_recorded_at := v_candidate_recorded_at;
    v_step.new_state.candidate_x := v_candidate_x;
    v_step.new_state.candidate_y := v_candidate_y;
    v_step.new_state.candidate_z := v_candidate_z;
    v_step.new_state.candidate_variance_m2 := v_candidate_variance_m2;
    v_step.new_state.candidate_at_s := v_candidate_at_s;
    v_step.new_state.candidate_speed_mps := v_candidate_speed_mps;
    v_step.new_state.candidate_heading_deg := v_candidate_heading_deg;
    v_step.new_state.candidate_chord_m := v_candidate_chord_m;
    v_step.new_state.candidate_leg_m := v_candidate_leg_m;
    v_step.new_state.candidate_left_s := v_candidate_left_s;
    v_step.new_state.candidate_is_gap := v_candidate_is_gap;
  end if;
  return next v_step;
end;
$$;

comment on function private.advance_distance(uuid, uuid, timestamptz, timestamptz, jsonb, private.distance_state,
  timestamptz, timestamptz, text) is
  'Takes the state of a session''s distance over the points after one time until another. Rows by emits: points (each with '
  'its flag: ok, jitter: not clearly moved, low_accuracy, impossible_speed, outside_session; leg_m: metres counted on the '
  'way to it; is_gap: that leg bridges a pause), legs (those with a leg only), or state (none); the last row carries '
  'new_state alone. Under the caller''s row level security.';

grant execute on function private.advance_distance(uuid, uuid, timestamptz, timestamptz, jsonb, private.distance_state,
  timestamptz, timestamptz, text)
  to authenticated, api_key, service_role, fieldtrack_worker;

create function private.measure_points(
  in_organization_id uuid, in_session_id uuid, in_starts_at timestamptz, in_ends_at timestamptz, in_parameters jsonb
) returns table (
  recorded_at timestamptz, latitude double precision, longitude double precision, accuracy_m real,
  flag text, leg_m double precision, is_gap boolean
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select g.recorded_at, g.latitude::double precision, g.longitude::double precision, g.accuracy_m, a.flag, a.leg_m, a.is_gap
  from private.advance_distance(in_organization_id, in_session_id, in_starts_at,
    in_ends_at, in_parameters, null, '-infinity', 'infinity', 'points') as a
  join public.gps_locations as g
    on g.organization_id = in_organization_id and g.session_id = in_session_id
    and g.recorded_at = a.recorded_at
  where a.new_state is null
  order by g.recorded_at;
end;
$$;

comment on function private.measure_points(uuid, uuid, timestamptz, timestamptz, jsonb) is
  'Each point of a session in order, with its flag, leg_m and is_gap: see private.advance_distance.';

grant execute on function private.measure_points(uuid, uuid, timestamptz, timestamptz, jsonb)
  to authenticated, api_key, service_role, fieldtrack_worker;

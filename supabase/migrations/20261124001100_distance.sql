-- The distance of a session: from noisy points to metres that can be paid.
--
-- One pass over the points in order of time, with a state of fixed size, so that the same steps serve a recalculation, the
-- route that explains it, and the live distance of an open session. Movement counts from an anchor, the last place that
-- surely was reached, once a point lies further away than the errors of both explain; a phone that stays is at rest, and
-- its anchor becomes the mean of what it reports. A leg is as long as the reported speeds say, within what the straight
-- line and the reported headings allow; without them it is the straight line. A point that leaves and returns as nothing
-- drives (a spike) is cut; a real fast leg is kept, because the next point confirms it. After a gap the straight leg counts
-- once and is marked. The result is a function of the set of points: order of arrival, batches and repetition change no
-- byte. Points are flagged, never changed. How good it is: docs/accuracy.md.

create function private.distance_algorithm_version() returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return 2;
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
      'spike_mps2', 1.5
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
  -- The last point that was near the anchor, or was it; and points since that no speed explains.
  near_at_s double precision,
  too_fast integer,
  too_fast_at_s double precision,
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
  candidate_is_gap boolean
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
  v_too_fast integer := coalesce(in_state.too_fast, 0);
  v_too_fast_at_s double precision := in_state.too_fast_at_s;
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
  -- What follows from both.
  v_step_s double precision;
  v_chord_m double precision;
  v_leg_m double precision;
  v_back_m double precision;
  v_noise_m double precision;
  v_radii double precision := case when in_state.rest_points > 0 then v_rest_radii else v_moved_radii end;
  v_turn_s double precision;
  v_turn_m double precision;
  v_known_mps double precision;
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

    -- The way by reported speed; null where a speed is missing or the pause is too long for a guess. At rest it begins with
    -- the first point that reports a speed again.
    v_travelled_m := case
      when v_rest_points > 0 and v_speed_mps = 0 then 0
      when v_at_s - v_before_at_s <= v_gap_s
        then v_travelled_m + (v_speed_mps + v_before_speed_mps) / 2 * (v_at_s - v_before_at_s)
    end;
    v_chord_m := sqrt((v_x - v_anchor_x) * (v_x - v_anchor_x) + (v_y - v_anchor_y) * (v_y - v_anchor_y)
      + (v_z - v_anchor_z) * (v_z - v_anchor_z));

    if v_has_candidate then
      v_has_candidate := false;
      v_step_s := v_at_s - v_before_at_s;
      v_back_m := sqrt((v_x - v_candidate_x) * (v_x - v_candidate_x) + (v_y - v_candidate_y) * (v_y - v_candidate_y)
        + (v_z - v_candidate_z) * (v_z - v_candidate_z));
      v_turn_s := least(v_candidate_left_s, v_step_s);
      v_turn_m := least(v_candidate_chord_m, v_back_m);
      v_known_mps := case when v_speed_mps is not null and v_candidate_speed_mps is not null
        then greatest(v_speed_mps, v_candidate_speed_mps, v_anchor_speed_mps) end;
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
        v_travelled_m := case when v_step_s <= v_gap_s then (v_speed_mps + v_before_speed_mps) / 2 * v_step_s end;
        v_chord_m := v_back_m;
      end if;
    end if;

    if v_chord_m <= v_radii * sqrt(v_anchor_variance_m2 + v_variance_m2) then
      v_near_at_s := v_at_s;
      if v_rest_points > 0 then
        -- A mean of three hundred points hardly moves.
        if v_rest_points < 300 then
          v_rest_points := v_rest_points + 1;
          v_anchor_x := v_anchor_x + (v_x - v_anchor_x) / v_rest_points;
          v_anchor_y := v_anchor_y + (v_y - v_anchor_y) / v_rest_points;
          v_anchor_z := v_anchor_z + (v_z - v_anchor_z) / v_rest_points;
        end if;
      elsif (v_at_s - v_anchor_at_s) * v_rest_speed_mps > v_radii * sqrt(v_anchor_variance_m2 + v_variance_m2) then
        v_rest_points := 1;
        v_radii := v_rest_radii;
        v_anchor_speed_mps := 0;
        v_anchor_heading_deg := null;
      end if;
      if v_emits_points then
        v_step.recorded_at := v_recorded_at;
        v_step.flag := 'jitter';
        v_step.leg_m := 0;
        v_step.is_gap := false;
        return next v_step;
      end if;
    elsif v_anchor_x is null then
      v_anchor_x := v_x;
      v_anchor_y := v_y;
      v_anchor_z := v_z;
      v_anchor_variance_m2 := v_variance_m2;
      v_anchor_at_s := v_at_s;
      v_anchor_speed_mps := v_speed_mps;
      v_anchor_heading_deg := v_heading_deg;
      v_near_at_s := v_at_s;
      v_travelled_m := 0;
      if v_emits_points then
        v_step.recorded_at := v_recorded_at;
        v_step.flag := 'ok';
        v_step.leg_m := 0;
        v_step.is_gap := false;
        return next v_step;
      end if;
    elsif v_chord_m - (v_radii + 1) * sqrt(v_anchor_variance_m2 + v_variance_m2) > v_max_speed_mps * (v_at_s - v_near_at_s) then
      v_too_fast := case when v_near_at_s >= v_too_fast_at_s then 1 else v_too_fast + 1 end;
      v_too_fast_at_s := v_at_s;
      if v_too_fast < 3 then
        v_rejected := v_rejected + 1;
      else
        -- Three in a row say that the anchor is the one that is wrong: begin anew from here and count no leg, rather than
        -- refuse every point that follows.
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
        v_travelled_m := 0;
      end if;
      if v_emits_points then
        v_step.recorded_at := v_recorded_at;
        v_step.flag := case when v_too_fast < 3 then 'impossible_speed' else 'ok' end;
        v_step.leg_m := 0;
        v_step.is_gap := v_too_fast >= 3;
        return next v_step;
      end if;
    else
      v_too_fast := 0;
      v_noise_m := sqrt(v_anchor_variance_m2 + v_variance_m2);
      -- The chord lies under the surface: c (1 + c^2 / 24 R^2) is the arc over it. On 100 km the second term is 1e-5, so which
      -- radius the earth has there does not matter. Speeds that fall far short of the straight line are not the way's; those
      -- beyond it are what corners allow at most.
      v_leg_m := v_chord_m * (1 + v_chord_m * v_chord_m / 974157e9);
      if v_travelled_m >= v_chord_m - 2 * v_noise_m then
        v_leg_m := case when v_travelled_m <= v_chord_m + v_noise_m then v_travelled_m
          else least(v_travelled_m, v_noise_m + v_leg_m * private.corner_factor(
            v_anchor_x, v_anchor_y, v_anchor_z, v_x - v_anchor_x, v_y - v_anchor_y, v_z - v_anchor_z,
            v_anchor_heading_deg, v_heading_deg)) end;
      end if;
      if v_chord_m <= 1.5 * greatest(v_speed_mps, v_before_speed_mps) * (v_at_s - v_near_at_s) + v_noise_m then
        -- The receiver itself says that it moves like this; nothing is left to confirm.
        if v_emits_legs then
          v_step.recorded_at := v_recorded_at;
          v_step.flag := 'ok';
          v_step.leg_m := v_leg_m;
          v_step.is_gap := v_at_s - v_before_at_s > v_gap_s;
          return next v_step;
        end if;
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
        v_travelled_m := 0 * v_speed_mps;
      else
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
        v_candidate_left_s := v_at_s - v_before_at_s;
        v_candidate_is_gap := v_candidate_left_s > v_gap_s;
      end if;
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
  v_step.new_state.too_fast := v_too_fast;
  v_step.new_state.too_fast_at_s := v_too_fast_at_s;
  v_step.new_state.before_at_s := v_before_at_s;
  v_step.new_state.before_speed_mps := v_before_speed_mps;
  v_step.new_state.travelled_m := v_travelled_m;
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

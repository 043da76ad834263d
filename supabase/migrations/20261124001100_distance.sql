-- The distance of a session: from noisy points to metres that can be paid.
--
-- One pass over the points in order of time. Movement counts from an anchor, the last place that surely was reached, once a
-- point lies further away than the errors of both explain. So a parked phone drives nowhere, and a walk of one-second legs
-- still counts when it has clearly moved. A point that leaves and returns faster than anything drives (a spike) is cut; a
-- real fast leg is kept, because the next point confirms it. After a gap the straight leg counts once and is marked.
-- The result is a function of the set of points: order of arrival, batches and repetition change no byte. Points are
-- flagged, never changed.

create function private.distance_algorithm_version() returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
  return 1;
end;
$$;

comment on function private.distance_algorithm_version() is
  'Version of private.measure_points; raised with each change that can change a figure.';

grant execute on function private.distance_algorithm_version() to authenticated, api_key, service_role, fieldtrack_worker;

create function private.distance_parameters(organization_id uuid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select pg_catalog.jsonb_build_object(
      'max_accuracy_m', o.max_accuracy_m,
      'max_speed_mps', o.max_speed_mps,
      -- What a point without an accuracy is taken for: a receiver under open sky.
      'default_accuracy_m', 5,
      -- Movement counts beyond this many times the combined radius of both points (68 % each).
      'moved_radii', 2.5,
      -- A pause in the points that is reported as a gap.
      'gap_s', 300
    )
    from public.organizations as o
    where o.id = distance_parameters.organization_id
  );
end;
$$;

comment on function private.distance_parameters(uuid) is
  'Every parameter of private.measure_points for an organization; units in the key names. Kept with each result.';

grant execute on function private.distance_parameters(uuid) to authenticated, api_key, service_role, fieldtrack_worker;

-- WGS84 positions as metres from the centre of the earth: then every leg is the length of a difference, at any latitude,
-- over the antimeridian and at the poles alike, with no special case.
create function private.earth_position(
  latitude double precision, longitude double precision,
  out x double precision, out y double precision, out z double precision
)
language plpgsql immutable
set search_path = ''
as $$
declare
  -- Rounded far below a micrometre, so that no square underflows (PostgreSQL makes that an error).
  v_longitude double precision := pg_catalog.round(longitude::numeric, 12)::double precision;
  v_sin double precision := pg_catalog.sind(pg_catalog.round(latitude::numeric, 12)::double precision);
  v_n double precision := 6378137 / pg_catalog.sqrt(1 - 0.0066943799901413165 * v_sin * v_sin);
  v_r double precision := v_n * pg_catalog.cosd(latitude);
begin
  x := v_r * pg_catalog.cosd(v_longitude);
  y := v_r * pg_catalog.sind(v_longitude);
  z := v_n * (1 - 0.0066943799901413165) * v_sin;
end;
$$;

comment on function private.earth_position(double precision, double precision) is
  'Earth-centred cartesian coordinates (metres) of a point on the WGS84 ellipsoid.';

grant execute on function private.earth_position(double precision, double precision)
  to authenticated, api_key, service_role, fieldtrack_worker;

-- The chord lies under the surface: c (1 + c^2 / 24 R^2) is the arc over it. On 100 km the second term is 1e-5, so which
-- radius the earth has there does not matter.
create function private.geodesic_distance_m(
  latitude_1 double precision, longitude_1 double precision, latitude_2 double precision, longitude_2 double precision
) returns double precision
language plpgsql immutable
set search_path = ''
as $$
declare
  v_1 record := private.earth_position(latitude_1, longitude_1);
  v_2 record := private.earth_position(latitude_2, longitude_2);
  v_square double precision := (v_1.x - v_2.x) ^ 2 + (v_1.y - v_2.y) ^ 2 + (v_1.z - v_2.z) ^ 2;
begin
  return pg_catalog.sqrt(v_square) * (1 + v_square / (24 * 6371008.8 ^ 2));
end;
$$;

comment on function private.geodesic_distance_m(double precision, double precision, double precision, double precision) is
  'Metres between two WGS84 positions; within 1e-4 for legs up to 100 km.';

grant execute on function private.geodesic_distance_m(double precision, double precision, double precision, double precision)
  to authenticated, api_key, service_role, fieldtrack_worker;

create function private.measure_points(
  organization_id uuid, session_id uuid, starts_at timestamptz, ends_at timestamptz, parameters jsonb
) returns table (
  recorded_at timestamptz,
  latitude double precision,
  longitude double precision,
  accuracy_m real,
  flag text,
  leg_m double precision,
  is_gap boolean
)
language plpgsql stable
set search_path = ''
as $$
declare
  v_max_accuracy_m double precision := (parameters ->> 'max_accuracy_m')::double precision;
  v_max_speed_mps double precision := (parameters ->> 'max_speed_mps')::double precision;
  v_default_accuracy_m double precision := (parameters ->> 'default_accuracy_m')::double precision;
  v_moved_radii double precision := (parameters ->> 'moved_radii')::double precision;
  v_gap_s double precision := (parameters ->> 'gap_s')::double precision;
  v_point record;
  v_anchor record;
  v_candidate record;
  v_has_anchor boolean := false;
  v_has_candidate boolean := false;
  v_candidate_leg_m double precision;
  v_candidate_is_gap boolean;
  -- Time between the candidate and the point before it: how fast it left.
  v_candidate_left_s double precision;
  v_before_s double precision;
  v_from_anchor_m double precision;
  v_from_candidate_m double precision;
  v_noise_m double precision;
  v_turn_s double precision;
  v_too_fast integer := 0;
begin
  for v_point in
    select
      g.recorded_at, g.latitude::double precision as latitude, g.longitude::double precision as longitude, g.accuracy_m,
      coalesce(g.accuracy_m, v_default_accuracy_m)::double precision as radius_m,
      extract(epoch from g.recorded_at)::double precision as at_s,
      n.n * pg_catalog.cosd(g.latitude) * pg_catalog.cosd(g.longitude) as x,
      n.n * pg_catalog.cosd(g.latitude) * pg_catalog.sind(g.longitude) as y,
      n.n * (1 - 0.0066943799901413165) * pg_catalog.sind(g.latitude) as z
    from public.gps_locations as g
    -- private.earth_position, written out: a call a point would cost as much as the rest of the loop.
    cross join lateral (
      select 6378137 / pg_catalog.sqrt(1 - 0.0066943799901413165 * pg_catalog.sind(g.latitude) ^ 2) as n
    ) as n
    where g.organization_id = measure_points.organization_id and g.session_id = measure_points.session_id
    order by g.recorded_at
  loop
    recorded_at := v_point.recorded_at;
    latitude := v_point.latitude;
    longitude := v_point.longitude;
    accuracy_m := v_point.accuracy_m;
    leg_m := 0;
    is_gap := false;

    if v_point.recorded_at < starts_at or v_point.recorded_at > ends_at then
      flag := 'outside_session';
      return next;
      continue;
    elsif v_point.radius_m > v_max_accuracy_m then
      flag := 'low_accuracy';
      return next;
      continue;
    elsif not v_has_anchor then
      v_anchor := v_point;
      -- No candidate yet; this gives the record its columns, which plpgsql_check wants to see before they are read.
      v_candidate := v_point;
      v_has_anchor := true;
      v_before_s := v_point.at_s;
      flag := 'ok';
      return next;
      continue;
    end if;

    v_from_anchor_m := sqrt(
      (v_point.x - v_anchor.x) ^ 2 + (v_point.y - v_anchor.y) ^ 2 + (v_point.z - v_anchor.z) ^ 2);

    if v_has_candidate then
      v_from_candidate_m := sqrt(
        (v_point.x - v_candidate.x) ^ 2 + (v_point.y - v_candidate.y) ^ 2 + (v_point.z - v_candidate.z) ^ 2);
      recorded_at := v_candidate.recorded_at;
      latitude := v_candidate.latitude;
      longitude := v_candidate.longitude;
      accuracy_m := v_candidate.accuracy_m;
      v_turn_s := least(v_candidate_left_s, v_point.at_s - v_candidate.at_s);
      -- Away and back at once. Turning round within v_turn_s takes an acceleration of 4 d / t^2; 3 m/s^2 is hard braking
      -- and starting again, so what needs more was not driven.
      if v_from_anchor_m < v_from_candidate_m
        and 4 * least(v_candidate_leg_m, v_from_candidate_m) > 3 * v_turn_s * v_turn_s
      then
        flag := 'impossible_speed';
      else
        flag := 'ok';
        leg_m := v_candidate_leg_m;
        is_gap := v_candidate_is_gap;
        v_anchor := v_candidate;
        v_from_anchor_m := v_from_candidate_m;
      end if;
      return next;
      v_has_candidate := false;
      recorded_at := v_point.recorded_at;
      latitude := v_point.latitude;
      longitude := v_point.longitude;
      accuracy_m := v_point.accuracy_m;
      leg_m := 0;
      is_gap := false;
    end if;

    v_noise_m := sqrt(v_anchor.radius_m ^ 2 + v_point.radius_m ^ 2);
    if v_from_anchor_m <= v_moved_radii * v_noise_m then
      v_too_fast := 0;
      v_before_s := v_point.at_s;
      flag := 'jitter';
      return next;
    elsif v_from_anchor_m - v_noise_m > v_max_speed_mps * (v_point.at_s - v_anchor.at_s) then
      v_too_fast := v_too_fast + 1;
      if v_too_fast < 3 then
        flag := 'impossible_speed';
      else
        -- Three in a row say that the anchor is the one that is wrong: begin anew from here and count no leg, rather than
        -- refuse every point that follows.
        v_anchor := v_point;
        v_before_s := v_point.at_s;
        v_too_fast := 0;
        flag := 'ok';
        is_gap := true;
      end if;
      return next;
    else
      v_too_fast := 0;
      v_candidate := v_point;
      v_has_candidate := true;
      v_candidate_leg_m := v_from_anchor_m * (1 + v_from_anchor_m ^ 2 / (24 * 6371008.8 ^ 2));
      v_candidate_left_s := v_point.at_s - v_before_s;
      v_candidate_is_gap := v_candidate_left_s > v_gap_s;
      v_before_s := v_point.at_s;
    end if;
  end loop;

  if v_has_candidate then
    recorded_at := v_candidate.recorded_at;
    latitude := v_candidate.latitude;
    longitude := v_candidate.longitude;
    accuracy_m := v_candidate.accuracy_m;
    flag := 'ok';
    leg_m := v_candidate_leg_m;
    is_gap := v_candidate_is_gap;
    return next;
  end if;
end;
$$;

comment on function private.measure_points(uuid, uuid, timestamptz, timestamptz, jsonb) is
  'Each point of a session: flag (ok, jitter: not clearly moved, low_accuracy, impossible_speed, outside_session), leg_m '
  '(metres counted on the way to it) and is_gap (that leg bridges a pause). Under the caller''s row level security. Not in '
  'order: sort by recorded_at.';

grant execute on function private.measure_points(uuid, uuid, timestamptz, timestamptz, jsonb)
  to authenticated, api_key, service_role, fieldtrack_worker;

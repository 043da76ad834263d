-- One session as it was travelled: every point with its flag, the simplified line, stops, gaps and totals; and the same as
-- GPX 1.1 and GeoJSON for other programs.
--
-- Flags are derived again with the parameters that gave the stored figure, so that the route explains the distance that was
-- paid. The two exports are handlers of their media types (domains named as those): PostgREST serves them as files. All run
-- under the caller's row level security. Bounded by the longest session (one point a second for max_session_hours).

-- Zhao and Saalfeld's sleeve: from a vertex on, every point narrows the directions in which a line passes it closely enough;
-- the first that lies outside ends the line before it. One pass, where Douglas and Peucker's may take as many as points.
create function private.simplify_line(
  in_latitudes double precision[], in_longitudes double precision[], in_tolerance_m double precision
) returns integer[]
language plpgsql immutable
set search_path = ''
as $$
declare
  v_kept integer[] := array[1];
  v_count integer := coalesce(array_length(in_latitudes, 1), 0);
  v_from integer := 1;
  v_at integer := 2;
  v_north_m double precision;
  v_east_m double precision;
  v_away_m double precision;
  v_farthest_m double precision := 0;
  v_center_rad double precision;
  v_turn_rad double precision;
  v_half_rad double precision;
  v_low_rad double precision;
  v_high_rad double precision;
  v_is_outside boolean;
begin
  if v_count = 0 then
    return array[]::integer[];
  end if;
  while v_at <= v_count loop
    v_north_m := (in_latitudes[v_at] - in_latitudes[v_from]) * 111195;
    v_east_m := in_longitudes[v_at] - in_longitudes[v_from];
    v_east_m := (v_east_m - 360 * round(v_east_m / 360)) * 111195
      * cosd((in_latitudes[v_at] + in_latitudes[v_from]) / 2);
    v_away_m := sqrt(v_north_m * v_north_m + v_east_m * v_east_m);
    -- Going back over the line hides how far it went.
    v_is_outside := v_away_m < v_farthest_m - in_tolerance_m;
    if v_away_m > in_tolerance_m and not v_is_outside then
      v_half_rad := asin(in_tolerance_m / v_away_m);
      if v_farthest_m <= in_tolerance_m then
        v_center_rad := atan2(v_east_m, v_north_m);
        v_low_rad := -v_half_rad;
        v_high_rad := v_half_rad;
      else
        v_turn_rad := atan2(v_east_m, v_north_m) - v_center_rad;
        v_turn_rad := v_turn_rad - 2 * pi() * round(v_turn_rad / (2 * pi()));
        v_is_outside := v_turn_rad not between v_low_rad and v_high_rad;
        v_low_rad := greatest(v_low_rad, v_turn_rad - v_half_rad);
        v_high_rad := least(v_high_rad, v_turn_rad + v_half_rad);
      end if;
    end if;
    if v_is_outside then
      -- This point again, from the one before it.
      v_from := v_at - 1;
      v_kept := array_append(v_kept, v_from);
      v_farthest_m := 0;
    else
      v_farthest_m := greatest(v_farthest_m, v_away_m);
      v_at := v_at + 1;
    end if;
  end loop;
  if v_count > 1 then
    v_kept := array_append(v_kept, v_count);
  end if;
  return v_kept;
end;
$$;

comment on function private.simplify_line(double precision[], double precision[], double precision) is
  'Which points (from 1) of a line to keep so that it passes all of them within about a tolerance, metres; the first and '
  'the last are kept.';

grant execute on function private.simplify_line(double precision[], double precision[], double precision)
  to authenticated, api_key, service_role;

create function public.get_session_route(session_id uuid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_session public.attendance_sessions;
  v_parameters jsonb;
  v_latitudes double precision[];
  v_longitudes double precision[];
  v_kept integer[];
  v_tolerance_m double precision := 5;
  v_stop_s double precision;
  v_route jsonb;
begin
  select s.* into v_session
  from public.attendance_sessions as s
  -- Row level security decides what the caller may see; naming the organization lets the key's index find it.
  where s.organization_id = (select private.current_organization_id()) and s.id = get_session_route.session_id;
  if not found then
    perform private.fail('session_not_found', 'There is no such session, or it is not yours to see.',
      get_session_route.session_id::text);
  end if;

  v_parameters := private.distance_parameters(v_session.organization_id) || coalesce(v_session.distance_parameters, '{}');
  v_stop_s := (v_parameters ->> 'stop_s')::double precision;

  with points as materialized (
    select
      m.recorded_at, m.latitude, m.longitude, m.accuracy_m, m.flag, m.leg_m, m.is_gap,
      m.flag in ('ok', 'jitter') as counts,
      -- Each place that was reached, with the points that stayed about it.
      count(*) filter (where m.flag = 'ok') over (order by m.recorded_at) as place
    from private.measure_points(
      v_session.organization_id, v_session.id, v_session.checked_in_at, coalesce(v_session.checked_out_at, 'infinity'),
      v_parameters) as m
  ),
  counted as (
    select p.*, lag(p.recorded_at) over (order by p.recorded_at) as before_at
    from points as p
    where p.counts
  ),
  stops as (
    select
      min(c.recorded_at) as from_at, max(c.recorded_at) as to_at,
      avg(c.latitude) as latitude,
      -- About the first one's meridian: a place may lie on both sides of the 180th.
      avg(c.first_longitude + c.longitude - c.first_longitude
        - 360 * round((c.longitude - c.first_longitude) / 360)) as longitude
    from (
      select c.*, first_value(c.longitude) over (partition by c.place order by c.recorded_at) as first_longitude
      from counted as c
    ) as c
    group by c.place
    having max(c.recorded_at) - min(c.recorded_at) >= make_interval(secs => v_stop_s)
  )
  select jsonb_build_object(
    'points', coalesce((
      select jsonb_agg(jsonb_build_object(
        'recorded_at', p.recorded_at,
        'latitude', p.latitude,
        'longitude', p.longitude,
        'accuracy_m', p.accuracy_m,
        'flag', p.flag,
        'leg_m', round(p.leg_m::numeric, 2),
        'is_gap', p.is_gap
      ) order by p.recorded_at)
      from points as p
    ), '[]'),
    'stops', coalesce((
      select jsonb_agg(jsonb_build_object(
        'latitude', round(t.latitude::numeric, 6),
        'longitude', round((t.longitude - 360 * round(t.longitude / 360))::numeric, 6),
        'from', t.from_at,
        'to', t.to_at
      ) order by t.from_at)
      from stops as t
    ), '[]'),
    'gaps', coalesce((
      select jsonb_agg(jsonb_build_object(
        'from', c.before_at,
        'to', c.recorded_at,
        'straight_m', round(c.leg_m::numeric, 2)
      ) order by c.recorded_at)
      from counted as c
      where c.is_gap
    ), '[]'),
    'totals', jsonb_build_object(
      'distance_m', coalesce(
        v_session.distance_m, (select round(sum(p.leg_m)::numeric, 2) from points as p), 0),
      'duration_s', v_session.duration_s,
      'stopped_s', coalesce((select extract(epoch from sum(t.to_at - t.from_at))::bigint from stops as t), 0),
      'gaps_m', coalesce(
        (select round(sum(c.leg_m)::numeric, 2) from counted as c where c.is_gap), 0),
      'points', coalesce((
        select jsonb_object_agg(f.flag, f.count)
        from (select p.flag, count(*) as count from points as p group by p.flag) as f
      ), '{}')
    )
  ) into v_route;

  select array_agg(p.latitude order by p.recorded_at), array_agg(p.longitude order by p.recorded_at)
  into v_latitudes, v_longitudes
  from jsonb_to_recordset(v_route -> 'points')
    as p (recorded_at timestamptz, latitude double precision, longitude double precision, flag text)
  where p.flag = 'ok';
  -- A line for a map: coarser until it is short enough to send and draw.
  loop
    v_kept := private.simplify_line(v_latitudes, v_longitudes, v_tolerance_m);
    exit when coalesce(array_length(v_kept, 1), 0) <= 2000;
    v_tolerance_m := v_tolerance_m * 2;
  end loop;

  return v_route || jsonb_build_object(
    'session_id', v_session.id,
    'employee_id', v_session.employee_id,
    'status', v_session.status,
    'checked_in_at', v_session.checked_in_at,
    'checked_out_at', v_session.checked_out_at,
    'duration_s', v_session.duration_s,
    'distance_m', v_session.distance_m,
    'distance_status', v_session.distance_status,
    'points_used', v_session.points_used,
    'points_rejected', v_session.points_rejected,
    'algorithm_version', v_session.algorithm_version,
    'distance_parameters', v_session.distance_parameters,
    -- GeoJSON wants two positions at least.
    'line', case when array_length(v_kept, 1) >= 2 then jsonb_build_object(
      'type', 'LineString',
      'coordinates', (
        select jsonb_agg(jsonb_build_array(v_longitudes[k.index], v_latitudes[k.index])
          order by k.ordinality)
        from unnest(v_kept) with ordinality as k (index, ordinality)
      )
    ) end,
    'line_tolerance_m', v_tolerance_m
  );
end;
$$;

comment on function public.get_session_route(uuid) is
  'A session as it was travelled: {session_id, employee_id, status, checked_in_at, checked_out_at, duration_s, distance_m,
distance_status, points_used, points_rejected, algorithm_version, distance_parameters, points: [{recorded_at, latitude,
longitude, accuracy_m, flag (ok, jitter, low_accuracy, impossible_speed, outside_session), leg_m, is_gap}], line: a GeoJSON
LineString within line_tolerance_m of the points that count as movement (null when nothing moved), stops: [{latitude,
longitude, from, to}], gaps: [{from, to, straight_m}], totals: {distance_m, duration_s, stopped_s, gaps_m, points: {flag:
count}}}. Metres and seconds. Administrators: any session of the organization; employees: their own.
Errors: session_not_found 404.';

grant execute on function public.get_session_route(uuid) to authenticated, api_key;

create domain public."application/gpx+xml" as text;
comment on domain public."application/gpx+xml" is 'GPX 1.1, as a media type that PostgREST serves.';

create domain public."application/geo+json" as json;
comment on domain public."application/geo+json" is 'GeoJSON (RFC 7946), as a media type that PostgREST serves.';

create function private.xml_text(in_value text) returns text
language sql immutable
set search_path = ''
as $$
  select replace(replace(replace(replace(replace(
    -- Characters that XML 1.0 cannot hold in any writing.
    regexp_replace(in_value, '[\u0001-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]', '', 'g'),
    '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&apos;');
$$;

comment on function private.xml_text(text) is 'Text as content or attribute of XML 1.0.';

grant execute on function private.xml_text(text) to authenticated, api_key, service_role;

create function private.xml_time(in_value timestamptz) returns text
language sql immutable
set search_path = ''
as $$
  select to_char(in_value at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
$$;

comment on function private.xml_time(timestamptz) is 'A time as xsd:dateTime in UTC, to the millisecond.';

grant execute on function private.xml_time(timestamptz) to authenticated, api_key, service_role;

create function private.gpx_longitude(in_longitude numeric) returns numeric
language sql immutable
set search_path = ''
as $$
  select case when in_longitude >= 180 then in_longitude - 360 else in_longitude end;
$$;

comment on function private.gpx_longitude(numeric) is
  'A longitude as GPX 1.1 has them: the 180th meridian is -180, and 180 is none.';

grant execute on function private.gpx_longitude(numeric) to authenticated, api_key, service_role;

-- The browser saves it under a name that says what it is.
create function private.answer_as_file(in_name text) returns void
language plpgsql stable
set search_path = ''
as $$
begin
  perform set_config('response.headers', jsonb_build_array(
    jsonb_build_object('Content-Disposition', format('attachment; filename="%s"', in_name)))::text, true);
end;
$$;

comment on function private.answer_as_file(text) is 'Sets Content-Disposition of the answer; the name is ours, not a person''s.';

grant execute on function private.answer_as_file(text) to authenticated, api_key, service_role;

create function private.session_title(in_employee_id uuid, in_checked_in_at timestamptz) returns text
language plpgsql stable
set search_path = ''
as $$
declare
  v_may_read boolean := true;
  v_name text;
begin
  -- A key that may not read people gets a title without the name; asking for it would be refused.
  if current_user = 'api_key' then
    v_may_read := 'employees:read' = any ((private.current_api_key()).scopes);
  end if;
  if v_may_read then
    select e.name into v_name
    from public.employees as e
    where e.organization_id = (select private.current_organization_id()) and e.id = in_employee_id;
  end if;
  return concat_ws(' ', v_name, private.local_day((select private.current_organization_id()), in_checked_in_at));
end;
$$;

comment on function private.session_title(uuid,
  timestamptz) is 'A title for an exported session: name and the organization''s day.';

grant execute on function private.session_title(uuid, timestamptz) to authenticated, api_key, service_role;

create function public.export_session_gpx(session_id uuid) returns public."application/gpx+xml"
language plpgsql stable
set search_path = ''
as $$
declare
  v_route jsonb := public.get_session_route(export_session_gpx.session_id);
  v_title text := private.xml_text(private.session_title(
    (v_route ->> 'employee_id')::uuid, (v_route ->> 'checked_in_at')::timestamptz));
  v_stops text;
  v_segments text;
begin
  select string_agg(format(
    '<wpt lat="%s" lon="%s"><time>%s</time><name>Stop</name><desc>%s to %s</desc></wpt>',
    t.latitude, private.gpx_longitude(t.longitude), private.xml_time(t."from"), private.xml_time(t."from"),
    private.xml_time(t."to")),
    E'\n' order by t."from")
  into v_stops
  from jsonb_to_recordset(v_route -> 'stops')
    as t (latitude numeric, longitude numeric, "from" timestamptz, "to" timestamptz);

  -- A segment ends where a gap begins, as the format means it.
  select string_agg(s.segment, E'\n' order by s.number)
  into v_segments
  from (
    select
      p.number,
      E'<trkseg>\n' || string_agg(format('<trkpt lat="%s" lon="%s"><time>%s</time></trkpt>',
        p.latitude::numeric, private.gpx_longitude(p.longitude::numeric), private.xml_time(p.recorded_at)),
          E'\n' order by p.recorded_at)
        || E'\n</trkseg>' as segment
    from (
      select p.*, count(*) filter (where p.is_gap) over (order by p.recorded_at) as number
      from jsonb_to_recordset(v_route -> 'points')
        as p (recorded_at timestamptz, latitude double precision, longitude double precision, flag text, is_gap boolean)
      where p.flag = 'ok'
    ) as p
    group by p.number
  ) as s;

  perform private.answer_as_file(format('session-%s.gpx', v_route ->> 'session_id'));
  return concat_ws(E'\n',
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<gpx version="1.1" creator="FieldTrack" xmlns="http://www.topografix.com/GPX/1/1">',
    format('<metadata><name>%s</name><time>%s</time></metadata>',
      v_title, private.xml_time((v_route ->> 'checked_in_at')::timestamptz)),
    v_stops,
    format('<trk><name>%s</name><desc>%s m</desc>', v_title, v_route -> 'totals' ->> 'distance_m'),
    v_segments,
    '</trk>',
    '</gpx>');
end;
$$;

comment on function public.export_session_gpx(uuid) is
  'A session as a GPX 1.1 file (Accept: application/gpx+xml): the points that count as movement as one track, a segment
between gaps, and the stops as waypoints. Callers and errors as get_session_route.';

grant execute on function public.export_session_gpx(uuid) to authenticated, api_key;

create function public.export_session_geojson(session_id uuid) returns public."application/geo+json"
language plpgsql stable
set search_path = ''
as $$
declare
  v_route jsonb := public.get_session_route(export_session_geojson.session_id);
  v_features jsonb;
begin
  -- A line ends where a gap begins, and at the 180th meridian: across it a map would draw round the world (RFC 7946, 3.1.9).
  with points as (
    select p.*, count(*) filter (where p.is_gap or p.is_across) over (order by p.recorded_at) as number
    from (
      select p.*,
        abs(p.longitude - lag(p.longitude) over (order by p.recorded_at)) > 180 as is_across
      from jsonb_to_recordset(v_route -> 'points')
        as p (recorded_at timestamptz, latitude double precision, longitude double precision, flag text, is_gap boolean)
      where p.flag = 'ok'
    ) as p
  ),
  segments as (
    select
      p.number,
      jsonb_agg(jsonb_build_array(p.longitude, p.latitude) order by p.recorded_at) as positions,
      jsonb_agg(private.xml_time(p.recorded_at) order by p.recorded_at) as times
    from points as p
    group by p.number
    -- One position is no line.
    having count(*) > 1
  )
  select jsonb_build_array(jsonb_build_object(
    'type', 'Feature',
    'geometry', case when count(*) > 0 then jsonb_build_object(
      'type', 'MultiLineString', 'coordinates', jsonb_agg(s.positions order by s.number)) end,
    'properties', jsonb_build_object(
      'kind', 'way',
      'session_id', v_route -> 'session_id',
      'title', private.session_title((v_route ->> 'employee_id')::uuid, (v_route ->> 'checked_in_at')::timestamptz),
      'checked_in_at', v_route -> 'checked_in_at',
      'checked_out_at', v_route -> 'checked_out_at',
      'distance_m', v_route -> 'totals' -> 'distance_m',
      'times', coalesce(jsonb_agg(s.times order by s.number), '[]')
    )
  ))
  into v_features
  from segments as s;

  select v_features || coalesce(jsonb_agg(jsonb_build_object(
    'type', 'Feature',
    'geometry', jsonb_build_object(
      'type', 'Point', 'coordinates', jsonb_build_array(t.stop -> 'longitude', t.stop -> 'latitude')),
    'properties', jsonb_build_object('kind', 'stop', 'from', t.stop -> 'from', 'to', t.stop -> 'to')
  ) order by t.ordinality), '[]')
  into v_features
  from jsonb_array_elements(v_route -> 'stops') with ordinality as t (stop, ordinality);

  perform private.answer_as_file(format('session-%s.geojson', v_route ->> 'session_id'));
  return json_build_object('type', 'FeatureCollection', 'features', v_features);
end;
$$;

comment on function public.export_session_geojson(uuid) is
  'A session as a GeoJSON file (Accept: application/geo+json): a FeatureCollection of the way (MultiLineString, a line
between gaps and on each side of the 180th meridian, with the times of its positions) and the stops (Points). Callers and
errors as get_session_route.';

grant execute on function public.export_session_geojson(uuid) to authenticated, api_key;

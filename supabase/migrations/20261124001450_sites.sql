-- Sites: places of work, as circles or polygons.
--
-- Everything is measured on a plane around the site's own centre, in metres: sites are small, so the plane is exact to a few
-- parts in a
-- thousand, and no PostGIS is needed. A box in degrees leads to the sites near a position by an index. Poles and the 180th
-- meridian
-- are refused, where neither the plane nor the box would be right.
-- Not covered: who was at a site and when (001460_visits).

create table public.sites (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  external_id text,
  latitude private.latitude not null,
  longitude private.longitude not null,
  radius_m integer,
  polygon jsonb,
  is_active boolean not null default true,
  -- In degrees: where a position may lie that is in the site. In metres around the centre: the polygon itself.
  area box not null,
  shape polygon,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, external_id),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint external_id_has_1_to_200_characters check (char_length(external_id) between 1 and 200),
  constraint circle_or_polygon check ((radius_m is null) <> (polygon is null) and (polygon is null) = (shape is null)),
  constraint radius_is_30_to_2000_m check (radius_m between 30 and 2000)
);

alter table public.sites enable row level security;

-- Which sites of the organization may a position lie in? Asked with every batch of points.
create index sites_area on public.sites using gist (organization_id, area) where is_active;

-- The list, by name.
create index sites_by_name on public.sites (organization_id, name, id);

create trigger _100_set_updated_at before update on public.sites
  for each row execute function private.tg_any__set_updated_at();

comment on table public.sites is
  'Places of work of an organization, which its members read. Visits say who was there and when.';
comment on column public.sites.name is '1 to 200 characters.';
comment on column public.sites.external_id is 'The organization''s own name for it, such as a customer''s number; unique where there is one.';
comment on column public.sites.latitude is 'Centre, WGS84 degrees, -80 to 80.';
comment on column public.sites.longitude is 'Centre, WGS84 degrees.';
comment on column public.sites.radius_m is 'Radius of a circle, 30 to 2,000 metres; null for a polygon.';
comment on column public.sites.polygon is 'Ring of [longitude, latitude] pairs, as in GeoJSON, the last equal to the first; null for a circle.';
comment on column public.sites.area is 'Box in degrees that holds the site: how it is found.';
comment on column public.sites.shape is 'The polygon in metres east and north of the centre; null for a circle.';
comment on column public.sites.is_active is 'Whether new visits are recognised.';

create policy select_member on public.sites for select to authenticated using (
  organization_id = (select private.current_organization_id())
);

create policy select_key on public.sites for select to api_key using (
  organization_id = (select private.key_organization_id('sites:read'))
);

grant select on public.sites to authenticated, api_key, service_role;

-- NOTE: sites are written by RPCs only. area and shape follow from the other columns; they are granted because * means all
-- columns.

-- Metres from the centre, east and north, of a place near it.
create function private.site_plane(in_latitude double precision, in_longitude double precision, in_at_latitude double precision,
  in_at_longitude double precision) returns point
language sql immutable
set search_path = ''
as $$
  select point((in_at_longitude - in_longitude) * 111195 * cosd(in_latitude), (in_at_latitude - in_latitude) * 111195);
$$;

comment on function private.site_plane(double precision, double precision, double precision, double precision) is
  'Where a place lies on the plane around a centre: metres east and north.';

create function private.metres_outside(in_site public.sites, in_latitude double precision, in_longitude double precision)
returns double precision
language sql immutable
set search_path = ''
as $$
  select case
    when (in_site).shape is null then greatest(
      (
        private.site_plane((in_site).latitude, (in_site).longitude, in_latitude, in_longitude)
          operator(pg_catalog.<->) point(0, 0)
      ) - (in_site).radius_m, 0)
    else private.site_plane((in_site).latitude, (in_site).longitude, in_latitude,
      in_longitude) operator(pg_catalog.<->) (in_site).shape
  end;
$$;

comment on function private.metres_outside(public.sites, double precision, double precision) is
  'How far a place lies outside a site, metres; 0 inside.';

-- Reads a ring and says what is wrong with it: shape on the plane, centre and box follow from it.
create function private.read_ring(in_ring jsonb, out problem text, out latitude double precision, out longitude double precision,
  out shape polygon, out area box)
language plpgsql immutable
set search_path = ''
as $$
declare
  v_lats double precision[];
  v_lons double precision[];
  v_points text;
  v_n integer;
  v_crossings integer;
begin
  if jsonb_typeof(in_ring) is distinct from 'array' or jsonb_array_length(in_ring) not between 4 and 500 then
    problem := 'a polygon is a ring of 4 to 500 pairs, the last equal to the first';
    return;
  end if;
  if exists (
    select from jsonb_array_elements(in_ring) as p (pair)
    where jsonb_typeof(p.pair) <> 'array' or jsonb_array_length(p.pair) < 2
      or jsonb_typeof(p.pair -> 0) <> 'number' or jsonb_typeof(p.pair -> 1) <> 'number'
      or (p.pair ->> 0)::numeric not between -180 and 180 or (p.pair ->> 1)::numeric not between -80 and 80
  ) then
    problem := 'each pair is [longitude -180 to 180, latitude -80 to 80]';
    return;
  end if;
  if in_ring -> 0 <> in_ring -> -1 then
    problem := 'the last pair of a ring equals the first';
    return;
  end if;
  select array_agg((p.pair ->> 1)::double precision order by p.n), array_agg((p.pair ->> 0)::double precision order by p.n)
  into v_lats, v_lons
  from jsonb_array_elements(in_ring) with ordinality as p (pair, n);
  select (min(a.lat) + max(a.lat)) / 2, (min(a.lon) + max(a.lon)) / 2,
    box(point(min(a.lon), min(a.lat)), point(max(a.lon), max(a.lat)))
  into latitude, longitude, area
  from unnest(v_lats, v_lons) as a (lat, lon);
  if (area[0])[0] - (area[1])[0] > 1 or (area[0])[1] - (area[1])[1] > 1 then
    problem := 'a site is at most a degree wide; one over the 180th meridian has to be two sites';
    return;
  end if;
  v_n := cardinality(v_lats) - 1;
  -- Two sides that cross make an inside that nobody means. Neighbours share a corner and are left out.
  select count(*) into v_crossings
  from generate_series(1, v_n) as i
  cross join generate_series(i + 2, v_n) as k
  where not (i = 1 and k = v_n)
    and lseg(point(v_lons[i], v_lats[i]), point(v_lons[i + 1], v_lats[i + 1])) operator(pg_catalog.?#)
      lseg(point(v_lons[k], v_lats[k]), point(v_lons[k + 1], v_lats[k + 1]));
  if v_crossings > 0 then
    problem := 'the sides of a polygon do not cross';
    return;
  end if;
  select '(' || string_agg(private.site_plane(latitude, longitude, v_lats[i], v_lons[i])::text, ',' order by i) || ')'
  into v_points
  from generate_series(1, v_n) as i;
  shape := v_points::polygon;
end;
$$;

comment on function private.read_ring(jsonb) is 'A GeoJSON ring as a shape around its centre, or what is wrong with it.';

create function private.save_site(in_site_id uuid, in_changes jsonb) returns public.sites
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('sites:write');
  v_before public.sites;
  v_site public.sites;
  v_ring record;
  v_margin double precision;
  v_constraint text;
  v_column text;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['name', 'external_id', 'latitude', 'longitude', 'radius_m', 'polygon', 'is_active'] <> '{}'
  then
    perform private.fail('invalid_argument',
      'A site is an object of name, external_id, latitude, longitude, radius_m, polygon and is_active.', 'changes');
  end if;
  if in_site_id is not null then
    select s.* into v_before
    from public.sites as s
    where s.organization_id = v_admin.organization_id and s.id = in_site_id
    for no key update;
    if not found then
      perform private.fail('site_not_found', 'There is no such site.', in_site_id::text);
    end if;
  end if;
  v_site := jsonb_populate_record(v_before, in_changes);
  if in_changes ? 'polygon' and v_site.polygon is not null and jsonb_typeof(v_site.polygon) <> 'null' then
    select r.* into v_ring from private.read_ring(v_site.polygon) as r;
    if v_ring.problem is not null then
      perform private.fail('invalid_argument', format('The polygon cannot be used: %s.', v_ring.problem), 'polygon');
    end if;
    v_site.latitude := v_ring.latitude;
    v_site.longitude := v_ring.longitude;
    v_site.shape := v_ring.shape;
    v_site.area := v_ring.area;
    v_site.radius_m := null;
  else
    if in_changes ? 'radius_m' and v_site.radius_m is not null then
      v_site.polygon := null;
      v_site.shape := null;
    end if;
    if v_site.polygon is null then
      if v_site.latitude is null or v_site.longitude is null or v_site.radius_m is null then
        perform private.fail('invalid_argument', 'A site has latitude, longitude and radius_m, or a polygon.', 'radius_m');
      end if;
      v_margin := v_site.radius_m / 111195.0;
      if abs(v_site.latitude) > 80 or abs(v_site.longitude) + v_margin / cosd(v_site.latitude) > 180 then
        perform private.fail('invalid_argument',
          'A site lies between 80 degrees south and north, and not over the 180th meridian.', 'longitude');
      end if;
      v_site.area := box(
        point(v_site.longitude - v_margin / cosd(v_site.latitude), v_site.latitude - v_margin),
        point(v_site.longitude + v_margin / cosd(v_site.latitude), v_site.latitude + v_margin));
    end if;
  end if;
  if in_site_id is null then
    insert into public.sites (
      organization_id, name, external_id, latitude, longitude, radius_m, polygon, is_active, area, shape
    )
    values (
      v_admin.organization_id, btrim(v_site.name), v_site.external_id, v_site.latitude, v_site.longitude, v_site.radius_m,
      v_site.polygon, coalesce(v_site.is_active, true), v_site.area, v_site.shape
    )
    returning * into v_site;
  else
    update public.sites as s
    set name = btrim(v_site.name), external_id = v_site.external_id, latitude = v_site.latitude, longitude = v_site.longitude,
      radius_m = v_site.radius_m, polygon = v_site.polygon, is_active = v_site.is_active, area = v_site.area, shape = v_site.shape
    where s.organization_id = v_admin.organization_id and s.id = v_before.id
    returning s.* into v_site;
  end if;
  perform private.audit(v_admin.organization_id, case when in_site_id is null then 'site.created' else 'site.updated' end, 'site',
    v_site.id, c.old_values - 'area' - 'shape', c.new_values - 'area' - 'shape')
  from private.changed(case when in_site_id is null then '{}' else to_jsonb(v_before) end, to_jsonb(v_site)) as c
  where c.new_values is not null;
  return v_site;
exception
  when unique_violation then
    perform private.fail('site_external_id_taken', 'Another site has this external_id.', 'external_id');
  when check_violation or not_null_violation or invalid_text_representation or numeric_value_out_of_range then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    perform private.fail('invalid_argument', 'The site cannot have these values.', coalesce(nullif(v_constraint, ''), v_column),
      'name has 1 to 200 characters, radius_m is 30 to 2000, latitude and longitude are degrees.');
end;
$$;

comment on function private.save_site(uuid, jsonb) is 'Body of public.create_site (without a site) and public.update_site.';

grant execute on function private.save_site(uuid, jsonb) to authenticated, api_key;

create function public.create_site(site jsonb) returns jsonb
language sql volatile
set search_path = ''
as $$
  select to_jsonb(private.save_site(null, site)) - 'area' - 'shape';
$$;

comment on function public.create_site(jsonb) is
  'Makes a site: {name, latitude, longitude, radius_m} for a circle of 30 to 2,000 m, or {name, polygon: [[longitude, latitude], …]},
each with external_id? and is_active?. Answers the site. Administrators, and keys with sites:write; audited.
Errors: admin_required 403, site_external_id_taken 409, invalid_argument 400.';

grant execute on function public.create_site(jsonb) to authenticated, api_key;

create function public.update_site(site_id uuid, changes jsonb) returns jsonb
language sql volatile
set search_path = ''
as $$
  select to_jsonb(private.save_site(site_id, changes)) - 'area' - 'shape';
$$;

comment on function public.update_site(uuid, jsonb) is
  'Changes a site: {name?, external_id?, latitude?, longitude?, radius_m?, polygon?, is_active?}. Visits that were recorded stay as they
are; another place or size counts for points that come from now on. Administrators, and keys with sites:write; audited.
Errors: admin_required 403, site_not_found 404, site_external_id_taken 409, invalid_argument 400.';

grant execute on function public.update_site(uuid, jsonb) to authenticated, api_key;

create function private.import_sites(in_features jsonb) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin('sites:write');
  v_feature record;
  v_site jsonb;
  v_id uuid;
  v_created integer := 0;
  v_updated integer := 0;
begin
  if in_features ->> 'type' is distinct from 'FeatureCollection' or jsonb_typeof(in_features -> 'features') is distinct
    from 'array'
    or jsonb_array_length(in_features -> 'features') > 1000
  then
    perform private.fail('invalid_argument', 'sites is a GeoJSON FeatureCollection of at most 1000 features.', 'sites');
  end if;
  for v_feature in
    select f.feature, f.n from jsonb_array_elements(in_features -> 'features') with ordinality as f (feature, n)
  loop
    v_site := coalesce(v_feature.feature -> 'properties', '{}');
    v_site := jsonb_strip_nulls(jsonb_build_object(
      'name', v_site -> 'name', 'external_id', v_site -> 'external_id', 'radius_m', v_site -> 'radius_m',
      'is_active', v_site -> 'is_active'));
    if v_feature.feature #>> '{geometry,type}' = 'Point' then
      v_site := v_site || jsonb_build_object(
        'longitude', v_feature.feature #> '{geometry,coordinates,0}', 'latitude',
          v_feature.feature #> '{geometry,coordinates,1}');
    elsif v_feature.feature #>> '{geometry,type}' = 'Polygon'
      and jsonb_array_length(v_feature.feature #> '{geometry,coordinates}') = 1
    then
      v_site := v_site || jsonb_build_object('polygon', v_feature.feature #> '{geometry,coordinates,0}');
    else
      perform private.fail('invalid_argument',
        format('Feature %s is neither a Point with properties.radius_m nor a Polygon of one ring.', v_feature.n), 'sites');
    end if;
    select s.id into v_id
    from public.sites as s
    where s.organization_id = v_admin.organization_id and s.external_id = v_site ->> 'external_id';
    perform private.save_site(v_id, v_site);
    v_created := v_created + (v_id is null)::integer;
    v_updated := v_updated + (v_id is not null)::integer;
  end loop;
  return jsonb_build_object('created', v_created, 'updated', v_updated);
end;
$$;

comment on function private.import_sites(jsonb) is 'Body of public.import_sites.';

grant execute on function private.import_sites(jsonb) to authenticated, api_key;

create function public.import_sites(sites jsonb) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.import_sites(sites);
$$;

comment on function public.import_sites(jsonb) is
  'Takes a GeoJSON FeatureCollection of at most 1,000 features: Points with properties {name, radius_m, external_id?, is_active?} and Polygons
with {name, external_id?, is_active?}. A site with the same external_id is changed, any other is made. All or nothing. Answers
{created, updated}. Administrators, and keys with sites:write; audited. Errors: admin_required 403, invalid_argument 400.';

grant execute on function public.import_sites(jsonb) to authenticated, api_key;

create function private.export_sites() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_organization_id uuid;
begin
  if private.jwt() ->> 'role' = 'api_key' then
    v_organization_id := (private.require_admin('sites:read')).organization_id;
  else
    v_organization_id := (private.require_employee()).organization_id;
  end if;
  return (
    select jsonb_build_object('type', 'FeatureCollection', 'features', coalesce(jsonb_agg(jsonb_build_object(
      'type', 'Feature',
      'geometry', case
        when s.polygon is null then jsonb_build_object('type', 'Point', 'coordinates', jsonb_build_array(s.longitude, s.latitude))
        else jsonb_build_object('type', 'Polygon', 'coordinates', jsonb_build_array(s.polygon))
      end,
      'properties', jsonb_strip_nulls(jsonb_build_object(
        'id', s.id, 'name', s.name, 'external_id', s.external_id, 'radius_m', s.radius_m, 'is_active', s.is_active))
    ) order by s.name, s.id), '[]'))
    from (
      select o.*
      from public.sites as o
      where o.organization_id = v_organization_id
      order by o.name, o.id
      limit 10000
    ) as s
  );
end;
$$;

comment on function private.export_sites() is 'Body of public.export_sites.';

grant execute on function private.export_sites() to authenticated, api_key;

create function public.export_sites() returns jsonb
language sql stable
set search_path = ''
as $$
  select private.export_sites();
$$;

comment on function public.export_sites() is
  'The organization''s sites as a GeoJSON FeatureCollection, at most 10,000, which import_sites takes again. Members, and keys with
sites:read; the same as CSV: GET sites with Accept: text/csv. Errors: not_a_member 403, scope_missing 403.';

grant execute on function public.export_sites() to authenticated, api_key;

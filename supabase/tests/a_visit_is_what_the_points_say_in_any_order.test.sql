-- A person is at a site by the points inside, leaves by points clearly outside, and neither a wild fix nor a drive-by counts.
begin;
select plan(16);
select tests.cast_on_stage();
select tests.become('alice');
select tests.throws_code($$select public.create_site('{"name": "Depot", "latitude": 46.05, "longitude": 14.5}')$$,
  'invalid_argument', 'a site has a radius or a polygon');
select tests.throws_code($$select public.create_site('{"name": "Pole", "latitude": 85, "longitude": 14.5, "radius_m": 100}')$$,
  'invalid_argument', 'no site at a pole');
select tests.throws_code($$select public.create_site('{"name": "Fiji", "latitude": -17, "longitude": 179.9999, "radius_m": 100}')$$,
  'invalid_argument', 'and none over the 180th meridian');
select tests.throws_code(
  $$select public.create_site('{"name": "Bow", "polygon": [[14.5,46.0],[14.51,46.01],[14.51,46.0],[14.5,46.01],[14.5,46.0]]}')$$,
  'invalid_argument', 'the sides of a polygon do not cross');
create temporary table site on commit drop as
select (public.create_site('{"name": "Depot", "external_id": "D1", "latitude": 46.05, "longitude": 14.5, "radius_m": 50}') ->> 'id')::uuid
  as id;
grant select on site to authenticated;
select tests.throws_code(
  $$select public.create_site('{"name": "Other", "external_id": "D1", "latitude": 46.05, "longitude": 14.5, "radius_m": 50}')$$,
  'site_external_id_taken', 'an external_id is given once');
select is(public.import_sites(public.export_sites()), '{"created": 0, "updated": 1}', 'what is exported is taken again');
select tests.become('bob');
select tests.throws_code($$select public.create_site('{"name": "His", "latitude": 46, "longitude": 14, "radius_m": 50}')$$,
  'admin_required', 'sites are made by administrators');

-- Ten minutes on the way, twenty at the depot with one wild fix, ten away; metres east of the site are degrees / 77,190.
create function pg_temp.point(minute numeric, metres numeric) returns jsonb language sql stable as $$
  select jsonb_build_object('recorded_at', now() - interval '1 hour' + minute * interval '1 minute',
    'latitude', 46.05, 'longitude', 14.5 + metres / 77190.0, 'accuracy_m', 5)
$$;
create temporary table track on commit drop as
select m, pg_temp.point(m, case when m < 10 then 3000 - m * 300 when m = 20 then 300 when m <= 30 then 5 else (m - 30) * 300 end) as point
from generate_series(1, 40) as m;
grant select on track to authenticated;
select isnt(public.check_in(now() - interval '1 hour', gen_random_uuid()), null, 'Bob checks in');
do $$
declare
  v_point jsonb;
begin
  for v_point in select t.point from track as t where t.m <= 30 and t.m <> 15 order by t.m loop
    perform public.record_locations(jsonb_build_array(v_point));
  end loop;
end
$$;
select results_eq(
  'select v.entered_at, v.left_at from public.visits as v',
  $$select now() - interval '50 minutes', null::timestamptz$$, 'he is at the depot, whatever one wild fix said');
select public.record_locations((select jsonb_agg(t.point order by t.m desc) from track as t where t.m > 30 or t.m = 15));
create temporary table in_order on commit drop as select v.site_id, v.entered_at, v.left_at from public.visits as v;
grant select on in_order to authenticated;
select results_eq('select entered_at, left_at from in_order',
  $$select now() - interval '50 minutes', now() - interval '29 minutes'$$, 'and left it with the first fix outside');
select results_eq(
  $$select type from public.events where employee_id = tests.user_id('bob') and type like 'visit.%' order by id$$,
  array[]::text[], 'an employee reads no events');
select isnt(public.check_out(now(), gen_random_uuid()), null, 'he checks out');
select tests.become_postgres();
select results_eq(
  $$select type from public.events where organization_id = tests.acme() and type like 'visit.%' order by id$$,
  array['visit.started', 'visit.ended'], 'each is an event');

-- The same points in one batch, backwards, in another person's session.
select tests.become('carol');
select public.check_in(now() - interval '1 hour', gen_random_uuid());
select public.record_locations((select jsonb_agg(t.point order by t.m desc) from track as t));
select results_eq('select site_id, entered_at, left_at from public.visits', 'select site_id, entered_at, left_at from in_order',
  'any order gives the same visit');
-- A drive-by of a minute, in the same session later on.
select public.record_locations(jsonb_build_array(pg_temp.point(50, 40), pg_temp.point(50.5, 0), pg_temp.point(51, 400),
  pg_temp.point(51.5, 900)));
select is((select count(*) from public.visits), 1::bigint, 'who drives by visits nothing');

select tests.become_postgres();
update public.attendance_sessions set points_purged_at = now() where employee_id = tests.user_id('bob');
select is((select count(*) from public.visits where employee_id = tests.user_id('bob')), 0::bigint,
  'visits go with the points of their session');
select * from finish();
rollback;

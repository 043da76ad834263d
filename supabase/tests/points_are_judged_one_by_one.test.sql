-- A bad point is rejected by its index with a code and never fails the batch, unless the batch is strict.
begin;
select plan(19);
select tests.cast_on_stage();
create temporary table answer (value jsonb) on commit drop;
grant all on answer to authenticated;
select tests.become('bob');
select tests.throws_code($$select public.record_locations('[{}]')$$, 'no_open_session', 'first check in');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
select tests.throws_code($$select public.record_locations('{}')$$, 'invalid_argument', 'an array is needed');
select tests.throws_code($$select public.record_locations(null)$$, 'invalid_argument', 'something is needed');
select tests.throws_code($$select public.record_locations('[]')$$, 'batch_size', 'at least one');
select tests.throws_code(
  $$select public.record_locations((
    select jsonb_agg(tests.point(now() - make_interval(secs => i))) from generate_series(1, 101) as i))$$,
  'batch_size', 'at most a hundred');

insert into answer
select public.record_locations(jsonb_build_array(
  tests.point(now() - interval '50 minutes'),
  tests.point(now() - interval '50 minutes'),
  jsonb_build_object('recorded_at', to_char((now() - interval '49 minutes') at time zone 'Asia/Kolkata',
  'YYYY-MM-DD"T"HH24:MI:SS') || '+05:30', 'latitude', 46, 'longitude', 14),
  jsonb_build_object('recorded_at', to_char((now() - interval '48 minutes') at time zone 'UTC',
  'YYYY-MM-DD"T"HH24:MI:SS,MS') || 'z', 'latitude', -46.5, 'longitude', 180, 'accuracy_m', 0, 'battery_pct', 100, 'is_mock',
  true),
  '{"recorded_at": "2026-02-30T10:00:00Z", "latitude": 46, "longitude": 14}',
  '{"recorded_at": "2026-02-03T10:00:00", "latitude": 46, "longitude": 14}',
  '{"recorded_at": 1790000000, "latitude": 46, "longitude": 14}',
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', '46', 'longitude', 14),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 90.0001, 'longitude', 14),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 1e300::numeric, 'longitude', 14),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 46),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 46, 'longitude', 14, 'accuracy_m', -1),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 46, 'longitude', 14, 'heading_deg',
  '"north"'::jsonb),
  jsonb_build_object('recorded_at', now() - interval '47 minutes', 'latitude', 46, 'longitude', 14, 'is_mock', 1),
  tests.point(now() + interval '3 minutes'),
  tests.point(now() - interval '61 minutes'),
  'null', '5', '"text"', '[]',
  -- As a phone writes it that formats for its owner's language.
  '{"recorded_at": "٢٠٢٦-٠٢-٠٣T١٠:٠٠:٠٠Z", "latitude": 46, "longitude": 14}'
));
select is((select value ->> 'received' from answer), '21', 'all are counted');
select is((select value ->> 'inserted' from answer), '3', 'three are good');
select is((select value ->> 'duplicates' from answer), '1', 'one was there in the same batch');
select is(
  (select jsonb_agg((r ->> 'index') || ' ' || (r ->> 'code')) from answer, jsonb_array_elements(value -> 'rejected') as r),
  '["4 point_time_invalid", "5 point_time_invalid", "6 point_time_invalid", "7 point_position_invalid",
    "8 point_position_invalid", "9 point_position_invalid", "10 point_position_invalid", "11 point_field_invalid",
    "12 point_field_invalid", "13 point_field_invalid", "14 point_in_future", "15 point_before_session",
    "16 point_time_invalid", "17 point_time_invalid", "18 point_time_invalid", "19 point_time_invalid",
    "20 point_time_invalid"]'::jsonb,
  'the others are named by index and code');
select results_eq(
  'select recorded_at, is_mock from public.gps_locations order by recorded_at',
  $$values (now() - interval '50 minutes', false), (date_trunc('second', now()) - interval '49 minutes', false),
    (date_trunc('milliseconds', now()) - interval '48 minutes', true)$$,
  'offsets, a comma and a small z are read right');
select is((public.record_locations(jsonb_build_array(tests.point(now() - interval '50 minutes')))) ->> 'duplicates', '1',
  'sent again: a duplicate');
select tests.throws_code(
  format('select public.record_locations(%L, strict => true)', jsonb_build_array(tests.point(now() - interval '40 minutes'),
  '5'::jsonb)),
  'batch_rejected', 'strict refuses the batch');
select is((select count(*) from public.gps_locations), 3::bigint, 'and stores none of it');
select is(
  (select jsonb_path_query_array(public.record_locations(jsonb_agg(
    tests.point(now() - interval '30 minutes' + make_interval(secs => n)) || jsonb_build_object(field, value))),
    '$.rejected[*].code') from (
      select f.field, v.value, row_number() over () as n
      from unnest(array['latitude', 'longitude', 'accuracy_m', 'speed_mps', 'heading_deg', 'battery_pct', 'sequence_number'])
        as f (field)
      cross join jsonb_array_elements('["5", "", true, false, [], [5], [5, 5], {}, {"a": 5}, -1000, 1e17]') as v (value)
    ) as bad),
  (select jsonb_agg(case when n <= 22 then 'point_position_invalid' else 'point_field_invalid' end)
    from generate_series(1, 77) as n),
  'nothing but a number in its range passes for one');
select is(
  public.record_locations(jsonb_build_array(tests.point(now() - interval '30 minutes') || '{"accuracy_m": 1e-300,
    "speed_mps": null, "heading_deg": 1e-99, "battery_pct": 1e-300, "sequence_number": null, "is_mock": null}')) ->> 'inserted',
  '1', 'a number too small for a float is none, null is absent');
select is(
  public.record_locations(jsonb_build_array(
    tests.point(now() - interval '29 minutes') || '{"heading_deg": 361, "is_mock": true}'))
    #>> '{rejected,0,message}', 'heading_deg is out of its range or of the wrong type.', 'the field is named');
select is(
  (select jsonb_agg(public.record_locations(jsonb_build_array(tests.point(now()) || jsonb_build_object('recorded_at', t)))
    #> '{rejected,0,code}')
    from unnest(array['2026-02-29T10:00:00Z', '2026-04-31T10:00:00+02:00', '2025-11-31T23:59:59.999Z']) as t),
  '["point_time_invalid", "point_time_invalid", "point_time_invalid"]'::jsonb,
  'a day that its month does not have, in a batch of nothing else');
-- The times of a batch are joined with semicolons and matched at once.
select is(
  (select jsonb_agg(public.record_locations(jsonb_build_array(
    tests.point(now()) || jsonb_build_object('recorded_at', t), tests.point(now() - interval '29 minutes')))
    #> '{rejected,0,code}')
    from unnest(array['2026-01-05T10:00:00Z;2026-01-05T10:00:01Z', '2026-01-05T10:00:00Z;', ';2026-01-05T10:00:00Z', ';', ''])
      as t),
  (select jsonb_agg('point_time_invalid'::text) from generate_series(1, 5)), 'nothing that only joins well passes');
select tests.become('carol');
select tests.throws_code(
  format('select public.record_locations(%L, %L)', jsonb_build_array(tests.point(now())), gen_random_uuid()),
  'session_not_found', 'an unknown session');
select * from finish();
rollback;

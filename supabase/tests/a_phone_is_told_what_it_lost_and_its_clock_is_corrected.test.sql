-- What a phone was told is delivered and was not kept is counted by reason and told; a clock that is steadily wrong is corrected.
begin;
select plan(15);
select tests.cast_on_stage();
select tests.become('bob');
create temporary table device on commit drop as select public.my_device_token('Phone') as answer;
grant select on device to authenticated;
select isnt(public.check_in(now() - interval '2 hours', gen_random_uuid()), null, 'Bob checks in');
select tests.become_postgres();
create function pg_temp.send(at timestamptz, latitude double precision, unread jsonb default '{}') returns jsonb language sql as $$
  select private.ingest_locations(sha256(convert_to(d.answer ->> 'token', 'UTF8')),
    jsonb_build_array(jsonb_build_object(
      'recorded_at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'latitude', latitude, 'longitude', 14.5)),
    unread, 'osmand', null)
  from device as d
$$;
create function pg_temp.health() returns jsonb language sql as $$select public.get_device_health() -> 0$$;
grant execute on function pg_temp.health() to public;

-- Five minutes ahead, at once with each post.
select is((pg_temp.send(now() + interval '300 seconds', 46.01) ->> 'stored')::integer, 1, 'a clock five minutes ahead loses nothing');
select is((select max(recorded_at) from public.gps_locations where employee_id = tests.user_id('bob')), now(),
  'and what it sends is kept at the time that it is');
select is((pg_temp.send(now() + interval '200 seconds', 46.02) ->> 'stored')::integer, 1, 'also what waited on the phone for a while');
select is((select min(recorded_at) from public.gps_locations where employee_id = tests.user_id('bob')), now() - interval '100 seconds',
  'which is as old as it is');
select is((select payload ->> 'clock_offset_s' from public.events where type = 'device.clock_wrong'
  and organization_id = tests.acme()), '300', 'it is told, once');
select tests.become('bob');
select is(pg_temp.health() ->> 'clock_offset_s', '300', 'the person sees it');
select tests.become_postgres();
select is((pg_temp.send(now() - interval '1 second', 46.03) ->> 'stored')::integer, 1, 'a clock that is right again');
select tests.become('alice');
select is(pg_temp.health() ->> 'clock_offset_s', '0', 'is believed');
select tests.become_postgres();

-- An hour behind, in request after request.
update public.device_tokens set same_lead_requests = 5, same_lead_since = now() - interval '10 minutes', last_lead_s = -3600
where employee_id = tests.user_id('bob');
select is((pg_temp.send(now() - interval '3600.4 seconds', 46.04) ->> 'stored')::integer, 1, 'one that is an hour behind');
select is((select max(recorded_at) from public.gps_locations where latitude = 46.04 and employee_id = tests.user_id('bob')), now() - interval '0.4 seconds',
  'is corrected once it is steady');

-- Thirty of thirty are no positions.
do $$
begin
  for i in 1..30 loop
    perform private.ingest_locations(sha256(convert_to((select answer ->> 'token' from device), 'UTF8')), '[]',
      '{"point_position_invalid": 1}', 'osmand', null, '{"location_on": false}');
  end loop;
end
$$;
select is((select count(*) from public.events where type = 'device.data_refused' and organization_id = tests.acme()), 1::bigint,
  'thirty of thirty refused is one event');
select tests.become('bob');
select is((pg_temp.health() #> '{not_kept,0}') - 'first_at' - 'last_at', '{"reason": "point_position_invalid", "points": 30}',
  'the reason is there');
select is(pg_temp.health() #>> '{state,location_on}', 'false', 'and what the phone says of itself');
select tests.become('carol');
select is(public.get_device_health(), '[]', 'a colleague sees no phone of others');
select * from finish();
rollback;

-- An organization may keep positions for days; the log keeps events for 30. Where a session was opened and closed goes from both.
begin;
select plan(7);
select tests.cast_on_stage();
update public.organizations set location_retention_days = 5, late_upload_grace_hours = 24 where slug = 'acme';
select tests.webhook() is not null as made;

create temporary table played (name text, id uuid) on commit drop;
insert into played values ('old', gen_random_uuid()), ('young', gen_random_uuid());
insert into public.attendance_sessions (
  organization_id, id, employee_id, checked_in_at, check_in_latitude, check_in_longitude, distance_status
)
select tests.acme(), p.id, tests.user_id('bob'), now() - interval '6 days', 46.0511, 14.5051, 'FAILED'
from played as p
where p.name = 'old';
update public.attendance_sessions
set status = 'CLOSED', closed_by = 'EMPLOYEE', checked_out_at = checked_in_at + interval '2 hours',
  checked_out_received_at = now(), check_out_latitude = 46.0522, check_out_longitude = 14.5052
where id = (select id from played where name = 'old');
insert into public.attendance_sessions (organization_id, id, employee_id, checked_in_at, check_in_latitude, check_in_longitude)
select tests.acme(), p.id, tests.user_id('bob'), now() - interval '1 day', 46.0533, 14.5053
from played as p
where p.name = 'young';
select is(tests.deliver(500, 'status'), 3, 'an endpoint was told of all of it');
update public.webhook_attempts set response = 'cannot read 46.05';

create function pg_temp.positions(name text) returns bigint language sql as $$
  select count(*) from public.events as e join played as p on p.id = e.subject_id
  where p.name = positions.name and e.payload #>> '{position,latitude}' ~ '46'
$$;
select is(pg_temp.positions('old'), 2::bigint, 'the log says where the session was opened and closed');
select is(private.purge_locations(), 1::bigint, 'it is past what the organization keeps');
select is(pg_temp.positions('old'), 0::bigint, 'and the log does not say it any more');
select is_empty(
  $$select type from public.events where subject_id = (select id from played where name = 'old') and not payload ? 'position'$$,
  'in the shape that it had');
select is(pg_temp.positions('young'), 1::bigint, 'of another session it does, though it was written at the same time');
select results_eq(
  $$select d.event_type from public.webhook_attempts as a join public.webhook_deliveries as d on d.id = a.delivery_id
    join public.events as e on e.id = d.event_id join played as p on p.id = e.subject_id and p.name = 'young'
    where a.response is not null$$,
  $$select d.event_type from public.webhook_attempts as a join public.webhook_deliveries as d on d.id = a.delivery_id
    where a.response is not null$$, 'nor does an answer that repeated it');

select * from finish();
rollback;

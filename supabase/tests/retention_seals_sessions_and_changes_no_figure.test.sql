-- Points past retention go; distance, days and daily figures stay, whatever is computed again afterwards.
begin;
select plan(20);
select tests.cast_on_stage();

-- Acme keeps points for 30 days. Other keeps them a day less than since the second day of the month four months ago. A third one
-- keeps its own for ten years, which is nobody else's affair.
create function pg_temp.long_ago() returns timestamptz language sql as $$
  select date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' - interval '4 months' + interval '1 day'
$$;
update public.organizations set location_retention_days = 30, late_upload_grace_hours = 24 where slug = 'acme';
update public.organizations
set location_retention_days = extract(day from now() - pg_temp.long_ago()) - 1, late_upload_grace_hours = 24
where slug = 'other';
insert into public.organizations (name, slug, time_zone, currency, location_retention_days)
values ('Third', 'third', 'UTC', 'EUR', 3650);
select private.refresh_dashboard(id) from public.organizations where slug = 'third';
select private.create_location_partitions(pg_temp.long_ago()::date, now()::date) is not null as made;

create temporary table played (name text, organization_id uuid, id uuid) on commit drop;
grant select on played to authenticated;
insert into played values
  ('old', tests.acme(), tests.closed_session('bob', now() - interval '31 days 2 hours', now() - interval '31 days')),
  ('ends within', tests.acme(), tests.closed_session('carol', now() - interval '30 days 2 hours', now() - interval '29 days')),
  ('pending', tests.acme(), tests.closed_session('carol', now() - interval '35 days 2 hours', now() - interval '35 days')),
  ('young', tests.acme(), tests.closed_session('bob', now() - interval '3 days 2 hours', now() - interval '3 days')),
  ('other old', tests.other(),
    tests.closed_session('mallory', pg_temp.long_ago() - interval '2 hours', pg_temp.long_ago(), tests.other()));
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude, accuracy_m)
select s.organization_id, s.id, s.checked_in_at + i * interval '1 minute', s.employee_id, 46 + i * 0.005, 14.5, 5
from public.attendance_sessions as s cross join generate_series(1, 60) as i;
select tests.compute_distance(id, organization_id) from played where name <> 'pending';
select tests.work_off_analytics() > 0 as analysed;

create function pg_temp.figures() returns jsonb language sql as $$
  select jsonb_build_object(
    'sessions', (select jsonb_agg(to_jsonb(s)
      - array['points_purged_at', 'updated_at', 'check_in_latitude', 'check_in_longitude'] order by s.id)
      from public.attendance_sessions as s),
    'days', (select jsonb_agg(to_jsonb(d) order by d.session_id, d.day) from public.session_days as d),
    'employee_days', (select jsonb_agg(to_jsonb(d) - array['updated_at', 'computed_at'] order by d.employee_id, d.day)
      from public.employee_daily_metrics as d),
    'organization_days', (select jsonb_agg(to_jsonb(d) - array['updated_at', 'computed_at'] order by d.organization_id, d.day)
      from public.org_daily_metrics as d))
$$;
create function pg_temp.points(name text) returns bigint language sql as $$
  select count(*) from public.gps_locations as g join played as p on p.id = g.session_id where p.name = points.name
$$;
create function pg_temp.is_sealed(name text) returns boolean language sql as $$
  select s.points_purged_at is not null from public.attendance_sessions as s join played as p on p.id = s.id
  where p.name = is_sealed.name
$$;
update public.attendance_sessions set check_in_latitude = 46, check_in_longitude = 14.5 where true;
create temporary table before_purge on commit drop as select pg_temp.figures() as figures;
select ok((select jsonb_path_exists(figures, '$.sessions[*].distance_m ? (@ > 0)') from before_purge), 'there are figures');

select is(private.purge_locations(), 2::bigint, 'what ended before its organization''s retention is sealed');
select is(pg_temp.points('old'), 0::bigint, 'its points are deleted');
select is(pg_temp.is_sealed('old'), true, 'and it says so');
select is(pg_temp.points('ends within'), 60::bigint, 'a session that ended within keeps all of its points');
select is(pg_temp.points('pending'), 60::bigint, 'one whose distance is to come keeps them too');
select is(pg_temp.is_sealed('pending'), false, 'and is not sealed');
select is(pg_temp.points('other old'), 0::bigint, 'in another organization too, whatever a third one keeps');
select is(pg_temp.is_sealed('other old'), true, 'and the session is sealed');
select is_empty(
  $$select s.id from public.attendance_sessions as s
    join public.gps_locations as g on g.organization_id = s.organization_id and g.session_id = s.id
    where s.points_purged_at is not null$$,
  'what bears the stamp has no point');
select is(private.purge_locations(), 0::bigint, 'a second run finds nothing');
select is_empty(
  $$select id from public.attendance_sessions where points_purged_at is not null and check_in_latitude is not null$$,
  'where a person checked in goes with the points'
);

select is(pg_temp.figures(), (select figures from before_purge), 'no figure changed');
select is(tests.compute_distance(id), 'sealed', 'a late job leaves a sealed session alone') from played where name = 'old';
select tests.become('alice');
select tests.throws_code(
  format('select public.recalculate_session(%L)', (select id from played where name = 'old')), 'session_sealed',
  'nobody can ask for it again');
select tests.become_postgres();
select tests.throws_code(
  format('select private.insert_locations(%L, %L, %L, %L, false)', tests.acme(), tests.user_id('bob'),
    (select id from played where name = 'old'), jsonb_build_array(tests.point(now() - interval '31 days 1 hour'))),
  'session_sealed', 'late points are refused');

select is(private.run_reconciliation(), 0::bigint, 'snapshots followed by themselves: reconcile has nothing to mend');

-- Everything again: the jobs of every day.
select count(*) from (
  select private.enqueue('analytics', jsonb_build_object(
    'organization_id', d.organization_id, 'employee_id', d.employee_id, 'day', d.day)) from public.session_days as d
) as asked;
select tests.work_off_analytics() > 0 as analysed_again;
select is(pg_temp.figures(), (select figures from before_purge), 'recomputing every day changes no figure');

-- The month falls when nothing is left in it, and not before.
select is(private.drop_location_partition(), 1, 'a month without points falls');
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
select s.organization_id, s.id, now() - interval '3 months', s.employee_id, 46, 14.5
from public.attendance_sessions as s join played as p on p.id = s.id and p.name = 'pending';
create temporary table fell on commit drop as select private.drop_location_partition() as n from generate_series(1, 12);
select isnt_empty(
  $$select 1 from public.gps_locations where recorded_at = now() - interval '3 months'$$, 'one that holds a point does not');

select * from finish();
rollback;

-- A ranking that was made is shown again; a change of a day within it, of a name or of the currency is seen at the next call.
begin;
select plan(11);
select tests.cast_on_stage();
update public.organizations set shares_leaderboard = true where true;
insert into public.employees (organization_id, name, employee_code)
select tests.acme(), 'Person ' || i, 'P' || i from generate_series(1, 120) as i;
-- Sessions of one hour and i metres each; Bob comes last.
insert into public.attendance_sessions (
  organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
select tests.acme(), e.id, 'CLOSED', '2026-11-02 08:00Z', '2026-11-02 09:00Z', '2026-11-02 09:00Z', 'EMPLOYEE'
from public.employees as e where e.organization_id = tests.acme() and (e.name like 'Person%' or e.name = 'Bob');
insert into public.session_days (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
select s.organization_id, s.id, '2026-11-02', s.employee_id, 'UTC', s.checked_in_at, s.checked_out_at,
  case e.name when 'Bob' then 0.5 else substr(e.employee_code, 2)::integer end
from public.attendance_sessions as s
join public.employees as e on e.organization_id = s.organization_id and e.id = s.employee_id;
select tests.work_off_analytics();
create function pg_temp.first() returns text language sql as $$
  select concat_ws(' ', b #>> '{entries,0,name}', b #>> '{entries,0,value}')
  from public.get_leaderboard('distance', '2026-11-01', '2026-11-08', 1) as b
$$;
grant execute on function pg_temp.first() to public;

select tests.become('bob');
select is(pg_temp.first(), 'Person 120 120.00', 'made');
select is(public.get_leaderboard('distance', '2026-11-01', '2026-11-08', 1) -> 'me', '{"rank": 121, "value": 0.50}'::jsonb,
  'the own rank behind the hundred that are kept');
select tests.become_postgres();
select is((select count(*) from private.rankings), 1::bigint, 'one ranking is kept for both calls');
-- Proof that it is shown again, by what it could not know.
update private.rankings set leaders = jsonb_set(leaders, '{0,value}', '777') where true;
select tests.become('bob');
select is(pg_temp.first(), 'Person 120 777', 'shown again');

-- A day within it changes: Person 119 drives on.
select tests.become_postgres();
delete from public.session_days where employee_id = (select id from public.employees where name = 'Person 120');
select tests.become('bob');
select is(pg_temp.first(), 'Person 120 777', 'until the figures of the day are computed');
select tests.work_off_analytics();
-- now() stands still in this transaction, and with it updated_at.
alter table public.org_daily_metrics disable trigger _100_set_updated_at;
update public.org_daily_metrics set updated_at = updated_at + interval '1 second' where day = '2026-11-02';
alter table public.org_daily_metrics enable trigger _100_set_updated_at;
select tests.become('bob');
select is(pg_temp.first(), 'Person 119 119.00', 'then it is made anew');
select tests.become_postgres();
update public.employees set name = 'Zoe' where name = 'Person 119';
select tests.become('bob');
select is(pg_temp.first(), 'Zoe 119.00', 'names are those of now');
select tests.become_postgres();
delete from public.employees where name = 'Zoe';
select tests.become('bob');
select is(public.get_leaderboard('distance', '2026-11-01', '2026-11-08') #>> '{entries,0,name}', 'Person 118',
  'who is deleted is not shown');

-- Another organization, another range: rankings of their own.
select tests.become('mallory');
select is(public.get_leaderboard('distance', '2026-11-01', '2026-11-08') -> 'entries', '[]'::jsonb, 'nobody else''s');
select tests.become('bob');
select is(public.get_leaderboard('distance', '2026-11-03', '2026-11-05') -> 'entries', '[]'::jsonb, 'nor another range''s');
set transaction read only;
select is(public.get_leaderboard('sessions', '2026-11-01', '2026-11-08') ->> 'metric', 'sessions',
  'a GET, which may not write, is answered');
select * from finish();
rollback;

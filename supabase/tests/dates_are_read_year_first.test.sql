-- 10/11/2026 is the tenth of November for most of the world and the eleventh of October for PostgreSQL's own reading.
-- PostgREST casts
-- what a client sends before any function runs, so the roles that it and the edge functions log in as read the year first, or
-- refuse.
begin;
select plan(4);
select is(
  (
    select count(*)
    from pg_db_role_setting as s
    join pg_roles as r on r.oid = s.setrole
    where r.rolname in ('authenticator', 'fieldtrack_edge') and 'DateStyle=ISO, YMD' ilike any (s.setconfig)
  ), 2::bigint, 'both logins read the year first');
set local datestyle = 'ISO, YMD';
select throws_ok($$select '10/11/2026 08:00'::timestamptz$$, '22008', null, 'a day that could be a month is refused');
select throws_ok($$select '05/11/2026'::date$$, '22008', null, 'in a date too');
select is('2026-11-10T08:00:00+01:00'::timestamptz, '2026-11-10 07:00:00+00'::timestamptz, 'ISO 8601 is read');
select * from finish();
rollback;

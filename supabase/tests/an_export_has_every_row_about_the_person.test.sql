-- export_employee_data against the catalog: each row of each table that says whose it is stands in the export with all of its
-- columns, for every employment. A table or a column that is added later and forgotten there fails here.
begin;
select plan(7);
select tests.cast_on_stage();
create temporary table made (name text primary key, id uuid) on commit drop;
grant all on made to authenticated;
insert into public.employees (organization_id, id, user_id, name, is_active)
values (tests.acme(), tests.user_id('bobby'), tests.user_id('bob'), 'Bobby', false);
insert into made values ('early', tests.closed_session('bobby', now() - interval '9 days', now() - interval '8 days 20 hours'));
select tests.webhook() is not null as hooked;
insert into public.teams (organization_id, name) values (tests.acme(), 'North');
insert into public.team_managers (organization_id, team_id, employee_id)
select tests.acme(), t.id, tests.user_id('bob') from public.teams as t where t.organization_id = tests.acme();
insert into public.sites (organization_id, name, latitude, longitude, radius_m, area)
values (tests.acme(), 'Yard', 46, 14.5, 100, box(point(14.4, 45.9), point(14.6, 46.1)));
select tests.become('bob');
select public.my_device_token('Phone') is not null as phone;
insert into made select 'session', (public.check_in(now() - interval '1 hour', gen_random_uuid(), 46.05, 14.5)).id;
select public.record_locations(jsonb_build_array(tests.point(now() - interval '30 minutes'))) is not null as point;
insert into made select 'expense', (public.submit_expense(10, 'Lunch', gen_random_uuid())).id;
select (public.submit_expense(11, 'Waits', gen_random_uuid())).id is not null as waits;
select tests.become('alice');
select public.invite_employee('bob@example.org', employee_id => tests.user_id('bobby')) is not null as invited;
select (public.review_expense((select id from made where name = 'expense'), 'APPROVED',
  comment => 'was nice')).id is not null as ok;
select (public.correct_session((select id from made where name = 'early'), now() - interval '8 days 23 hours',
  now() - interval '8 days 20 hours', 'she was seen in a cafe')).id is not null as corrected;
select tests.become_postgres();
select tests.work_off_analytics() is not null as figures;
select tests.become_postgres();
select private.refresh_dashboards() is not null as refreshed;

insert into public.visits (organization_id, session_id, site_id, entered_at, left_at, employee_id)
select tests.acme(), m.id, s.id, now() - interval '9 days', now() - interval '8 days 23 hours', tests.user_id('bobby')
from made as m, public.sites as s where m.name = 'early';
insert into public.session_days (organization_id, session_id, employee_id, day, time_zone, starts_at, ends_at, distance_m)
select tests.acme(), m.id, tests.user_id('bobby'), tests.today() - 9, 'UTC', now() - interval '9 days',
  now() - interval '8 days 23 hours', 1
from made as m where m.name = 'early';
insert into public.session_reports (organization_id, employee_id, kind, reported_at)
values (tests.acme(), tests.user_id('bob'), 'CHECK_OUT', now());
insert into public.correction_requests (organization_id, employee_id, kind, reason, client_request_id)
values (tests.acme(), tests.user_id('bob'), 'VOID', 'never was', gen_random_uuid());

create temporary table export (data jsonb) on commit drop;
grant all on export to authenticated;
select tests.become('bob');
insert into export select public.export_employee_data();
select tests.become_postgres();
create temporary table objects on commit drop as
select o.value as data from export cross join jsonb_path_query(export.data, 'strict $.**') as o (value)
  where jsonb_typeof(o.value) = 'object';

create function pg_temp.missing() returns setof text language plpgsql as $$
declare
  v record;
  v_row jsonb;
begin
  for v in
    select c.oid::regclass as relation, case when c.oid = 'public.employees'::regclass then 'id' else a.attname end as owner
    from pg_class as c
    left join pg_attribute as a on a.attrelid = c.oid and a.attname = 'employee_id'
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p') and not c.relispartition
      and (a.attname is not null or c.oid = 'public.employees'::regclass)
  loop
    for v_row in execute format('select to_jsonb(t) - array[''organization_id'', ''employee_id'', ''traceparent''] from %s as t '
      'where t.%I in (%L, %L)',
      v.relation, v.owner, tests.user_id('bob'), tests.user_id('bobby'))
    loop
      if not exists (select from objects as o where o.data @> v_row) then
        return next format('%s: %s', v.relation, v_row);
      end if;
      insert into compared values (v.relation::text);
    end loop;
  end loop;
end
$$;
create temporary table compared (relation text) on commit drop;
select is_empty('select pg_temp.missing()', 'no row about the person is missing, and no column of one');
select cmp_ok((select count(distinct relation) from compared), '>=', 14::bigint, 'tables that say whose row it is were compared');
select is_empty($$
    select c.oid::regclass::text
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = 'employee_id'
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p') and not c.relispartition
      and c.oid::regclass::text not in (select relation from compared)
      -- An erasure leaves nobody to export for; a ticket is a secret of thirty seconds.
      and c.oid not in ('private.erasures'::regclass, 'private.stream_tickets'::regclass)
  $$, 'each table that says whose its rows are had one to compare: a new table needs a row above');
select ok((select data::text ~ 'seen in a cafe' from export), 'the reason of a correction');
select ok((select jsonb_array_length(data -> 'told_by_webhook') = 1
  and data #>> '{told_by_webhook,0,host}' = 'hooks.example.test' from export),
  'who was told by webhook, without the address');
select ok((select jsonb_array_length(data -> 'acts_by_the_person') > 0 from export), 'and what the person did');
select tests.become('alice');
select is(public.export_employee_data(tests.user_id('bobby')) #>> '{employee,name}', 'Bobby', 'an administrator by either row');
select * from finish();
rollback;

-- export_employee_data: everything about one person, points page by page; the own, or as administrator any of the organization.
begin;
select plan(12);
select tests.cast_on_stage();
create temporary table target (session_id uuid) on commit drop;
insert into target values (tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours'));
insert into public.gps_locations (organization_id, session_id, recorded_at, employee_id, latitude, longitude)
select tests.acme(), session_id, now() - interval '3 hours' + i * interval '100 milliseconds', tests.user_id('bob'), 46, 14.5
from target cross join generate_series(1, 10050) as i;

select tests.become('bob');
create temporary table page on commit drop as select public.export_employee_data() as data;
select is((select data #>> '{employee,name}' from page), 'Bob', 'the own data');
select is((select data #>> '{account,email}' from page), 'bob@example.test', 'the account''s address');
select is((select jsonb_array_length(data -> 'sessions') from page), 1, 'sessions');
select is((select jsonb_array_length(data -> 'points') from page), 10000, 'a page of points');
create temporary table next_page on commit drop as
select public.export_employee_data(null, (data #>> '{next,after_session_id}')::uuid,
  (data #>> '{next,after_recorded_at}')::timestamptz) as data from page;
select is((select jsonb_array_length(data -> 'points') from next_page), 50, 'the rest');
select is((select data -> 'next' from next_page), 'null'::jsonb, 'and no more');
select tests.throws_code(
  format('select public.export_employee_data(%L)', tests.user_id('carol')), 'employee_not_found', 'not a colleague''s');
select tests.become('mallory');
select tests.throws_code(
  format('select public.export_employee_data(%L)', tests.user_id('bob')), 'employee_not_found',
  'not that of another organization');
select tests.become('alice');
select is(public.export_employee_data(tests.user_id('bob')) #>> '{employee,name}', 'Bob', 'an administrator anybody''s');
select is(
  (select count(*) from public.audit_log where action = 'employee.exported' and subject_id = tests.user_id('bob')), 2::bigint,
  'both are audited, a further page is not');

select is(public.export_employee_data(tests.user_id('bob')) #>> '{account,email}', 'bob@example.test', 'the address of a member');
select public.set_employee_active(tests.user_id('bob'), false) is not null as left_us;
select tests.become_postgres();
update auth.users set email = 'bob@elsewhere.test' where id = tests.user_id('bob');
select tests.become('alice');
select is(public.export_employee_data(tests.user_id('bob')) -> 'account', 'null'::jsonb,
  'whoever left has an account that is no business of the organization');

select * from finish();
rollback;

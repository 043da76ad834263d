-- Nothing in a token is trusted: the same claims see rows before the deactivation and none after it.
begin;
select plan(5);
select tests.cast_on_stage();
select tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours') is not null as made;
select tests.become('bob');
select is((select count(*) from public.attendance_sessions), 1::bigint, 'before: the own session');
select tests.become_postgres();
update public.employees set is_active = false where id = tests.user_id('bob');
select tests.become('bob');
select is((select count(*) from public.attendance_sessions), 0::bigint, 'after: no session');
select is((select count(*) from public.employees), 0::bigint, 'after: not even the own row');
select tests.throws_code($$select public.check_in(now(), gen_random_uuid())$$, 'not_a_member', 'after: no check-in');
select tests.become('dave');
select is((select count(*) from public.organizations), 0::bigint, 'who was deactivated long ago sees no organization');
select * from finish();
rollback;

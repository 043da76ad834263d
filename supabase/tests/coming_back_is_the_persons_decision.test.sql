-- A former employer cannot take a person back, see the account's new address, or learn whether somebody works elsewhere; the
-- person
-- comes back by an invitation into the same row, and leaves by a call of their own.
begin;
select plan(17);
select tests.cast_on_stage();
create temporary table token (name text primary key, value text) on commit drop;
grant all on token to authenticated;

select tests.become('bob');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
select is((public.leave_organization()).is_active, false, 'Bob leaves');
select tests.throws_code('select public.leave_organization()', 'not_a_member', 'once');
select tests.become('alice');
select results_eq($$select status, closed_by from public.attendance_sessions$$, $$values ('CLOSED', 'EMPLOYEE')$$,
  'the open session is closed');
select results_eq($$select actor_type::text, actor_id from public.events where type = 'employee.deactivated'$$,
  format($$values ('employee', %L::uuid)$$, tests.user_id('bob')), 'the event says who did it');
select tests.throws_code('select public.leave_organization()', 'last_admin', 'the last administrator stays');

-- Two former employees: one works elsewhere now, one nowhere. Every answer about them is the same.
select tests.become_postgres();
insert into public.employees (organization_id, user_id, name) values (tests.other(), tests.user_id('dave'), 'Dave');
update auth.users set email = 'dave@elsewhere.test' where id = tests.user_id('dave');
select tests.become('alice');
create function pg_temp.answer(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return 'done';
exception when sqlstate 'PGRST' then
  return sqlerrm::jsonb - 'details';
end
$$;
grant execute on function pg_temp.answer(text) to authenticated;
select is(pg_temp.answer(format('select public.set_employee_active(%L, true)', tests.user_id('dave'))),
  pg_temp.answer(format('select public.set_employee_active(%L, true)', tests.user_id('bob'))),
  'taking back: the same answer about who works elsewhere and who does not');
select is(pg_temp.answer(format($$select public.invite_employee('dave@example.test', employee_id => %L)$$,
  tests.user_id('dave'))),
  'done', 'inviting who works elsewhere');
insert into token select 'bob', public.invite_employee('bob@example.test', employee_id => tests.user_id('bob')) ->> 'token';
select is(public.export_employee_data(tests.user_id('dave')) -> 'account', 'null'::jsonb, 'no account of a former employee');
select is(public.export_employee_data(tests.user_id('bob')) -> 'account', 'null'::jsonb, 'nor of one who is invited');
select is((select is_active from public.employees where id = tests.user_id('bob')), false, 'an invitation activates nobody');

select tests.become('bob');
select is((public.accept_invitation((select value from token where name = 'bob'))).id, tests.user_id('bob'), 'Bob comes back');
select is((public.accept_invitation((select value from token where name = 'bob'))).id, tests.user_id('bob'),
  'a retry is answered');
select is((select count(*) from public.attendance_sessions), 1::bigint, 'and has his history');
select tests.become('alice');
select is((select count(*) from public.audit_log where action = 'invitation.accepted' and after ->> 'app_role' = 'EMPLOYEE'),
  1::bigint, 'the audit log has it');

-- Somebody without an address is employed, and gets one later.
insert into token select 'zora', (public.create_employee('Zora', employee_code => 'Z-1')).id::text;
select is(public.create_device_token((select value::uuid from token where name = 'zora')) ->> 'name', 'Phone', 'with a phone');
insert into token select 'zora token', public.invite_employee('mallory@example.test', employee_id =>
  (select value::uuid from token where name = 'zora')) ->> 'token';
select tests.become('mallory');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'zora token')),
  'already_in_organization', 'the person alone learns that');
-- Bob's row is not for another account, whatever address it is offered to.
select tests.become('bob');
select public.leave_organization() is not null as left_again;
select tests.become('alice');
insert into token select 'theft', public.invite_employee('eve@example.test', employee_id => tests.user_id('bob')) ->> 'token';
select tests.become_postgres();
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('eve'), 'eve@example.test', now());
select tests.become('eve');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'theft')),
  'invitation_email_mismatch', 'a history is one account''s');
select * from finish();
rollback;

-- The token is shown once and bound to the invited, confirmed address.
begin;
select plan(17);
select tests.cast_on_stage();
insert into auth.users (id, email, email_confirmed_at) values
  (tests.user_id('erin'), 'Erin@Example.test', now()),
  (tests.user_id('eve'), 'eve@example.test', now()),
  (tests.user_id('ulf'), 'ulf@example.test', null);
create temporary table token (name text primary key, value text) on commit drop;
grant all on token to authenticated;

select tests.become('alice');
insert into token select 'erin 1', public.invite_employee('erin@example.test', 'Erin') ->> 'token';
insert into token select 'erin 2', public.invite_employee(' ERIN@example.test', 'Erin again') ->> 'token';
insert into token select 'ulf', public.invite_employee('ulf@example.test', 'Ulf') ->> 'token';
select is((select count(*) from public.invitations where email = 'erin@example.test'), 1::bigint,
  'inviting an address again keeps one invitation');
select throws_ok('select token_hash from private.invitation_tokens', '42501', null, 'the hash is readable by nobody');
select tests.throws_code($$select public.invite_employee('bob@example.test', 'Bob')$$,
  'already_a_member', 'a member is not invited');
select tests.throws_code($$select public.invite_employee('no address', 'X')$$, 'invalid_argument', 'an address is an address');
select tests.throws_code($$select public.invite_employee('x@example.test', 'X', 'SUPERVISOR')$$,
  'invalid_argument', 'two roles, no third');
select tests.throws_code($$select public.invite_employee('x@example.test', 'X', employee_code => 'EMP0002')$$,
  'employee_code_taken', 'codes are unique');

select tests.become('eve');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'erin 2')),
  'invitation_email_mismatch', 'not for another address');
select tests.become('ulf');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'ulf')),
  'invitation_email_mismatch', 'not for an address that was never confirmed');
select tests.become('erin');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'erin 1')),
  'invitation_not_found', 'the first token was replaced');
select tests.throws_code($$select public.accept_invitation('nonsense')$$, 'invitation_not_found', 'nonsense is no token');
select is((public.accept_invitation((select value from token where name = 'erin 2'))).organization_id, tests.acme(),
  'accepted');
select is((public.accept_invitation((select value from token where name = 'erin 2'))).name, 'Erin',
  'a retry is answered the same');

select tests.become_postgres();
update public.invitations set expires_at = now() - interval '1 second' where email = 'ulf@example.test';
update auth.users set email_confirmed_at = now() where email = 'ulf@example.test';
select tests.become('ulf');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'ulf')),
  'invitation_expired', 'seven days');
select tests.become_postgres();
update public.invitations set expires_at = now() + interval '1 day' where email = 'ulf@example.test';
update auth.users set email = 'ulf@example.test' where id = tests.user_id('ulf');
update public.employees set user_id = tests.user_id('ulf') where id = tests.user_id('carol');
select tests.become('ulf');
select tests.throws_code(format('select public.accept_invitation(%L)', (select value from token where name = 'ulf')),
  'already_in_organization', 'one active organization at a time');

-- The second word counts: the first one's role went to whoever accepted the second.
select tests.become('alice');
insert into token select 'fred 1', public.invite_employee('fred@example.test', 'Fred', 'ADMIN') ->> 'token';
insert into token select 'fred 2', public.invite_employee('fred@example.test', 'Fred') ->> 'token';
select results_eq(
  $$select e.app_role from public.employees as e join public.invitations as i on i.employee_id = e.id
    where i.email = 'fred@example.test'$$,
  $$values ('EMPLOYEE')$$, 'who is invited anew as employee is no administrator');
insert into token select 'fred 3', public.invite_employee('fred@example.test', 'Fred', 'ADMIN') ->> 'token';
select results_eq(
  $$select e.app_role from public.employees as e join public.invitations as i on i.employee_id = e.id
    where i.email = 'fred@example.test'$$,
  $$values ('ADMIN')$$, 'and the other way round');
select results_eq(
  $$select after ->> 'app_role' from public.audit_log
    where action = 'employee.invited' and after ->> 'email' = 'fred@example.test' order by id$$,
  $$values ('ADMIN'), ('EMPLOYEE'), ('ADMIN')$$, 'the audit log has each');
select * from finish();
rollback;

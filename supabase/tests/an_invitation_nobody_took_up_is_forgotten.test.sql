-- A month past its expiry an invitation goes, and its address from the audit log too.
begin;
select plan(5);
select tests.cast_on_stage();
select tests.become('alice');
select public.invite_employee('never@example.test', 'Never') is not null as invited;
select public.invite_employee('soon@example.test', 'Soon') is not null as invited;
select tests.become_postgres();
update public.invitations set expires_at = now() - interval '31 days' where email = 'never@example.test';
select is(private.purge_leftovers(), 1::bigint, 'one is long past');
select results_eq('select email from public.invitations', $$values ('soon@example.test')$$, 'it goes, the other one stays');
select results_eq($$select name, is_active, erased_at is not null from public.employees
  where id in (select subject_id from public.audit_log where action = 'invitation.expired')$$, $$values ('Erased', false, true)$$,
  'who never came is nobody');
select is_empty($$select action from public.audit_log where audit_log::text ~ 'never@'$$, 'the address stands nowhere');
select results_eq($$select action from public.audit_log order by id$$,
  $$values ('employee.invited'), ('employee.invited'), ('invitation.expired')$$, 'what was done is listed');
select * from finish();
rollback;

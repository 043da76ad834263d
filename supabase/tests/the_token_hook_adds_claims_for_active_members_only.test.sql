-- Claims are for clients to read. `role` stays what PostgREST switches to.
begin;
select plan(4);
select tests.cast_on_stage();
create function pg_temp.claims(person text) returns jsonb language sql as $$
  select private.custom_access_token_hook(jsonb_build_object('user_id', tests.user_id(person),
    'claims', '{"role": "authenticated", "app_role": "ADMIN", "user_metadata": {"app_role": "ADMIN"}}'::jsonb)) -> 'claims'
$$;
select is(pg_temp.claims('bob') - 'user_metadata', jsonb_build_object('role', 'authenticated', 'app_role', 'EMPLOYEE',
  'employee_id', tests.user_id('bob'), 'organization_id', tests.acme()), 'an employee');
select is(pg_temp.claims('alice') ->> 'app_role', 'ADMIN', 'an administrator');
select is(pg_temp.claims('dave') - 'user_metadata', '{"role": "authenticated"}',
  'a deactivated person gets none, and keeps no old ones');
select is(pg_temp.claims('stranger') - 'user_metadata', '{"role": "authenticated"}', 'nor does a user without an employment');
select * from finish();
rollback;

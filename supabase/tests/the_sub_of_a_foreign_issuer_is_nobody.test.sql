-- A subject that is no uuid is nobody, and no error: not for a policy, not for an RPC.
begin;
select plan(6);
select tests.cast_on_stage();
create function pg_temp.rows_for(sub text) returns bigint language plpgsql as $$
begin
  perform tests.become_role('authenticated', jsonb_build_object('role', 'authenticated', 'sub', sub));
  return (select count(*) from public.employees);
end
$$;
grant execute on function pg_temp.rows_for to public;
select is(pg_temp.rows_for('auth0|5f7c8ec7c33c6c004bbafe82'), 0::bigint, 'a text');
select is(pg_temp.rows_for('gggggggg-gggg-gggg-gggg-gggggggggggg'), 0::bigint, 'the shape of a uuid');
select is(pg_temp.rows_for('12345678-1234-1234-1234-12345678901-'), 0::bigint, 'a dash too many');
select is(pg_temp.rows_for(''), 0::bigint, 'nothing');
select tests.throws_code('select public.check_in(now(), gen_random_uuid())', 'not_authenticated', 'an RPC says so');
select cmp_ok(pg_temp.rows_for(upper(tests.user_id('alice')::text)), '>', 1::bigint, 'capitals are the same uuid');
select * from finish();
rollback;

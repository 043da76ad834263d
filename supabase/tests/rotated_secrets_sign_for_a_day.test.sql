-- Two secrets sign during a rotation, never three, and one that leaked ends at once.
begin;
select plan(7);
select tests.cast_on_stage();
create temporary table rotation (turn integer, secret text) on commit drop;
grant all on rotation to public;
select set_config('tests.hook', tests.webhook()::text, true);
insert into rotation select 0, secret from private.webhook_secrets;
create function pg_temp.signing() returns text[] language plpgsql as $$
declare
  v_secrets text[];
begin
  perform tests.become_postgres();
  perform tests.emit('expense.approved');
  perform tests.become_worker(null);
  select c.secrets into v_secrets from private.claim_webhook_deliveries(1, 30) as c;
  return (select array_agg(r.turn order by i.place)::text[]
    from unnest(v_secrets) with ordinality as i (secret, place) left join rotation as r on r.secret = i.secret);
end
$$;
grant execute on function pg_temp.signing to public;
select is(pg_temp.signing(), '{0}', 'one signs');
select tests.become('alice');
insert into rotation select 1, public.rotate_webhook_secret(current_setting('tests.hook')::uuid) ->> 'secret';
select is(pg_temp.signing(), '{1,0}', 'after a rotation both sign, the new one first');
select tests.become_postgres();
update private.webhook_secrets set expires_at = now() - interval '1 second' where expires_at is not null;
select is(pg_temp.signing(), '{1}', 'after a day the new one alone');
select tests.become('alice');
insert into rotation select 2, public.rotate_webhook_secret(current_setting('tests.hook')::uuid) ->> 'secret';
insert into rotation select 3, public.rotate_webhook_secret(current_setting('tests.hook')::uuid) ->> 'secret';
select is(pg_temp.signing(), '{3,2}', 'two rotations in a row: the two newest');
select tests.become('alice');
insert into rotation select 4, public.rotate_webhook_secret(current_setting('tests.hook')::uuid, 0) ->> 'secret';
select is(pg_temp.signing(), '{4}', 'one that leaked signs no more');
select tests.become('alice');
select tests.throws_code(format('select public.rotate_webhook_secret(%L, 25)', current_setting('tests.hook')), 'invalid_argument',
  'a day at the longest');
select is_empty($$select 1 from public.audit_log where after::text || before::text ~ 'whsec_'$$, 'no secret in the audit log');
select * from finish();
rollback;

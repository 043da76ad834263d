-- A dead letter is a row that administrators see; a replay puts the job into its queue again.
begin;
select plan(26);
select tests.cast_on_stage();
create function pg_temp.die(session text, source uuid default gen_random_uuid(), organization uuid default tests.acme())
returns text language plpgsql as $$
declare
  v_id uuid;
begin
  perform tests.become_postgres();
  insert into pgboss.job (name, data, singleton_key, source_name, source_id, source_output)
  values ('distance-dead', jsonb_build_object('organization_id', organization, 'session_id', md5(session)::uuid,
    'traceparent', '00-0af7651916cd43dd8448eb211c80319c-' || substr(md5(random()::text), 1, 16) || '-01'), session,
    'distance', source, '{"error": {"name": "error", "code": "42501"}}')
  returning id into v_id;
  perform tests.become_worker(organization);
  return private.keep_dead_job(organization, 'distance-dead', v_id) || private.keep_dead_job(organization, 'distance-dead', v_id);
end
$$;
grant execute on function pg_temp.die to public;
create function pg_temp.intents() returns table (state text, attempts integer, wait_s integer, reason text) language sql as $$
  select r.state, r.attempts::integer, extract(epoch from r.next_attempt_at - now())::integer, r.reason
  from public.retry_intents as r
$$;
grant execute on function pg_temp.intents to public;
create function pg_temp.waiting() returns bigint language sql as $$
  select count(*) from pgboss.job where name = 'distance' and state = 'created'
$$;
grant execute on function pg_temp.waiting to public;

select is(pg_temp.die('a'), 'keptkept', 'it is kept');
select tests.become('alice');
select results_eq('select * from pg_temp.intents()', $$values ('PENDING', 0, 5, 'error 42501')$$, 'once, with its reason');
select tests.become('bob');
select is_empty('select * from public.retry_intents', 'employees do not see it');
select tests.throws_code('select public.replay_retry_intent(gen_random_uuid())', 'admin_required', 'nor replay');
select tests.become('mallory');
select is_empty('select * from public.retry_intents', 'nor does another organization');
select tests.become_postgres();
select set_config('tests.intent', (select id::text from public.retry_intents), true);
select tests.become('mallory');
select tests.throws_code(format('select public.replay_retry_intent(%L)', current_setting('tests.intent')),
  'retry_intent_not_found', 'nor may it replay it');
select tests.become_worker(tests.other());
select is_empty('select * from public.retry_intents', 'nor the worker when it works for another');

select tests.become('alice');
select is((public.replay_retry_intent(current_setting('tests.intent')::uuid)).state, 'REPLAYED', 'an administrator replays it');
select tests.throws_code(format('select public.replay_retry_intent(%L)', current_setting('tests.intent')),
  'retry_intent_settled', 'once');
select tests.throws_code(format('select public.discard_retry_intent(%L)', current_setting('tests.intent')),
  'retry_intent_settled', 'and may not discard it then');
select tests.become_postgres();
select results_eq(
  $$select id, data ->> 'session_id', singleton_key, dead_letter, policy, retry_limit from pgboss.job where name = 'distance'$$,
  $$select replay_job_id, md5('a')::uuid::text, 'a', 'distance-dead', 'short', 5 from public.retry_intents$$,
  'the job waits in its queue, with its retries and its dead letter'
);
select is((select count(*) from public.audit_log where action = 'retry_intent.replayed'), 1::bigint, 'audited');

-- That one dies too.
select pg_temp.die('a', (select replay_job_id from public.retry_intents));
select tests.become_postgres();
select results_eq('select * from pg_temp.intents()', $$values ('PENDING', 1, 10, 'error 42501')$$, 'the count goes on');
delete from pgboss.job where name = 'distance';
select is(private.replay_due_retry_intents(), 0::bigint, 'it is not due yet');
create function pg_temp.replay_and_die() returns integer language plpgsql as $$
begin
  update public.retry_intents set next_attempt_at = now() where state = 'PENDING';
  if private.replay_due_retry_intents() = 0 then
    return null;
  end if;
  delete from pgboss.job where name = 'distance';
  perform pg_temp.die('a', (select replay_job_id from public.retry_intents));
  perform tests.become_postgres();
  return (select wait_s from pg_temp.intents());
end
$$;
grant execute on function pg_temp.replay_and_die to public;
select is((select array_agg(pg_temp.replay_and_die()) from generate_series(1, 7)), '{20,40,80,160,300,300,null}',
  'by itself at growing distances, eight times in all');
select is((select count(*) from pg_temp.intents() where state = 'PENDING' and wait_s is null), 1::bigint,
  'then it waits for a person');
select pg_temp.die('a');
select tests.become_postgres();
select results_eq('select attempts, wait_s from pg_temp.intents()', 'values (0, 5)', 'a job that dies of its own begins anew');

select pg_temp.die(n::text) from generate_series(1, 5) as n;
select pg_temp.die('z', gen_random_uuid(), tests.other());
select tests.become('alice');
select is(public.replay_retry_intents('distance', 4), '{"replayed": 4, "left": 2}', 'several at once');
select tests.throws_code($$select public.replay_retry_intents('distance')$$, 'rate_limited', 'once in 15 seconds');
select tests.throws_code('select public.replay_retry_intents(null, 501)', 'invalid_argument', '500 at most');
select tests.become_postgres();
select is(pg_temp.waiting(), 4::bigint, 'their jobs wait');
select tests.become('alice');
select is(
  (select (public.discard_retry_intent(id)).state from public.retry_intents where state = 'PENDING' limit 1), 'DISCARDED',
  'one is given up');
select tests.become_role('service_role', '{"role": "service_role"}');
select is((select count(*) from public.retry_intents), 7::bigint, 'service_role sees all organizations''');
select tests.become_postgres();
select is((select count(*) from public.audit_log where action = 'retry_intent.discarded'), 1::bigint, 'audited');
select is(private.clean_retry_intents(), 0::bigint, 'settled ones stay for a while');
update public.retry_intents set settled_at = now() - interval '73 hours' where state <> 'PENDING';
select is(private.clean_retry_intents(), 5::bigint, 'and go after 72 hours');
select * from finish();
rollback;

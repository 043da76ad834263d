-- A limit that is written down and never asked for limits nothing: each function that takes a token, with an empty bucket.
begin;
select plan(20);
select tests.cast_on_stage();
select set_config('tests.hook', tests.webhook()::text, true);
select tests.emit('expense.approved', 1);
select tests.deliver(500);
select set_config('tests.delivery', (select id::text from public.webhook_deliveries), true);
select set_config('tests.session',
  tests.closed_session('bob', now() - interval '3 hours', now() - interval '2 hours')::text, true);
create temporary table made (name text, answer jsonb) on commit drop;
grant all on made to authenticated, fieldtrack_edge;
select tests.become('alice');
insert into made values ('key', public.create_api_key('Payroll', '{sessions:read}')), ('device', public.my_device_token());
select tests.become('bob');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;

select tests.become_postgres();
-- Refilled from an hour ahead: that is not at all, however slow the calls are.
insert into private.rate_buckets (organization_id, kind, subject_id, tokens, refilled_at)
select tests.acme(), kind, subject_id, 0, now() + interval '1 hour'
from unnest('{locations,expenses,recalculations,webhook_tests,webhook_replays,webhook_retries,retry_replays,invitations,
  personal_data,ingest,credentials,device_tokens,stream_tickets,writes,circuit_resets}'::text[]) as kind
cross join (
  values (tests.acme()), (tests.user_id('alice')), (tests.user_id('bob')),
    ((select (answer ->> 'id')::uuid from made where name = 'device'))
) as subjects (subject_id)
on conflict on constraint rate_buckets_pkey do update set tokens = 0, refilled_at = excluded.refilled_at;

create temporary table calls (of text primary key, person text, statement text) on commit drop;
grant select on calls to public;
insert into calls values
  ('record_locations', 'bob', 'select public.record_locations(jsonb_build_array(tests.point(now())))'),
  ('submit_expense', 'bob', $$select public.submit_expense(5, 'Parking', gen_random_uuid())$$),
  ('recalculate_session', 'bob', $$select public.recalculate_session(current_setting('tests.session')::uuid)$$),
  ('export_employee_data', 'bob', 'select public.export_employee_data()'),
  ('issue_device_token', 'bob', 'select public.my_device_token()'),
  ('create_api_key', 'alice', $$select public.create_api_key('Another', '{sessions:read}')$$),
  ('rotate_api_key', 'alice', $$select public.rotate_api_key((answer ->> 'id')::uuid) from made where name = 'key'$$),
  ('invite_employee', 'alice', $$select public.invite_employee('eva@example.test', 'Eva')$$),
  ('create_employee', 'alice', $$select public.create_employee('Nomail')$$),
  ('create_stream_ticket', 'alice', 'select public.create_stream_ticket()'),
  ('test_webhook', 'alice', $$select public.test_webhook(current_setting('tests.hook')::uuid)$$),
  ('retry_webhook_delivery', 'alice', $$select public.retry_webhook_delivery(current_setting('tests.delivery')::uuid)$$),
  ('replay_webhook_events', 'alice',
    $$select public.replay_webhook_events(current_setting('tests.hook')::uuid, now() - interval '1 hour', now())$$),
  ('before_request', 'alice', 'select private.before_request()'),
  ('create_webhook', 'alice', $$select public.create_webhook('https://hooks.example.com/new', '{*}')$$),
  ('update_webhook', 'alice',
    $$select public.update_webhook(current_setting('tests.hook')::uuid, '{"is_active": true}')$$),
  ('replay_retry_intents', 'alice', $$select public.replay_retry_intents('distance')$$),
  ('ingest_locations', null, $$select private.ingest_locations(sha256(convert_to(answer ->> 'token', 'UTF8')),
    jsonb_build_array(tests.point(now())), '{"protocol": "osmand"}', null) from made where name = 'device'$$);
select set_eq('select of from calls',
  $$select proname::text from pg_proc where pronamespace = 'private'::regnamespace and prosrc ~ 'take_token\(' $$,
  'every function that takes a token is called here');
create function pg_temp.refused(call calls) returns text language plpgsql as $$
begin
  if call.person is null then
    perform tests.become_role('fieldtrack_edge');
  else
    perform tests.become(call.person);
  end if;
  return tests.throws_code(call.statement, 'rate_limited', call.of);
end
$$;
select pg_temp.refused(calls) from calls order by of;
select tests.become_postgres();
select set_eq(
  'select distinct kind from private.rate_buckets',
  $$select (regexp_matches(prosrc, 'when ''(\w+)'' then per_second', 'g'))[1] from pg_proc
    where oid = 'private.rate_limit(text)'::regprocedure$$,
  'and every kind of bucket is one of those');
select * from finish();
rollback;

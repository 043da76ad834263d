-- The schedule of Standard Webhooks, held by the row; then the delivery is dead until somebody asks for it.
begin;
select plan(10);
select tests.cast_on_stage();
select set_config('tests.hook', tests.webhook()::text, true);
select tests.emit('expense.approved');

create temporary table waited (attempt integer, wait interval) on commit drop;
create function pg_temp.fail_once() returns integer language plpgsql as $$
declare
  v_recorded integer;
begin
  -- Time passes: what is waited for has come, and the circuit lets one through.
  update public.webhook_deliveries set next_attempt_at = now() where state = 'PENDING';
  update public.webhook_circuits set paused_until = null, failing_since = null where true;
  perform tests.become_worker(null);
  v_recorded := tests.deliver(500, 'status');
  perform tests.become_postgres();
  insert into waited select attempts, next_attempt_at - now() from public.webhook_deliveries;
  return v_recorded;
end
$$;
select is((select sum(pg_temp.fail_once()) from generate_series(1, 9)), 9::bigint, 'nine attempts fail');
select is_empty(
  $$
    select w.attempt, w.wait, s.seconds
    from unnest(array[5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]) with ordinality as s (seconds, attempt)
    left join waited as w on w.attempt = s.attempt
    where extract(epoch from w.wait) / s.seconds not between 0.9 and 1.1 or w.wait is null
  $$,
  'each wait is that of the schedule, give or take a tenth'
);
select isnt((select count(distinct extract(epoch from wait) % 5) from waited), 1::bigint, 'with jitter');
select is(pg_temp.fail_once(), 1, 'the tenth fails');
select results_eq('select state, attempts::integer, next_attempt_at, last_error from public.webhook_deliveries',
  $$values ('DEAD', 10, null::timestamptz, 'status')$$, 'and it is dead');
select is((select count(*) from public.webhook_attempts), 10::bigint, 'with ten attempts in the log');

select tests.become('alice');
select results_eq(
  $$select (public.retry_webhook_delivery(id)).state from public.webhook_deliveries$$, $$values ('PENDING')$$,
  'an administrator asks for it again'
);
select tests.become_postgres();
select pg_temp.fail_once();
select results_eq(
  'select state, attempts::integer, next_attempt_at - now() < interval ''6 seconds'' from public.webhook_deliveries',
  $$values ('PENDING', 11, true)$$, 'and has all attempts ahead of it');
select is((select count(*) from public.audit_log where action = 'webhook.delivery_retried'), 1::bigint, 'audited');
update private.rate_buckets set tokens = 0 where kind = 'webhook_retries';
select tests.become('alice');
select throws_ok($$select public.retry_webhook_delivery(id) from public.webhook_deliveries$$, 'PGRST', null,
  '120 a minute, no more');
select * from finish();
rollback;

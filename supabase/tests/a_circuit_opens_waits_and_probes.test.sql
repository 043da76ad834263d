-- Five failures in a row open it; it waits, lets one through, and closes on success. Nothing is dropped meanwhile.
begin;
select plan(23);
select tests.cast_on_stage();
create temporary table hook on commit drop as select tests.webhook('{expense.approved}') as id;
grant select on hook to public;
create function pg_temp.circuit() returns table (state text, consecutive_failures integer, wait_s integer) language sql as $$
  select c.state, c.consecutive_failures, round(extract(epoch from c.paused_until - clock_timestamp()))::integer
  from public.webhook_circuits as c where c.webhook_id = (select id from hook)
$$;
create function pg_temp.time_passes() returns setof text language sql as $$
  update public.webhook_circuits set paused_until = now() where paused_until is not null
  returning 'passed'
$$;

select tests.emit('expense.approved', 50);
select is(tests.deliver(500, 'status', null, 4), 4, 'four fail');
select results_eq('select * from pg_temp.circuit()', $$values ('CLOSED', 4, null::integer)$$, 'it is still closed');
select is(tests.deliver(500, 'status'), 1, 'the next comes alone');
select results_eq('select * from pg_temp.circuit()', $$values ('OPEN', 5, 30)$$, 'and opens it for 30 seconds');
select is(tests.deliver(204), 0, 'nothing is sent');
select is((select count(*) from public.webhook_deliveries where state = 'PENDING'), 50::bigint, 'nothing is dropped');
select pg_temp.time_passes();
create temporary table probe on commit drop as select * from private.claim_webhook_deliveries(100, 30);
select is((select count(*) from probe), 1::bigint, 'then one is let through');
select is((select state from pg_temp.circuit()), 'HALF_OPEN', 'it is half open');
select is(tests.deliver(204), 0, 'and no second one');
-- Its sender dies: the lease runs out.
update private.webhook_leases set expires_at = now() where true;
select is(tests.deliver(500, 'status'), 1, 'a probe whose sender died is tried again, and fails');
select results_eq('select * from pg_temp.circuit()', $$values ('OPEN', 6, 60)$$, 'the wait doubles');
update public.webhook_circuits set openings = 12 where true;
select pg_temp.time_passes();
select tests.deliver(500, 'status');
select is((select wait_s from pg_temp.circuit()), 3600, 'to an hour at the most');
select pg_temp.time_passes();
select is(tests.deliver(204), 1, 'a probe arrives');
select results_eq('select * from pg_temp.circuit()', $$values ('CLOSED', 0, null::integer)$$, 'and closes it');
select is(tests.deliver(204), 10, 'deliveries flow again');

select is(tests.deliver(429, 'status', 120, 1), 1, 'too many, says the endpoint');
select results_eq('select * from pg_temp.circuit()', $$values ('CLOSED', 1, 120)$$, 'and gets the rest it asks for');
select ok((select next_attempt_at - now() between interval '119 seconds' and interval '121 seconds'
  from public.webhook_deliveries where last_status = 429), 'so does the delivery');
select pg_temp.time_passes();
select tests.deliver(503, 'status', 1000000);
select is((select wait_s from pg_temp.circuit()), 3600, 'an hour at the most');
select pg_temp.time_passes();
select tests.deliver(502, 'status');
select is((select wait_s from pg_temp.circuit()), 30, '502 without a word: half a minute');

-- Five days of nothing else.
select pg_temp.time_passes();
update public.webhook_circuits set failing_since = now() - interval '5 days' where true;
select tests.webhook('{webhook.disabled}') is not null as another;
select tests.deliver(500, 'status');
select results_eq('select is_active, disabled_reason from public.webhooks where id = (select id from hook)',
  $$values (true, 'FAILING')$$, 'after five days it is disabled; the switch stays as it was');
select results_eq(
  $$
    select (select count(*) from public.audit_log where action = 'webhook.disabled'),
      (select count(*) from public.webhook_deliveries where event_type = 'webhook.disabled' and state = 'PENDING')
  $$,
  $$values (1::bigint, 1::bigint)$$, 'its administrators are told: audit row and event'
);
select tests.become('alice');
select (public.update_webhook((select id from hook), '{"is_active": true}')).disabled_at is null as taken_back;
select tests.become_postgres();
select results_eq('select * from pg_temp.circuit()', $$values ('CLOSED', 0, null::integer)$$, 'and may take it back');
select * from finish();
rollback;

-- 410 says: never again. The administrators' switch is not touched, waiting deliveries are kept.
begin;
select plan(7);
select tests.cast_on_stage();
select set_config('tests.hook', tests.webhook('{expense.approved}')::text, true);
select tests.emit('expense.approved', 3);
select is(tests.deliver(410, 'status', null, 1), 1, 'it answers 410');
select results_eq('select is_active, disabled_reason from public.webhooks', $$values (true, 'GONE')$$, 'and is disabled');
select is((select count(*) from public.webhook_deliveries where state = 'PENDING'), 3::bigint, 'deliveries wait');
select is(tests.deliver(204), 0, 'none is sent');
select results_eq(
  $$select payload from public.events where type = 'webhook.disabled'$$,
  $$
    select jsonb_build_object('webhook_id', webhook_id, 'reason', 'GONE', 'failing_since', failing_since)
    from public.webhook_circuits
  $$,
  'the event says which and why'
);

-- An administrator who switched it off meanwhile is not overridden by a late answer.
select set_config('tests.other_hook', tests.webhook('{expense.rejected}')::text, true);
select tests.emit('expense.rejected');
create temporary table late on commit drop as select * from private.claim_webhook_deliveries(1, 30);
update public.webhooks set is_active = false where id = current_setting('tests.other_hook')::uuid;
select is(
  (
    select private.record_webhook_attempts(jsonb_agg(to_jsonb(l) || '{"duration_ms": 1, "status": 410, "error": "status"}'))
    from late as l
  ),
  1, 'it answers 410 after it was switched off');
select results_eq(
  $$select is_active, disabled_at is null from public.webhooks where id = current_setting('tests.other_hook')::uuid$$,
  $$values (false, true)$$, 'and stays switched off by the administrator, not by the system');
select * from finish();
rollback;

-- A sender that comes late, after its delivery was claimed by another, overwrites nothing.
begin;
select plan(13);
select tests.cast_on_stage();
select tests.webhook() is not null as made;
select tests.emit('expense.approved');
create temporary table claim (turn integer, organization_id uuid, webhook_id uuid, delivery_id uuid, lease uuid)
  on commit drop;
grant all on claim to public;
create function pg_temp.record(turn integer, status integer, error text) returns integer language sql as $$
  select private.record_webhook_attempts(jsonb_agg(to_jsonb(c) || jsonb_build_object(
    'duration_ms', 5, 'status', status, 'error', error, 'response', 'ok')))
  from claim as c where c.turn = record.turn
$$;
grant execute on function pg_temp.record to public;
select tests.become_worker(null);
insert into claim select 1, organization_id, webhook_id, delivery_id, lease from private.claim_webhook_deliveries(10, 30);
select tests.become_postgres();
select is_empty('select private.claim_webhook_deliveries(10, 30)', 'what one sender has in hand no other gets');
select tests.become('alice');
select tests.throws_code('select public.retry_webhook_delivery(id) from public.webhook_deliveries', 'conflict_retry',
  'and nobody sends it again meanwhile');
select tests.become_postgres();
update private.webhook_leases set expires_at = now() where true;
select tests.become('alice');
select results_eq('select (public.retry_webhook_delivery(id)).state from public.webhook_deliveries', $$values ('PENDING')$$,
  'of a sender that died nobody has to wait for another');
select tests.become_worker(null);
insert into claim select 2, organization_id, webhook_id, delivery_id, lease from private.claim_webhook_deliveries(10, 30);
select is((select count(*) from claim), 2::bigint, 'a lease that ran out is taken over');
select is(pg_temp.record(1, 500, 'status'), 0, 'the first sender records nothing');
select is(pg_temp.record(2, 204, null), 1, 'the second one does');
select is(pg_temp.record(2, 500, 'status'), 0, 'once');
select is(pg_temp.record(1, 500, 'status'), 0, 'and what is delivered stays delivered');
select tests.become_postgres();
select results_eq('select state, attempts::integer, last_status::integer from public.webhook_deliveries',
  $$values ('DELIVERED', 1, 204)$$, 'the delivery says so');
select is_empty('select from private.webhook_leases', 'and the lease is over');
select results_eq('select number::integer, status::integer, error, response from public.webhook_attempts',
  $$values (1, 204, null, 'ok')$$, 'and the log has one attempt');
-- The first one was late and yet recorded before the second, who had just taken over: that one changes nothing any more.
insert into private.webhook_leases select organization_id, webhook_id, delivery_id, lease, now() from claim where turn = 1;
select is(pg_temp.record(1, 500, 'status'), 0, 'and a lease on what was delivered meanwhile does not undo it');
select tests.become('alice');
select throws_ok($$select private.record_webhook_attempts('[]')$$, '42501', null, 'nobody but the worker records');
select * from finish();
rollback;

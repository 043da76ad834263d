-- What waits at a webhook that is off or disabled is its owner's: no alert and no problem of the system.
begin;
select plan(4);
select tests.cast_on_stage();
create temporary table hook on commit drop as select tests.webhook() as failing, tests.webhook() as off, tests.webhook() as gone;
select tests.emit('expense.approved');
update public.webhook_deliveries set created_at = now() - interval '2 hours';
create function pg_temp.samples() returns text language sql as $$
  select string_agg(name || ' ' || value::bigint, ', ' order by name) from private.metric_samples()
  where name like 'webhook\_deliveries\_%' or name = 'webhook_oldest_delivery_seconds'
$$;

select is(pg_temp.samples(), 'webhook_deliveries_late 3, webhook_deliveries_pending 3, webhook_oldest_delivery_seconds 7200',
  'deliveries that wait');
update public.webhooks set is_active = false where id = (select off from hook);
update public.webhooks set disabled_at = now(), disabled_reason = 'GONE' where id = (select gone from hook);
select is(pg_temp.samples(), 'webhook_deliveries_late 1, webhook_deliveries_pending 1, webhook_oldest_delivery_seconds 7200',
  'of webhooks that are on');

select tests.become('alice');
select is(public.system_health() -> 'deliveries', '{"pending": 1, "late": 1}', 'an administrator is told the same');
select tests.become_postgres();
update public.webhook_deliveries set created_at = now() where webhook_id = (select failing from hook);
select tests.become('alice');
select ok(not public.system_health() -> 'problems' ? 'deliveries wait for more than an hour', 'and what is off is no problem');

select * from finish();
rollback;

-- One endpoint's backlog, failures or switch delay nobody else's deliveries.
begin;
select plan(9);
select tests.cast_on_stage();
create temporary table hook on commit drop as
select tests.webhook('{expense.approved}') as busy, tests.webhook('{expense.rejected}') as quiet,
  tests.webhook('{*}', tests.other()) as foreign_one;
grant select on hook to public;
create temporary table claim (turn integer, organization_id uuid, webhook_id uuid, delivery_id uuid, lease uuid) on commit drop;
grant all on claim to public;
create function pg_temp.claim(turn integer, most integer) returns setof text language sql as $$
  insert into claim
  select claim.turn, c.organization_id, c.webhook_id, c.delivery_id, c.lease from private.claim_webhook_deliveries(most, 30) as c
  returning 'claimed'
$$;
grant execute on function pg_temp.claim to public;

select tests.emit('expense.approved', 500);
select tests.emit('expense.rejected', 2);
select tests.emit('session.checked_in', 3, tests.other());
select tests.become_worker(null);
select pg_temp.claim(1, 6);
select results_eq(
  'select organization_id, count(*) from claim where turn = 1 group by 1 order by 2, 1',
  $$select o, 3::bigint from unnest(array[tests.acme(), tests.other()]) as o order by 1$$,
  'organizations take turns'
);
select ok((select count(*) >= 1 from claim where webhook_id = (select quiet from hook)),
  'and so do the endpoints of one, whatever the backlog beside them');
select pg_temp.claim(2, 1000);
select results_eq(
  'select webhook_id, count(*) from claim group by 1 order by 2 desc',
  'select busy, 10::bigint from hook union all select foreign_one, 3 from hook union all select quiet, 2 from hook',
  'at most ten are under way at one endpoint'
);
select is((select count(distinct delivery_id) from claim), 15::bigint, 'none is claimed twice');
select is_empty('select pg_temp.claim(3, 1000)', 'and there is no more to claim');

select tests.become_postgres();
update public.webhook_circuits set consecutive_failures = 1 where webhook_id = (select busy from hook);
update private.webhook_leases set expires_at = now() where true;
select tests.become_worker(null);
select pg_temp.claim(4, 1000);
select results_eq(
  'select count(*) from claim where turn = 4 and webhook_id = (select busy from hook)', 'values (1::bigint)',
  'one that fails gets one at a time; leases that ran out are claimed again'
);
select tests.become_postgres();
update public.webhooks set is_active = false where id = (select busy from hook);
update public.webhook_circuits set paused_until = now() + interval '1 minute' where webhook_id = (select quiet from hook);
update public.webhooks set disabled_at = now(), disabled_reason = 'GONE' where id = (select foreign_one from hook);
update private.webhook_leases set expires_at = now() where true;
select tests.become_worker(null);
select is_empty('select pg_temp.claim(5, 1000)', 'what is off, paused or disabled waits');
select tests.become_postgres();
select is((select count(*) from public.webhook_deliveries where state = 'PENDING'), 505::bigint, 'and nothing of it is dropped');
-- A hundred under way are an organization's share: twenty dead endpoints cannot hold every connection.
update public.webhooks set is_active = true where id = (select busy from hook);
insert into public.webhooks (organization_id, url, events)
select tests.acme(), 'https://hooks.example.test/', '{employee.created}' from generate_series(1, 18);
insert into public.webhook_circuits (organization_id, webhook_id, last_success_at)
select organization_id, id, now() from public.webhooks where events = '{employee.created}';
select tests.emit('employee.created', 10);
select tests.become_worker(null);
select pg_temp.claim(6, 1000);
select is((select count(*) from claim where turn = 6), 100::bigint, 'an organization has at most a hundred under way');
select * from finish();
rollback;

-- The delivery is written with the event, for active webhooks of that organization that want the type, once.
begin;
select plan(8);
select tests.cast_on_stage();
create temporary table hook on commit drop as
select tests.webhook('{expense.approved,session.checked_in}') as wants, tests.webhook('{expense.rejected}') as wants_other,
  tests.webhook() as wants_all, tests.webhook() as off, tests.webhook() as disabled,
  tests.webhook('{*}', tests.other()) as foreign_one;
update public.webhooks set is_active = false where id = (select off from hook);
update public.webhooks set disabled_at = now(), disabled_reason = 'GONE' where id = (select disabled from hook);

select tests.emit('expense.approved');
select set_eq(
  'select webhook_id, event_type, state from public.webhook_deliveries',
  $$
    select w.id, 'expense.approved'::text as event_type, 'PENDING'::text as state
    from hook cross join unnest(array[wants, wants_all]) as w (id)
  $$,
  'those that want it, and nobody who is off, disabled or of another organization'
);
select throws_ok(
  $$
    insert into public.webhook_deliveries (organization_id, webhook_id, event_id, event_type)
    select organization_id, webhook_id, event_id, event_type from public.webhook_deliveries
  $$,
  '23505', null, 'an event goes to a webhook once'
);
select throws_ok(
  $$
    insert into public.webhook_deliveries (organization_id, webhook_id, event_id, event_type)
    select organization_id, (select foreign_one from hook), event_id, event_type from public.webhook_deliveries limit 1
  $$,
  '23503', null, 'and never to another organization''s'
);

select private.emit_event(tests.acme(), 'webhook.test', 'webhook', wants_other, null, '{}') from hook;
select results_eq(
  $$select webhook_id from public.webhook_deliveries where event_type = 'webhook.test'$$, 'select wants_other from hook',
  'a test goes to its own webhook only'
);

-- What a person does, to what is sent.
select tests.become('bob');
select (public.check_in(now(), gen_random_uuid())).status;
select tests.become_worker(null);
create temporary table claim on commit drop as select * from private.claim_webhook_deliveries(100, 30);
select is((select count(distinct delivery_id) from claim), 5::bigint, 'all five are claimed');
select ok(
  (select bool_and(array_length(secrets, 1) = 1 and secrets[1] ~ '^whsec_' and url = 'https://hooks.example.test/') from claim),
  'each with the secret of its webhook'
);
select tests.become_postgres();
select results_eq(
  $$
    select distinct c.body::jsonb - 'timestamp' - 'actor',
      c.body ~ '^\{"type":"session\.checked_in","timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","id":"\d+\.\d+\.\d+","organization_id":"'
    from claim as c where c.body::jsonb ->> 'type' = 'session.checked_in'
  $$,
  $$
    select jsonb_build_object('type', e.type, 'data', e.payload, 'organization_id', e.organization_id,
      'id', concat_ws('.', e.epoch, e.xact, e.id)), true from public.events as e where e.type = 'session.checked_in'
  $$,
  'the body is type, timestamp, the event''s place in the log, organization, actor and payload'
);

-- The largest event there can be: a review in quotes that double, a name of the longest letters.
select cmp_ok(
  octet_length(private.webhook_body(jsonb_populate_record(null::public.events, jsonb_build_object(
    'type', 'expense.rejected', 'occurred_at', now(), 'epoch', 0, 'xact', '4711', 'id', 9007199254740991,
    'organization_id', gen_random_uuid(), 'actor_type', 'employee', 'actor_id', gen_random_uuid(), 'payload', jsonb_build_object(
    'expense_id', gen_random_uuid(), 'employee_id', gen_random_uuid(), 'amount', 9999999999.99, 'currency', 'EUR',
    'category', repeat('😀', 100), 'spent_on', tests.today(), 'approved_amount', null,
    'review_comment', repeat(E'\x01', 1000), 'reviewed_at', now()))))),
  '<', 20000, 'no body reaches 20 kB'
);
select * from finish();
rollback;

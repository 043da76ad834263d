-- A sender has a delivery in hand when its person is erased. What the endpoint answers may repeat what it was sent: it is
-- recorded nowhere, and the event is sent again as it is then.
begin;
select plan(6);
select tests.cast_on_stage();
select tests.webhook() is not null as made;
select tests.become('alice');
select public.update_employee(tests.user_id('bob'), '{"name": "Bob Secretname"}') is not null as updated;
select public.update_employee(tests.user_id('carol'), '{"name": "Carol Doe"}') is not null as updated;
create temporary table claim (
  turn integer, organization_id uuid, webhook_id uuid, delivery_id uuid, lease uuid, body text
) on commit drop;
grant all on claim to public;
select tests.become_worker(null);
insert into claim
select 1, organization_id, webhook_id, delivery_id, lease, body from private.claim_webhook_deliveries(10, 30);
select is((select count(*) from claim where body ~ 'Secretname'), 1::bigint, 'the name is on its way');
select tests.become('alice');
select is((public.erase_employee(tests.user_id('bob'), 'Asked for it.') ->> 'is_done')::boolean, true, 'the person is erased');
select tests.become_worker(null);
select is(
  private.record_webhook_attempts((select jsonb_agg(to_jsonb(c) - 'body' || jsonb_build_object(
    'duration_ms', 5, 'status', 500, 'error', 'status', 'response', 'what is ' || c.body)) from claim as c)),
  1, 'of what was in hand the other person''s is recorded');
insert into claim
select 2, organization_id, webhook_id, delivery_id, lease, body from private.claim_webhook_deliveries(100, 30);
select tests.become_postgres();
select is_empty($$select from public.webhook_attempts where response ~ 'Secretname'$$, 'the answer is not kept');
update public.webhook_circuits set paused_until = null, state = 'CLOSED', consecutive_failures = 0 where true;
insert into claim
select 3, organization_id, webhook_id, delivery_id, lease, body from private.claim_webhook_deliveries(100, 30);
select isnt_empty(
  $$select from claim as c join claim as o on o.delivery_id = c.delivery_id and o.turn = 1 and o.body ~ 'Secretname'
    where c.turn > 1$$, 'it is sent again');
select is_empty($$select from claim where turn > 1 and body ~ 'Secretname'$$, 'without the name');
select * from finish();
rollback;

-- Recovery by range: what was dead or never made is queued, what was delivered only when asked for.
begin;
select plan(11);
select tests.cast_on_stage();
select set_config('tests.hook', tests.webhook('{expense.approved,expense.rejected}')::text, true);
select tests.emit('expense.approved', 3);
select tests.deliver(204);
select tests.emit('expense.approved', 2);
update public.webhook_deliveries set state = 'DEAD', next_attempt_at = null where state = 'PENDING';
update public.webhooks set is_active = false where true;
select tests.emit('expense.rejected', 4);
select tests.emit('session.checked_in', 4);
select tests.become('alice');
create function pg_temp.replay(include_delivered boolean) returns jsonb language sql as $$
  select public.replay_webhook_events(current_setting('tests.hook')::uuid, now() - interval '1 minute',
    now() + interval '1 minute', include_delivered)
$$;
grant execute on function pg_temp.replay to public;
select tests.throws_code('select pg_temp.replay(false)', 'webhook_inactive', 'not while it is off');
select public.update_webhook(current_setting('tests.hook')::uuid, '{"is_active": true}') is not null as on_again;
select is(pg_temp.replay(false), '{"queued": 6, "continue_from": null}', 'two dead ones and four that were never made');
select is(pg_temp.replay(false), '{"queued": 0, "continue_from": null}', 'once');
select is(pg_temp.replay(true), '{"queued": 3, "continue_from": null}', 'and the delivered ones when asked for');
select is((select count(*) from public.webhook_deliveries), 9::bigint, 'each under its own id');
select tests.throws_code(
  format($$select public.replay_webhook_events(%L, now() - interval '40 days', now())$$, current_setting('tests.hook')),
  'invalid_argument', 'a month at the most');
select tests.become_postgres();
select tests.emit('expense.rejected', 1005);
delete from public.webhook_deliveries where event_type = 'expense.rejected';
update public.events as e set occurred_at = now() + n.place * interval '1 millisecond'
from (select id, row_number() over (order by id) as place from public.events where type = 'expense.rejected') as n
where e.id = n.id;
update private.rate_buckets set tokens = 4 where kind = 'webhook_replays';
select tests.become('alice');
select is(
  pg_temp.replay(false),
  jsonb_build_object('queued', 1000, 'continue_from', now() + interval '1001 milliseconds'), 'a thousand a call');
select is(pg_temp.replay(false), '{"queued": 9, "continue_from": null}', 'the rest in the next');
select tests.become_postgres();
delete from public.webhook_deliveries where event_type = 'expense.rejected';
update public.events as e set occurred_at = now() where type = 'expense.rejected';
select tests.emit('expense.rejected', 1);
update public.events as e set occurred_at = now() + interval '1 second'
where id = (select max(id) from public.events where type = 'expense.rejected');
delete from public.webhook_deliveries where event_type = 'expense.rejected';
select tests.become('alice');
select is(
  pg_temp.replay(false), jsonb_build_object('queued', 1009, 'continue_from', now() + interval '1 second'),
  'what one transaction wrote goes together');
select is(
  public.replay_webhook_events(current_setting('tests.hook')::uuid, now() + interval '1 second', now() + interval '1 hour')
    ->> 'queued', '1', 'and the next begins after it');
select is((select count(*) from public.audit_log where action = 'webhook.events_replayed'), 7::bigint, 'audited');
select * from finish();
rollback;

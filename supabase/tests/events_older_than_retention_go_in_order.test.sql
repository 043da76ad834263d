-- Retention deletes from the log's beginning only, bounded, and leaves behind how far it came; a consumer that lags for more
-- than a week is dropped before it could miss anything.
begin;
select plan(11);
select tests.cast_on_stage();
delete from public.events where true;

create function pg_temp.event(xact bigint, age interval, organization_id uuid default tests.acme()) returns bigint
language sql as $$
  insert into public.events (
    organization_id, epoch, xact, type, subject_type, subject_id, actor_type, payload, occurred_at
  ) values (event.organization_id, 0, event.xact::text::xid8, 'session.checked_in', 'session', gen_random_uuid(), 'system', '{}',
    now() - event.age)
  returning id
$$;

select private.register_event_consumer('fresh');
insert into private.event_consumers (name, epoch, xact, id) values ('stalled', 0, '0', 0);
select private.register_event_consumer('stalled');

do $$
begin
  perform pg_temp.event(1, '40 days');
  perform pg_temp.event(2, '35 days');
  perform pg_temp.event(3, '31 days', tests.other());
  perform pg_temp.event(4, '29 days');
  perform pg_temp.event(5, '31 days');
  perform pg_temp.event(6, '1 day');
end
$$;

select is(private.purge_events(2, '30 days', '0'), 2::bigint, 'at most as many as asked');
select is((select min(xact::text) from public.events), '3', 'the oldest go first');
select is((select xact::text from private.event_log_floor), '2', 'the floor is the newest deleted position');
select is(private.purge_events(), 1::bigint, 'only as far as every row is old enough');
select results_eq(
  $$select xact::text from public.events order by xact$$, array['4', '5', '6'], 'what remains is the unbroken end of the log'
);
select is(private.purge_events(), 0::bigint, 'again there is nothing to do');
select is((select xact::text from private.event_log_floor), '3', 'and the floor stays');

select is(private.drop_stalled_consumers(), 1, 'one consumer is more than a week behind');
select results_eq(
  $$select organization_id, payload ->> 'consumer' from public.events where type = 'consumer.dropped'$$,
  $$values (tests.acme(), 'stalled')$$,
  'organizations with events that it has not seen are told'
);
select throws_ok(
  $$select * from private.read_events('stalled')$$, '55000', null, 'a dropped consumer cannot read on as if nothing were'
);
select private.register_event_consumer('stalled');
select lives_ok($$select * from private.read_events('stalled')$$, 'registered again it reads from now on');

select * from finish();
rollback;

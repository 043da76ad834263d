-- A bare insert would get pg-boss's column defaults: no dead letter, no policy, two retries.
begin;
select plan(4);
select tests.clear_stage();
select private.enqueue('distance', '{"a": 1}', 'key') is not null;
select results_eq(
  $$select policy, retry_limit, retry_delay, retry_backoff, retry_delay_max, expire_seconds, dead_letter, heartbeat_seconds
    from pgboss.job where name = 'distance'$$,
  $$select policy, retry_limit, retry_delay, retry_backoff, retry_delay_max, expire_seconds, dead_letter, heartbeat_seconds
    from pgboss.queue where name = 'distance'$$,
  'the job has what its queue says');
select is(private.enqueue('distance', '{"a": 2}', 'key'), null, 'a second one with the key does not wait too');
update pgboss.job set state = 'active' where name = 'distance';
select isnt(private.enqueue('distance', '{"a": 3}', 'key'), null, 'but while one runs, the next one waits');
select throws_ok($$select private.enqueue('nowhere', '{}')$$, 'P0001', null, 'an unknown queue is an error');
select * from finish();
rollback;

-- Each run of a schedule is a row of history and moves the totals, a failed one too; without a success for two intervals it is
-- overdue.
begin;
select plan(14);

insert into private.schedules (name, cron, command, description) values
  ('good', '*/5 * * * *', 'select 3', 'Answers how many things it did.'),
  ('bad', '*/5 * * * *', 'select 1 / 0', 'Fails.');
select private.install_platform() is not null as registered;

select is(private.run_schedule('good'), 'done', 'a run says done');
select is(private.run_schedule('good'), 'done', 'and again');
select is(private.run_schedule('bad'), 'failed', 'one that fails says so instead of raising');
select results_eq(
  $$select outcome, items, error from private.schedule_runs where schedule_name = 'good' order by id$$,
  $$values ('succeeded', 3::bigint, null::text), ('succeeded', 3, null)$$,
  'each run is a row'
);
select matches(
  (select error from private.schedule_runs where schedule_name = 'bad'), '^22012: ', 'a failed one with its SQLSTATE');
select results_eq(
  $$select name, runs_succeeded, runs_failed, items from private.schedule_report() where name in ('good', 'bad') order by name$$,
  $$values ('bad', 0::bigint, 1::bigint, 0::bigint), ('good', 2, 0, 6)$$,
  'the totals'
);
select results_eq(
  $$select is_overdue from private.schedule_report() where name in ('good', 'bad')$$, $$values (false), (false)$$,
  'nothing is overdue at once'
);
update private.schedule_states set last_succeeded_at = now() - interval '10 minutes 59 seconds' where schedule_name = 'good';
select is(
  (select is_overdue from private.schedule_report() where name = 'good'), false, 'two missed runs are borne');
update private.schedule_states set last_succeeded_at = now() - interval '11 minutes 1 second' where schedule_name = 'good';
select is((select is_overdue from private.schedule_report() where name = 'good'), true, 'more is overdue');
update private.schedule_states set registered_at = now() - interval '12 minutes' where schedule_name = 'bad';
select is(
  (select is_overdue from private.schedule_report() where name = 'bad'), true,
  'so is one that never succeeded, counted from when it was made');

update private.schedule_runs set started_at = now() - interval '8 days' where schedule_name = 'good';
select is(private.run_schedule('good'), 'done', 'the next run');
select is(
  (select count(*) from private.schedule_runs where schedule_name = 'good'), 1::bigint, 'forgets what is older than a week');
select throws_ok(
  $$insert into private.schedules (name, cron, command, description) values ('odd', '1,2 * * * 1', 'select 1', 'Odd.')$$,
  '23514', null, 'an expression whose interval is not known is refused');

select tests.become_role('fieldtrack_worker');
select lives_ok('select private.is_cron_usable()', 'the worker may ask who runs them, where pg_cron is there too');

select * from finish();
rollback;

-- RECENT becomes INACTIVE after 24 hours and "today" ends at midnight without anything happening: the dashboard knows until when
-- it holds, and is made anew when that has passed.
begin;
select plan(8);
select tests.cast_on_stage();
update private.event_consumers set xact = '1000000000000' where name = 'snapshots';
select isnt(
  tests.closed_session('bob', now() - interval '25 hours', now() - interval '23 hours 50 minutes'), null, 'Bob worked yesterday'
);
select ok(private.refresh_dashboard(tests.acme()), 'the dashboard is made');
select results_eq(
  $$select employees, active_employees, recent_employees, inactive_employees from public.org_dashboard_snapshot
    where organization_id = tests.acme()$$,
  $$values (3, 0, 1, 2)$$, 'Bob is recent, Alice and Carol never worked, Dave is deactivated and not counted'
);
select ok(
  (select valid_until <= now() + interval '10 minutes' from public.org_dashboard_snapshot where organization_id = tests.acme()),
  'it holds until Bob''s 24 hours are over'
);
select is(private.refresh_dashboards(), 0::bigint, 'until then there is nothing to do');

-- Ten minutes later, as far as Bob is concerned.
update public.attendance_sessions
set checked_in_at = checked_in_at - interval '10 minutes', checked_out_at = checked_out_at - interval '10 minutes'
where employee_id = tests.user_id('bob');
update public.org_dashboard_snapshot set valid_until = now() where organization_id = tests.acme();
select is(private.refresh_dashboards(), 1::bigint, 'then the loop makes it anew, though no event came');
select results_eq(
  $$select recent_employees, inactive_employees from public.org_dashboard_snapshot where organization_id = tests.acme()$$,
  $$values (0, 3)$$, 'and Bob is inactive'
);
select is(
  (select valid_until from public.org_dashboard_snapshot where organization_id = tests.acme()),
  (date_trunc('day', now() at time zone 'Europe/Ljubljana') + interval '1 day') at time zone 'Europe/Ljubljana',
  'which holds until the organization''s midnight'
);
select * from finish();
rollback;

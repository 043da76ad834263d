-- Each snapshot is broken in each way that a lost update could break it; the reconciliation mends it, says how many rows it
-- mended, keeps heartbeats, and finds nothing to do the second time.
begin;
select plan(29);
select tests.cast_on_stage();

-- Bob works, Carol worked, both claimed expenses.
select tests.become('bob');
select isnt(public.check_in(now() - interval '2 hours', gen_random_uuid()), null, 'Bob is at work');
select is(
  public.record_locations(jsonb_build_array(
    tests.point(now() - interval '100 minutes', 46.0), tests.point(now() - interval '90 minutes', 46.1))) ->> 'inserted', '2',
  'his phone sent two points'
);
select isnt(public.submit_expense(12.5, 'Lunch on the road', gen_random_uuid()), null, 'he claimed an expense');
select isnt(public.submit_expense(7.5, 'Parking ticket', gen_random_uuid()), null, 'and another');
select tests.become_postgres();
select isnt(tests.closed_session('carol', now() - interval '5 hours', now() - interval '4 hours'), null, 'Carol worked');
update public.active_users set last_seen_at = now() - interval '17 minutes' where true;
-- In one transaction the loop cannot read its own events; as if it had.
update private.event_consumers set xact = '1000000000000' where name = 'snapshots';
select is((select count(*) from public.organizations as o where private.refresh_dashboard(o.id)), 2::bigint, 'dashboards');

create temporary view snapshot as
select 'latest' as name, to_jsonb(t) - array['updated_at'] as body from public.employee_latest_sessions as t
union all select 'active', to_jsonb(t) from public.active_users as t
union all select 'state', to_jsonb(t) - array['updated_at'] from public.employee_last_state as t
union all select 'metrics', to_jsonb(t) - array['updated_at'] from public.employee_metrics_snapshot as t
union all select 'pending', to_jsonb(t) from public.pending_expenses as t
union all select 'dashboard', to_jsonb(t) - array['updated_at'] from public.org_dashboard_snapshot as t;

select is(
  (select jsonb_object_agg(key, value) from jsonb_each(public.reconcile_snapshot_tables()) where value <> '0'), null,
  'what the triggers wrote is what the base says'
);
create temporary table before on commit drop as select * from snapshot;

create function pg_temp.mended(statement text) returns text language plpgsql as $$
declare
  v_before text := (select md5(string_agg(name || body::text, ',' order by name, body::text)) from snapshot);
  v_broken text;
  v_repaired jsonb;
  v_after text;
begin
  execute statement;
  v_broken := (select md5(string_agg(name || body::text, ',' order by name, body::text)) from snapshot);
  v_repaired := (select jsonb_object_agg(key, value) from jsonb_each(public.reconcile_snapshot_tables()) where value <> '0');
  v_after := (select md5(string_agg(name || body::text, ',' order by name, body::text)) from snapshot);
  return case
    when v_broken = v_before then 'nothing was broken'
    when v_after <> v_before then 'not mended'
    when (select sum(value::integer) from jsonb_each_text(public.reconcile_snapshot_tables())) <> 0 then 'never at rest'
    else v_repaired::text
  end;
end
$$;

select is(pg_temp.mended(format($$update public.employee_latest_sessions set is_open = false, checked_out_at = now()
  where employee_id = %L$$, tests.user_id('bob'))), '{"employee_latest_sessions": 1}', 'a session that looks closed');
select is(pg_temp.mended(format($$delete from public.employee_latest_sessions where employee_id = %L$$,
  tests.user_id('carol'))), '{"employee_latest_sessions": 2}', 'a lost row of latest sessions: made and filled');
select is(pg_temp.mended(format($$update public.employee_latest_sessions set distance_m = 999 where employee_id = %L$$,
  tests.user_id('carol'))), '{"employee_latest_sessions": 1}', 'another distance');
select is(pg_temp.mended(format($$update public.active_users set session_id = gen_random_uuid(), last_seen_at = last_seen_at
  where employee_id = %L$$, tests.user_id('bob'))), 'not mended', 'another session: mended, with a heartbeat that is new');
update public.active_users set last_seen_at = now() - interval '17 minutes' where true;
select is(pg_temp.mended(format($$insert into public.active_users (organization_id, employee_id, session_id, checked_in_at)
  values (%L, %L, gen_random_uuid(), now())$$, tests.acme(), tests.user_id('carol'))), '{"active_users": 1}', 'an orphan');
select is(pg_temp.mended(format($$update public.active_users set checked_in_at = now() where employee_id = %L$$,
  tests.user_id('bob'))), '{"active_users": 1}', 'another check-in; the heartbeat is kept');
select is((select last_seen_at from public.active_users), now() - interval '17 minutes', 'to the second');
select is(pg_temp.mended(format($$update public.employee_last_state set latitude = 1, longitude = 1 where employee_id = %L$$,
  tests.user_id('bob'))), '{"employee_last_state": 1}', 'another position');
select is(pg_temp.mended(format($$update public.employee_last_state set recorded_at = recorded_at - interval '10 minutes'
  where employee_id = %L$$, tests.user_id('bob'))), '{"employee_last_state": 1}', 'a position that went back in time');
select is(pg_temp.mended(format($$update public.employee_last_state set recorded_at = null, latitude = null,
  longitude = null, fix_session_id = null, is_checked_in = false where employee_id = %L$$, tests.user_id('bob'))),
  '{"employee_last_state": 1}', 'a lost position and check-in');
select is(pg_temp.mended(format($$update public.employee_last_state set distance_m = 5 where employee_id = %L$$,
  tests.user_id('bob'))), '{"employee_last_state": 1}', 'another live distance');
select is(pg_temp.mended(format($$delete from public.employee_last_state where employee_id = %L$$, tests.user_id('bob'))),
  '{"employee_last_state": 2}', 'a lost row of last states');
select is(pg_temp.mended(format($$update public.employee_metrics_snapshot set sessions = sessions + 1, duration_s = 5,
  expenses_submitted = 0 where employee_id = %L$$, tests.user_id('carol'))), '{"employee_metrics_snapshot": 1}', 'totals');
select is(pg_temp.mended(format($$delete from public.employee_metrics_snapshot where employee_id = %L$$,
  tests.user_id('bob'))), '{"employee_metrics_snapshot": 2}', 'lost totals');
select is(pg_temp.mended($$delete from public.pending_expenses where amount = 7.5$$),
  '{"pending_expenses": 1}', 'an expense that no one would have seen');
select is(pg_temp.mended($$update public.pending_expenses set amount = 1000 where amount = 7.5$$),
  '{"pending_expenses": 2}', 'another amount: taken out and put in');
select is(pg_temp.mended(format($$update public.org_dashboard_snapshot set active_employees = 77 where organization_id = %L$$,
  tests.acme())), '{"org_dashboard_snapshot": 1}', 'another count on the dashboard');
select is(pg_temp.mended(format($$delete from public.org_dashboard_snapshot where organization_id = %L$$, tests.acme())),
  '{"org_dashboard_snapshot": 1}', 'a lost dashboard');

-- Chunks: a run that mended as much as it may asks for the next.
update public.employee_metrics_snapshot set sessions = 70 where organization_id = tests.acme();
select is(private.run_reconciliation(3), 3::bigint, 'a chunk of three');
select is(
  (select count(*) from pgboss.job where name = 'schedule' and data = '{"name": "reconcile"}'), 1::bigint, 'asks for the next'
);
delete from pgboss.job where name = 'schedule';
select is(private.run_reconciliation(3), 1::bigint, 'which mends the rest');
select is((select count(*) from pgboss.job where name = 'schedule'), 0::bigint, 'and asks for none');

select * from finish();
rollback;

-- What a batch costs does not grow with the number of colleagues.
begin;
select plan(3);
select tests.cast_on_stage();
insert into public.employees (organization_id, name, employee_code)
select tests.acme(), 'Person ' || i, 'X' || i from generate_series(1, 2000) as i;
insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
select organization_id, id, now() - interval '1 hour' from public.employees where employee_code like 'X%';
analyze public.employee_last_state, public.active_users;
select tests.become('bob');
select isnt(public.check_in(now() - interval '1 hour', gen_random_uuid()), null, 'Bob is at work among two thousand');
select tests.become_postgres();
create temporary table before on commit drop as
select relname, seq_tup_read from pg_stat_xact_user_tables where relname in ('employee_last_state', 'active_users');
select tests.become('bob');
select is(
  public.record_locations((
    select jsonb_agg(tests.point(now() - make_interval(secs => i))) from generate_series(1, 100) as i)) ->> 'inserted',
  '100', 'a hundred points');
select tests.become_postgres();
select is_empty(
  $$select a.relname, a.seq_tup_read - b.seq_tup_read
    from pg_stat_xact_user_tables as a join before as b on b.relname = a.relname and a.seq_tup_read <> b.seq_tup_read$$,
  'neither who is at work nor where people are is read whole');
select * from finish();
rollback;

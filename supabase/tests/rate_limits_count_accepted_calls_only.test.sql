-- Token buckets: a burst, a refill by the clock, 429 with Retry-After, and refused calls cost nothing.
begin;
select plan(8);
select tests.cast_on_stage();
select tests.become('bob');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
create function pg_temp.send() returns jsonb language sql volatile as $$
  select public.record_locations(jsonb_build_array(tests.point(now() - interval '5 minutes')))
$$;
select is((select count(pg_temp.send()) from generate_series(1, 60)), 60::bigint, 'a burst of sixty');
select tests.throws_code('select pg_temp.send()', 'rate_limited', 'then no more');
create function pg_temp.retry_after(statement text) returns text language plpgsql as $$
declare
  v_detail text;
begin
  execute statement;
  return 'no error';
exception
  when sqlstate 'PGRST' then
    get stacked diagnostics v_detail = pg_exception_detail;
    return v_detail::jsonb #>> '{headers,Retry-After}';
end
$$;
select is(pg_temp.retry_after('select pg_temp.send()'), '1', 'Retry-After says a second');
select tests.become('carol');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
select is(pg_temp.send() ->> 'inserted', '1', 'a colleague has a bucket of their own');
select tests.become_postgres();
update private.rate_buckets set refilled_at = refilled_at - interval '10 seconds' where kind = 'locations';
select tests.become('bob');
select is((select count(pg_temp.send()) from generate_series(1, 10)), 10::bigint, 'ten seconds later ten more');

select tests.become_postgres();
select (tests.closed_session('carol', now() - interval '30 hours', now() - interval '29 hours')) is not null;
select tests.become('carol');
select tests.throws_code(format('select public.recalculate_session(%L)', gen_random_uuid()), 'session_not_found',
  'a refused call')
from generate_series(1, 1);
select is(
  (select count(public.recalculate_session(s.id)) from public.attendance_sessions as s,
    generate_series(1, 5) where s.status = 'CLOSED'),
  5::bigint, 'leaves all five recalculations');
select tests.throws_code(
  format('select public.recalculate_session(%L)', (select id from public.attendance_sessions where status = 'CLOSED')),
  'rate_limited', 'the sixth is too much');
select * from finish();
rollback;

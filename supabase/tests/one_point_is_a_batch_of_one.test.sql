-- record_location judges as record_locations does, and says so by an error.
begin;
select plan(8);
select tests.cast_on_stage();
select tests.become('bob');
select tests.throws_code('select public.record_location(now(), 46, 14)', 'no_open_session', 'first check in');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
select is(public.record_location(now() - interval '1 minute', 46, 14, 5, battery_pct => 80) ->> 'inserted', '1', 'stored');
select is(public.record_location(now() - interval '1 minute', 46, 14, 5, battery_pct => 80) ->> 'duplicates', '1',
  'twice is no error');
select tests.throws_code('select public.record_location(now(), 91, 14)', 'batch_rejected', 'a latitude has bounds');
select tests.throws_code($$select public.record_location(now(), 'NaN', 14)$$, 'batch_rejected', 'NaN is none');
select tests.throws_code($$select public.record_location('infinity', 46, 14)$$, 'batch_rejected', 'infinity is no time');
select results_eq('select accuracy_m, battery_pct from public.gps_locations', 'values (5::real, 80::smallint)',
  'its fields are kept');
select is(public.record_location(now() - interval '2 minutes', 1e-300, 14) ->> 'inserted', '1',
  'a coordinate that is all but zero is zero');
select * from finish();
rollback;

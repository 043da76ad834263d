-- Midnight is computed in the zone: days of 23 and 25 hours, and a change of zone that waits for midnight.
begin;
select plan(15);
select tests.cast_on_stage();
select results_eq(
  $$select day, day_ends_at - day_starts_at from private.local_days(tests.acme(), '2026-03-28 23:00Z', '2026-03-29 22:00Z')$$,
  $$values ('2026-03-29'::date, '23 hours'::interval)$$, 'the night that loses an hour');
select results_eq(
  $$select day, day_ends_at - day_starts_at from private.local_days(tests.acme(), '2026-10-24 22:00Z', '2026-10-25 23:00Z')$$,
  $$values ('2026-10-25'::date, '25 hours'::interval)$$, 'the night that gains one');
select results_eq(
  $$select day, day_ends_at - day_starts_at from private.local_days(tests.acme(), '2026-11-10 21:00Z', '2026-11-11 00:30Z')$$,
  $$values ('2026-11-10'::date, '2 hours'::interval), ('2026-11-11'::date, '90 minutes'::interval)$$,
  'a shift over midnight is split');
select results_eq(
  $$select day, day_ends_at - day_starts_at from private.local_days(tests.acme(), '2026-11-10 21:00Z', '2026-11-10 21:00Z')$$,
  $$values ('2026-11-10'::date, '0'::interval)$$, 'no time at all is still on a day');
select is(private.local_day(tests.acme(), '2026-11-10 23:30Z'), '2026-11-11'::date, 'the date of an instant');

-- The clock goes back from one to midnight: the date has begun an hour before its second midnight.
insert into public.organizations (id, name, slug, time_zone, currency)
values (tests.user_id('azores'), 'Azores', 'azores', 'Atlantic/Azores', 'EUR');
select results_eq(
  $$select day, day_ends_at - day_starts_at
    from private.local_days(tests.user_id('azores'), '2026-10-24 22:00Z', '2026-10-26 02:00Z')$$,
  $$values ('2026-10-24'::date, '2 hours'::interval), ('2026-10-25', '25 hours'), ('2026-10-26', '1 hour')$$,
  'the night that has two midnights: the day begins with the first');
select results_eq(
  $$select day, day_ends_at - day_starts_at
    from private.local_days(tests.user_id('azores'), '2026-10-25 00:15Z', '2026-10-25 09:15Z')$$,
  $$values ('2026-10-25'::date, '9 hours'::interval)$$, 'a shift that begins between them loses nothing');
select is(private.local_day(tests.user_id('azores'), '2026-10-25 00:15Z'), '2026-10-25'::date, 'the date of an instant there');
select is(private.day_starts_at('2026-04-24', 'Africa/Cairo'), '2026-04-23 22:00Z'::timestamptz,
  'a date without a midnight begins when the clock jumps over it');

select tests.become('alice');
select is((public.update_organization('{"time_zone": "Asia/Kolkata"}')).time_zone, 'Asia/Kolkata', 'a new zone');
select is((public.update_organization('{"time_zone": "America/Lima"}')).time_zone, 'America/Lima', 'another one the same day');
select tests.become_postgres();
select results_eq(
  $$select valid_from, time_zone from public.organization_time_zones where organization_id = tests.acme() order by 1$$,
  $$values ('-infinity'::timestamptz, 'Europe/Ljubljana'),
    ((date_trunc('day', now() at time zone 'Europe/Ljubljana') + interval '1 day') at time zone 'Europe/Ljubljana',
  'America/Lima')$$,
  'the last one counts, from the old zone''s next midnight');
select is(
  (select sum(day_ends_at - day_starts_at) from private.local_days(tests.acme(), now() - interval '2 days',
  now() + interval '5 days')),
  '7 days'::interval, 'no second is lost or doubled over the change');

-- 25 hours behind: the same dates would come again after they were over.
select tests.become_postgres();
insert into public.organizations (id, name, slug, time_zone, currency)
values (tests.user_id('kiritimati'), 'Atoll', 'atoll', 'Pacific/Kiritimati', 'AUD');
select tests.throws_code($$update public.organizations set time_zone = 'Pacific/Pago_Pago' where slug = 'atoll'$$,
  'invalid_argument', 'a zone that lags more than a day behind is refused');
select lives_ok($$update public.organizations set time_zone = 'Pacific/Honolulu' where slug = 'atoll'$$,
  'one that lags a day is not');
select * from finish();
rollback;

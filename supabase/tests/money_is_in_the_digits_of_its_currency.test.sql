-- Every currency of ISO 4217 with its minor unit; nothing else is one. Days up to the organization's tomorrow, the
-- organization's own
-- categories, several receipts, and the same receipt in two claims.
begin;
select plan(22);
select tests.cast_on_stage();
create temporary table receipt (name text primary key, path text) on commit drop;
grant all on receipt to authenticated;

-- A sweep of three letters.
select is((select count(*) from (
    select chr(a) || chr(b) || chr(c) as code from generate_series(65, 90) as a, generate_series(65, 90) as b,
      generate_series(65, 90) as c
  ) as t where private.currency_digits(t.code) is not null), 165::bigint, 'so many are currencies');
select results_eq($$select private.currency_digits(c) from unnest('{JPY,EUR,KWD,CLF,ZZZ,QQQ,eur,XAU,"EUR ",""}'::text[]) as c$$,
  'select * from unnest(array[0, 2, 3, 4, null, null, null, null, null, null]::integer[])', 'digits');
select tests.become('bob');
select is_empty($q$
    select c.code
    from unnest(string_to_array('JPY CLP EUR USD CHF KWD BHD CLF', ' ')) as c (code)
    cross join lateral (select d.n from (select case when c.code in ('JPY', 'CLP') then 0 when c.code in ('KWD', 'BHD') then 3
      when c.code = 'CLF' then 4 else 2 end) as d (n)) as d
    where (public.submit_expense(round(1.23456, d.n), 'Claim ' || c.code, gen_random_uuid(), currency => c.code)).amount
      is distinct from round(1.23456, d.n)
  $q$, 'an amount is kept in them');
select tests.become_postgres();
update private.rate_buckets set tokens = 10;
select tests.become('bob');
select tests.throws_code($$select public.submit_expense(100.5, 'Ramen', gen_random_uuid(), currency => 'JPY')$$,
  'invalid_argument', 'no half yen');
select tests.throws_code($$select public.submit_expense(1.2555, 'Tea', gen_random_uuid(), currency => 'KWD')$$,
  'invalid_argument', 'no fourth digit');
select tests.throws_code($$select public.submit_expense(1, 'Tea', gen_random_uuid(), currency => 'ZZZ')$$, 'invalid_argument',
  'no such currency');
create function pg_temp.message(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return null;
exception when sqlstate 'PGRST' then
  return sqlerrm::jsonb ->> 'message';
end
$$;
grant execute on all functions in schema pg_temp to authenticated;
select matches(pg_temp.message($$select public.submit_expense(10000000000, 'Palace', gen_random_uuid())$$), 'below 10000000000',
  'what is too much is called too much');
select is((public.submit_expense(9999999999.99, 'Palace', gen_random_uuid())).amount, 9999999999.99, 'the largest');
select matches(pg_temp.message($$select public.submit_expense(1.001, 'Tea', gen_random_uuid())$$), 'at most 2 decimals in EUR',
  'and says the digits');

select is((public.submit_expense(5, 'Kiritimati', gen_random_uuid(), spent_on => tests.today() + 1)).spent_on, tests.today() + 1,
  'a person east of the organization has its tomorrow');
select tests.throws_code($$select public.submit_expense(5, 'Later', gen_random_uuid(), spent_on => tests.today() + 2)$$,
  'invalid_argument', 'not more');

-- Categories
select tests.become('alice');
select tests.throws_code($$select public.update_organization('{"currency": "ZZZ"}')$$, 'invalid_argument',
  'an organization has a currency too');
select tests.throws_code($$select public.update_organization('{"expense_categories": ["a b"]}')$$, 'invalid_argument',
  'categories are codes');
select tests.throws_code($$select public.update_organization('{"expense_categories": []}')$$, 'invalid_argument',
  'there is one at least');
select is((public.update_organization('{"expense_categories": ["PARKING", "TOLL"]}')).expense_categories, '{PARKING,TOLL}',
  'the own ones');
select tests.become('bob');
select is((public.submit_expense(3, 'Parking', gen_random_uuid(), 'PARKING')).category, 'PARKING', 'are claimed');
select tests.throws_code($$select public.submit_expense(3, 'Fuel', gen_random_uuid(), 'FUEL')$$, 'invalid_argument',
  'others are not');

-- Receipts
insert into receipt select n, public.create_receipt_path('heic') ->> 'path' from unnest('{one,two}'::text[]) as n;
select tests.become_postgres();
update private.rate_buckets set tokens = 10;
select tests.become('bob');
select is(cardinality((public.submit_expense(3, 'Both', gen_random_uuid(), 'TOLL',
  receipt_paths => array(select path from receipt order by name))).receipt_paths), 2,
    'several receipts, in the format of phones');
select is(cardinality((public.submit_expense(3, 'Again', gen_random_uuid(), 'TOLL',
  receipt_path => (select path from receipt where name = 'two'))).same_receipt_as), 1, 'the same one is shown, not refused');
select tests.throws_code(format($$select public.submit_expense(3, 'Theirs', gen_random_uuid(), 'TOLL',
  receipt_paths => array[%L])$$,
  tests.acme() || '/' || tests.user_id('carol') || '/' || gen_random_uuid() || '.jpg'), 'invalid_argument', 'not a colleague''s');

-- A locked day keeps its figures, whatever the organization changes to.
select tests.become_postgres();
select tests.work_off_analytics() is not null as worked;
select tests.become_postgres();
update public.organizations set locked_until = tests.today() + 2 where id = tests.acme();
create temporary table before on commit drop as
select to_jsonb(m) - 'updated_at' - 'computed_at' as day from public.employee_daily_metrics as m
  where m.organization_id = tests.acme()
union all select to_jsonb(m) - 'updated_at' - 'computed_at' from public.org_daily_metrics as m
  where m.organization_id = tests.acme();
update public.organizations set currency = 'USD', time_zone = 'Asia/Tokyo' where id = tests.acme();
select private.request_employee_day(tests.acme(), tests.user_id('bob'), tests.today()) is not null as asked;
select tests.work_off_analytics() > 0 as worked;
select tests.become_postgres();
select set_eq($$select to_jsonb(m) - 'updated_at' - 'computed_at' from public.employee_daily_metrics as m
  where m.organization_id = tests.acme()
  union all select to_jsonb(m) - 'updated_at' - 'computed_at' from public.org_daily_metrics as m
    where m.organization_id = tests.acme()$$,
  'select day from before', 'nothing of a locked day is written anew');
select ok((select count(*) > 0 from before where day ->> 'currency' = 'EUR'), 'in the currency that it was locked in');
select * from finish();
rollback;

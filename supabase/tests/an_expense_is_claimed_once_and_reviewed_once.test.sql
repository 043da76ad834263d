-- Amounts are money, a retry is the first row, one administrator decides, and nobody decides for themselves.
begin;
select plan(34);
select tests.cast_on_stage();
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('anna'), 'anna@example.test', now());
insert into public.employees (organization_id, id, user_id, name, app_role)
values (tests.acme(), tests.user_id('anna'), tests.user_id('anna'), 'Anna', 'ADMIN');
create temporary table e (name text primary key, id uuid) on commit drop;
grant all on e to authenticated;
create function pg_temp.refuses(amount text, description text) returns text language sql as $$
  select tests.throws_code(format('select public.submit_expense(%s, %L, gen_random_uuid())', amount, description),
    'invalid_argument', amount || ' ' || left(description, 10))
$$;
grant execute on function pg_temp.refuses(text, text) to authenticated;

select tests.become('bob');
select pg_temp.refuses('0', 'Parking');
select pg_temp.refuses('-1', 'Parking');
select pg_temp.refuses('1.005', 'Parking');
select pg_temp.refuses($$'NaN'$$, 'Parking');
select pg_temp.refuses('10000000000', 'Parking');
select pg_temp.refuses('null', 'Parking');
select pg_temp.refuses('5', 'ab');
select pg_temp.refuses('5', repeat('x', 501));
select tests.throws_code($$select public.submit_expense(5, 'Parking', null)$$, 'invalid_argument', 'a request id is needed');
select tests.throws_code($$select public.submit_expense(5, 'Parking', gen_random_uuid(), 'BRIBES')$$,
  'invalid_argument', 'a category of the list');
select tests.throws_code($$select public.submit_expense(5, 'Parking', gen_random_uuid(), currency => 'eur')$$,
  'invalid_argument', 'a currency code');
select tests.throws_code($$select public.submit_expense(5, 'Parking', gen_random_uuid(), spent_on => tests.today() + 2)$$,
  'invalid_argument', 'not of tomorrow');
select tests.throws_code($$select public.submit_expense(5, 'Parking', gen_random_uuid(), spent_on => tests.today() - 367)$$,
  'invalid_argument', 'nor of more than a year ago');
select tests.throws_code(
  $$select public.submit_expense(5, 'Parking', gen_random_uuid(), spent_on => '-infinity')$$,
  'invalid_argument', 'nor of ever');
select tests.throws_code(format(
  $$select public.submit_expense(5, 'Parking', gen_random_uuid(), receipt_path => %L)$$,
  tests.acme() || '/' || tests.user_id('carol') || '/' || gen_random_uuid() || '.jpg'), 'invalid_argument',
  'not a colleague''s receipt');

insert into e select 'lunch', (public.submit_expense(12.5, 'Lunch 🍲 "Zum Löwen"', '00000000-0000-4000-8000-00000000e001',
  'MEALS')).id;
select is((public.submit_expense(12.50, 'Lunch 🍲 "Zum Löwen"', '00000000-0000-4000-8000-00000000e001', 'MEALS')).id,
  (select id from e where name = 'lunch'), 'a retry answers the first row');
select tests.throws_code($$select public.submit_expense(13, 'Lunch 🍲 "Zum Löwen"', '00000000-0000-4000-8000-00000000e001',
  'MEALS')$$,
  'idempotency_mismatch', 'with other content it is refused');
select results_eq('select amount, currency, status from public.expenses', $$values (12.50, 'EUR', 'PENDING')$$,
  'one row, pending');
insert into e select 'taxi', (public.submit_expense(40, 'Taxi', gen_random_uuid())).id;
select tests.throws_code(format('select public.review_expense(%L, ''APPROVED'')', (select id from e where name = 'lunch')),
  'admin_required', 'an employee decides nothing');

select tests.become('alice');
insert into e select 'own', (public.submit_expense(7, 'Stamps', gen_random_uuid())).id;
create function pg_temp.review(expense text, code text, arguments text, description text) returns text language sql as $$
  select tests.throws_code(format('select public.review_expense(%L, %s)', (select id from e where name = expense), arguments),
    code, description)
$$;
grant execute on function pg_temp.review(text, text, text, text) to authenticated;
select pg_temp.review('own', 'own_expense', $$'APPROVED'$$, 'nobody reviews the own expense');
select pg_temp.review('lunch', 'invalid_argument', $$'MAYBE'$$, 'approved or rejected');
select pg_temp.review('lunch', 'invalid_argument', $$'REJECTED'$$, 'a rejection needs a comment');
select pg_temp.review('lunch', 'invalid_argument', $$'APPROVED', 12.51$$, 'not more than was claimed');
select pg_temp.review('lunch', 'invalid_argument', $$'APPROVED', 'NaN'$$, 'NaN is more than was claimed');
select is((public.review_expense((select id from e where name = 'lunch'), 'APPROVED',
  10)).approved_amount, 10.00, 'a part is approved');
select is((public.review_expense((select id from e where name = 'taxi'), 'REJECTED',
  null, 'Take the bus.')).status, 'REJECTED', 'another is rejected');
select pg_temp.review('taxi', 'expense_already_reviewed', $$'APPROVED'$$, 'decided is decided');
select tests.become('anna');
select pg_temp.review('lunch', 'expense_already_reviewed', $$'REJECTED', null, 'no'$$, 'by another administrator too');
select is((public.review_expense((select id from e where name = 'own'),
  'APPROVED')).approved_amount, 7.00, 'she approves what is not hers');
select is((select count(*) from public.audit_log where action like 'expense.%'),
  3::bigint, 'three decisions are in the audit log');
select tests.become('mallory');
select pg_temp.review('lunch', 'expense_not_found', $$'APPROVED'$$, 'another organization finds nothing');
select tests.become('alice');
select tests.throws_code($$select public.update_organization('{"locked_until": "2062-11-01"}')$$, 'invalid_argument',
  'a day that is not over cannot be locked');
select tests.become_postgres();
update public.organizations set locked_until = tests.today() + 1 where id = tests.acme();
select tests.become('alice');
select tests.become('bob');
select tests.throws_code($$select public.submit_expense(5, 'Parking', gen_random_uuid())$$,
  'period_locked', 'not on a locked day');
select is((public.submit_expense(12.5, 'Lunch 🍲 "Zum Löwen"', '00000000-0000-4000-8000-00000000e001',
  'MEALS')).status, 'APPROVED',
  'a retry is answered even then');
select * from finish();
rollback;

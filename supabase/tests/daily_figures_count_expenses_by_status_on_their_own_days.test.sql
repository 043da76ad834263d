-- An expense counts on the day it was spent on, in the state it is in now; amounts of different currencies are not added.
begin;
select plan(14);
select tests.cast_on_stage();
create temporary table e (name text primary key, id uuid) on commit drop;
grant all on e to authenticated;
select tests.become('bob');
insert into e values
  ('today', (public.submit_expense(10, 'Parking', gen_random_uuid())).id),
  ('last week', (public.submit_expense(20.5, 'Hotel', gen_random_uuid(), 'LODGING', spent_on => tests.today() - 7)).id),
  ('dollars', (public.submit_expense(99, 'Visa', gen_random_uuid(), currency => 'USD', spent_on => tests.today() - 7)).id),
  ('refused', (public.submit_expense(5, 'Sweets', gen_random_uuid(), 'MEALS', spent_on => tests.today() - 7)).id);
create function pg_temp.day(at date) returns table (
  pending integer, approved integer, rejected integer, claimed numeric, approved_amount numeric, currency text)
language sql as $$
  select expenses_pending, expenses_approved, expenses_rejected, claimed_amount, approved_amount, currency
  from public.employee_daily_metrics where employee_id = tests.user_id('bob') and day = at
$$;
grant execute on function pg_temp.day(date) to public;
select tests.become_postgres();
select is((select count(*) from pgboss.job where name = 'analytics'), 2::bigint, 'three claims of one day ask for it once');
select tests.work_off_analytics();
select results_eq('select * from pg_temp.day(tests.today() - 7)', $$values (3, 0, 0, 25.50, 0.00, 'EUR')$$,
  'pending, the dollars counted but not added');

select tests.become('alice');
select public.review_expense(id, 'APPROVED', 20) is not null from e where name = 'last week';
select public.review_expense(id, 'APPROVED') is not null from e where name = 'dollars';
select public.review_expense(id, 'REJECTED', null, 'no sweets') is not null from e where name = 'refused';
select tests.work_off_analytics();
select results_eq('select * from pg_temp.day(tests.today() - 7)', $$values (0, 2, 1, 25.50, 20.00, 'EUR')$$,
  'a review counts on the day of the expense, not on its own');
select results_eq('select * from pg_temp.day(tests.today())', $$values (1, 0, 0, 10.00, 0.00, 'EUR')$$,
  'another day is left alone');
select results_eq(
  $$select currency, category, expenses_approved, expenses_rejected, approved_amount, rejected_amount
    from public.org_daily_expenses where day = tests.today() - 7 order by 1, 2$$,
  $$values ('EUR', 'LODGING', 1, 0, 20.00, 0.00), ('EUR', 'MEALS', 0, 1, 0.00, 5.00), ('USD', 'OTHER', 1, 0, 99.00, 0.00)$$,
  'the organization''s day by currency and category');
select results_eq(
  $$select expenses_pending, expenses_approved, expenses_rejected, claimed_amount, approved_amount, employees
    from public.org_daily_metrics where day = tests.today() - 7$$,
  $$values (0, 2, 1, 25.50, 20.00, 0)$$, 'and in sum; who only claimed did not work');

-- Twice is once.
select private.request_employee_day(tests.acme(), tests.user_id('bob'), tests.today() - 7);
select tests.work_off_analytics();
select results_eq('select * from pg_temp.day(tests.today() - 7)', $$values (0, 2, 1, 25.50, 20.00, 'EUR')$$,
  'computed again, nothing is doubled');

-- Erasure and corrections by operators.
update public.expenses set spent_on = tests.today() - 8 where id = (select id from e where name = 'last week');
delete from public.expenses where id = (select id from e where name = 'refused');
select tests.work_off_analytics();
select results_eq('select * from pg_temp.day(tests.today() - 7)', $$values (0, 1, 0, 0.00, 0.00, 'EUR')$$,
  'what moved or went is gone from the day');
select results_eq('select * from pg_temp.day(tests.today() - 8)', $$values (0, 1, 0, 20.50, 20.00, 'EUR')$$,
  'and counts where it is');

-- Another currency: what was claimed in it counts, whenever that was.
select tests.become('carol');
select (public.submit_expense(7, 'Taxi', gen_random_uuid(), currency => 'USD', spent_on => tests.today() - 7)).status;
select tests.work_off_analytics();
select tests.become('alice');
select (public.update_organization('{"currency": "USD"}')).currency;
select tests.work_off_analytics();
select results_eq('select * from pg_temp.day(tests.today() - 7)', $$values (0, 1, 0, 99.00, 99.00, 'USD')$$,
  'after a change of the currency a person''s days are in the new one');
select results_eq(
  $$select claimed_amount, approved_amount, currency from public.org_daily_metrics where day = tests.today() - 7$$,
  $$values (106.00, 99.00, 'USD')$$, 'and the organization''s, of all its people');
select results_eq(
  $$select claimed_amount, approved_amount, currency from public.org_daily_metrics where day = tests.today() - 8$$,
  $$values (0.00, 0.00, 'USD')$$, 'what was claimed in the old one is not added');
select tests.become('alice');
select is((public.get_org_summary() ->> 'claimed_amount')::numeric, (
  select sum((c ->> 'pending_amount')::numeric + (c ->> 'approved_amount')::numeric)
  from jsonb_array_elements(public.get_expense_summary() -> 'currencies') as c where c ->> 'currency' = 'USD'
), 'the summary and that of the expenses tell the same');
select tests.become_postgres();

-- Ten thousand claims of all that one may claim, on one day.
alter table public.expenses disable trigger user;
insert into public.expenses (organization_id, employee_id, amount, currency, description, spent_on, client_request_id)
select tests.acme(), tests.user_id('bob'), 9999999999.99, 'USD', 'A yacht', tests.today() - 9, gen_random_uuid()
from generate_series(1, 10001);
alter table public.expenses enable trigger user;
select private.request_employee_day(tests.acme(), tests.user_id('bob'), tests.today() - 9);
select tests.work_off_analytics();
select is((select claimed_amount from public.org_daily_metrics where day = tests.today() - 9), 10001 * 9999999999.99,
  'the largest amounts are added up too');
select * from finish();
rollback;

-- Changed or withdrawn while it waits, reopened with a reason, paid in a batch, taken back: each state leads where the table
-- says, and
-- nowhere else. Each step is audited and an event.
begin;
select plan(41);
select tests.cast_on_stage();
create temporary table e (name text primary key, id uuid) on commit drop;
grant all on e to authenticated;
create function pg_temp.id(name text) returns uuid language sql as $$ select e.id from e where e.name = id.name $$;
create function pg_temp.refused(statement text, code text, description text) returns text language sql as $$
  select tests.throws_code(statement, code, description)
$$;
grant execute on all functions in schema pg_temp to authenticated;

select tests.become('bob');
insert into e select n, (public.submit_expense(10, 'Claim ' || n, gen_random_uuid(), currency => 'KWD')).id
from unnest('{a,b,c,d}'::text[]) as n;
select is((public.update_expense(pg_temp.id('a'), '{"amount": 1.255, "description": "Parking"}')).amount, 1.255,
  'a waiting claim is changed, in the digits of its currency');
select results_eq(format('select amount, category from public.pending_expenses where expense_id = %L', pg_temp.id('a')),
  $$values (1.255, 'OTHER')$$, 'the queue follows');
select pg_temp.refused(format($$select public.update_expense(%L, '{"status": "APPROVED"}')$$, pg_temp.id('a')),
  'invalid_argument',
  'nobody approves that way');
select pg_temp.refused(format($$select public.update_expense(%L, '{"currency": "JPY"}')$$, pg_temp.id('a')), 'invalid_argument',
  'the amount must fit the currency');
select pg_temp.refused(format($$select public.update_expense(%L, '{"spent_on": "05/11/2026"}')$$, pg_temp.id('a')),
  'invalid_argument',
  'a day is written as one');
select pg_temp.refused(format($$select public.update_expense(%L, '{"amount": "many"}')$$, pg_temp.id('a')), 'invalid_argument',
  'and an amount as one');
select is((public.withdraw_expense(pg_temp.id('b'))).status, 'WITHDRAWN', 'another is withdrawn');
select is((public.withdraw_expense(pg_temp.id('b'))).status, 'WITHDRAWN', 'twice is safe');
select is_empty(format('select 1 from public.pending_expenses where expense_id = %L', pg_temp.id('b')), 'it waits no more');
select pg_temp.refused(format($$select public.update_expense(%L, '{"amount": 2}')$$, pg_temp.id('b')), 'expense_state',
  'what is withdrawn stays');
select tests.become('carol');
select pg_temp.refused(format($$select public.update_expense(%L, '{"amount": 2}')$$, pg_temp.id('a')), 'expense_not_found',
  'not a colleague''s');
select pg_temp.refused(format($$select public.withdraw_expense(%L)$$, pg_temp.id('a')), 'expense_not_found',
  'nor is it withdrawn');

select tests.become('alice');
select pg_temp.refused(format($$select public.review_expense(%L, 'APPROVED')$$, pg_temp.id('b')), 'expense_already_reviewed',
  'what is withdrawn is not approved');
select pg_temp.refused(format($$select public.review_expense(%L, 'APPROVED', 1.2555)$$, pg_temp.id('a')), 'invalid_argument',
  'approved in the currency''s digits');
select pg_temp.refused(format($$select public.mark_expenses_paid(array[%L]::uuid[])$$, pg_temp.id('a')), 'expense_state',
  'what is not approved is not paid');
select is((public.review_expense(pg_temp.id('a'), 'APPROVED')).approved_amount, 1.255, 'approved');
select is((public.review_expense(pg_temp.id('c'), 'REJECTED', null, 'No.')).status, 'REJECTED', 'rejected');
select is((public.review_expense(pg_temp.id('d'), 'APPROVED', 7)).approved_amount, 7.000, 'a part');
select is((select approved_amounts -> 'KWD' from public.employee_metrics_snapshot where employee_id = tests.user_id('bob')),
  '8.255',
  'totals follow');
select pg_temp.refused(format($$select public.reopen_expense(%L, ' ')$$, pg_temp.id('c')), 'invalid_argument',
  'a reason is needed');
select is((public.reopen_expense(pg_temp.id('c'), 'By mistake.')).status, 'PENDING', 'a rejection is taken back');
select is((public.reopen_expense(pg_temp.id('d'), 'Too much.')).approved_amount, null::numeric, 'an approval too');
select is((select approved_amounts -> 'KWD' from public.employee_metrics_snapshot where employee_id = tests.user_id('bob')),
  '1.255',
  'totals follow back');
select pg_temp.refused(format($$select public.reopen_expense(%L, 'Once more.')$$, pg_temp.id('d')), 'expense_state', 'once');
select is((public.review_expense(pg_temp.id('d'), 'APPROVED')).status, 'APPROVED', 'decided anew');
select pg_temp.refused(format($$select public.mark_expenses_paid(array[%L, %L]::uuid[])$$, pg_temp.id('a'), pg_temp.id('c')),
  'expense_state', 'a batch is paid as a whole');
select is_empty($$select 1 from public.expenses where paid_at is not null$$, 'or not at all');
select is((select count(*) from public.mark_expenses_paid(array[pg_temp.id('a'), pg_temp.id('d')], 'SEPA 11')), 2::bigint,
  'two are paid');
select is((select count(*) from public.mark_expenses_paid(array[pg_temp.id('a'), pg_temp.id('d')], 'SEPA 11')), 2::bigint,
  'the same batch again is answered');
select pg_temp.refused(format($$select public.mark_expenses_paid(array[%L]::uuid[], 'SEPA 12')$$, pg_temp.id('a')),
  'expense_state',
  'nothing is paid twice');
select pg_temp.refused(format($$select public.reopen_expense(%L, 'Too late.')$$, pg_temp.id('a')), 'expense_state',
  'what is paid is not reopened');
select is((select count(*) from public.undo_expense_payment(array[pg_temp.id('a')], 'Wrong account.')), 1::bigint,
  'a payment is taken back');
select results_eq(format('select status, payment_reference, payer_id from public.expenses where id = %L', pg_temp.id('a')),
  $$values ('APPROVED', null::text, null::uuid)$$, 'it is approved as before');
select results_eq($$select action from public.audit_log where subject_type = 'expense' order by id$$,
  $$values ('expense.updated'), ('expense.withdrawn'), ('expense.approved'), ('expense.rejected'), ('expense.approved'),
    ('expense.reopened'), ('expense.reopened'), ('expense.approved'), ('expense.paid'), ('expense.paid'),
    ('expense.payment_undone')$$, 'every step is audited');
select results_eq($$select type from public.events where subject_type = 'expense' and type <> 'expense.submitted' order by id$$,
  $$values ('expense.updated'), ('expense.withdrawn'), ('expense.approved'), ('expense.rejected'), ('expense.approved'),
    ('expense.reopened'), ('expense.reopened'), ('expense.approved'), ('expense.paid'), ('expense.paid'),
    ('expense.payment_undone')$$, 'and an event');

-- Locked days.
select tests.become_postgres();
update public.organizations set locked_until = tests.today() + 2 where id = tests.acme();
select tests.become('alice');
select pg_temp.refused(format($$select public.reopen_expense(%L, 'Too late.')$$, pg_temp.id('a')), 'period_locked',
  'locked stays');
select is((select count(*) from public.mark_expenses_paid(array[pg_temp.id('a')])), 1::bigint, 'a locked month is paid');
select pg_temp.refused(format($$select public.undo_expense_payment(array[%L]::uuid[], 'No.')$$, pg_temp.id('a')), 'period_locked',
  'which stays');
select tests.become('bob');
select pg_temp.refused(format($$select public.withdraw_expense(%L)$$, pg_temp.id('c')), 'period_locked',
  'nor is a claim withdrawn');
select pg_temp.refused(format($$select public.update_expense(%L, '{"amount": 2}')$$, pg_temp.id('c')), 'period_locked',
  'or changed');

select tests.become('mallory');
select pg_temp.refused(format($$select public.mark_expenses_paid(array[%L]::uuid[])$$, pg_temp.id('a')), 'expense_not_found',
  'another organization finds nothing');
select * from finish();
rollback;

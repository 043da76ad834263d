-- The claimant decides over the own claim neither as a person, nor by a key that the person made or gave its scopes, nor as a
-- later employment of the same account; the only administrator may where the organization says so, and the claim is marked.
begin;
select plan(13);
select tests.cast_on_stage();
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('anna'), 'anna@example.test', now());
insert into public.employees (organization_id, id, user_id, name, app_role)
values (tests.acme(), tests.user_id('anna'), tests.user_id('anna'), 'Anna', 'ADMIN');
create temporary table e (name text primary key, id uuid) on commit drop;
grant all on e to authenticated, api_key;

select tests.become('alice');
insert into e select 'own', (public.submit_expense(7, 'Stamps', gen_random_uuid())).id;
insert into e select 'own key', (public.create_api_key('Mine', '{expenses:review}') ->> 'id')::uuid;
select tests.become('anna');
insert into e select 'other key', (public.create_api_key('Payroll', '{expenses:review}') ->> 'id')::uuid;

create function pg_temp.key(name text) returns setof text language sql as $$
  select tests.become_role('api_key', jsonb_build_object('role', 'api_key', 'organization_id', tests.acme(),
    'api_key_id', (select e.id from e where e.name = key.name)))
$$;
create function pg_temp.refused(description text) returns text language sql as $$
  select tests.throws_code(format('select public.review_expense(%L, ''APPROVED'')', (select id from e where name = 'own')),
    'own_expense', description)
$$;
grant execute on function pg_temp.key(text), pg_temp.refused(text) to authenticated, api_key;

select tests.become('alice');
select pg_temp.refused('not as the person');
select pg_temp.key('own key');
select pg_temp.refused('not by a key that the person made');
select tests.become_postgres();
update public.api_keys set scopes_set_by = tests.user_id('alice') where id = (select id from e where name = 'other key');
select pg_temp.key('other key');
select pg_temp.refused('nor by one that the person gave its scopes');
select tests.become_postgres();
update public.api_keys set scopes_set_by = null where id = (select id from e where name = 'other key');

-- Alice left and came back: the claim is of the earlier employment, the decision would be of the later one.
update public.employees set is_active = false where id = tests.user_id('alice');
insert into public.employees (organization_id, id, user_id, name, app_role)
values (tests.acme(), gen_random_uuid(), tests.user_id('alice'), 'Alice again', 'ADMIN');
select tests.become('alice');
select pg_temp.refused('not as a later employment of the same account');
select pg_temp.key('own key');
select pg_temp.refused('nor by the key of the earlier one');

select tests.become('alice');
select is((public.update_organization('{"allows_self_review": true}')).allows_self_review, true, 'the organization may allow it');
select pg_temp.refused('but not while there is another administrator');
select tests.become_postgres();
update public.employees set app_role = 'EMPLOYEE' where id = tests.user_id('anna');
select pg_temp.key('own key');
select pg_temp.refused('nor by a key, ever');
select tests.become('alice');
select results_eq(
  format('select (r).status, (r).is_self_reviewed from public.review_expense(%L, ''APPROVED'') as r',
    (select id from e where name = 'own')), $$values ('APPROVED', true)$$, 'the only one may, and the claim says so');
select is((select after ->> 'is_self_reviewed' from public.audit_log where action = 'expense.approved'), 'true',
  'so does the audit log');

select tests.become('bob');
insert into e select 'bob', (public.submit_expense(9, 'Ink', gen_random_uuid())).id;
select pg_temp.key('other key');
select is((public.review_expense((select id from e where name = 'bob'), 'APPROVED')).is_self_reviewed, false,
  'a key decides over what is not its maker''s');
select tests.become('bob');
select (public.submit_expense(4, 'Paper', gen_random_uuid())).id is not null as waits;
select tests.become_postgres();
update public.employees set app_role = 'ADMIN' where id = tests.user_id('anna');
select tests.become('anna');
select (public.submit_expense(5, 'Mine', gen_random_uuid())).id is not null as waits;
select results_eq($$select p.amount, public.may_review(p) from public.pending_expenses as p order by p.amount$$,
  $$values (4.00, true), (5.00, false)$$, 'the queue says which of them the caller may decide over');
select results_eq($$select w ->> 'name', w ->> 'pending_amount'
  from jsonb_array_elements(public.get_expense_summary() -> 'waiting') as w order by 1$$,
  $$values ('Anna', '5.00'), ('Bob', '4.00')$$, 'the summary says who waits for how much');
select * from finish();
rollback;

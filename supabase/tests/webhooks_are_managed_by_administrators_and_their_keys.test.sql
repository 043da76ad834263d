-- Who may make, change, test and delete webhooks; what is shown of secrets; what the audit log says.
begin;
select plan(32);
select tests.cast_on_stage();
create temporary table hook (id uuid, secret text) on commit drop;
grant all on hook to public;
with made as (
  insert into public.api_keys (organization_id, name, key_id, last_four, scopes) values
    (tests.acme(), 'hooks', 'abcdefghijk1', 'aaaa', '{webhooks:manage}'),
    (tests.acme(), 'both', 'abcdefghijk3', 'cccc', '{webhooks:manage,events:read}'),
    (tests.acme(), 'other', 'abcdefghijk2', 'bbbb', '{events:read}')
  returning id, name
)
select set_config('tests.key_' || name, id::text, true) from made;
create function pg_temp.become_key(name text) returns setof text language sql as $$
  select tests.become_role('api_key', jsonb_build_object('role', 'api_key', 'organization_id', tests.acme(),
    'api_key_id', current_setting('tests.key_' || name)))
$$;
grant execute on function pg_temp.become_key to public;

select tests.become('bob');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{*}')$$, 'admin_required',
  'not an employee');
select tests.become('alice');
select tests.throws_code($$select public.create_webhook('https://localhost/', '{*}')$$, 'invalid_argument', 'no bad URL');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{}')$$, 'invalid_argument', 'some events');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', null)$$, 'invalid_argument', 'not null');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{expense.eaten}')$$, 'invalid_argument',
  'events that exist');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{*}', repeat('x', 501))$$,
  'invalid_argument', 'a short description');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{*}', null, 100000)$$, 'invalid_argument',
  'a limit within bounds');

insert into hook select (w ->> 'id')::uuid, w ->> 'secret'
from public.create_webhook('https://hooks.example.com/', '{expense.approved}', ' Payroll ') as w;
select matches((select secret from hook), '^whsec_[A-Za-z0-9+/]{43}=$', 'the secret is answered');
select results_eq('select url, events, description, is_active from public.webhooks',
  $$values ('https://hooks.example.com/', '{expense.approved}'::text[], 'Payroll', true)$$, 'the row is readable');
select is_empty(
  $$
    select c.table_schema, c.table_name, c.column_name from information_schema.columns as c
    where c.table_name ~ 'webhook' and c.column_name ~ 'secret' and c.table_schema <> 'private'
  $$,
  'no readable table has a column of secrets'
);
select throws_ok('select * from private.webhook_secrets', '42501', null, 'and secrets are granted to nobody');
select throws_ok($$update public.webhooks set url = 'https://x.example.com/' where true$$, '42501', null, 'no direct update');
select throws_ok(
  $$insert into public.webhooks (organization_id, url, events) values (tests.acme(), 'https://x.example.com/', '{*}')$$,
  '42501', null, 'no direct insert');

select tests.throws_code(format($$select public.update_webhook(%L, '{"disabled_at": null}')$$, (select id from hook)),
  'invalid_argument', 'only what is changeable');
select tests.throws_code(format($$select public.update_webhook(%L, '{"url": "http://x.example.com/"}')$$, (select id from hook)),
  'invalid_argument', 'a new URL is judged too');
select tests.throws_code(format($$select public.update_webhook(%L, '{"is_active": null}')$$, (select id from hook)),
  'invalid_argument', 'on or off');
select is((public.update_webhook((select id from hook), '{"is_active": false}')).is_active, false, 'switched off');
select tests.throws_code(format('select public.test_webhook(%L)', (select id from hook)), 'webhook_inactive',
  'a test of what is off would wait');
select is((public.update_webhook((select id from hook), '{"is_active": true}')).is_active, true, 'switched on');

select tests.become('mallory');
select is_empty(
  format($$
    select 1 from public.webhooks union all select 1 from public.webhook_circuits
  $$),
  'another organization sees nothing'
);
select tests.throws_code(format($$select public.update_webhook(%L, '{}')$$, (select id from hook)), 'webhook_not_found',
  'nor changes it');
select tests.throws_code(format('select public.rotate_webhook_secret(%L)', (select id from hook)), 'webhook_not_found',
  'nor gets its secret');
with gone as (delete from public.webhooks where id = (select id from hook) returning 1)
select is((select count(*) from gone), 0::bigint, 'nor deletes it');

select pg_temp.become_key('other');
select tests.throws_code('select * from public.webhooks', 'scope_missing', 'a key without the scope reads nothing');
select pg_temp.become_key('hooks');
select is((public.test_webhook((select id from hook))).event_type, 'webhook.test', 'a key with it manages');
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/2', '{*}')$$, 'scope_missing',
  'but does not send itself what it may not read');
select tests.throws_code(format($$select public.update_webhook(%L, '{"url": "https://x.example.com/"}')$$, (select id from hook)),
  'scope_missing', 'nor what others are sent');
select pg_temp.become_key('both');
select isnt(public.create_webhook('https://hooks.example.com/2', '{*}') ->> 'secret', null, 'one that reads events makes');

select tests.become('alice');
select count(public.create_webhook('https://hooks.example.com/', '{*}')) from generate_series(3, 20);
select tests.throws_code($$select public.create_webhook('https://hooks.example.com/', '{*}')$$, 'too_many_webhooks', 'twenty');
with gone as (delete from public.webhooks where id = (select id from hook) returning 1)
select is((select count(*) from gone), 1::bigint, 'deleted through the table');
select is_empty(format('select 1 from public.webhook_deliveries where webhook_id = %L', (select id from hook)),
  'with its deliveries');
select results_eq(
  format($$
    select action, actor_type::text, before ->> 'is_active', after ->> 'is_active'
    from public.audit_log where subject_id = %L order by id
  $$, (select id from hook)),
  $$
    values ('webhook.created', 'employee', null, 'true'), ('webhook.updated', 'employee', 'true', 'false'),
      ('webhook.updated', 'employee', 'false', 'true'), ('webhook.deleted', 'employee', 'true', null)
  $$,
  'audited'
);
select * from finish();
rollback;

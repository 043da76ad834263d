-- Keys are changed, read themselves, expire by default, and end after a notice when who made them goes; an account that Auth
-- deletes
-- leaves nobody at work; what is unlocked needs a reason; names can be read.
begin;
select plan(36);
select tests.cast_on_stage();
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('anna'), 'anna@example.test', now());
insert into public.employees (organization_id, id, user_id, name, app_role)
values (tests.acme(), tests.user_id('anna'), tests.user_id('anna'), 'Anna', 'ADMIN');
create temporary table k (name text primary key, id uuid) on commit drop;
grant all on k to authenticated, api_key;

select tests.become('anna');
insert into k select n, (public.create_api_key(n, '{employees:read}') ->> 'id')::uuid from unnest('{a,b,c}'::text[]) as n;
insert into k select 'never', (public.create_api_key('never', '{employees:read}', null) ->> 'id')::uuid;
select results_eq($$select name, expires_at - now() from public.api_keys where name in ('a', 'never') order by name$$,
  $$values ('a', (now() + interval '1 year') - now()), ('never', null)$$, 'a year unless it is said otherwise');
create function pg_temp.key(name text) returns setof text language sql as $$
  select tests.become_role('api_key', jsonb_build_object('role', 'api_key', 'organization_id', tests.acme(),
    'api_key_id', (select k.id from k where k.name = key.name)))
$$;
grant execute on function pg_temp.key(text) to authenticated, api_key;
select pg_temp.key('a');
select is(public.get_my_api_key() ->> 'name', 'a', 'a key reads itself');
select tests.throws_code(format($$select public.update_api_key(%L, '{"scopes": ["expenses:review"]}')$$, (select id from k
  where name = 'a')),
  'admin_required', 'and changes nothing') from (select 1) as x where has_function_privilege('api_key',
    'public.update_api_key(uuid, jsonb)', 'execute')
union all select pass('it may not even call it') where not has_function_privilege('api_key',
  'public.update_api_key(uuid, jsonb)', 'execute');
select tests.become('alice');
select results_eq(format($$select (r).scopes, (r).scopes_set_by from public.update_api_key(%L,
  '{"name": "b2", "scopes": ["events:read", "employees:read"]}') as r$$,
  (select id from k where name = 'b')), format($$values ('{employees:read,events:read}'::text[], %L::uuid)$$,
    tests.user_id('alice')),
  'one scope more is no new secret');
select is((public.update_api_key((select id from k where name = 'c'), '{"is_active": false}')).is_active, false, 'off');
select pg_temp.key('c');
select tests.throws_code('select public.get_my_api_key()', 'api_key_invalid', 'is refused');
select tests.become('alice');
select is((public.update_api_key((select id from k where name = 'c'), '{"is_active": true}')).is_active, true, 'on again');
select tests.throws_code(format($$select public.update_api_key(%L, '{"scopes": []}')$$, (select id from k where name = 'a')),
  'invalid_argument', 'a scope at least');
select tests.throws_code(format($$select public.update_api_key(%L, '{"scopes": null}')$$, (select id from k where name = 'a')),
  'invalid_argument', 'and no null');
select tests.throws_code(format($$select public.update_api_key(%L, '{"created_by": null}')$$, (select id from k
  where name = 'a')),
  'invalid_argument', 'nothing else');
select tests.become('mallory');
select tests.throws_code(format($$select public.update_api_key(%L, '{"name": "x"}')$$, (select id from k where name = 'a')),
  'api_key_not_found', 'another organization finds nothing');

select tests.become('alice');
select is((public.update_organization('{"key_notice_hours": 24}')).key_notice_hours, 24, 'a day''s notice');
select is((public.update_employee(tests.user_id('anna'), '{"app_role": "EMPLOYEE"}')).app_role, 'EMPLOYEE', 'Anna is demoted');
select is_empty($$select name from public.api_keys where expires_at is distinct from now() + interval '24 hours'$$,
  'her keys have a day');
select is((select count(*) from public.events where type = 'api_key.expiring'), 4::bigint, 'the others are told');
select is((select count(*) from public.audit_log where action = 'api_key.expiring'), 4::bigint, 'and the audit log has it');
select public.erase_employee(tests.user_id('anna'), 'Asked for by letter.') is not null as erased;
select pg_temp.key('a');
select tests.throws_code('select public.get_my_api_key()', 'api_key_invalid', 'an erased person''s end at once');

-- Nobody keeps an administrator from rotating a key.
select tests.become('bob');
select is((select count(public.my_device_token(n::text)) from generate_series(1, 10) as n), 10::bigint, 'ten phones an hour');
select tests.throws_code('select public.my_device_token()', 'rate_limited', 'not eleven');
select tests.become('alice');
select is((select count(public.create_api_key(n::text, '{events:read}')) from generate_series(1, 50) as n), 50::bigint,
  'which takes nothing of the administrators'' limit');

-- Auth deletes Bob while he is at work.
select tests.become('bob');
select (public.check_in(now() - interval '1 hour', gen_random_uuid())).status;
select tests.become_postgres();
delete from auth.users where id = tests.user_id('bob');
select results_eq(format('select is_active, user_id from public.employees where id = %L', tests.user_id('bob')),
  $$values (false, null::uuid)$$, 'nobody is employed');
select results_eq(format('select status, closed_by from public.attendance_sessions where employee_id = %L', tests.user_id('bob')),
  $$values ('CLOSED', 'AUTO')$$, 'nobody is at work');
select is((select count(*) from public.events where type = 'employee.deactivated' and employee_id = tests.user_id('bob')),
  1::bigint, 'it is told');
-- The last administrator too: an operator names another.
delete from auth.users where id = tests.user_id('alice');
select is_empty(format($$select 1 from public.employees where organization_id = %L and app_role = 'ADMIN' and is_active$$,
  tests.acme()),
  'nobody is administrator');
select tests.become_role('service_role', '{"role": "service_role"}');
select is((public.appoint_administrator(tests.user_id('carol'), 'Asked for by the owner.')).app_role, 'ADMIN', 'Carol is');
select tests.throws_code(format('select public.appoint_administrator(%L, ''Asked for.'')', tests.user_id('bob')),
  'employee_not_found',
  'not who has no account');

-- Unlocking
select tests.become('carol');
select (public.update_organization('{"locked_until": "2020-05-01"}')).locked_until is not null as locked;
select tests.throws_code($$select public.update_organization('{"locked_until": null}')$$, 'invalid_argument',
  'unlocking needs a reason');
select is((public.update_organization('{"locked_until": "2020-04-01"}', 'Late invoice.')).locked_until, '2020-04-01', 'with one');
select is((select reason from public.audit_log where action = 'organization.updated' order by id desc limit 1),
  'Late invoice.', 'which is kept');
select is((select payload ->> 'previous' from public.events where type = 'organization.unlocked'), '2020-05-01',
  'and it is told');

-- Names
create function pg_temp.named(name text) returns text language sql as $$
  select tests.throws_code(format('select public.create_employee(%L)', name), 'invalid_argument', 'no name: '
    || encode(convert_to(name, 'UTF8'), 'hex'))
$$;
grant execute on function pg_temp.named(text) to authenticated;
select pg_temp.named(E'Eva\u202Etxt.exe');
select pg_temp.named(E'Eva\nAdmin');
select pg_temp.named(E'\u200B\u200B');
select pg_temp.named(E'\u00A0');
select is((public.create_employee(E'Zo\u00eb \U0001F468\u200D\U0001F469\u200D\U0001F467')).name,
  E'Zo\u00eb \U0001F468\u200D\U0001F469\u200D\U0001F467', 'a family emoji is one');
select is(private.csv_text('x; =1+1'), 'x; ''=1+1', 'a blank hides no formula');
select * from finish();
rollback;

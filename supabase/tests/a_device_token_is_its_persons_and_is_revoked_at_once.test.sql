-- Who makes, sees and revokes the tokens of phones, and that only their hash is kept.
begin;
select plan(14);
select tests.cast_on_stage();
create temporary table made (name text, answer jsonb) on commit drop;
grant all on made to authenticated, fieldtrack_edge;

select tests.become('alice');
insert into made select 'bob', public.create_device_token(tests.user_id('bob'), ' Van ');
select matches((select answer ->> 'token' from made), '^ft_device_[0-9A-Za-z]{43}$', 'the form');
select is((select answer ->> 'name' from made), 'Van', 'the name is trimmed');
select tests.throws_code(
  format('select public.create_device_token(%L)', tests.user_id('dave')), 'employee_not_found', 'none for the deactivated');
select tests.throws_code(
  format('select public.create_device_token(%L)', tests.user_id('mallory')), 'employee_not_found', 'none for strangers');

select tests.become('bob');
insert into made select 'own', public.my_device_token();
select is((select count(*) from public.device_tokens), 2::bigint, 'bob sees his two');
select tests.throws_code(
  format('select public.create_device_token(%L)', tests.user_id('carol')), 'admin_required', 'an employee makes none for others');
select tests.become('carol');
select is_empty('select * from public.device_tokens', 'carol sees none');
select tests.throws_code(
  format('select public.revoke_device_token(%L)', (select answer ->> 'id' from made where name = 'own')),
  'device_token_not_found', 'nor revokes his');
select tests.become('mallory');
select tests.throws_code(
  format('select public.revoke_device_token(%L)', (select answer ->> 'id' from made where name = 'own')),
  'device_token_not_found', 'nor does an administrator of another organization');

select tests.become('alice');
select isnt(
  (public.revoke_device_token((select (answer ->> 'id')::uuid from made where name = 'own'))).revoked_at, null, 'alice does');
select is(
  (select count(*) from public.audit_log where action like 'device_token.%' and coalesce(after::text, '') !~ 'ft_device_'),
  3::bigint, 'made, made and revoked are in the audit log, without the token');

select tests.become_role('fieldtrack_edge');
select tests.throws_code(
  format($$select private.ingest_locations(sha256(%L), '[]', '{"protocol": "osmand"}', null)$$,
    (select convert_to(answer ->> 'token', 'UTF8') from made where name = 'own')),
  'device_token_invalid', 'a revoked token sends nothing');
select is(
  (select private.ingest_locations(sha256(convert_to(answer ->> 'token', 'UTF8')), '[]',
      '{"protocol": "osmand", "unreadable": {"point_time_invalid": 2}}', null) - 'device_id'
    from made where name = 'bob'),
  '{"stored": 0, "duplicates": 0, "refused": 2, "without_session": 0}', 'the other one does; what was unreadable counts');

select tests.become('alice');
select public.set_employee_active(tests.user_id('bob'), false) is not null as away;
create temporary table back on commit drop as
select public.invite_employee('bob@example.test', employee_id => tests.user_id('bob')) ->> 'token' as token;
grant select on back to authenticated;
select tests.become('bob');
select public.accept_invitation((select token from back)) is not null as back;
select tests.become_role('fieldtrack_edge');
select tests.throws_code(
  format($$select private.ingest_locations(sha256(%L), '[]', '{"protocol": "osmand"}', null)$$,
    (select convert_to(answer ->> 'token', 'UTF8') from made where name = 'bob')),
  'device_token_invalid', 'a deactivation ends it for good');

select * from finish();
rollback;

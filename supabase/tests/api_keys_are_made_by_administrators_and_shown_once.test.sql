-- A key comes into being whole, is stored as a hash, and no key can make another.
begin;
select plan(19);
select tests.cast_on_stage();
create temporary table made (answer jsonb) on commit drop;
grant all on made to authenticated;

select is(private.crc32_base62('123456789'), '3jZRME', 'the checksum is CRC-32 (check value cbf43926)');
select is(private.crc32_base62(''), '000000', 'of nothing too');

select tests.become('bob');
select tests.throws_code($$select public.create_api_key('x', '{sessions:read}')$$, 'admin_required', 'an employee makes none');
select tests.become('alice');
insert into made
select public.create_api_key(' Payroll ', '{sessions:read,sessions:read,employees:write}', now() + interval '1 day');
select matches((select answer ->> 'key' from made), '^ft_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$', 'the form');
select is((select answer ->> 'name' from made), 'Payroll', 'the name is trimmed');
select is((select answer -> 'scopes' from made), '["employees:write", "sessions:read"]', 'a scope counts once');
select tests.throws_code($$select public.create_api_key('x', '{sessions:delete}')$$, 'invalid_argument', 'no such scope');
select tests.throws_code($$select public.create_api_key('x', '{}')$$, 'invalid_argument', 'no scope at all');
select tests.throws_code(
  $$select public.create_api_key('x', '{sessions:read}', now() - interval '1 s')$$, 'invalid_argument', 'expired');
select is(
  (select count(*) from public.audit_log where action = 'api_key.created' and after::text not like '%ft_live%'), 1::bigint,
  'the audit log names the act and not the key'
);

select tests.become_postgres();
select is(
  (select s.secret_hash from private.api_key_secrets as s),
  (select sha256(convert_to(split_part(answer ->> 'key', '_', 4), 'UTF8')) from made),
  'what is stored is the hash'
);
select is_empty(
  $$select 1 from public.api_keys as k, made
    where position(split_part(answer ->> 'key', '_', 4) in to_jsonb(k)::text) > 0$$,
  'no column of the key shows the secret'
);

-- An administrator whose invitation still waits: a key must not get a new token for it.
select tests.become('alice');
select public.invite_employee('eve@example.test', 'Eve', 'ADMIN') is not null as invited;
select tests.become_postgres();

-- The key itself, with every scope there is, at the RPCs of keys.
update public.api_keys set scopes = '{sessions:read,locations:read,locations:write,expenses:read,expenses:review,
  employees:read,employees:write,analytics:read,webhooks:manage,events:read}';
select tests.become_role('api_key', jsonb_build_object(
  'role', 'api_key', 'organization_id', tests.acme(), 'api_key_id', (select answer ->> 'id' from made)));
select throws_ok($$select public.create_api_key('x', '{sessions:read}')$$, '42501', null, 'a key makes no key');
select throws_ok($$select public.rotate_api_key(gen_random_uuid())$$, '42501', null, 'nor rotates one');
select tests.throws_code(
  format('select public.update_employee(%L, ''{"app_role": "ADMIN"}'')', tests.user_id('bob')), 'admin_required',
  'nor makes an administrator, who could');
select tests.throws_code(
  $$select public.invite_employee('x@example.test', 'X', 'ADMIN')$$, 'admin_required', 'nor invites one');
select tests.throws_code(
  $$select public.invite_employee('eve@example.test', 'Eve')$$, 'admin_required', 'nor renews the invitation of one');
select tests.throws_code(
  format('select public.set_employee_active(%L, false)', tests.user_id('alice')), 'admin_required', 'nor deactivates one');
select lives_ok(
  format('select public.set_employee_active(%L, false)', tests.user_id('bob')), 'but an employee it does');

select * from finish();
rollback;

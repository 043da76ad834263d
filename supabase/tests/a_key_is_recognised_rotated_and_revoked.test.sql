-- private.verify_api_key: by hash, within its time, within its limit.
begin;
select plan(16);
select tests.cast_on_stage();
create temporary table made (name text, answer jsonb, key_id text, hash bytea) on commit drop;
grant all on made to authenticated, fieldtrack_edge;
create function pg_temp.keep(name text, answer jsonb) returns void language sql as $$
  insert into made select name, answer, split_part(answer ->> 'key', '_', 3),
    sha256(convert_to(split_part(answer ->> 'key', '_', 4), 'UTF8'))
$$;
create function pg_temp.verify(name text, calls integer default 1) returns jsonb language sql as $$
  select to_jsonb(v) from made, private.verify_api_key(key_id, hash, calls) as v where made.name = verify.name
$$;

grant execute on all functions in schema pg_temp to public;

select tests.become('alice');
select pg_temp.keep('old', public.create_api_key('k', '{sessions:read}', null, 60));
select pg_temp.keep('short', public.create_api_key('k', '{sessions:read}', now() + interval '1 s'));

select tests.become_role('fieldtrack_edge');
select is(pg_temp.verify('old') ->> 'organization_id', tests.acme()::text, 'it names its organization');
select is(pg_temp.verify('old') -> 'granted', '1', 'and grants a call');
select is(
  (select (private.verify_api_key(key_id, hash || '\x00', 1)).refusal from made where name = 'old'), 'unknown', 'a longer hash');
select is(
  (select (private.verify_api_key(key_id, set_bit(hash, 0, 1 - get_bit(hash, 0)), 1)).refusal from made where name = 'old'),
  'unknown', 'one bit off');
select is((private.verify_api_key('000000000000', '\x', 1)).refusal, 'unknown', 'no such key');
select is((select (private.verify_api_key(key_id, null, 1)).refusal from made where name = 'old'), 'unknown', 'no hash');
select is(pg_temp.verify('old', 100) -> 'granted', '58', 'of 60 a minute two were used');
select is(pg_temp.verify('old') -> 'granted', '0', 'then it has to wait');
select throws_ok($$select * from private.api_key_secrets$$, '42501', null, 'the edge role reads no hash');

select tests.become_postgres();
select isnt(
  (select last_used_at from public.api_keys where key_id = (select key_id from made where name = 'old')), null, 'last use');
update public.api_keys set expires_at = now() - interval '1 s' where key_id = (select key_id from made where name = 'short');
select tests.become_role('fieldtrack_edge');
select is(pg_temp.verify('short') ->> 'refusal', 'expired', 'after its time');

select tests.become('alice');
select pg_temp.keep('new', public.rotate_api_key((select (answer ->> 'id')::uuid from made where name = 'old'), 2));
select is(
  (select answer ->> 'old_key_expires_at' from made where name = 'new'), to_jsonb(now() + interval '2 hours') #>> '{}',
  'the old key says until when'
);
select tests.become_role('fieldtrack_edge');
select is(
  array[pg_temp.verify('old') ->> 'refusal', pg_temp.verify('new') ->> 'refusal'], array[null, null]::text[],
  'both are valid meanwhile');

select tests.become('alice');
select isnt((public.revoke_api_key((select (answer ->> 'id')::uuid from made where name = 'new'))).revoked_at, null, 'revoked');
select tests.become_role('fieldtrack_edge');
select is(pg_temp.verify('new') ->> 'refusal', 'revoked', 'at once');
select tests.become('mallory');
select tests.throws_code(
  format('select public.revoke_api_key(%L)', (select answer ->> 'id' from made where name = 'old')), 'api_key_not_found',
  'another organization''s administrator does not reach it');

select * from finish();
rollback;

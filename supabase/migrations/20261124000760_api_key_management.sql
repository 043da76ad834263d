-- API keys made, rotated, revoked, and recognised.
--
-- A key is `ft_live_<key id>_<secret>_<checksum>`: twelve characters by which it is found, 43 with 256 random bits, and six of
-- a CRC-32 over what stands before, so that a typing error or a scanner's find is judged without a database. It is answered
-- once; stored are its SHA-256 and four characters to recognise it by. Only administrators make, rotate and revoke keys: a
-- key can make none, whatever its scopes.
-- The edge function `api` recognises keys through private.verify_api_key, as fieldtrack_edge. Revocation takes effect at the
-- next statement in any case: private.current_api_key() reads the row, not the token.

create function private.random_base62(in_length integer) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_alphabet constant text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  v_bytes bytea;
  v_text text := '';
begin
  while length(v_text) < in_length loop
    v_bytes := extensions.gen_random_bytes(32);
    for i in 0..31 loop
      -- 248 is 4 x 62: what lies above would make the first characters likelier than the last.
      if get_byte(v_bytes, i) < 248 then
        v_text := v_text || substr(v_alphabet, get_byte(v_bytes, i) % 62 + 1, 1);
      end if;
    end loop;
  end loop;
  return left(v_text, in_length);
end;
$$;

comment on function private.random_base62(integer) is 'Random digits and letters, 5.95 bits each.';

-- CRC-32 (ISO 3309) in six digits and letters, most significant first. PostgreSQL has the function from 18 on.
create function private.crc32_base62(in_body text) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  v_alphabet constant text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  v_bytes bytea := convert_to(in_body, 'UTF8');
  v_crc bigint := 4294967295;
  v_text text := '';
begin
  for i in 0..length(v_bytes) - 1 loop
    v_crc := v_crc # get_byte(v_bytes, i);
    for bit in 1..8 loop
      v_crc := (v_crc >> 1) # (case v_crc & 1 when 1 then 3988292384 else 0 end);
    end loop;
  end loop;
  v_crc := v_crc # 4294967295;
  for digit in 1..6 loop
    v_text := substr(v_alphabet, (v_crc % 62)::integer + 1, 1) || v_text;
    v_crc := v_crc / 62;
  end loop;
  return v_text;
end;
$$;

comment on function private.crc32_base62(text) is 'The checksum at the end of a key: six characters.';

-- The one place where a key comes into being. Answers what its maker may see, once.
create function private.issue_api_key(
  in_organization_id uuid, in_name text, in_scopes text[], in_expires_at timestamptz,
  in_requests_per_minute integer, in_created_by uuid
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_secret text := private.random_base62(43);
  v_body text;
  v_key public.api_keys;
begin
  insert into public.api_keys (
    organization_id, name, key_id, last_four, scopes, expires_at, requests_per_minute, created_by
  ) values (
    in_organization_id, in_name, private.random_base62(12), right(v_secret, 4),
    in_scopes, in_expires_at, in_requests_per_minute, in_created_by
  )
  returning * into v_key;
  insert into private.api_key_secrets (organization_id, api_key_id, secret_hash)
  values (v_key.organization_id, v_key.id, private.hash_token(v_secret));
  v_body := format('ft_live_%s_%s', v_key.key_id, v_secret);
  return jsonb_build_object(
    'id', v_key.id,
    'key', format('%s_%s', v_body, private.crc32_base62(v_body)),
    'name', v_key.name,
    'scopes', v_key.scopes,
    'expires_at', v_key.expires_at,
    'requests_per_minute', v_key.requests_per_minute
  );
end;
$$;

comment on function private.issue_api_key(uuid, text, text[], timestamptz, integer, uuid) is
  'Makes a key with its secret. For definers behind require_admin.';

create function private.create_api_key(
  in_name text, in_scopes text[], in_expires_at timestamptz,
  in_requests_per_minute integer
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_key jsonb;
  v_constraint text;
  v_column text;
begin
  perform private.take_token(v_admin.organization_id, 'credentials', v_admin.organization_id);
  if in_expires_at <= now() then
    perform private.fail('invalid_argument', 'A key cannot have expired before it is made.', 'expires_at');
  end if;
  v_key := private.issue_api_key(
    v_admin.organization_id, btrim(in_name),
    array(select distinct s.scope from unnest(in_scopes) as s (scope) order by s.scope),
    in_expires_at, in_requests_per_minute, v_admin.employee_id);
  perform private.audit(v_admin.organization_id, 'api_key.created', 'api_key', (v_key ->> 'id')::uuid, null, v_key - 'key');
  return v_key;
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The key cannot be made with these values.', v_constraint,
      'name has 1 to 200 characters, scopes are some of the list in docs/security.md, requests_per_minute is 1 to 60000.');
end;
$$;

comment on function private.create_api_key(text, text[], timestamptz, integer) is 'Body of public.create_api_key.';

grant execute on function private.create_api_key(text, text[], timestamptz, integer) to authenticated;

create function public.create_api_key(
  name text, scopes text[], expires_at timestamptz default now() + interval '1 year', requests_per_minute integer default 600
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.create_api_key(name, scopes, expires_at, requests_per_minute);
$$;

comment on function public.create_api_key(text, text[], timestamptz, integer) is
  'Makes an API key for another system: {id, key, name, scopes, expires_at, requests_per_minute}; key is shown only here. Send it
as x-api-key to /functions/v1/api. Scopes: sessions:read, locations:read, locations:write, expenses:read, expenses:review,
employees:read, employees:write, analytics:read, webhooks:manage, events:read, sites:read,
sites:write. It expires in a year unless expires_at says otherwise (null:
never). Administrators, no API key; audited; 60 new keys and device tokens an hour. Errors: admin_required 403,
  invalid_argument 400, rate_limited 429.';

grant execute on function public.create_api_key(text, text[], timestamptz, integer) to authenticated;

create function private.rotate_api_key(in_api_key_id uuid, in_overlap_hours integer) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_old public.api_keys;
  v_new jsonb;
  v_old_expires_at timestamptz;
begin
  if in_overlap_hours is null or in_overlap_hours not between 0 and 168 then
    perform private.fail('invalid_argument', 'overlap_hours is 0 to 168.', 'overlap_hours');
  end if;
  perform private.take_token(v_admin.organization_id, 'credentials', v_admin.organization_id);
  select k.* into v_old
  from public.api_keys as k
  where k.organization_id = v_admin.organization_id and k.id = in_api_key_id and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
  for no key update;
  if not found then
    perform private.fail('api_key_not_found', 'There is no such key, or it is not valid any more.',
      in_api_key_id::text, 'Make a new one with create_api_key.');
  end if;
  v_new := private.issue_api_key(v_old.organization_id, v_old.name, v_old.scopes, v_old.expires_at, v_old.requests_per_minute,
    v_admin.employee_id);
  update public.api_keys as k
  set expires_at = least(k.expires_at, now() + make_interval(hours => in_overlap_hours))
  where k.organization_id = v_old.organization_id and k.id = v_old.id
  returning k.expires_at into v_old_expires_at;
  perform private.audit(v_old.organization_id, 'api_key.rotated', 'api_key', v_old.id,
    jsonb_build_object('expires_at', v_old.expires_at),
    jsonb_build_object('expires_at', v_old_expires_at, 'replaced_by', v_new -> 'id'));
  return v_new || jsonb_build_object('old_key_expires_at', v_old_expires_at);
end;
$$;

comment on function private.rotate_api_key(uuid, integer) is 'Body of public.rotate_api_key.';

grant execute on function private.rotate_api_key(uuid, integer) to authenticated;

create function public.rotate_api_key(api_key_id uuid, overlap_hours integer default 24) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.rotate_api_key(api_key_id, overlap_hours);
$$;

comment on function public.rotate_api_key(uuid, integer) is
  'Makes a key that can do what the named one can, and lets that one expire overlap_hours (0 to 168) from now: {id, key, name,
scopes, expires_at, requests_per_minute, old_key_expires_at}; key is shown only here. Administrators, no API key; audited.
Errors: admin_required 403, api_key_not_found 404, invalid_argument 400, rate_limited 429.';

grant execute on function public.rotate_api_key(uuid, integer) to authenticated;

create function private.update_api_key(in_api_key_id uuid, in_changes jsonb) returns public.api_keys
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_before public.api_keys;
  v_after public.api_keys;
  v_constraint text;
  v_column text;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['name', 'scopes', 'is_active', 'requests_per_minute'] <> '{}'
  then
    perform private.fail('invalid_argument', 'changes is an object of name, scopes, is_active and requests_per_minute.',
      'changes',
      'Send only the keys to change.');
  end if;
  select k.* into v_before
  from public.api_keys as k
  where k.organization_id = v_admin.organization_id and k.id = in_api_key_id and k.revoked_at is null
  for no key update;
  if not found then
    perform private.fail('api_key_not_found', 'There is no such key, or it was revoked.', in_api_key_id::text);
  end if;
  v_after := jsonb_populate_record(v_before, in_changes);
  update public.api_keys as k
  set name = btrim(v_after.name),
    scopes = array(select distinct s.scope from unnest(v_after.scopes) as s (scope) order by s.scope),
    is_active = v_after.is_active,
    requests_per_minute = v_after.requests_per_minute,
    -- Who gives a key its scopes answers for what it may decide, like who made it.
    scopes_set_by = case when in_changes ? 'scopes' then v_admin.employee_id else k.scopes_set_by end
  where k.organization_id = v_admin.organization_id and k.id = v_before.id
  returning k.* into v_after;
  perform private.audit(v_after.organization_id, 'api_key.updated', 'api_key', v_after.id, c.old_values, c.new_values)
  from private.changed(to_jsonb(v_before), to_jsonb(v_after)) as c
  where c.new_values is not null;
  return v_after;
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The key cannot have these values.', v_constraint,
      'name has 1 to 200 characters, scopes are some of the list in docs/security.md, requests_per_minute is 1 to 60000.');
  when invalid_text_representation or numeric_value_out_of_range then
    perform private.fail('invalid_argument', 'A value has the wrong type.', 'changes');
end;
$$;

comment on function private.update_api_key(uuid, jsonb) is 'Body of public.update_api_key.';

grant execute on function private.update_api_key(uuid, jsonb) to authenticated;

create function public.update_api_key(api_key_id uuid, changes jsonb) returns public.api_keys
language sql volatile
set search_path = ''
as $$
  select private.update_api_key(api_key_id, changes);
$$;

comment on function public.update_api_key(uuid, jsonb) is
  'Changes a key without a new secret: {name?, scopes?, is_active?, requests_per_minute?}; a key that is switched off is refused until it
is switched on. Administrators, no API key; audited. Errors: admin_required 403, api_key_not_found 404, invalid_argument 400.';

grant execute on function public.update_api_key(uuid, jsonb) to authenticated;

create function public.get_my_api_key() returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  perform private.require_scope(null);
  v_key := private.current_api_key();
  return jsonb_build_object('id', v_key.id, 'organization_id', v_key.organization_id, 'name', v_key.name, 'scopes', v_key.scopes,
    'expires_at', v_key.expires_at, 'requests_per_minute', v_key.requests_per_minute, 'created_at', v_key.created_at);
end;
$$;

comment on function public.get_my_api_key() is
  'The calling key: {id, organization_id, name, scopes, expires_at, requests_per_minute, created_at}. Any API key.
Errors: api_key_invalid 401.';

grant execute on function public.get_my_api_key() to api_key;

create function private.revoke_api_key(in_api_key_id uuid) returns public.api_keys
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_key public.api_keys;
begin
  update public.api_keys as k
  set revoked_at = now()
  where k.organization_id = v_admin.organization_id and k.id = in_api_key_id and k.revoked_at is null
  returning k.* into v_key;
  if found then
    perform private.audit(v_key.organization_id, 'api_key.revoked', 'api_key', v_key.id,
      jsonb_build_object('revoked_at', null), jsonb_build_object('revoked_at', v_key.revoked_at));
    return v_key;
  end if;
  select k.* into v_key
  from public.api_keys as k
  where k.organization_id = v_admin.organization_id and k.id = in_api_key_id;
  if not found then
    perform private.fail('api_key_not_found', 'There is no such key.', in_api_key_id::text);
  end if;
  return v_key;
end;
$$;

comment on function private.revoke_api_key(uuid) is 'Body of public.revoke_api_key.';

grant execute on function private.revoke_api_key(uuid) to authenticated;

create function public.revoke_api_key(api_key_id uuid) returns public.api_keys
language sql volatile
set search_path = ''
as $$
  select private.revoke_api_key(api_key_id);
$$;

comment on function public.revoke_api_key(uuid) is
  'Ends a key: its next call is refused. Twice is not an error. Administrators, no API key; audited.
Errors: admin_required 403, api_key_not_found 404.';

grant execute on function public.revoke_api_key(uuid) to authenticated;

-- What the function `api` asks. The secret's hash comes, never the secret, so that no statement log can hold one. The limit is
-- counted here, where all processes meet, but not once a call: a process takes several calls at once and spends them itself.
create function private.verify_api_key(
  in_key_id text,
  in_secret_hash bytea,
  in_calls integer,
  out refusal text,
  out organization_id uuid,
  out api_key_id uuid,
  out scopes text[],
  out expires_at timestamptz,
  out requests_per_minute integer,
  out granted integer,
  out remaining integer
)
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_key public.api_keys;
  v_stored bytea;
  v_now timestamptz := clock_timestamp();
  v_tokens double precision;
begin
  select k.* into v_key from public.api_keys as k where k.key_id = in_key_id and k.organization_id is not null;
  select s.secret_hash into v_stored
  from private.api_key_secrets as s
  where s.organization_id = v_key.organization_id and s.api_key_id = v_key.id;
  -- All 256 bits are compared, wherever the first difference lies.
  if v_stored is null or length(in_secret_hash) is distinct from 32
    or bit_count(
      ('x' || encode(v_stored, 'hex'))::bit(256)
      # ('x' || encode(in_secret_hash, 'hex'))::bit(256)
    ) > 0
  then
    refusal := 'unknown';
    return;
  end if;
  refusal := case
    when v_key.revoked_at <= v_now or not v_key.is_active then 'revoked'
    when v_key.expires_at <= v_now then 'expired'
  end;
  if refusal is not null then
    return;
  end if;

  organization_id := v_key.organization_id;
  api_key_id := v_key.id;
  scopes := v_key.scopes;
  expires_at := v_key.expires_at;
  requests_per_minute := v_key.requests_per_minute;

  -- A count that a crash loses is no loss, so no call waits for the disk.
  perform set_config('synchronous_commit', 'off', true);
  insert into private.rate_buckets as b (organization_id, kind, subject_id, tokens, refilled_at)
  values (v_key.organization_id, 'api', v_key.id, v_key.requests_per_minute, v_now)
  on conflict on constraint rate_buckets_pkey do update
  set tokens = least(
      v_key.requests_per_minute,
      b.tokens + v_key.requests_per_minute / 60.0
        * greatest(0, extract(epoch from excluded.refilled_at - b.refilled_at))
    ),
    refilled_at = greatest(b.refilled_at, excluded.refilled_at)
  returning b.tokens into v_tokens;
  granted := least(greatest(in_calls, 1), floor(v_tokens));
  remaining := floor(v_tokens) - granted;
  if granted > 0 then
    update private.rate_buckets as b
    set tokens = b.tokens - granted
    where b.organization_id = v_key.organization_id and b.kind = 'api' and b.subject_id = v_key.id;
  end if;

  -- Coarse, or a busy key's row would be written at every call.
  update public.api_keys as k
  set last_used_at = v_now
  where k.organization_id = v_key.organization_id and k.id = v_key.id
    and (k.last_used_at is null or k.last_used_at < v_now - interval '1 minute');
end;
$$;

comment on function private.verify_api_key(text, bytea, integer) is
  'Whose key this is and how many of the calls asked for its limit grants (0: wait); or refusal: unknown, revoked, expired.';

grant execute on function private.verify_api_key(text, bytea, integer) to fieldtrack_edge;

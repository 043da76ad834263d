-- Helpers that every later chapter uses: how an error is raised, what the caller's token says, how a token is made.
--
-- Every function that a client role can name carries `set search_path = ''`. That is more than hygiene: PostgreSQL checks
-- EXECUTE of an inlined SQL function only when it plans, so on a pooled connection a prepared plan made for one role runs
-- for the next (tried on 17.10). A function with a SET clause is never inlined.

-- The registry of errors. types/errors.ts and docs/error-codes.md say the same; a test holds the three together.
create function private.error_status(in_code text) returns integer
language sql immutable
set search_path = ''
as $$
  select case in_code
    when 'not_authenticated' then 401
    when 'api_key_invalid' then 401
    when 'device_token_invalid' then 401
    when 'not_a_member' then 403
    when 'admin_required' then 403
    when 'scope_missing' then 403
    when 'invitation_email_mismatch' then 403
    when 'own_expense' then 403
    when 'own_session' then 403
    when 'invalid_argument' then 400
    when 'batch_size' then 400
    when 'employee_not_found' then 404
    when 'session_not_found' then 404
    when 'correction_not_found' then 404
    when 'invitation_not_found' then 404
    when 'expense_not_found' then 404
    when 'api_key_not_found' then 404
    when 'device_token_not_found' then 404
    when 'webhook_not_found' then 404
    when 'delivery_not_found' then 404
    when 'retry_intent_not_found' then 404
    when 'already_in_organization' then 409
    when 'slug_taken' then 409
    when 'employee_code_taken' then 409
    when 'team_name_taken' then 409
    when 'site_not_found' then 404
    when 'site_external_id_taken' then 409
    when 'team_not_found' then 404
    when 'already_a_member' then 409
    when 'session_already_open' then 409
    when 'no_open_session' then 409
    when 'session_overlap' then 409
    when 'session_voided' then 409
    when 'session_sealed' then 409
    when 'session_open' then 409
    when 'expense_already_reviewed' then 409
    when 'invitation_needed' then 409
    when 'expense_state' then 409
    when 'correction_already_reviewed' then 409
    when 'last_admin' then 409
    when 'too_many_webhooks' then 409
    when 'webhook_inactive' then 409
    when 'retry_intent_settled' then 409
    when 'period_locked' then 409
    when 'period_unsettled' then 409
    when 'conflict_retry' then 409
    when 'invitation_expired' then 410
    when 'time_in_future' then 422
    when 'time_too_old' then 422
    when 'check_out_before_check_in' then 422
    when 'upload_too_late' then 422
    when 'batch_rejected' then 422
    when 'idempotency_mismatch' then 422
    when 'rate_limited' then 429
  end;
$$;

comment on function private.error_status(text) is
  'HTTP status of a registered error code; null for a code that is not registered.';

-- PostgREST turns SQLSTATE PGRST into an HTTP answer: MESSAGE holds the body, DETAIL the status and headers. One way for
-- all errors, because PTxyz could not carry a code of ours nor a Retry-After.
create function private.fail(
  in_code text,
  in_message text,
  in_details text default null,
  in_hint text default null,
  in_headers jsonb default '{}'
) returns void
language plpgsql
set search_path = ''
as $$
declare
  v_status integer := private.error_status(in_code);
begin
  if v_status is null then
    raise exception 'error code % is not in the registry', in_code;
  end if;
  raise sqlstate 'PGRST' using
    message = jsonb_build_object(
      'code', in_code, 'message', in_message, 'details', in_details, 'hint', in_hint)::text,
    detail = jsonb_build_object('status', v_status, 'headers', in_headers)::text;
end;
$$;

comment on function private.fail(text, text, text, text, jsonb) is
  'Raises a registered error: an answer {code, message, details, hint} with the status of the registry. Never returns.';

-- What somebody else will read as a name or a line of text: something visible, and nothing that reorders, hides or breaks it
-- (control
-- characters, marks of direction, characters without width; the joiners of emoji and of Persian stay).
create function private.is_readable(in_text text) returns boolean
language sql immutable
set search_path = ''
as $$
  select in_text !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]'
    and in_text ~ '[^\s\u00a0\u1680\u2000-\u200d\u202f\u205f\u2800\u3000\u3164]';
$$;

comment on function private.is_readable(text) is 'Whether a name has something to see and no invisible or control characters.';

grant execute on function private.is_readable(text) to authenticated, api_key, service_role, fieldtrack_worker;

-- The claims of the request's token, as PostgREST leaves them for the transaction; null outside a request.
create function private.jwt() returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
end;
$$;

comment on function private.jwt() is 'The claims of the caller''s token, or null.';

grant execute on function private.jwt() to authenticated, api_key, service_role, fieldtrack_worker;

-- Null when there is no signed-in person: an API key's token has no sub, a foreign issuer's sub need not be a uuid. That is seen
-- by its shape (36 characters, four dashes in their places, hexadecimal digits): every policy asks, and catching the cast's error
-- takes a subtransaction.
create function private.current_user_id() returns uuid
language plpgsql stable
set search_path = ''
as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
begin
  if v_claims ->> 'role' = 'authenticated' and v_claims ->> 'sub' like '________-____-____-____-____________'
    and translate(v_claims ->> 'sub', '0123456789abcdefABCDEF', '') = '----'
  then
    return (v_claims ->> 'sub')::uuid;
  end if;
  return null;
end;
$$;

comment on function private.current_user_id() is 'auth.users.id of the signed-in caller, or null.';

grant execute on function private.current_user_id() to authenticated, api_key, service_role;

-- Which organization the worker works for in this transaction. Set by withOrganization() in worker/database.ts with
-- set_config(…, is_local => true); unset means none, and the worker's policies then show nothing.
create function private.worker_organization_id() returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
  return nullif(current_setting('fieldtrack.organization_id', true), '')::uuid;
end;
$$;

comment on function private.worker_organization_id() is
  'The organization of the worker''s current transaction, or null.';

grant execute on function private.worker_organization_id() to fieldtrack_worker;

-- 256 random bits in URL-safe text. Random enough that a plain SHA-256 of it may be stored and compared.
create function private.make_token(in_prefix text) returns text
language plpgsql volatile
set search_path = ''
as $$
begin
  return in_prefix || rtrim(
    translate(encode(extensions.gen_random_bytes(32), 'base64'), '+/', '-_'), '=');
end;
$$;

comment on function private.make_token(text) is 'A new secret: the prefix and 43 URL-safe characters (256 random bits).';

create function private.hash_token(in_token text) returns bytea
language plpgsql immutable
set search_path = ''
as $$
begin
  return sha256(convert_to(in_token, 'UTF8'));
end;
$$;

comment on function private.hash_token(text) is 'What is stored of a token: SHA-256 of its UTF-8 bytes.';

create function private.tg_any__set_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.updated_at := now();
  return new;
end;
$$;

comment on function private.tg_any__set_updated_at() is 'Before update: stamps updated_at.';

-- Who acted, in one shape for events, audit, reviews and keys.
create type private.actor as (type text, id uuid);

comment on type private.actor is
  'Who acted: type is employee, api_key, device, worker, service or system; id is null for the last three.';

create domain private.actor_type as text
  constraint actor_type_is_valid check (value in ('employee', 'api_key', 'device', 'worker', 'service', 'system'));

-- Coordinates as WGS84 degrees. NaN compares greater than any number in PostgreSQL, so the upper bound refuses it. A value
-- closer to zero than a millionth of a millimetre is refused too: its square underflows, which PostgreSQL makes an error, and
-- one such point would keep a session's distance from ever being computed. record_locations rounds before it stores.
create domain private.latitude as double precision
  constraint latitude_is_valid check (value between -90 and 90 and (value = 0 or abs(value) > 1e-12));

create domain private.longitude as double precision
  constraint longitude_is_valid check (value between -180 and 180 and (value = 0 or abs(value) > 1e-12));

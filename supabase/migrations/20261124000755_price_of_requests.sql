-- What a request may cost: asked by PostgREST before each, in the caller's role and transaction (its setting db-pre-request).
--
-- All tenants share PostgREST's connections and the processor behind them; ten requests of one person that take long are everybody's
-- standstill. So a read has two seconds (the four calls that answer a whole session or person have four), and a person and an
-- organization have so many reads at once: who has more is told so, 429, instead of everybody 504. A read may not write, so
-- the reads
-- under way are advisory locks, which end with their transaction. A write takes a token of its person, whatever function it
-- calls:
-- no write is forgotten, and a call that is refused costs nothing, as with the limits of chapter 000750.
-- Patterns of `match` and `imatch` are programs that run as long as their writer wants; they are refused (below).
-- Not covered: what the function `api` refuses before a request comes here.

create table private.request_limits (
  is_only_row boolean primary key default true check (is_only_row),
  person_reads_at_once integer not null default 5 check (person_reads_at_once between 1 and 100),
  organization_reads_at_once integer not null default 6 check (organization_reads_at_once between 1 and 100),
  organization_reads_waiting integer not null default 2 check (organization_reads_waiting between 0 and 100),
  read_timeout_ms integer not null default 2000 check (read_timeout_ms between 100 and 60000),
  long_read_timeout_ms integer not null default 4000 check (long_read_timeout_ms between 100 and 60000)
);

alter table private.request_limits enable row level security;

comment on table private.request_limits is
  'How many reads a person and an organization have at once and how long one may take; operators change the row.';

insert into private.request_limits default values;

create function private.take_read_place(in_kind text, in_subject_id uuid, in_places integer) returns boolean
language plpgsql volatile
set search_path = ''
as $$
begin
  for v_place in 1 .. in_places loop
    if pg_try_advisory_xact_lock(hashtextextended(format('fieldtrack.%s.%s.%s', in_kind, in_subject_id, v_place), 0)) then
      return true;
    end if;
  end loop;
  return false;
end;
$$;

comment on function private.take_read_place(text, uuid, integer) is
  'Takes one of so many places until the transaction ends; false if all are taken.';

create function private.before_read(in_person_id uuid, in_organization_id uuid, in_limits private.request_limits) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_gives_up_at timestamptz := clock_timestamp() + interval '150 milliseconds';
  v_is_waiting boolean := false;
begin
  loop
    if private.take_read_place('reads', in_person_id, in_limits.person_reads_at_once)
      and (in_organization_id is null
        or private.take_read_place('reads', in_organization_id, in_limits.organization_reads_at_once))
    then
      return;
    end if;
    -- A page asks for ten things in one moment, and each is there in a few milliseconds: some may wait for that long.
    v_is_waiting := v_is_waiting or private.take_read_place('waits', coalesce(in_organization_id, in_person_id),
      in_limits.organization_reads_waiting);
    exit when not v_is_waiting or clock_timestamp() > v_gives_up_at;
    perform pg_sleep(0.01);
  end loop;
  perform private.fail('rate_limited', 'Too many reads at once.', 'reads', 'Ask for one thing after the other.',
    '{"Retry-After": "1"}');
end;
$$;

comment on function private.before_read(uuid, uuid, private.request_limits) is
  'Takes a place for a read of the person and of the organization, or refuses with rate_limited 429.';

create function private.before_request() returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_claims jsonb := private.jwt();
  v_path text := coalesce(current_setting('request.path', true), '');
  v_person_id uuid := private.current_user_id();
  v_organization_id uuid;
  v_limits private.request_limits;
begin
  -- Operators, and who is nobody: without a right there is nothing to read.
  if v_claims ->> 'role' = 'api_key' then
    v_person_id := (v_claims ->> 'api_key_id')::uuid;
    v_organization_id := (v_claims ->> 'organization_id')::uuid;
  elsif v_person_id is not null then
    v_organization_id := private.current_organization_id();
  end if;
  if v_person_id is null then
    return;
  end if;
  if current_setting('transaction_read_only') = 'on' then
    select l.* into strict v_limits from private.request_limits as l;
    perform set_config('statement_timeout', case
      when v_path in ('/rpc/get_session_route', '/rpc/export_session_gpx', '/rpc/export_session_geojson',
        '/rpc/export_employee_data') then v_limits.long_read_timeout_ms
      else v_limits.read_timeout_ms
    end::text, true);
    perform private.before_read(v_person_id, v_organization_id, v_limits);
  elsif v_organization_id is not null
    -- It has a limit of its own, for each employee; keys are counted by the function api.
    and v_path <> '/rpc/record_locations' and v_claims ->> 'role' <> 'api_key'
  then
    perform private.take_token(v_organization_id, 'writes', v_person_id);
  end if;
end;
$$;

comment on function private.before_request() is
  'Asked by PostgREST before each request: how long a read may take, how many at once, and a token for a write. Errors: rate_limited.';

grant execute on function private.before_request() to anon, authenticated, api_key, service_role;

-- `?name=match.…` is `name ~ …`: found by the search path, in which this schema stands before pg_catalog (supabase/config.toml,
-- extra_search_path). Functions, policies and constraints of ours have their operators by their schema and see nothing of it.
create function private.refuse_pattern(in_value text, in_pattern text) returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
  -- A null on either side matches nothing, as it does with the operator that this one stands before.
  if in_value is null or in_pattern is null then
    return null;
  end if;
  perform private.fail('invalid_argument', 'match and imatch are not offered.', 'match',
    'Use like or ilike, with * for any characters.');
  return false;
end;
$$;

comment on function private.refuse_pattern(text, text) is 'Refuses a regular expression in a filter.';

grant execute on function private.refuse_pattern(text, text) to authenticated, api_key, service_role;

create operator private.~ (leftarg = text, rightarg = text, function = private.refuse_pattern);
create operator private.~* (leftarg = text, rightarg = text, function = private.refuse_pattern);

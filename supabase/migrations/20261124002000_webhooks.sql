-- Webhooks: where an organization wants its events sent.
--
-- Three things are kept apart: the administrator's switch (is_active), the system's verdict (disabled_at, disabled_reason) and
-- the state of the circuit (webhook_circuits). Secrets lie in private, are shown once, and leave the database only with a
-- claimed delivery.
-- Not covered: deliveries (the next chapter); resolving names, which only the sender can do, at each connection. What is checked
-- here is what the text of the URL says.

-- One row. Off everywhere but in development: an endpoint on this machine could otherwise be the machine's own services.
create table private.webhook_settings (
  id boolean primary key default true,
  allow_localhost boolean not null default false,
  constraint there_is_one_row check (id)
);

alter table private.webhook_settings enable row level security;

comment on table private.webhook_settings is
  'One row for the installation: whether webhooks may go to this machine, in plain http too (development only).';

insert into private.webhook_settings (id) values (true);

-- What an endpoint may subscribe to. types/events.ts has the payload of each; a test holds the two lists together.
create function private.event_types() returns text[]
language plpgsql immutable
set search_path = ''
as $$
begin
  return array[
    'session.checked_in', 'session.checked_out', 'session.created', 'session.updated', 'session.corrected',
    'session.reviewed', 'session.voided', 'session.recalculated',
    'correction.requested', 'correction.approved', 'correction.rejected',
    'expense.submitted', 'expense.updated', 'expense.withdrawn', 'expense.approved', 'expense.rejected', 'expense.reopened',
    'expense.paid', 'expense.payment_undone', 'api_key.expiring', 'organization.unlocked',
    'employee.created', 'employee.updated', 'employee.activated', 'employee.deactivated',
    'team.created', 'team.updated', 'team.deleted', 'visit.started', 'visit.ended',
    'device.clock_changed', 'device.points_lost', 'device.state_changed',
    'organization.updated', 'consumer.dropped', 'webhook.test', 'webhook.disabled'
  ];
end;
$$;

comment on function private.event_types() is 'Every type of event, as types/events.ts lists them.';

-- The IANA special-purpose registries, and what carries an IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, Teredo).
-- Of IPv6 only 2000::/3 is in use as public unicast at all. worker/webhooks/addresses.ts says the same at each connection.
create function private.is_public_address(in_address inet) returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
  if family(in_address) = 4 then
    return not in_address <<= any (array[
      '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
      '192.0.2.0/24', '192.31.196.0/24', '192.52.193.0/24', '192.88.99.0/24', '192.168.0.0/16', '192.175.48.0/24',
      '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'
    ]::inet[]);
  end if;
  return in_address <<= '2000::/3'::inet and not in_address <<= any (array[
    '2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'
  ]::inet[]);
end;
$$;

comment on function private.is_public_address(inet) is 'Whether an address belongs to the public network; special ranges do not.';

create function private.webhook_url_problem(in_url text) returns text
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_parts text[] := regexp_match(in_url,
    '^(https?)://(\[[0-9a-f.]*:[0-9a-f:.]*\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?(?:[/?].*)?$');
  v_scheme text := v_parts[1];
  v_host text := v_parts[2];
  v_port integer := coalesce(v_parts[3]::integer, case v_parts[1] when 'https' then 443 else 80 end);
  v_allow_localhost boolean := (select s.allow_localhost from private.webhook_settings as s);
begin
  if in_url is null or length(in_url) > 2000 or in_url !~ '^[!-~]+$' or in_url ~ '[\\#]' then
    return 'A URL has at most 2,000 printable ASCII characters and no fragment; write other letters in punycode or %XX.';
  end if;
  if split_part(split_part(substr(in_url, strpos(in_url, '://') + 3), '/', 1), '?', 1)
    ~ '@'
  then
    return 'A URL carries no user name and no password; the signature says who calls.';
  end if;
  if v_host is null then
    return 'Write it as https://host/path with a host name in lower case.';
  end if;
  if v_allow_localhost and v_host in ('localhost', '127.0.0.1', '[::1]') and v_port <= 65535
    and (v_port = 443 or v_port > 1023)
  then
    return null;
  end if;
  -- Before the port, which http has by default and nobody wrote.
  if v_scheme <> 'https' then
    return 'Only https is delivered to.';
  end if;
  if v_port > 65535 or not (v_port = 443 or v_port > 1023) then
    return 'The port is 443 or above 1023.';
  end if;
  if v_host ~ '^\[' then
    if not private.is_public_address(btrim(v_host, '[]')::inet) then
      return 'The address is not a public one.';
    end if;
  elsif v_host ~ '^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$' then
    if not private.is_public_address(v_host::inet) then
      return 'The address is not a public one.';
    end if;
  -- A last label that begins with a digit is no name: browsers and sockets read 0x7f.1, 2130706433 and 0177.0.0.1 as addresses.
  elsif length(v_host) > 253
    or v_host !~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'
  then
    return 'The host is a full name such as hooks.example.com, or a public address.';
  elsif v_host ~ '(^|\.)(localhost|localdomain|local|internal|intranet|lan|home\.arpa)$' then
    return 'The host is a name of private networks.';
  end if;
  return null;
exception
  when invalid_text_representation then
    return 'The address cannot be read.';
end;
$$;

comment on function private.webhook_url_problem(text) is
  'What is wrong with a webhook''s URL, as a sentence, or null. Looks at the text only: names are resolved when sending.';

create table public.webhooks (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  url text not null,
  events text[] not null,
  description text,
  is_active boolean not null default true,
  max_in_flight smallint not null default 10,
  disabled_at timestamptz,
  disabled_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint url_is_a_url check (char_length(url) <= 2000 and url ~ '^https?://'),
  constraint events_are_1_to_100 check (cardinality(events) between 1 and 100),
  constraint description_has_1_to_500_characters check (char_length(description) between 1 and 500),
  constraint max_in_flight_is_1_to_20 check (max_in_flight between 1 and 20),
  constraint disabled_has_a_reason check ((disabled_at is null) = (disabled_reason is null)),
  constraint disabled_reason_is_valid check (disabled_reason in ('GONE', 'FAILING'))
);

alter table public.webhooks enable row level security;

-- The trigger's question at each event: is there anybody to tell?
create index webhooks_subscribed on public.webhooks (organization_id) where is_active and disabled_at is null;

create trigger _100_set_updated_at before update on public.webhooks
  for each row execute function private.tg_any__set_updated_at();

-- Deletion is the table's own; everything else is an RPC, which audits itself.
create function private.tg_webhooks__audit_deletion() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- Not when the organization goes, and its audit log with it.
  if exists (select from public.organizations as o where o.id = old.organization_id) then
    perform private.audit(old.organization_id, 'webhook.deleted', 'webhook', old.id,
      to_jsonb(old) - 'organization_id', null);
  end if;
  return null;
end;
$$;

comment on function private.tg_webhooks__audit_deletion() is 'After delete: writes webhook.deleted to the audit log.';

create trigger _200_audit_deletion after delete on public.webhooks
  for each row execute function private.tg_webhooks__audit_deletion();

comment on table public.webhooks is
  'Endpoints that the organization''s events are sent to, for its administrators. Made and changed by RPC, deleted here: its '
  'secrets and deliveries go with it.';
comment on column public.webhooks.url is 'Where events are posted to: https, port 443 or above 1023, a public host.';
comment on column public.webhooks.events is 'Types of events it gets, such as expense.approved; * stands for all.';
comment on column public.webhooks.description is 'What it is for, in the administrator''s words.';
comment on column public.webhooks.is_active is
  'The administrators'' switch; nothing else ever turns it. Off: new events make no delivery, waiting ones wait.';
comment on column public.webhooks.max_in_flight is
  'Deliveries under way at once while it answers well (1 to 20); one that fails gets one at a time.';
comment on column public.webhooks.disabled_at is
  'When the system gave up on it; null: it did not. update_webhook with is_active true takes it back.';
comment on column public.webhooks.disabled_reason is 'GONE: it answered 410. FAILING: nothing but failures for five days.';

create policy select_admin on public.webhooks for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy delete_admin on public.webhooks for delete to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.webhooks for select to api_key using (
  organization_id = (select private.key_organization_id('webhooks:manage'))
);

create policy delete_key on public.webhooks for delete to api_key using (
  organization_id = (select private.key_organization_id('webhooks:manage'))
);

grant select, delete on public.webhooks to authenticated, api_key, service_role;

-- NOTE: no insert or update for anyone: the RPCs below check the URL. The worker reads what it sends by a definer.

create table private.webhook_secrets (
  organization_id uuid not null,
  webhook_id uuid not null,
  id bigint generated always as identity,
  secret text not null,
  expires_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, webhook_id, id),
  constraint webhook foreign key (organization_id, webhook_id)
    references public.webhooks (organization_id, id) on delete cascade,
  constraint secret_is_valid check (secret ~ '^whsec_[A-Za-z0-9+/]{43}=$')
);

alter table private.webhook_secrets enable row level security;

-- One secret is the current one.
create unique index webhook_secrets_current on private.webhook_secrets (organization_id, webhook_id)
  where expires_at is null;

comment on table private.webhook_secrets is
  'Signing secrets. Not hashed: signing needs them. The current one has no expires_at; one that was rotated signs until then.';

-- NOTE: nothing is granted on it.

create table public.webhook_circuits (
  organization_id uuid not null,
  webhook_id uuid not null,
  state text not null default 'CLOSED',
  consecutive_failures integer not null default 0,
  openings integer not null default 0,
  failing_since timestamptz,
  paused_until timestamptz,
  last_success_at timestamptz,
  last_failure_at timestamptz,
  primary key (organization_id, webhook_id),
  constraint webhook foreign key (organization_id, webhook_id)
    references public.webhooks (organization_id, id) on delete cascade,
  constraint state_is_valid check (state in ('CLOSED', 'OPEN', 'HALF_OPEN'))
) with (fillfactor = 70);

alter table public.webhook_circuits enable row level security;

comment on table public.webhook_circuits is
  'How each webhook''s endpoint has been answering, kept by the worker. Deliveries wait while it is open; none is dropped.';
comment on column public.webhook_circuits.webhook_id is 'The webhook (webhooks.id).';
comment on column public.webhook_circuits.state is
  'CLOSED: deliveries flow. OPEN: after five failures in a row nothing is sent until paused_until. HALF_OPEN: one is tried.';
comment on column public.webhook_circuits.consecutive_failures is 'Failed attempts since the last success.';
comment on column public.webhook_circuits.openings is 'Times it opened since the last success; each wait is twice the last one.';
comment on column public.webhook_circuits.failing_since is
  'First failure since the last success; after five days it is disabled.';
comment on column public.webhook_circuits.paused_until is
  'Nothing is sent before: the circuit is open, or the endpoint asked for it.';
comment on column public.webhook_circuits.last_success_at is 'Last success, coarse (at most one write a minute).';
comment on column public.webhook_circuits.last_failure_at is 'Last failure.';

create policy select_admin on public.webhook_circuits for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.webhook_circuits for select to api_key using (
  organization_id = (select private.key_organization_id('webhooks:manage'))
);

grant select on public.webhook_circuits to authenticated, api_key, service_role;

-- RPCs. Administrators, and API keys with webhooks:manage.

-- An endpoint is told what events:read would show, at an address that the caller chooses. So a key that says where events go, or
-- which, needs that scope too.
create function private.require_webhook_editor() returns private.caller
language plpgsql stable
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('webhooks:manage');
begin
  if v_caller.api_key_id is not null then
    perform private.require_scope('events:read');
  end if;
  return v_caller;
end;
$$;

comment on function private.require_webhook_editor() is
  'The calling administrator, or the API key if it has webhooks:manage and events:read. Errors: those of require_admin. '
  'For definers.';

create function private.check_webhook(in_url text, in_events text[]) returns void
language plpgsql stable
set search_path = ''
as $$
declare
  v_problem text := private.webhook_url_problem(in_url);
  v_unknown text;
begin
  if v_problem is not null then
    perform private.fail('invalid_argument', 'Events cannot be sent to this URL.', 'url', v_problem);
  end if;
  if coalesce(cardinality(in_events), 0) = 0 then
    perform private.fail('invalid_argument', 'A webhook subscribes to at least one type of event.', 'events',
      'Name types such as expense.approved, or * for all.');
  end if;
  select coalesce(e.type, 'null') into v_unknown
  from unnest(in_events) as e (type)
  where e.type is null or (e.type <> '*' and e.type <> all (private.event_types()))
  limit 1;
  if found then
    perform private.fail('invalid_argument', format('There is no event of type %s.', v_unknown), 'events',
      'docs/webhooks.md lists them; * stands for all.');
  end if;
end;
$$;

comment on function private.check_webhook(text, text[]) is 'Refuses (invalid_argument) a URL or types of events that cannot be.';

create function private.new_webhook_secret(in_organization_id uuid, in_webhook_id uuid) returns text
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_secret text := 'whsec_' || encode(extensions.gen_random_bytes(32), 'base64');
begin
  insert into private.webhook_secrets (organization_id, webhook_id, secret)
  values (in_organization_id, in_webhook_id, v_secret);
  return v_secret;
end;
$$;

comment on function private.new_webhook_secret(uuid, uuid) is 'Makes and returns a webhook''s current secret. For definers.';

create function private.create_webhook(in_url text, in_events text[], in_description text, in_max_in_flight integer) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_webhook_editor();
  v_webhook public.webhooks;
  v_constraint text;
  v_column text;
begin
  perform private.check_webhook(in_url, in_events);
  -- The lock makes the count hold against a second call at the same time.
  perform from public.organizations as o where o.id = v_caller.organization_id for no key update;
  if (select count(*) from public.webhooks as w where w.organization_id = v_caller.organization_id) >= 20 then
    perform private.fail('too_many_webhooks', 'An organization has at most 20 webhooks.', null, 'Delete one first.');
  end if;
  insert into public.webhooks (organization_id, url, events, description, max_in_flight)
  values (v_caller.organization_id, in_url, in_events,
    nullif(btrim(in_description), ''), in_max_in_flight)
  returning * into v_webhook;
  perform private.take_token(v_webhook.organization_id, 'circuit_resets', v_webhook.organization_id);
  insert into public.webhook_circuits (organization_id, webhook_id) values (v_webhook.organization_id, v_webhook.id);
  perform private.audit(v_webhook.organization_id, 'webhook.created', 'webhook', v_webhook.id, null,
    to_jsonb(v_webhook) - 'organization_id');
  return to_jsonb(v_webhook)
    || jsonb_build_object('secret', private.new_webhook_secret(v_webhook.organization_id, v_webhook.id));
exception
  when check_violation or not_null_violation or numeric_value_out_of_range then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), nullif(v_column, ''), 'max_in_flight');
    perform private.fail('invalid_argument', 'The webhook cannot have these values.', v_constraint,
      'description has at most 500 characters, max_in_flight is 1 to 20.');
end;
$$;

comment on function private.create_webhook(text, text[], text, integer) is 'Body of public.create_webhook.';

grant execute on function private.create_webhook(text, text[], text, integer) to authenticated, api_key;

create function public.create_webhook(
  url text, events text[], description text default null, max_in_flight integer default 10
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.create_webhook(url, events, description, max_in_flight);
$$;

comment on function public.create_webhook(text, text[], text, integer) is
  'Subscribes a URL to types of events (* for all) and answers the webhook with its secret, which is shown only here. The URL is
https to a public host, port 443 or above 1023, without credentials. At most 20 an organization. docs/webhooks.md tells how to
receive and verify. Administrators, and API keys with webhooks:manage and events:read; audited.
Errors: admin_required 403, scope_missing 403, too_many_webhooks 409, invalid_argument 400 (details: url, events or the rule).';

grant execute on function public.create_webhook(text, text[], text, integer) to authenticated, api_key;

create function private.update_webhook(in_webhook_id uuid, in_changes jsonb) returns public.webhooks
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_webhook_editor();
  v_before public.webhooks;
  v_after public.webhooks;
  v_constraint text;
  v_column text;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['url', 'events', 'description', 'is_active', 'max_in_flight'] <> '{}'
  then
    perform private.fail('invalid_argument', 'changes is an object of url, events, description, is_active, max_in_flight.',
      'changes', 'Send only the keys to change.');
  end if;
  -- The circuit first: who records an attempt takes the two in this order.
  perform from public.webhook_circuits as c
  where c.organization_id = v_caller.organization_id and c.webhook_id = in_webhook_id
  for update;
  select w.* into v_before
  from public.webhooks as w
  where w.organization_id = v_caller.organization_id and w.id = in_webhook_id
  for no key update;
  if not found then
    perform private.fail('webhook_not_found', 'There is no such webhook.', in_webhook_id::text);
  end if;
  v_after := jsonb_populate_record(v_before, in_changes);
  if v_after.url is distinct from v_before.url or v_after.events is distinct from v_before.events then
    perform private.check_webhook(v_after.url, v_after.events);
  end if;
  if in_changes -> 'is_active' = 'true' then
    v_after.disabled_at := null;
    v_after.disabled_reason := null;
  end if;
  update public.webhooks as w
  set url = v_after.url,
    events = v_after.events,
    description = nullif(btrim(v_after.description), ''),
    is_active = v_after.is_active,
    max_in_flight = v_after.max_in_flight,
    disabled_at = v_after.disabled_at,
    disabled_reason = v_after.disabled_reason
  where w.organization_id = v_caller.organization_id and w.id = v_before.id
  returning w.* into v_after;
  -- Another address, or somebody who says that it is mended: what was known of it counts no more.
  if v_after.url <> v_before.url or in_changes -> 'is_active' = 'true' then
    -- Not without end: each opens the way for five more attempts that may hang.
    perform private.take_token(v_caller.organization_id, 'circuit_resets', v_caller.organization_id);
    update public.webhook_circuits as c
    set state = 'CLOSED', consecutive_failures = 0, openings = 0, failing_since = null, paused_until = null,
      last_success_at = null
    where c.organization_id = v_caller.organization_id and c.webhook_id = v_before.id;
  end if;
  perform private.audit(v_after.organization_id, 'webhook.updated', 'webhook', v_after.id, c.old_values, c.new_values)
  from private.changed(to_jsonb(v_before), to_jsonb(v_after)) as c
  where c.new_values is not null;
  return v_after;
exception
  when check_violation or not_null_violation or numeric_value_out_of_range or invalid_text_representation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), nullif(v_column, ''), 'changes');
    perform private.fail('invalid_argument', 'The webhook cannot have these values.', v_constraint,
      'description has at most 500 characters, max_in_flight is 1 to 20.');
end;
$$;

comment on function private.update_webhook(uuid, jsonb) is 'Body of public.update_webhook.';

grant execute on function private.update_webhook(uuid, jsonb) to authenticated, api_key;

create function public.update_webhook(webhook_id uuid, changes jsonb) returns public.webhooks
language sql volatile
set search_path = ''
as $$
  select private.update_webhook(webhook_id, changes);
$$;

comment on function public.update_webhook(uuid, jsonb) is
  'Changes a webhook: {url?, events?, description?, is_active?, max_in_flight?}. is_active false stops it (deliveries wait);
true starts it, also one that the system disabled, and closes its circuit. Administrators, and API keys with webhooks:manage
and events:read; audited. Starting one and another url are limited together with new webhooks: 30 an hour.
Errors: admin_required 403, scope_missing 403, webhook_not_found 404, invalid_argument 400, rate_limited 429.';

grant execute on function public.update_webhook(uuid, jsonb) to authenticated, api_key;

create function private.rotate_webhook_secret(in_webhook_id uuid, in_overlap_hours integer) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('webhooks:manage');
  v_webhook public.webhooks;
  v_expires_at timestamptz;
begin
  if in_overlap_hours is null or in_overlap_hours not between 0 and 24 then
    perform private.fail('invalid_argument', 'overlap_hours is 0 to 24.', 'overlap_hours',
      'For so long both secrets sign; 0 for a secret that leaked.');
  end if;
  v_expires_at := now() + make_interval(hours => in_overlap_hours);
  select w.* into v_webhook
  from public.webhooks as w
  where w.organization_id = v_caller.organization_id and w.id = in_webhook_id
  for no key update;
  if not found then
    perform private.fail('webhook_not_found', 'There is no such webhook.', in_webhook_id::text);
  end if;
  -- At most two sign: one that was rotated before ends now.
  delete from private.webhook_secrets as s
  where s.organization_id = v_webhook.organization_id and s.webhook_id = v_webhook.id and s.expires_at is not null;
  update private.webhook_secrets as s
  set expires_at = v_expires_at
  where s.organization_id = v_webhook.organization_id and s.webhook_id = v_webhook.id and s.expires_at is null;
  perform private.audit(v_webhook.organization_id, 'webhook.secret_rotated', 'webhook', v_webhook.id, null,
    jsonb_build_object('previous_expires_at', v_expires_at));
  return jsonb_build_object(
    'webhook_id', v_webhook.id,
    'secret', private.new_webhook_secret(v_webhook.organization_id, v_webhook.id),
    'previous_expires_at', v_expires_at);
end;
$$;

comment on function private.rotate_webhook_secret(uuid, integer) is 'Body of public.rotate_webhook_secret.';

grant execute on function private.rotate_webhook_secret(uuid, integer) to authenticated, api_key;

create function public.rotate_webhook_secret(webhook_id uuid, overlap_hours integer default 24) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.rotate_webhook_secret(webhook_id, overlap_hours);
$$;

comment on function public.rotate_webhook_secret(uuid, integer) is
  'Gives a webhook a new secret and answers it, only here: {webhook_id, secret, previous_expires_at}. Until then deliveries
carry a signature of each, so the receiver may change over at any time; overlap_hours 0 ends the old one at once. One
rotated before ends now. Administrators, and API keys with webhooks:manage; audited.
Errors: admin_required 403, scope_missing 403, webhook_not_found 404, invalid_argument 400.';

grant execute on function public.rotate_webhook_secret(uuid, integer) to authenticated, api_key;

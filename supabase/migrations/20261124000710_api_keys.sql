-- API keys: what other systems show instead of a person's token.
--
-- A key belongs to an organization and may do what its scopes say, nothing more: policies `to api_key` and the bodies of RPCs
-- ask for them (private.require_scope). What the key is recognised by is kept apart, as a hash, so that reading every column
-- of a key shows no secret. The edge function `api` verifies the key and speaks to PostgREST as role api_key with its id in the
-- token; organization, scopes, expiry and revocation are read from this table at each statement, never from the token.
-- Not covered: making, rotating and revoking keys (the chapter of their management), policies and grants (the next chapter).

create table public.api_keys (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  key_id text not null unique,
  last_four text not null,
  scopes text[] not null,
  requests_per_minute integer not null default 600,
  expires_at timestamptz,
  revoked_at timestamptz,
  is_active boolean not null default true,
  last_used_at timestamptz,
  created_by uuid,
  scopes_set_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint creator foreign key (organization_id, created_by)
    references public.employees (organization_id, id) on delete set null (created_by),
  constraint scope_setter foreign key (organization_id, scopes_set_by)
    references public.employees (organization_id, id) on delete set null (scopes_set_by),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint name_is_readable check (private.is_readable(name)),
  constraint key_id_is_valid check (key_id ~ '^[0-9A-Za-z]{12}$'),
  constraint last_four_is_valid check (last_four ~ '^[0-9A-Za-z]{4}$'),
  constraint expires_at_is_a_time check (isfinite(expires_at)),
  constraint requests_per_minute_is_1_to_60000 check (requests_per_minute between 1 and 60000),
  constraint scopes_are_valid check (
    cardinality(scopes) > 0
    and scopes <@ array[
      'sessions:read', 'sessions:write', 'locations:read', 'locations:write', 'expenses:read', 'expenses:review',
      'employees:read', 'employees:write', 'analytics:read', 'webhooks:manage', 'events:read', 'sites:read',
      'sites:write'
    ]
  )
);

alter table public.api_keys enable row level security;

-- The references to who made it and who gave it its scopes.
create index api_keys_creator on public.api_keys (organization_id, created_by);
create index api_keys_scope_setter on public.api_keys (organization_id, scopes_set_by);

-- The administrator's list, newest first.
create index api_keys_newest on public.api_keys (organization_id, created_at desc, id);

create trigger _100_set_updated_at before update on public.api_keys
  for each row execute function private.tg_any__set_updated_at();

comment on table public.api_keys is 'API keys of the organization, for its administrators. The key itself is shown once.';
comment on column public.api_keys.name is 'What the key is for, in the administrator''s words.';
comment on column public.api_keys.key_id is 'The public part of the key, by which it is found.';
comment on column public.api_keys.last_four is 'The last four characters of the secret part, to recognise a key by.';
comment on column public.api_keys.scopes is 'What the key may do, as resource:action; docs/security.md lists them.';
comment on column public.api_keys.requests_per_minute is
  'How many calls a minute the function api lets through; as many at once if they were saved up.';
comment on column public.api_keys.expires_at is 'The key is refused from then on; null: never.';
comment on column public.api_keys.revoked_at is 'The key is refused from then on; null: not revoked.';
comment on column public.api_keys.is_active is 'The administrators'' switch: a key that is off is refused, and may be switched on again.';
comment on column public.api_keys.last_used_at is 'Last use, coarse (at most one write a minute).';
comment on column public.api_keys.created_by is 'The administrator (employees.id) who made it.';
comment on column public.api_keys.scopes_set_by is 'The administrator (employees.id) who changed its scopes last; null: its maker.';

create table private.api_key_secrets (
  organization_id uuid not null,
  api_key_id uuid not null,
  secret_hash bytea not null,
  primary key (organization_id, api_key_id),
  constraint api_key foreign key (organization_id, api_key_id)
    references public.api_keys (organization_id, id) on delete cascade
);

alter table private.api_key_secrets enable row level security;

comment on table private.api_key_secrets is 'SHA-256 of each key''s secret part (256 random bits, so no salt is needed).';

-- NOTE: nothing is granted on it.

-- The audit log and the rate limits: what the RPCs of the following chapters share.
--
-- audit_log holds every administrative act with its actor and the values before and after. It is append-only: by grants
-- for clients and by a trigger for everybody else.
-- Limits are token buckets, one row per organization, kind and subject. Only accepted calls count: a refused call raises,
-- and what it took is rolled back with it. Counting refused calls too is the gateway's business.

create table public.audit_log (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id bigint generated always as identity,
  action text not null,
  actor_type private.actor_type not null,
  actor_id uuid,
  subject_type text not null,
  subject_id uuid,
  reason text,
  before jsonb,
  after jsonb,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint action_is_dotted check (action ~ '^[a-z_]+\.[a-z_]+$')
);

alter table public.audit_log enable row level security;

-- What happened to one thing, newest first. The whole log, newest first, is the primary key read backwards.
create index audit_log_subject on public.audit_log (organization_id, subject_type, subject_id, id desc);

-- What one person or key did, in order.
create index audit_log_actor on public.audit_log (organization_id, actor_id, id) where actor_id is not null;

-- A change and a bare DELETE are refused; the erasure of a person or an organization announces itself.
create function private.tg_audit_log__append_only() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if current_setting('fieldtrack.erasure', true) = 'on' then
    return coalesce(new, old);
  end if;
  raise exception 'audit_log is append-only' using errcode = 'insufficient_privilege';
end;
$$;

comment on function private.tg_audit_log__append_only() is
  'Before update or delete: refuses, unless the transaction set fieldtrack.erasure to on.';

create trigger _100_append_only before update or delete on public.audit_log
  for each row execute function private.tg_audit_log__append_only();

-- TRUNCATE fires no row's trigger, and no erasure is one.
create function private.tg_audit_log__no_truncate() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'audit_log is append-only' using errcode = 'insufficient_privilege';
end;
$$;

comment on function private.tg_audit_log__no_truncate() is 'Before truncate: refuses.';

create trigger _110_no_truncate before truncate on public.audit_log
  for each statement execute function private.tg_audit_log__no_truncate();

comment on table public.audit_log is 'Administrative acts, append-only. Administrators read their organization''s.';
comment on column public.audit_log.id is 'Order of the acts; newest first is order=id.desc.';
comment on column public.audit_log.action is 'What was done, such as session.corrected.';
comment on column public.audit_log.actor_type is 'employee, api_key, device, worker, service or system.';
comment on column public.audit_log.actor_id is 'Id of the employee, key or device; null for the others.';
comment on column public.audit_log.subject_type is 'What it was done to: session, employee, expense, organization.';
comment on column public.audit_log.subject_id is 'Its id.';
comment on column public.audit_log.reason is 'The reason that the actor gave.';
comment on column public.audit_log.before is 'Changed values before.';
comment on column public.audit_log.after is 'Changed values after.';

create policy select_admin on public.audit_log for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

grant select on public.audit_log to authenticated, service_role;

create function private.audit(
  in_organization_id uuid, in_action text, in_subject_type text, in_subject_id uuid,
  in_before jsonb, in_after jsonb, in_reason text default null
) returns void
language plpgsql volatile
set search_path = ''
as $$
declare
  v_actor private.actor := private.current_actor();
begin
  insert into public.audit_log (
    organization_id, action, actor_type, actor_id, subject_type, subject_id, reason, before, after
  ) values (
    in_organization_id, in_action, v_actor.type, v_actor.id, in_subject_type, in_subject_id, in_reason,
    in_before, in_after
  );
end;
$$;

comment on function private.audit(uuid, text, text, uuid, jsonb, jsonb, text) is
  'Writes an act of the current actor to the audit log, in the caller''s transaction. For definers.';

-- The keys of two objects whose values differ, as (before, after): an audit row shows what changed and nothing else.
create function private.changed(in_before jsonb, in_after jsonb, out old_values jsonb, out new_values jsonb)
language plpgsql immutable
set search_path = ''
as $$
begin
  select jsonb_object_agg(a.key, in_before -> a.key), jsonb_object_agg(a.key, a.value)
  into old_values, new_values
  from jsonb_each(in_after) as a
  where a.value is distinct from in_before -> a.key and a.key <> 'updated_at';
end;
$$;

comment on function private.changed(jsonb, jsonb) is 'What differs between two rows as json: old and new values.';

create table private.rate_buckets (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  kind text not null,
  subject_id uuid not null,
  tokens double precision not null,
  refilled_at timestamptz not null,
  primary key (organization_id, kind, subject_id)
) with (fillfactor = 50);

alter table private.rate_buckets enable row level security;

comment on table private.rate_buckets is
  'Token buckets: tokens left at refilled_at. A row per employee (or organization) and kind, updated in place.';

create function private.rate_limit(in_kind text, out per_second double precision, out burst double precision)
language plpgsql immutable
set search_path = ''
as $$
begin
  case in_kind
    when 'locations' then per_second := 1; burst := 60;
    when 'expenses' then per_second := 10 / 60.0; burst := 10;
    when 'recalculations' then per_second := 5 / 60.0; burst := 5;
    when 'webhook_tests' then per_second := 10 / 60.0; burst := 10;
    when 'webhook_replays' then per_second := 4 / 60.0; burst := 4;
    when 'webhook_retries' then per_second := 2; burst := 120;
    when 'retry_replays' then per_second := 1 / 15.0; burst := 1;
    when 'invitations' then per_second := 30 / 3600.0; burst := 30;
    when 'personal_data' then per_second := 1; burst := 60;
    when 'ingest' then per_second := 2; burst := 600;
    when 'credentials' then per_second := 60 / 3600.0; burst := 60;
    when 'device_tokens' then per_second := 10 / 3600.0; burst := 10;
    when 'circuit_resets' then per_second := 30 / 3600.0; burst := 30;
    when 'writes' then per_second := 2; burst := 300;
    when 'stream_tickets' then per_second := 30 / 60.0; burst := 30;
  end case;
end;
$$;

comment on function private.rate_limit(text) is 'The limit of a kind of call: tokens a second and the bucket''s size.';

-- The clock, not the transaction's start: of two calls that waited for one another the later one must not refill twice.
create function private.take_token(in_organization_id uuid, in_kind text, in_subject_id uuid) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_limit record;
  v_now timestamptz := clock_timestamp();
  v_missing double precision;
begin
  select l.per_second, l.burst into v_limit from private.rate_limit(in_kind) as l;
  insert into private.rate_buckets as b (organization_id, kind, subject_id, tokens, refilled_at)
  values (in_organization_id, in_kind, in_subject_id, v_limit.burst - 1, v_now)
  on conflict on constraint rate_buckets_pkey do update
  set tokens = least(
      v_limit.burst,
      b.tokens + v_limit.per_second * greatest(0, extract(epoch from excluded.refilled_at - b.refilled_at))
    ) - 1,
    refilled_at = greatest(b.refilled_at, excluded.refilled_at)
  where b.tokens + v_limit.per_second * greatest(0, extract(epoch from excluded.refilled_at - b.refilled_at)) >= 1;
  if found then
    return;
  end if;
  select 1 - b.tokens - v_limit.per_second * greatest(0, extract(epoch from v_now - b.refilled_at)) into v_missing
  from private.rate_buckets as b
  where b.organization_id = in_organization_id and b.kind = in_kind
    and b.subject_id = in_subject_id;
  perform private.fail('rate_limited', 'Too many calls.', in_kind, 'Wait as Retry-After says, then send it again.',
    jsonb_build_object(
      'Retry-After', greatest(1, ceil(v_missing / v_limit.per_second))::integer::text));
end;
$$;

comment on function private.take_token(uuid, text, uuid) is
  'Takes one token or refuses with rate_limited 429 and Retry-After (seconds). For definers, after the caller is known.';

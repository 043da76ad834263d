-- Deliveries: an event on its way to an endpoint, and what an administrator may ask for about it.
--
-- A row of events becomes a row of webhook_deliveries for each endpoint that subscribes to its type, written by a trigger in the
-- transaction that wrote the event: neither can exist without the other having been possible. The delivery's row is its own
-- schedule (next_attempt_at), so there is no job to lose. Who is sending it stands beside it, in a lease.
-- Not covered: claiming, sending and recording (the next chapter).

create table public.webhook_deliveries (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  webhook_id uuid not null,
  event_id bigint not null,
  event_type text not null,
  state text not null default 'PENDING',
  attempts integer not null default 0,
  attempts_before integer not null default 0,
  next_attempt_at timestamptz default now(),
  last_status smallint,
  last_error text,
  last_attempt_at timestamptz,
  delivered_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  -- An event goes to an endpoint once, however often it is replayed: the row, and with it webhook-id, stays the same.
  unique (organization_id, event_id, webhook_id),
  constraint webhook foreign key (organization_id, webhook_id)
    references public.webhooks (organization_id, id) on delete cascade,
  constraint event foreign key (organization_id, event_id)
    references public.events (organization_id, id) on delete cascade,
  constraint state_is_valid check (state in ('PENDING', 'DELIVERED', 'DEAD')),
  constraint pending_has_its_time check ((state = 'PENDING') = (next_attempt_at is not null))
);

alter table public.webhook_deliveries enable row level security;

-- The sender's question: which endpoints have something due, and what of each is oldest? Not deduplicated: a replay writes a
-- thousand with one time, and of entries that are packed together PostgreSQL forgets none until all are dead.
create index webhook_deliveries_due on public.webhook_deliveries (organization_id, webhook_id, next_attempt_at)
  with (deduplicate_items = off)
  where state = 'PENDING';

-- An endpoint's deliveries, newest first. (All of an organization, newest first: order=event_id.desc, the unique key.)
create index webhook_deliveries_newest on public.webhook_deliveries (organization_id, webhook_id, created_at desc, id);

-- The dead letters of an organization, newest first.
create index webhook_deliveries_dead on public.webhook_deliveries (organization_id, created_at desc) where state = 'DEAD';

comment on table public.webhook_deliveries is
  'An event on its way to an endpoint, for administrators. id is the webhook-id header, the same over all attempts. Goes '
  'with its event after 30 days.';
comment on column public.webhook_deliveries.webhook_id is 'The webhook (webhooks.id).';
comment on column public.webhook_deliveries.event_id is 'The event (events.id).';
comment on column public.webhook_deliveries.event_type is 'Its type.';
comment on column public.webhook_deliveries.state is
  'PENDING: waits for next_attempt_at. DELIVERED: answered with 2xx. DEAD: ten attempts failed; retry_webhook_delivery tries anew.';
comment on column public.webhook_deliveries.attempts is 'Attempts made, ever; webhook_attempts has each.';
comment on column public.webhook_deliveries.attempts_before is 'Of those, how many before somebody asked for it again.';
comment on column public.webhook_deliveries.next_attempt_at is
  'When it is tried next, if endpoint and circuit let it; while PENDING only.';
comment on column public.webhook_deliveries.last_status is 'HTTP status of the last attempt; null: there was no answer.';
comment on column public.webhook_deliveries.last_error is 'Why the last attempt failed, as in webhook_attempts.error.';
comment on column public.webhook_deliveries.last_attempt_at is 'When the last attempt began.';
comment on column public.webhook_deliveries.delivered_at is 'When it was delivered, the last time.';

create policy select_admin on public.webhook_deliveries for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.webhook_deliveries for select to api_key using (
  organization_id = (select private.key_organization_id('webhooks:manage'))
);

grant select on public.webhook_deliveries to authenticated, api_key, service_role;

-- Apart from the delivery, so that claiming one does not move its row in every index. A sender that dies leaves a lease that ends
-- by itself. No foreign key, which would be checked at each claim for little: a lease whose delivery is gone counts for nothing
-- once it has ended, and goes with the leftovers.
create table private.webhook_leases (
  organization_id uuid not null,
  webhook_id uuid not null,
  delivery_id uuid not null,
  lease uuid not null,
  expires_at timestamptz not null,
  primary key (organization_id, webhook_id, delivery_id)
);

alter table private.webhook_leases enable row level security;

comment on table private.webhook_leases is
  'Deliveries that a sender has in hand: only who holds the lease records the outcome, which ends it.';

-- NOTE: nothing is granted on it.

create table public.webhook_attempts (
  organization_id uuid not null,
  delivery_id uuid not null,
  number integer not null,
  attempted_at timestamptz not null,
  duration_ms integer not null,
  status smallint,
  error text,
  response text,
  primary key (organization_id, delivery_id, number),
  constraint delivery foreign key (organization_id, delivery_id)
    references public.webhook_deliveries (organization_id, id) on delete cascade,
  constraint response_has_at_most_4096_characters check (char_length(response) <= 4096)
);

alter table public.webhook_attempts enable row level security;

comment on table public.webhook_attempts is 'Each attempt at a delivery and what came of it, for administrators.';
comment on column public.webhook_attempts.delivery_id is 'The delivery (webhook_deliveries.id).';
comment on column public.webhook_attempts.number is 'First is 1.';
comment on column public.webhook_attempts.attempted_at is 'When it began.';
comment on column public.webhook_attempts.duration_ms is 'How long it took, in milliseconds.';
comment on column public.webhook_attempts.status is 'HTTP status of the answer; null: there was none.';
comment on column public.webhook_attempts.error is
  'Why it failed, null if it did not: status, redirect, timeout, dns, address_refused, tls, connection, closed.';
comment on column public.webhook_attempts.response is 'First 4 KiB of the answer''s body, as text.';

create policy select_admin on public.webhook_attempts for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.webhook_attempts for select to api_key using (
  organization_id = (select private.key_organization_id('webhooks:manage'))
);

grant select on public.webhook_attempts to authenticated, api_key, service_role;

-- NOTE: nobody writes circuits, deliveries or attempts but the definers of this chapter and the next.

-- Every business transaction passes here, so it is one probe of a small index where there is no webhook. Two writers of one
-- organization do not wait for each other. A test goes to its own endpoint only.
create function private.tg_events__fan_out() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into public.webhook_deliveries (organization_id, webhook_id, event_id, event_type)
  select w.organization_id, w.id, new.id, new.type
  from public.webhooks as w
  where w.organization_id = new.organization_id and w.is_active and w.disabled_at is null
    and case new.type
      when 'webhook.test' then w.id = new.subject_id
      else w.events && array[new.type, '*']
    end
  -- The lock that the reference takes anyway, before the row: a webhook that is being deleted is waited for and then is not
  -- there, where the reference would find it gone and undo the check-in.
  for key share;
  return null;
end;
$$;

comment on function private.tg_events__fan_out() is
  'After insert: a delivery for each active webhook that subscribes to the type.';

create trigger _100_fan_out after insert on public.events
  for each row execute function private.tg_events__fan_out();

-- What is asked for below is only worth something if it will be sent.
create function private.require_live_webhook(in_organization_id uuid, in_webhook_id uuid) returns public.webhooks
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_webhook public.webhooks;
begin
  select w.* into v_webhook
  from public.webhooks as w
  where w.organization_id = in_organization_id and w.id = in_webhook_id;
  if not found then
    perform private.fail('webhook_not_found', 'There is no such webhook.', in_webhook_id::text);
  end if;
  if not v_webhook.is_active or v_webhook.disabled_at is not null then
    perform private.fail('webhook_inactive', 'This webhook is switched off or disabled.', v_webhook.disabled_reason,
      'Switch it on first: update_webhook with is_active true.');
  end if;
  return v_webhook;
end;
$$;

comment on function private.require_live_webhook(uuid, uuid) is
  'The webhook, or webhook_not_found, or webhook_inactive. For definers, with the caller''s organization.';

create function private.test_webhook(in_webhook_id uuid) returns public.webhook_deliveries
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('webhooks:manage');
  v_webhook public.webhooks := private.require_live_webhook(v_caller.organization_id, in_webhook_id);
  v_delivery public.webhook_deliveries;
begin
  perform private.take_token(v_caller.organization_id, 'webhook_tests', v_caller.organization_id);
  perform private.emit_event(v_caller.organization_id, 'webhook.test', 'webhook', v_webhook.id, null,
    jsonb_build_object('webhook_id', v_webhook.id));
  select d.* into strict v_delivery
  from public.webhook_deliveries as d
  where d.organization_id = v_caller.organization_id and d.webhook_id = v_webhook.id
    and d.created_at = now() and d.event_type = 'webhook.test';
  return v_delivery;
end;
$$;

comment on function private.test_webhook(uuid) is 'Body of public.test_webhook.';

grant execute on function private.test_webhook(uuid) to authenticated, api_key;

create function public.test_webhook(webhook_id uuid) returns public.webhook_deliveries
language sql volatile
set search_path = ''
as $$
  select private.test_webhook(webhook_id);
$$;

comment on function public.test_webhook(uuid) is
  'Sends the webhook, and no other, an event of type webhook.test, and answers its delivery: read it again a moment later. 10 a
minute for the organization. Administrators, and API keys with webhooks:manage.
Errors: admin_required 403, scope_missing 403, webhook_not_found 404, webhook_inactive 409, rate_limited 429.';

grant execute on function public.test_webhook(uuid) to authenticated, api_key;

create function private.retry_webhook_delivery(in_delivery_id uuid) returns public.webhook_deliveries
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('webhooks:manage');
  v_before public.webhook_deliveries;
  v_delivery public.webhook_deliveries;
begin
  select d.* into v_before
  from public.webhook_deliveries as d
  where d.organization_id = v_caller.organization_id and d.id = in_delivery_id;
  if not found then
    perform private.fail('delivery_not_found', 'There is no such delivery.', in_delivery_id::text);
  end if;
  perform private.require_live_webhook(v_caller.organization_id, v_before.webhook_id);
  perform private.take_token(v_caller.organization_id, 'webhook_retries', v_caller.organization_id);
  update public.webhook_deliveries as d
  set state = 'PENDING', next_attempt_at = now(), attempts_before = d.attempts
  where d.organization_id = v_caller.organization_id and d.id = v_before.id
    and not exists (
      select from private.webhook_leases as l
      where l.organization_id = d.organization_id and l.webhook_id = d.webhook_id and l.delivery_id = d.id
        and l.expires_at > now()
    )
  returning d.* into v_delivery;
  if not found then
    perform private.fail('conflict_retry', 'This delivery is being sent just now.', v_before.id::text,
      'Look at its outcome in a few seconds.');
  end if;
  perform private.audit(v_delivery.organization_id, 'webhook.delivery_retried', 'webhook_delivery', v_delivery.id,
    jsonb_build_object('state', v_before.state, 'attempts', v_before.attempts), null);
  return v_delivery;
end;
$$;

comment on function private.retry_webhook_delivery(uuid) is 'Body of public.retry_webhook_delivery.';

grant execute on function private.retry_webhook_delivery(uuid) to authenticated, api_key;

create function public.retry_webhook_delivery(delivery_id uuid) returns public.webhook_deliveries
language sql volatile
set search_path = ''
as $$
  select private.retry_webhook_delivery(delivery_id);
$$;

comment on function public.retry_webhook_delivery(uuid) is
  'Sends a delivery again now, with the same webhook-id and all attempts ahead of it: a dead one, one that waits, or one that was
delivered and then lost by the receiver. 120 a minute for the organization; replay_webhook_events for more. Administrators, and
API keys with webhooks:manage; audited.
Errors: admin_required 403, scope_missing 403, delivery_not_found 404, webhook_inactive 409, rate_limited 429, conflict_retry
409.';

grant execute on function public.retry_webhook_delivery(uuid) to authenticated, api_key;

create function private.replay_webhook_events(
  in_webhook_id uuid, in_occurred_from timestamptz, in_occurred_to timestamptz, in_include_delivered boolean
) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('webhooks:manage');
  v_webhook public.webhooks := private.require_live_webhook(v_caller.organization_id, in_webhook_id);
  v_limit constant integer := 1000;
  v_queued integer;
  v_continue_from timestamptz;
begin
  if in_occurred_from is null or in_occurred_to is null
    or in_occurred_from >= in_occurred_to
    or in_occurred_to - in_occurred_from > interval '31 days'
  then
    perform private.fail('invalid_argument', 'The range goes from an earlier to a later time, at most 31 days.',
      'occurred_from');
  end if;
  perform private.take_token(v_caller.organization_id, 'webhook_replays', v_caller.organization_id);
  -- With ties: all that happened at one instant (in one transaction) goes together, so that the next call can begin after it.
  with wanted as materialized (
    select e.id, e.type, e.occurred_at
    from public.events as e
    left join public.webhook_deliveries as d
      on d.organization_id = e.organization_id and d.event_id = e.id and d.webhook_id = v_webhook.id
    where e.organization_id = v_caller.organization_id
      and e.occurred_at >= in_occurred_from and e.occurred_at < in_occurred_to
      and e.type <> 'webhook.test' and v_webhook.events && array[e.type, '*']
      and (
        d.id is null or d.state = 'DEAD' or (d.state = 'DELIVERED' and in_include_delivered)
      )
    order by e.occurred_at
    fetch first v_limit rows with ties
    -- Not deleted by retention before its delivery stands.
    for key share of e
  ),
  queued as (
    insert into public.webhook_deliveries as d (organization_id, webhook_id, event_id, event_type)
    select v_webhook.organization_id, v_webhook.id, w.id, w.type from wanted as w
    on conflict on constraint webhook_deliveries_organization_id_event_id_webhook_id_key do update
    set state = 'PENDING', next_attempt_at = now(), attempts_before = d.attempts
    where d.state <> 'PENDING'
    returning 1
  )
  select (select count(*) from queued), (
    select min(e.occurred_at)
    from public.events as e
    where e.organization_id = v_caller.organization_id
      and e.occurred_at > (select max(w.occurred_at) from wanted as w)
      and e.occurred_at < in_occurred_to
      and (select count(*) from wanted) >= v_limit
  )
  into v_queued, v_continue_from;
  perform private.audit(v_webhook.organization_id, 'webhook.events_replayed', 'webhook', v_webhook.id, null,
    jsonb_build_object(
      'occurred_from', in_occurred_from,
      'occurred_to', in_occurred_to,
      'include_delivered', in_include_delivered,
      'queued', v_queued));
  return jsonb_build_object('queued', v_queued, 'continue_from', v_continue_from);
end;
$$;

comment on function private.replay_webhook_events(uuid, timestamptz, timestamptz, boolean) is
  'Body of public.replay_webhook_events.';

grant execute on function private.replay_webhook_events(uuid, timestamptz, timestamptz, boolean) to authenticated, api_key;

create function public.replay_webhook_events(
  webhook_id uuid, occurred_from timestamptz, occurred_to timestamptz, include_delivered boolean default false
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.replay_webhook_events(webhook_id, occurred_from, occurred_to, include_delivered);
$$;

comment on function public.replay_webhook_events(uuid, timestamptz, timestamptz, boolean) is
  'Recovery: sends the webhook the events of [occurred_from, occurred_to) that it subscribes to and did not get (dead ones, and
those of a time when it was off); with include_delivered also what it got, under the same webhook-id. At most 31 days, and
1,000 events a call (more only where one transaction wrote more): {queued, continue_from}; while continue_from is not null,
call again from there. 4 calls a minute for the organization. Administrators, and API keys with webhooks:manage; audited.
Errors: admin_required 403, scope_missing 403, webhook_not_found 404, webhook_inactive 409, rate_limited 429,
invalid_argument 400.';

grant execute on function public.replay_webhook_events(uuid, timestamptz, timestamptz, boolean) to authenticated, api_key;

-- The event log: what happened is a row here, written by a trigger in the same transaction as the change.
--
-- No write, event, job or webhook can be lost or invented separately, because they commit together. There is no second bus.
-- The triggers stand in this one chapter, so that it is also the list of what counts as an event; the shapes of the payloads
-- are in types/events.ts, and a test holds the two together.
--
-- Reading without losing a row: ids are handed out before commit, so a reader that remembers the largest id misses rows that
-- commit later. Readers order by (epoch, xact, id), read only what lies below the oldest running transaction, and remember
-- the triple. An xid belongs to a cluster: after a restore into another one the counter may start lower, so the epoch rises with
-- the first event written there, and what was written before sorts before.
-- Not covered: webhooks (their deliveries are made by a trigger on this table), the live stream (an edge function).

create table private.event_epochs (
  epoch smallint primary key,
  system_identifier bigint not null,
  began_at timestamptz not null default now()
);

alter table private.event_epochs enable row level security;

comment on table private.event_epochs is
  'The clusters that this log has lived in, newest epoch last. xid8 values are comparable within an epoch only.';

insert into private.event_epochs (epoch, system_identifier)
select 0, c.system_identifier from pg_control_system() as c;

-- Once a session: a connection never outlives its cluster. The insert is guarded by the primary key: of two first writers
-- after a restore one makes the epoch, the other waits for it and finds it.
create function private.current_epoch() returns smallint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_known text := nullif(current_setting('fieldtrack.epoch', true), '');
  v_last private.event_epochs;
  v_here bigint;
begin
  if v_known is not null then
    return v_known::smallint;
  end if;
  select c.system_identifier into v_here from pg_control_system() as c;
  loop
    select e.* into v_last from private.event_epochs as e order by e.epoch desc limit 1;
    exit when v_last.system_identifier = v_here;
    insert into private.event_epochs (epoch, system_identifier) values (v_last.epoch + 1, v_here) on conflict do nothing;
  end loop;
  perform set_config('fieldtrack.epoch', v_last.epoch::text, false);
  return v_last.epoch;
end;
$$;

comment on function private.current_epoch() is
  'The epoch that events of this cluster carry. Makes the next one when the cluster is not the last one known.';

create table public.events (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id bigint generated always as identity,
  epoch smallint not null,
  xact xid8 not null,
  type text not null,
  subject_type text not null,
  subject_id uuid not null,
  employee_id uuid,
  actor_type private.actor_type not null,
  actor_id uuid,
  payload jsonb not null,
  traceparent text,
  occurred_at timestamptz not null default now(),
  primary key (organization_id, id),
  constraint type_is_dotted check (type ~ '^[a-z_]+\.[a-z_]+$'),
  constraint payload_is_an_object check (jsonb_typeof(payload) = 'object')
);

alter table public.events enable row level security;

-- The reader's question: what comes after this position? Also retention's: what is oldest?
create index events_position on public.events (epoch, xact, id);

-- What did one organization's client of the live stream miss? With the index above a quiet organization's gap would be found
-- by reading everybody's events; the primary key has the order of ids, which is not the order of positions.
create index events_organization_position on public.events (organization_id, epoch, xact, id);

-- What happened in the organization from then until then? For replays, and for who asks by time.
create index events_occurred on public.events (organization_id, occurred_at, id);

-- What happened to one person? For the export of a person's data and the erasure.
create index events_employee on public.events (organization_id, employee_id, id) where employee_id is not null;

comment on table public.events is
  'What happened in the organization: written by triggers, kept for 30 days. Administrators read their organization''s.';
comment on column public.events.id is 'Identifies the event; newest first is order=id.desc. Not gapless.';
comment on column public.events.epoch is 'Which cluster wrote it. Position in the log is (epoch, xact, id).';
comment on column public.events.xact is 'The transaction that wrote it.';
comment on column public.events.type is 'What happened, such as session.checked_in; types/events.ts lists them.';
comment on column public.events.subject_type is 'What it happened to: session, expense, employee, organization, webhook.';
comment on column public.events.subject_id is 'Its id.';
comment on column public.events.employee_id is 'The employee (employees.id) whom it concerns, if one.';
comment on column public.events.actor_type is 'Who did it: employee, api_key, device, worker, service or system.';
comment on column public.events.actor_id is 'Id of the employee, key or device; null for the others.';
comment on column public.events.payload is 'The facts, in the shape that types/events.ts gives for the type.';
comment on column public.events.traceparent is 'W3C trace context of the request that caused it, if it had one.';
comment on column public.events.occurred_at is 'When the transaction that wrote it began.';

create policy select_admin on public.events for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.events for select to api_key using (
  organization_id = (select private.key_organization_id('events:read'))
);

create policy select_worker on public.events for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select on public.events to authenticated, api_key, service_role, fieldtrack_worker;

-- NOTE: nobody writes but private.emit_event.

create function private.emit_event(
  in_organization_id uuid, in_type text, in_subject_type text, in_subject_id uuid, in_employee_id uuid, in_payload jsonb
) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_actor private.actor := private.current_actor();
begin
  insert into public.events (
    organization_id, epoch, xact, type, subject_type, subject_id, employee_id, actor_type, actor_id, payload, traceparent
  ) values (
    in_organization_id, private.current_epoch(), pg_current_xact_id(), in_type,
    in_subject_type, in_subject_id, in_employee_id, v_actor.type, v_actor.id, in_payload,
    private.current_traceparent()
  );
end;
$$;

comment on function private.emit_event(uuid, text, text, uuid, uuid, jsonb) is
  'Writes an event of the current actor in the caller''s transaction. For trigger functions and definers.';

-- What counts as an event. Each function below is one aggregate: read the `when` of its triggers, then its payloads.

create function private.position_json(in_latitude double precision, in_longitude double precision, in_accuracy_m real)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  if in_latitude is null then
    return null;
  end if;
  return jsonb_build_object('latitude', in_latitude, 'longitude', in_longitude, 'accuracy_m', in_accuracy_m);
end;
$$;

comment on function private.position_json(double precision, double precision, real) is
  '{latitude, longitude, accuracy_m} as events carry a position, or null.';

create function private.session_times_json(in_session public.attendance_sessions) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'checked_in_at', (in_session).checked_in_at,
    'checked_out_at', (in_session).checked_out_at,
    'closed_by', (in_session).closed_by,
    'duration_s', (in_session).duration_s,
    'counts', (in_session).counts,
    'needs_review', (in_session).needs_review,
    'review_reasons', to_jsonb((in_session).review_reasons));
end;
$$;

comment on function private.session_times_json(public.attendance_sessions) is
  'A session''s hours and whether they count, as events carry them.';

create function private.tg_attendance_sessions__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_base jsonb := jsonb_build_object('session_id', new.id, 'employee_id', new.employee_id);
begin
  if tg_op = 'INSERT' and new.opened_by in ('ADMIN', 'API_KEY') then
    perform private.emit_event(new.organization_id, 'session.created', 'session', new.id, new.employee_id,
      v_base || private.session_times_json(new.*) || jsonb_build_object('opened_by', new.opened_by));
    return null;
  elsif tg_op = 'INSERT' then
    perform private.emit_event(new.organization_id, 'session.checked_in', 'session', new.id, new.employee_id,
      v_base || jsonb_build_object(
        'checked_in_at', new.checked_in_at,
        'position', private.position_json(new.check_in_latitude, new.check_in_longitude, new.check_in_accuracy_m)));
    -- One that came late, where a later one is known: it is over, provisionally.
    if new.closed_by is distinct from 'AUTO' then
      return null;
    end if;
  end if;
  if tg_op = 'INSERT' or old.status = 'ACTIVE' and new.status = 'CLOSED' then
    perform private.emit_event(new.organization_id, 'session.checked_out', 'session', new.id, new.employee_id,
      v_base || jsonb_build_object(
        'checked_in_at', new.checked_in_at,
        'checked_out_at', new.checked_out_at,
        'closed_by', new.closed_by,
        'duration_s', new.duration_s,
        'position', private.position_json(new.check_out_latitude, new.check_out_longitude, new.check_out_accuracy_m)));
  end if;
  if tg_op = 'INSERT' then
    return null;
  end if;
  if new.voided_at is not null and old.voided_at is null then
    perform private.emit_event(new.organization_id, 'session.voided', 'session', new.id, new.employee_id,
      v_base || private.session_times_json(new.*) || jsonb_build_object('reason', new.void_reason));
  elsif new.reviewed_at is not null and old.reviewed_at is null then
    perform private.emit_event(new.organization_id, 'session.reviewed', 'session', new.id, new.employee_id,
      v_base || private.session_times_json(new.*));
  elsif new.corrected_at is not distinct from old.corrected_at
    and (
      new.checked_in_at <> old.checked_in_at
      or old.status = 'CLOSED' and (new.checked_out_at, new.closed_by, new.needs_review)
        is distinct from (old.checked_out_at, old.closed_by, old.needs_review)
    )
  then
    perform private.emit_event(new.organization_id, 'session.updated', 'session', new.id, new.employee_id,
      v_base || private.session_times_json(new.*) || jsonb_build_object('previous', private.session_times_json(old.*)));
  end if;
  if new.corrected_at is distinct from old.corrected_at then
    perform private.emit_event(new.organization_id, 'session.corrected', 'session', new.id, new.employee_id,
      v_base || jsonb_build_object(
        'checked_in_at', new.checked_in_at,
        'checked_out_at', new.checked_out_at,
        'duration_s', new.duration_s,
        'previous', jsonb_build_object(
          'checked_in_at', old.checked_in_at, 'checked_out_at', old.checked_out_at)));
  end if;
  -- A run that changes nothing is no event; the first figure and each other one is.
  if new.distance_status = 'DONE'
    and (old.distance_status <> 'DONE' or new.distance_m is distinct from old.distance_m)
  then
    perform private.emit_event(new.organization_id, 'session.recalculated', 'session', new.id, new.employee_id,
      v_base || jsonb_build_object(
        'distance_m', new.distance_m,
        'duration_s', new.duration_s,
        'points_used', new.points_used,
        'points_rejected', new.points_rejected,
        'algorithm_version', new.algorithm_version));
  end if;
  return null;
end;
$$;

comment on function private.tg_attendance_sessions__emit() is
  'After insert or update: session.created, checked_in, checked_out, updated, corrected, reviewed, voided, recalculated.';

create trigger _300_emit_on_insert after insert on public.attendance_sessions
  for each row execute function private.tg_attendance_sessions__emit();

create trigger _300_emit_on_update after update of status, checked_in_at, checked_out_at, review_reasons, reviewed_at, voided_at,
    corrected_at, distance_status, distance_m
  on public.attendance_sessions
  for each row execute function private.tg_attendance_sessions__emit();

create function private.tg_correction_requests__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_base jsonb := jsonb_build_object(
    'correction_request_id', new.id,
    'employee_id', new.employee_id,
    'session_id', new.session_id,
    'kind', new.kind,
    'checked_in_at', new.checked_in_at,
    'checked_out_at', new.checked_out_at
  );
begin
  if tg_op = 'INSERT' then
    perform private.emit_event(new.organization_id, 'correction.requested', 'correction_request', new.id, new.employee_id,
      v_base || jsonb_build_object('reason', new.reason));
  else
    perform private.emit_event(new.organization_id, 'correction.' || lower(new.status), 'correction_request', new.id,
      new.employee_id, v_base || jsonb_build_object('review_comment', new.review_comment, 'reviewed_at', new.reviewed_at));
  end if;
  return null;
end;
$$;

comment on function private.tg_correction_requests__emit() is
  'After insert or a review: correction.requested, correction.approved, correction.rejected.';

create trigger _300_emit_on_insert after insert on public.correction_requests
  for each row execute function private.tg_correction_requests__emit();

create trigger _300_emit_on_review after update of status on public.correction_requests
  for each row when (old.status = 'PENDING' and new.status <> 'PENDING')
  execute function private.tg_correction_requests__emit();

create function private.tg_expenses__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_base jsonb := jsonb_build_object(
    'expense_id', new.id,
    'employee_id', new.employee_id,
    'amount', new.amount,
    'currency', new.currency,
    'category', new.category,
    'spent_on', new.spent_on
  );
begin
  if tg_op = 'INSERT' then
    perform private.emit_event(new.organization_id, 'expense.submitted', 'expense', new.id, new.employee_id, v_base);
  elsif old.status = 'PENDING' and new.status in ('APPROVED', 'REJECTED') then
    perform private.emit_event(new.organization_id, 'expense.' || lower(new.status), 'expense', new.id,
      new.employee_id, v_base || jsonb_build_object(
        'approved_amount', new.approved_amount,
        'review_comment', new.review_comment,
        'reviewed_at', new.reviewed_at));
  elsif new.status is distinct from old.status then
    perform private.emit_event(new.organization_id,
      case new.status when 'PENDING' then 'expense.reopened' else 'expense.withdrawn' end, 'expense', new.id, new.employee_id,
      v_base);
  elsif (new.paid_at is null) <> (old.paid_at is null) then
    perform private.emit_event(new.organization_id,
      case when new.paid_at is null then 'expense.payment_undone' else 'expense.paid' end, 'expense', new.id, new.employee_id,
      v_base || jsonb_build_object('approved_amount', new.approved_amount, 'payment_reference', new.payment_reference));
  else
    perform private.emit_event(new.organization_id, 'expense.updated', 'expense', new.id, new.employee_id, v_base);
  end if;
  return null;
end;
$$;

comment on function private.tg_expenses__emit() is
  'After insert or a change: expense.submitted, expense.updated, expense.withdrawn, expense.approved, expense.rejected, '
  'expense.reopened, expense.paid, expense.payment_undone.';

create trigger _300_emit_on_insert after insert on public.expenses
  for each row execute function private.tg_expenses__emit();

-- Not for an erasure, which takes texts and leaves what was claimed.
create trigger _300_emit_on_change
  after update of status, paid_at, amount, currency, category, spent_on, description, receipt_paths on public.expenses
  for each row when (
    (old.status, old.paid_at is null, old.amount, old.currency, old.category, old.spent_on)
      is distinct from (new.status, new.paid_at is null, new.amount, new.currency, new.category, new.spent_on)
    or (new.status = 'PENDING' and new.description <> 'Erased'
      and (old.description, old.receipt_paths) is distinct from (new.description, new.receipt_paths))
  ) execute function private.tg_expenses__emit();

create function private.tg_employees__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_base jsonb := jsonb_build_object(
    'employee_id', new.id,
    'name', new.name,
    'employee_code', new.employee_code,
    'app_role', new.app_role,
    'team_id', new.team_id,
    'is_active', new.is_active
  );
  v_changed text[];
begin
  if tg_op = 'INSERT' then
    perform private.emit_event(new.organization_id, 'employee.created', 'employee', new.id, new.id, v_base);
    return null;
  end if;
  if old.is_active <> new.is_active then
    perform private.emit_event(new.organization_id,
      case when new.is_active then 'employee.activated' else 'employee.deactivated' end, 'employee', new.id, new.id, v_base);
  end if;
  v_changed := array_remove(array[
    case when old.name is distinct from new.name then 'name' end,
    case when old.phone is distinct from new.phone then 'phone' end,
    case when old.employee_code is distinct from new.employee_code then 'employee_code' end,
    case when old.app_role is distinct from new.app_role then 'app_role' end,
    case when old.team_id is distinct from new.team_id then 'team_id' end,
    case when old.user_id is null and new.user_id is not null then 'user_id' end
  ], null);
  if cardinality(v_changed) > 0 then
    perform private.emit_event(new.organization_id, 'employee.updated', 'employee', new.id, new.id,
      v_base || jsonb_build_object('changed', v_changed));
  end if;
  return null;
end;
$$;

comment on function private.tg_employees__emit() is
  'After insert or update: employee.created, employee.updated, employee.deactivated, employee.activated.';

create trigger _300_emit_on_insert after insert on public.employees
  for each row execute function private.tg_employees__emit();

create trigger _300_emit_on_update after update on public.employees
  for each row when (old.* is distinct from new.*) execute function private.tg_employees__emit();

create function private.tg_organizations__emit() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if old.locked_until > coalesce(new.locked_until, '-infinity') then
    perform private.emit_event(new.id, 'organization.unlocked', 'organization', new.id, null, jsonb_build_object(
      'organization_id', new.id, 'locked_until', new.locked_until, 'previous', old.locked_until));
  end if;
  perform private.emit_event(new.id, 'organization.updated', 'organization', new.id, null,
    jsonb_build_object(
      'organization_id', new.id,
      'changed', (
        select jsonb_agg(k.key order by k.key)
        from jsonb_object_keys(
          (private.changed(to_jsonb(old), to_jsonb(new))).new_values) as k (key)
      )));
  return null;
end;
$$;

comment on function private.tg_organizations__emit() is 'After a change of settings: organization.updated, organization.unlocked.';

create trigger _300_emit_on_update after update on public.organizations
  for each row when (old.* is distinct from new.*) execute function private.tg_organizations__emit();

-- Keys are the organization's, but who made one may have kept it. When that person goes or is administrator no more, the key
-- ends after
-- the organization's notice, an erased person's at once; the others are told.
create function private.tg_employees__retire_keys() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_notice interval := (
    select case when new.erased_at is null then make_interval(hours => o.key_notice_hours) else interval '0' end
    from public.organizations as o where o.id = new.organization_id
  );
  v_key public.api_keys;
begin
  for v_key in
    update public.api_keys as k
    set expires_at = now() + v_notice
    where k.organization_id = new.organization_id and (k.created_by = new.id or k.scopes_set_by = new.id)
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now() + v_notice)
    returning k.*
  loop
    perform private.audit(v_key.organization_id, 'api_key.expiring', 'api_key', v_key.id, null,
      jsonb_build_object('expires_at', v_key.expires_at, 'created_by', v_key.created_by));
    perform private.emit_event(v_key.organization_id, 'api_key.expiring', 'api_key', v_key.id, null,
      jsonb_build_object('api_key_id', v_key.id, 'name', v_key.name, 'created_by', v_key.created_by,
        'expires_at', v_key.expires_at));
  end loop;
  return null;
end;
$$;

comment on function private.tg_employees__retire_keys() is
  'After a deactivation, a demotion or an erasure: the keys that the person made or gave scopes end after the notice: api_key.expiring.';

create trigger _310_retire_keys after update of is_active, app_role, erased_at on public.employees
  for each row when (
    (old.is_active and not new.is_active) or (old.app_role = 'ADMIN' and new.app_role <> 'ADMIN')
    or (old.erased_at is null and new.erased_at is not null)
  ) execute function private.tg_employees__retire_keys();

-- Reading. A position is the triple; a row is readable once every transaction that may still write before it has ended.

create function private.read_log(in_after_epoch smallint, in_after_xact xid8, in_after_id bigint, in_max_rows integer)
returns setof public.events
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select e.*
  from public.events as e
  where (e.epoch, e.xact, e.id) > (in_after_epoch, in_after_xact, in_after_id)
    and (e.epoch, e.xact) < (
      (select max(p.epoch) from private.event_epochs as p),
      pg_snapshot_xmin(pg_current_snapshot())
    )
  order by e.epoch, e.xact, e.id
  limit least(in_max_rows, 1000);
end;
$$;

comment on function private.read_log(smallint, xid8, bigint, integer) is
  'Events of all organizations after a position, oldest first, at most 1,000: for readers that keep their position '
  'themselves (the live stream). Nothing that commits later can come before what this returned.';

grant execute on function private.read_log(smallint, xid8, bigint, integer) to fieldtrack_edge;

create table private.event_consumers (
  name text primary key,
  epoch smallint not null,
  xact xid8 not null,
  id bigint not null,
  advanced_at timestamptz not null default now(),
  dropped_at timestamptz
);

alter table private.event_consumers enable row level security;

comment on table private.event_consumers is
  'Positions of internal readers of the log: each has seen everything up to (epoch, xact, id). dropped_at: it lagged for too '
  'long and was dropped; it reads again when it is registered again.';

-- The consumer's row is the lock: of two readers with one name the second waits. The position moves in the reader's own
-- transaction, so what it does with the events and that it has seen them commit together.
create function private.read_events(in_consumer text, in_max_rows integer default 500) returns setof public.events
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_consumer private.event_consumers;
  v_event public.events;
begin
  select c.* into v_consumer from private.event_consumers as c where c.name = in_consumer for update;
  if not found then
    raise exception 'event consumer % is not registered', in_consumer;
  elsif v_consumer.dropped_at is not null then
    raise exception 'event consumer % was dropped: it lagged for too long', in_consumer
      using errcode = 'object_not_in_prerequisite_state', hint = 'private.register_event_consumer() lets it begin anew.';
  end if;
  -- A later statement, hence a snapshot taken after the lock.
  for v_event in
    select e.* from private.read_log(v_consumer.epoch, v_consumer.xact, v_consumer.id, in_max_rows) as e
  loop
    v_consumer.epoch := v_event.epoch;
    v_consumer.xact := v_event.xact;
    v_consumer.id := v_event.id;
    return next v_event;
  end loop;
  update private.event_consumers as c
  set epoch = v_consumer.epoch, xact = v_consumer.xact, id = v_consumer.id, advanced_at = now()
  where c.name = in_consumer
    and (c.epoch, c.xact, c.id) is distinct from (v_consumer.epoch, v_consumer.xact, v_consumer.id);
end;
$$;

comment on function private.read_events(text, integer) is
  'The next events for a registered consumer, oldest first; its position moves in the same transaction.';

create function private.register_event_consumer(in_name text) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  insert into private.event_consumers (name, epoch, xact, id)
  select in_name, e.epoch, pg_snapshot_xmin(pg_current_snapshot()), 0
  from private.event_epochs as e
  order by e.epoch desc
  limit 1
  on conflict on constraint event_consumers_pkey do update
  set epoch = excluded.epoch, xact = excluded.xact, id = 0, advanced_at = now(), dropped_at = null
  where event_consumers.dropped_at is not null;
end;
$$;

comment on function private.register_event_consumer(text) is
  'Makes a consumer that begins with what is written from now on; one that was dropped begins so again. Twice is no error.';

-- Keeping the log bounded. What is deleted leaves its last position behind, so that a reader that was away for longer is told
-- (the live stream sends `reset`) instead of silently missing rows.

create table private.event_log_floor (
  is_only_row boolean primary key default true check (is_only_row),
  epoch smallint not null,
  xact xid8 not null,
  id bigint not null
);

alter table private.event_log_floor enable row level security;

comment on table private.event_log_floor is 'The newest position that retention has deleted: what lies after it is complete.';

insert into private.event_log_floor (epoch, xact, id) values (0, '0', 0);

create function private.purge_events_piece(in_max_rows integer, in_keep interval, in_organization_id uuid default null)
returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_failing uuid[] := array(
    select t.organization_id from private.tenant_turns as t
    where t.loop_name = 'event-retention' and t.failures > 0 and t.retry_at > clock_timestamp()
  );
  v_deleted bigint;
begin
  -- In order of position, and only as far as every row is old enough: what remains is the log's unbroken end. Rows of a
  -- transaction that ran for long may be a little older than their neighbours; they go with them.
  with oldest as (
    select e.organization_id, e.id, e.epoch, e.xact, e.occurred_at
    from public.events as e
    where v_failing = '{}' or e.organization_id <> all (v_failing)
    order by e.epoch, e.xact, e.id
    limit in_max_rows
  ),
  expired as (
    select o.*
    from oldest as o
    where (o.epoch, o.xact, o.id) < (
      select y.epoch, y.xact, y.id
      from oldest as y
      where y.occurred_at >= now() - in_keep
      union all
      (select 32767::smallint, '0'::xid8, 0::bigint)
      order by 1, 2, 3
      limit 1
    )
  ),
  deleted as (
    delete from public.events as e using expired as x
    where e.organization_id = x.organization_id and e.id = x.id
      and (in_organization_id is null or x.organization_id = in_organization_id)
    returning e.epoch, e.xact, e.id
  ),
  floor as (
    update private.event_log_floor as f
    set epoch = d.epoch, xact = d.xact, id = d.id
    from (select d.* from deleted as d order by d.epoch desc, d.xact desc, d.id desc limit 1) as d
    where f.is_only_row and (d.epoch, d.xact, d.id) > (f.epoch, f.xact, f.id)
  )
  select count(*) into v_deleted from deleted;
  return v_deleted;
end;
$$;

comment on function private.purge_events_piece(integer, interval, uuid) is
  'Deletes of the oldest so many events those that are older than `keep`: of all organizations, or of one. Answers how many.';

-- By age, so nobody waits behind somebody's many; and if an organization's rows refuse to go, without that organization.
create function private.purge_events(
  in_max_rows integer default 5000, in_keep interval default '30 days', in_budget interval default '2 seconds'
) returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_ends_at timestamptz := clock_timestamp() + in_budget;
  v_organization_id uuid;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  loop
    begin
      v_rows := private.purge_events_piece(in_max_rows, in_keep);
    exception
      when others then
        raise warning 'loop event-retention: by organization, because of %', sqlstate;
        v_rows := 0;
        for v_organization_id in
          select distinct e.organization_id
          from (select e.organization_id from public.events as e order by e.epoch, e.xact, e.id limit in_max_rows) as e
        loop
          begin
            v_rows := v_rows + private.purge_events_piece(in_max_rows, in_keep, v_organization_id);
          exception
            when others then
              perform private.record_turn('event-retention', v_organization_id, left(sqlstate || ': ' || sqlerrm, 300));
          end;
        end loop;
    end;
    v_deleted := v_deleted + v_rows;
    exit when v_rows = 0 or in_budget = interval '0';
    if clock_timestamp() >= v_ends_at then
      perform private.enqueue('schedule', '{"name": "event-retention"}', 'event-retention');
      exit;
    end if;
  end loop;
  return v_deleted;
end;
$$;

comment on function private.purge_events(integer, interval, interval) is
  'Deletes the oldest events, for two seconds at most, as far as they are older than `keep` (30 days: more than the 75 hours of a '
  'webhook''s retries and the 7 days a consumer may lag). Run by schedule; returns how many.';

-- An internal consumer that stands still would, one day, miss what retention deletes. It is dropped before that, loudly: the
-- row says when (an alert watches it), the organizations whose events it has not seen get an event, and its next read fails
-- until it is registered again, which begins at the log's end.
create function private.drop_stalled_consumers(in_behind interval default '7 days') returns integer
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_consumer private.event_consumers;
  v_organization_id uuid;
  v_dropped integer := 0;
begin
  for v_consumer in
    select c.*
    from private.event_consumers as c
    where c.dropped_at is null
      and exists (
        select from private.read_log(c.epoch, c.xact, c.id, 1) as e
        where e.occurred_at < now() - in_behind
      )
    for update
  loop
    update private.event_consumers as c set dropped_at = now() where c.name = v_consumer.name;
    for v_organization_id in
      select distinct e.organization_id
      from public.events as e
      where (e.epoch, e.xact, e.id) > (v_consumer.epoch, v_consumer.xact, v_consumer.id)
    loop
      begin
        perform private.emit_event(v_organization_id, 'consumer.dropped', 'organization', v_organization_id, null,
          jsonb_build_object('consumer', v_consumer.name));
      exception
        when others then
          perform private.record_turn('stalled-consumers', v_organization_id, left(sqlstate || ': ' || sqlerrm, 300));
      end;
    end loop;
    v_dropped := v_dropped + 1;
  end loop;
  return v_dropped;
end;
$$;

comment on function private.drop_stalled_consumers(interval) is
  'Drops internal consumers whose oldest unread event is older than `behind` (7 days). Run by schedule; returns how many.';

-- Supabase Realtime, where it is present: that there is an event, on the private channel org:<organization_id>. A hint, not a
-- promise (Realtime may lose messages): clients read the row. And the message names nobody: Realtime asks its policy when a
-- channel is joined and not again until the token is renewed, so somebody who was deactivated would hear names and positions for
-- up to an hour; and it keeps messages for days, which no erasure reaches. private.install_platform() makes the trigger.
create function private.tg_events__broadcast() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_message jsonb := jsonb_build_object(
    'id', format('%s.%s.%s', new.epoch, new.xact, new.id), 'type', new.type, 'timestamp', new.occurred_at);
  v_topic text;
begin
  for v_topic in
    select 'org:' || new.organization_id
    union all
    -- The team as it is now: a person who moves is told of to the new team's managers from the next event on.
    select 'team:' || e.team_id
    from public.employees as e
    where e.organization_id = new.organization_id and e.id = new.employee_id and e.team_id is not null
  loop
    -- Dynamic, because realtime.send is not there everywhere and plpgsql_check reads this function too.
    execute 'select realtime.send($1, $2, $3, true)' using v_message, new.type, v_topic;
  end loop;
  return null;
exception
  -- Whatever Realtime does must not undo a check-in: this is the one place where everything is caught.
  when others then
    raise warning 'event % was not broadcast: %', new.type, sqlstate;
    return null;
end;
$$;

comment on function private.tg_events__broadcast() is
  'After insert, where Realtime is present: tells the private channels org:<organization_id> and, for an event about a person who '
  'belongs to a team, team:<team_id>, without the payload.';

-- Retry intents: jobs that used up their retries, as rows that administrators see and can have run again.
--
-- Every queue has a dead-letter queue; its handler in the worker turns each job there into a row here, one per organization,
-- queue and payload. A replay puts the job into its queue again, with all its retries. If that one dies too, the same row
-- comes back to PENDING and its count goes on; a job that dies of its own begins anew. A schedule replays what is due, eight
-- times at growing distances; after that a person decides.
-- Not covered: webhook deliveries. Their rows are their queue: a DEAD one is its own dead letter.

create table public.retry_intents (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  queue text not null,
  payload jsonb not null,
  reason text not null,
  state text not null default 'PENDING',
  attempts smallint not null default 0,
  next_attempt_at timestamptz,
  settled_at timestamptz,
  singleton_key text,
  dead_job_id uuid,
  replay_job_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, queue, payload),
  constraint state_is_valid check (state in ('PENDING', 'REPLAYED', 'DISCARDED')),
  constraint settled_has_its_time check ((state = 'PENDING') = (settled_at is null)),
  constraint only_a_pending_one_has_a_next_attempt check (state = 'PENDING' or next_attempt_at is null),
  constraint reason_has_at_most_500_characters check (char_length(reason) <= 500)
);

alter table public.retry_intents enable row level security;

-- The administrator's list, newest first.
create index retry_intents_newest on public.retry_intents (organization_id, created_at desc, id);

-- What is due, for the schedule.
create index retry_intents_due on public.retry_intents (next_attempt_at) where next_attempt_at is not null;

-- What was settled long ago, for the other one.
create index retry_intents_settled on public.retry_intents (settled_at) where settled_at is not null;

create trigger _100_set_updated_at before update on public.retry_intents
  for each row execute function private.tg_any__set_updated_at();

comment on table public.retry_intents is
  'Jobs of the organization that used up their retries, for its administrators: replay_retry_intent, discard_retry_intent.';
comment on column public.retry_intents.queue is 'The queue whose job died, such as distance.';
comment on column public.retry_intents.payload is 'The job''s payload: ids only.';
comment on column public.retry_intents.reason is 'Kind and code of the last error.';
comment on column public.retry_intents.state is
  'PENDING: waits for next_attempt_at or a person. REPLAYED: its job was put into the queue again. DISCARDED: somebody gave it up.';
comment on column public.retry_intents.attempts is 'Replays so far.';
comment on column public.retry_intents.next_attempt_at is 'When the schedule replays it; null: not by itself (any more).';
comment on column public.retry_intents.settled_at is 'When it was replayed or discarded; 72 hours later the row goes.';
comment on column public.retry_intents.singleton_key is 'The job''s key: a replay joins a job that waits with the same one.';
comment on column public.retry_intents.dead_job_id is 'The dead letter it was last made of.';
comment on column public.retry_intents.replay_job_id is 'The job that the last replay made; null if one waited already.';

create policy select_admin on public.retry_intents for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_worker on public.retry_intents for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.retry_intents for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on public.retry_intents for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

grant select on public.retry_intents to authenticated, service_role, fieldtrack_worker;
grant insert (organization_id, queue, payload, reason, next_attempt_at, singleton_key, dead_job_id)
  on public.retry_intents to fieldtrack_worker;
grant update (reason, state, attempts, next_attempt_at, settled_at, singleton_key, dead_job_id)
  on public.retry_intents to fieldtrack_worker;

-- NOTE: administrators change nothing here but by the RPCs below.

create function private.retry_intent_delay(in_attempts integer) returns interval
language plpgsql immutable
set search_path = ''
as $$
begin
  return case when in_attempts < 8 then make_interval(secs => least(5 * 2 ^ in_attempts, 300)) end;
end;
$$;

comment on function private.retry_intent_delay(integer) is
  'How long after a death a job is replayed by itself, given the replays so far: 5 s, doubling to 300 s; null after eight.';

grant execute on function private.retry_intent_delay(integer) to fieldtrack_worker;

-- Twice for the same dead letter changes nothing: handlers may run again.
create function private.keep_dead_job(in_organization_id uuid, in_dead_queue text, in_job_id uuid) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_job pgboss.job;
  v_error jsonb;
begin
  select j.* into v_job from pgboss.job as j where j.name = in_dead_queue and j.id = in_job_id;
  -- The organization may be gone, or is not the one that the transaction is for.
  if not found or v_job.data ->> 'organization_id' is distinct from in_organization_id::text
    or not exists (select from public.organizations as o where o.id = in_organization_id)
  then
    return 'gone';
  end if;
  if in_dead_queue = 'distance-dead' then
    -- The session says so too, until a replay gives it its figure.
    perform private.fail_session_distance(in_organization_id, (v_job.data ->> 'session_id')::uuid);
  end if;
  v_error := v_job.source_output -> 'error';
  insert into public.retry_intents as r (
    organization_id, queue, payload, reason, next_attempt_at, singleton_key, dead_job_id
  ) values (
    in_organization_id,
    coalesce(v_job.source_name, regexp_replace(in_dead_queue, '-dead$', '')),
    -- Without the trace of the request: jobs of one payload have one intent.
    v_job.data - 'traceparent',
    left(
      case jsonb_typeof(v_error)
        when 'object' then concat_ws(' ', v_error ->> 'name', v_error ->> 'code')
        else coalesce(v_error #>> '{}', v_job.source_output ->> 'message', 'unknown')
      end, 500),
    now() + private.retry_intent_delay(0),
    v_job.singleton_key,
    v_job.id
  )
  on conflict on constraint retry_intents_organization_id_queue_payload_key do update
  set state = 'PENDING',
    settled_at = null,
    reason = excluded.reason,
    singleton_key = excluded.singleton_key,
    dead_job_id = excluded.dead_job_id,
    -- The replay itself died: its count goes on. Another job of the same payload begins anew.
    attempts = case when r.replay_job_id = v_job.source_id then r.attempts else 0 end,
    next_attempt_at = now()
      + private.retry_intent_delay(case when r.replay_job_id = v_job.source_id then r.attempts else 0 end)
  where r.dead_job_id is distinct from excluded.dead_job_id;
  return 'kept';
end;
$$;

comment on function private.keep_dead_job(uuid, text, uuid) is
  'Makes a dead-letter job the organization''s retry intent, or brings its intent back to PENDING. Run by the worker under row '
  'level security. Returns kept; or gone: nobody to keep it for.';

grant execute on function private.keep_dead_job(uuid, text, uuid) to fieldtrack_worker;

-- One guarded update decides who settles an intent.
create function private.replay_intent(in_organization_id uuid, in_retry_intent_id uuid) returns public.retry_intents
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_intent public.retry_intents;
begin
  update public.retry_intents as r
  set state = 'REPLAYED', attempts = r.attempts + 1, next_attempt_at = null, settled_at = now()
  where r.organization_id = in_organization_id and r.id = in_retry_intent_id and r.state = 'PENDING'
  returning r.* into v_intent;
  if not found then
    return null;
  end if;
  update public.retry_intents as r
  set replay_job_id = private.enqueue(v_intent.queue, v_intent.payload, v_intent.singleton_key)
  where r.organization_id = v_intent.organization_id and r.id = v_intent.id
  returning r.* into v_intent;
  perform private.audit(v_intent.organization_id, 'retry_intent.replayed', 'retry_intent', v_intent.id, null,
    jsonb_build_object('queue', v_intent.queue, 'payload', v_intent.payload, 'attempts', v_intent.attempts));
  return v_intent;
end;
$$;

comment on function private.replay_intent(uuid, uuid) is
  'Puts the job of a pending intent into its queue again; null if the intent is not pending. For definers.';

-- Why a guarded update found nothing.
create function private.refuse_retry_intent(in_organization_id uuid, in_retry_intent_id uuid) returns void
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_state text;
begin
  select r.state into v_state
  from public.retry_intents as r
  where r.organization_id = in_organization_id and r.id = in_retry_intent_id;
  if not found then
    perform private.fail('retry_intent_not_found', 'There is no such retry intent.',
      in_retry_intent_id::text);
  end if;
  perform private.fail('retry_intent_settled', 'This retry intent is settled already.', v_state);
end;
$$;

comment on function private.refuse_retry_intent(uuid, uuid) is 'Fails with retry_intent_not_found or retry_intent_settled.';

create function private.replay_retry_intent(in_retry_intent_id uuid) returns public.retry_intents
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_intent public.retry_intents;
begin
  v_intent := private.replay_intent(v_admin.organization_id, in_retry_intent_id);
  if v_intent.id is null then
    perform private.refuse_retry_intent(v_admin.organization_id, in_retry_intent_id);
  end if;
  return v_intent;
end;
$$;

comment on function private.replay_retry_intent(uuid) is 'Body of public.replay_retry_intent.';

grant execute on function private.replay_retry_intent(uuid) to authenticated;

create function public.replay_retry_intent(retry_intent_id uuid) returns public.retry_intents
language sql volatile
set search_path = ''
as $$
  select private.replay_retry_intent(retry_intent_id);
$$;

comment on function public.replay_retry_intent(uuid) is
  'Runs a dead job again: it is in its queue when this returns. If it dies once more, the intent is PENDING again. Administrators;
audited. Errors: admin_required 403, retry_intent_not_found 404, retry_intent_settled 409.';

grant execute on function public.replay_retry_intent(uuid) to authenticated;

create function private.replay_retry_intents(in_queue text, in_max_intents integer) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_id uuid;
  v_replayed integer := 0;
  v_left bigint;
begin
  if in_max_intents is null or in_max_intents not between 1 and 500 then
    perform private.fail('invalid_argument', 'max_intents is 1 to 500.', 'max_intents');
  end if;
  perform private.take_token(v_admin.organization_id, 'retry_replays', v_admin.organization_id);
  for v_id in
    select r.id
    from public.retry_intents as r
    where r.organization_id = v_admin.organization_id and r.state = 'PENDING'
      and (in_queue is null or r.queue = in_queue)
    order by r.created_at, r.id
    limit in_max_intents
    for update skip locked
  loop
    if (private.replay_intent(v_admin.organization_id, v_id)).id is not null then
      v_replayed := v_replayed + 1;
    end if;
  end loop;
  select count(*) into v_left
  from public.retry_intents as r
  where r.organization_id = v_admin.organization_id and r.state = 'PENDING'
    and (in_queue is null or r.queue = in_queue);
  return jsonb_build_object('replayed', v_replayed, 'left', v_left);
end;
$$;

comment on function private.replay_retry_intents(text, integer) is 'Body of public.replay_retry_intents.';

grant execute on function private.replay_retry_intents(text, integer) to authenticated;

create function public.replay_retry_intents(queue text default null, max_intents integer default 100) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.replay_retry_intents(queue, max_intents);
$$;

comment on function public.replay_retry_intents(text, integer) is
  'Runs the organization''s dead jobs again, oldest first, of one queue or of all (null), at most 500: {replayed, left}. Once in
15 seconds for the organization. Administrators; each is audited.
Errors: admin_required 403, rate_limited 429, invalid_argument 400.';

grant execute on function public.replay_retry_intents(text, integer) to authenticated;

create function private.discard_retry_intent(in_retry_intent_id uuid) returns public.retry_intents
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_intent public.retry_intents;
begin
  update public.retry_intents as r
  set state = 'DISCARDED', next_attempt_at = null, settled_at = now()
  where r.organization_id = v_admin.organization_id and r.id = in_retry_intent_id
    and r.state = 'PENDING'
  returning r.* into v_intent;
  if not found then
    perform private.refuse_retry_intent(v_admin.organization_id, in_retry_intent_id);
  end if;
  perform private.audit(v_intent.organization_id, 'retry_intent.discarded', 'retry_intent', v_intent.id, null,
    jsonb_build_object('queue', v_intent.queue, 'payload', v_intent.payload));
  return v_intent;
end;
$$;

comment on function private.discard_retry_intent(uuid) is 'Body of public.discard_retry_intent.';

grant execute on function private.discard_retry_intent(uuid) to authenticated;

create function public.discard_retry_intent(retry_intent_id uuid) returns public.retry_intents
language sql volatile
set search_path = ''
as $$
  select private.discard_retry_intent(retry_intent_id);
$$;

comment on function public.discard_retry_intent(uuid) is
  'Gives a dead job up: it is not run again. Administrators; audited.
Errors: admin_required 403, retry_intent_not_found 404, retry_intent_settled 409.';

grant execute on function public.discard_retry_intent(uuid) to authenticated;

-- For the schedules.

create function private.replay_due_retry_intents_of(in_organization_id uuid, in_max_intents integer default 100) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_id uuid;
  v_replayed bigint := 0;
begin
  for v_id in
    select r.id
    from public.retry_intents as r
    where r.organization_id = in_organization_id and r.next_attempt_at <= now()
    order by r.next_attempt_at
    limit in_max_intents
    for update skip locked
  loop
    if (private.replay_intent(in_organization_id, v_id)).id is not null then
      v_replayed := v_replayed + 1;
    end if;
  end loop;
  return v_replayed;
end;
$$;

comment on function private.replay_due_retry_intents_of(uuid, integer) is
  'One organization''s turn: replays its intents that are due. Answers how many.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'retry-intents', 'retry-intents',
  $sql$
    select r.organization_id, min(r.next_attempt_at) from public.retry_intents as r
    where r.next_attempt_at <= now() group by r.organization_id
  $sql$,
  'replay_due_retry_intents_of'
);

create function private.replay_due_retry_intents() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.take_turns('retry-intents');
end;
$$;

comment on function private.replay_due_retry_intents() is
  'Schedule: replays the intents that are due of all organizations, in turns. Returns how many.';

create function private.clean_retry_intents() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.delete_in_turns('retry-intents-clean', 'public.retry_intents',
    'r.settled_at < now() - interval ''72 hours''', 5000);
end;
$$;

comment on function private.clean_retry_intents() is
  'Schedule: deletes intents that were settled 72 hours ago, at most 5,000 a run. Returns how many.';

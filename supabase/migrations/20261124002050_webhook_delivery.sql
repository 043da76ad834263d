-- Delivering: a sender claims what is due, sends it outside any transaction, and records what came of it.
--
-- Claiming gives a delivery a lease. A sender that dies leaves one that ends, and the delivery is due again; one that comes late
-- finds another's lease, or none, and can overwrite nothing. Fairness is decided where all rows are seen: each endpoint has a
-- limit of deliveries under way, each organization too, and organizations take turns.
-- The circuit: five failures in a row open it, it waits (30 s, doubling to an hour), lets one through, and closes on success.
-- Not covered: the sending itself, with the check of addresses (worker/webhooks/).

-- The schedule of Standard Webhooks: ten attempts over 75 hours. Give or take a tenth, so that what failed together does not
-- come back together.
create function private.webhook_retry_delay(in_failed_attempts integer) returns interval
language plpgsql volatile
set search_path = ''
as $$
declare
  v_delays_s constant integer[] := array[5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400];
begin
  return make_interval(secs => v_delays_s[in_failed_attempts] * (0.9 + 0.2 * random()));
end;
$$;

comment on function private.webhook_retry_delay(integer) is
  'How long to wait after the n-th failed attempt (1 to 9); null when there is no further one.';

create function private.webhook_body(in_event public.events) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return '{"type":"' || in_event.type || '","timestamp":"'
    || to_char(in_event.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","id":"' || concat_ws('.', in_event.epoch, in_event.xact, in_event.id)
    || '","organization_id":"' || in_event.organization_id
    || '","actor":' || jsonb_build_object('type', in_event.actor_type, 'id', in_event.actor_id)::text
    || ',"data":' || in_event.payload::text || '}';
end;
$$;

comment on function private.webhook_body(public.events) is
  'The bytes that are signed and sent: {type, timestamp, id, organization_id, actor, data}. Made here, so that numbers stay as they '
  'were stored.';

-- One claim at a time in the installation, so that limits and turns hold with any number of senders: it takes milliseconds.
-- Who does not get the lock is told so by null rows and asks again. Sequential scans are off because a plan made while the
-- table was small would be kept when it has grown; and without that, what such a plan costs on paper would have it compiled
-- (JIT), which took seconds.
create function private.claim_webhook_deliveries(in_max_deliveries integer, in_lease_seconds integer)
returns table (
  organization_id uuid, delivery_id uuid, webhook_id uuid, lease uuid, attempt integer, url text, body text, secrets text[],
  traceparent text, allow_localhost boolean, claimed_at_s double precision
)
language plpgsql volatile security definer
set search_path = ''
set enable_seqscan = off
set jit = off
as $$
declare
  -- An organization with twenty dead endpoints must not hold every connection.
  v_organization_limit constant integer := 100;
  v_lease uuid := gen_random_uuid();
begin
  if not pg_try_advisory_xact_lock(hashtextextended('fieldtrack.webhooks.claim', 0)) then
    return;
  end if;
  return query
  -- Endpoints that have something waiting, each with its oldest time, found by jumping from one to the next in the index: a
  -- backlog of a million at one of them costs nothing here.
  with recursive endpoint as (
    (
      select d.organization_id, d.webhook_id, d.next_attempt_at
      from public.webhook_deliveries as d
      where d.state = 'PENDING'
      order by d.organization_id, d.webhook_id, d.next_attempt_at
      limit 1
    )
    union all
    select n.organization_id, n.webhook_id, n.next_attempt_at
    from endpoint as e
    cross join lateral (
      select d.organization_id, d.webhook_id, d.next_attempt_at
      from public.webhook_deliveries as d
      where d.state = 'PENDING' and (d.organization_id, d.webhook_id) > (e.organization_id, e.webhook_id)
      order by d.organization_id, d.webhook_id, d.next_attempt_at
      limit 1
    ) as n
  ),
  open_endpoint as (
    select w.organization_id, w.id,
      sum(f.in_flight) over (partition by w.organization_id) as in_flight_of_all,
      -- One that fails, or has never answered, gets one at a time.
      case when c.consecutive_failures = 0 and c.last_success_at is not null then w.max_in_flight else 1 end - f.in_flight
        as room
    from endpoint as e
    join public.webhooks as w on w.organization_id = e.organization_id and w.id = e.webhook_id
    join public.webhook_circuits as c on c.organization_id = w.organization_id and c.webhook_id = w.id
    cross join lateral (
      select count(*)::integer as in_flight
      from private.webhook_leases as l
      where l.organization_id = w.organization_id and l.webhook_id = w.id and l.expires_at > now()
    ) as f
    where e.next_attempt_at <= now()
      and w.is_active and w.disabled_at is null and (c.paused_until is null or c.paused_until <= now())
  ),
  due as (
    select o.organization_id, o.id as webhook_id, d.id, d.event_id, d.attempts, d.place, d.next_attempt_at, o.in_flight_of_all
    from open_endpoint as o
    cross join lateral (
      select q.*, row_number() over (order by q.next_attempt_at) as place
      from (
        select d.id, d.event_id, d.attempts, d.next_attempt_at
        from public.webhook_deliveries as d
        where d.organization_id = o.organization_id and d.webhook_id = o.id and d.state = 'PENDING'
          and d.next_attempt_at <= now()
          and not exists (
            select from private.webhook_leases as l
            where l.organization_id = d.organization_id and l.webhook_id = d.webhook_id and l.delivery_id = d.id
              and l.expires_at > now()
          )
        order by d.next_attempt_at
        limit greatest(o.room, 0)
      ) as q
    ) as d
  ),
  turn as (
    select u.*,
      u.in_flight_of_all
        + row_number() over (partition by u.organization_id order by u.place, u.next_attempt_at) as turn
    from due as u
  ),
  chosen as (
    select t.organization_id, t.webhook_id, t.id, t.event_id, t.attempts
    from turn as t
    where t.turn <= v_organization_limit
    order by t.turn, t.next_attempt_at
    limit in_max_deliveries
  ),
  leased as (
    insert into private.webhook_leases as l (organization_id, webhook_id, delivery_id, lease, expires_at)
    select c.organization_id, c.webhook_id, c.id, v_lease,
      now() + make_interval(secs => in_lease_seconds)
    from chosen as c
    -- Its last sender died.
    on conflict on constraint webhook_leases_pkey do update
    set lease = excluded.lease, expires_at = excluded.expires_at
    where l.expires_at <= now()
  ),
  half_open as (
    update public.webhook_circuits as c
    set state = 'HALF_OPEN'
    from (
      -- One whose webhook is just being deleted is not waited for: nobody could claim meanwhile.
      select o.organization_id, o.webhook_id
      from public.webhook_circuits as o
      where o.state = 'OPEN' and (o.organization_id, o.webhook_id) in (select d.organization_id, d.webhook_id from chosen as d)
      for no key update skip locked
    ) as o
    where c.organization_id = o.organization_id and c.webhook_id = o.webhook_id
  )
  select d.organization_id, d.id, d.webhook_id, v_lease, d.attempts + 1, w.url,
    private.webhook_body(e),
    array(
      select s.secret
      from private.webhook_secrets as s
      where s.organization_id = d.organization_id and s.webhook_id = d.webhook_id
        and (s.expires_at is null or s.expires_at > now())
      order by s.id desc
    ),
    e.traceparent,
    (select x.allow_localhost from private.webhook_settings as x where x.id),
    floor(extract(epoch from clock_timestamp()))::double precision
  from chosen as d
  join public.webhooks as w on w.organization_id = d.organization_id and w.id = d.webhook_id
  join public.events as e on e.organization_id = d.organization_id and e.id = d.event_id;
end;
$$;

comment on function private.claim_webhook_deliveries(integer, integer) is
  'Claims due deliveries of all organizations in fair turns and returns what is needed to send each, secrets included. None: '
  'nothing is due, or another sender is claiming.';

grant execute on function private.claim_webhook_deliveries(integer, integer) to fieldtrack_worker;

create function private.disable_webhook(in_organization_id uuid, in_webhook_id uuid, in_reason text, in_failing_since timestamptz)
returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  update public.webhooks as w
  set disabled_at = now(), disabled_reason = in_reason
  where w.organization_id = in_organization_id and w.id = in_webhook_id
    and w.is_active and w.disabled_at is null;
  if not found then
    return;
  end if;
  perform private.audit(in_organization_id, 'webhook.disabled', 'webhook', in_webhook_id, null,
    jsonb_build_object('disabled_reason', in_reason, 'failing_since', in_failing_since));
  perform private.emit_event(in_organization_id, 'webhook.disabled', 'webhook', in_webhook_id, null,
    jsonb_build_object(
      'webhook_id', in_webhook_id,
      'reason', in_reason,
      'failing_since', in_failing_since));
end;
$$;

comment on function private.disable_webhook(uuid, uuid, text, timestamptz) is
  'Gives up on an endpoint, once: disabled_at and reason, audit row, event webhook.disabled. is_active stays as it is.';

-- `failures` are those after the last success of this batch; `pause_s` is what the endpoint asked for, if anything.
create function private.judge_webhook(
  in_organization_id uuid, in_webhook_id uuid, in_succeeded boolean, in_failures integer,
  in_pause_s double precision, in_gone boolean
) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_circuit public.webhook_circuits;
  v_now timestamptz := clock_timestamp();
begin
  select c.* into v_circuit
  from public.webhook_circuits as c
  where c.organization_id = in_organization_id and c.webhook_id = in_webhook_id
  for update;
  if not found then
    return;
  end if;
  if in_succeeded then
    v_circuit.state := 'CLOSED';
    v_circuit.consecutive_failures := 0;
    v_circuit.openings := 0;
    v_circuit.failing_since := null;
    v_circuit.paused_until := null;
    v_circuit.last_success_at := v_now;
  end if;
  if in_failures > 0 then
    v_circuit.consecutive_failures := v_circuit.consecutive_failures + in_failures;
    v_circuit.failing_since := coalesce(v_circuit.failing_since, v_now);
    v_circuit.last_failure_at := v_now;
    -- What was under way when it opened changes nothing more.
    if v_circuit.state = 'HALF_OPEN' or (v_circuit.state = 'CLOSED' and v_circuit.consecutive_failures >= 5) then
      v_circuit.state := 'OPEN';
      v_circuit.openings := v_circuit.openings + 1;
      v_circuit.paused_until := v_now + least(
        make_interval(secs => 30 * 2 ^ least(v_circuit.openings - 1, 10)), interval '1 hour');
    end if;
    if in_pause_s is not null then
      v_circuit.paused_until := greatest(
        v_circuit.paused_until, v_now + make_interval(secs => in_pause_s));
    end if;
  end if;
  update public.webhook_circuits as c
  set state = v_circuit.state,
    consecutive_failures = v_circuit.consecutive_failures,
    openings = v_circuit.openings,
    failing_since = v_circuit.failing_since,
    paused_until = v_circuit.paused_until,
    last_success_at = v_circuit.last_success_at,
    last_failure_at = v_circuit.last_failure_at
  where c.organization_id = in_organization_id and c.webhook_id = in_webhook_id;
  if in_gone then
    perform private.disable_webhook(in_organization_id, in_webhook_id, 'GONE',
      v_circuit.failing_since);
  elsif v_circuit.failing_since <= v_now - interval '5 days' then
    perform private.disable_webhook(in_organization_id, in_webhook_id, 'FAILING',
      v_circuit.failing_since);
  end if;
end;
$$;

comment on function private.judge_webhook(uuid, uuid, boolean, integer, double precision, boolean) is
  'Moves an endpoint''s circuit by what a batch of attempts showed; disables one that is gone or failed for five days.';

-- What came of an attempt, as worker/webhooks/send.ts tells it.
create type private.webhook_outcome as (
  organization_id uuid,
  webhook_id uuid,
  delivery_id uuid,
  lease uuid,
  duration_ms integer,
  status smallint,
  error text,
  response text,
  retry_after_s double precision
);

-- A batch of outcomes in one transaction, in the order in which they ended. Who takes the lease away records, and nobody else.
-- Then the circuits and last the deliveries: the order in which a webhook that is deleted takes its own with it.
create function private.record_webhook_attempts(in_outcomes jsonb) returns integer
language plpgsql volatile security definer
set search_path = ''
set enable_seqscan = off
set jit = off
as $$
declare
  -- What an endpoint may ask us to wait.
  v_longest_pause_s constant double precision := 3600;
  v_outcomes private.webhook_outcome[];
  v_endpoint record;
  v_recorded integer;
begin
  with released as (
    delete from private.webhook_leases as l
    using jsonb_populate_recordset(null::private.webhook_outcome, in_outcomes)
      with ordinality as o
    where l.organization_id = o.organization_id and l.webhook_id = o.webhook_id and l.delivery_id = o.delivery_id
      and l.lease = o.lease
    returning o.*
  )
  select array_agg(
    row(r.organization_id, r.webhook_id, r.delivery_id, r.lease, r.duration_ms, r.status, r.error, r.response,
      case
        when r.error is null then null
        when r.retry_after_s is not null then least(greatest(r.retry_after_s, 1), v_longest_pause_s)
        when r.status in (429, 502, 504) then 30
      end)::private.webhook_outcome
    order by r.ordinality)
  into v_outcomes
  from released as r;

  for v_endpoint in
    with outcome as (
      select o.*, max(o.ordinality) filter (where o.error is null)
        over (partition by o.organization_id, o.webhook_id) as last_success
      from unnest(v_outcomes) with ordinality as o
    ),
    endpoint as (
      select o.organization_id, o.webhook_id,
        o.last_success is not null as succeeded,
        count(*) filter (where o.error is not null and o.ordinality > coalesce(o.last_success, 0)) as failures,
        max(o.retry_after_s) filter (where o.ordinality > coalesce(o.last_success, 0)) as pause_s,
        coalesce(bool_or(o.status = 410), false) as gone
      from outcome as o
      group by o.organization_id, o.webhook_id, o.last_success
    )
    select e.*
    from endpoint as e
    join public.webhook_circuits as c on c.organization_id = e.organization_id and c.webhook_id = e.webhook_id
    -- The usual case writes nothing and locks nothing.
    where e.failures > 0 or c.state <> 'CLOSED' or c.consecutive_failures > 0 or c.last_success_at is null
      or c.last_success_at < now() - interval '1 minute'
    order by e.organization_id, e.webhook_id
  loop
    perform private.judge_webhook(v_endpoint.organization_id, v_endpoint.webhook_id, v_endpoint.succeeded,
      v_endpoint.failures::integer, v_endpoint.pause_s, v_endpoint.gone);
  end loop;

  with recorded as (
    update public.webhook_deliveries as d
    set attempts = d.attempts + 1,
      state = case
        when o.error is null then 'DELIVERED'
        when d.attempts - d.attempts_before < 9 then 'PENDING'
        else 'DEAD'
      end,
      next_attempt_at = case when o.error is not null then now() + greatest(
        private.webhook_retry_delay(d.attempts - d.attempts_before + 1),
        case when d.attempts - d.attempts_before < 9 then make_interval(secs => o.retry_after_s) end
      ) end,
      delivered_at = case when o.error is null then now() else d.delivered_at end,
      last_status = o.status,
      last_error = o.error,
      last_attempt_at = now() - make_interval(secs => o.duration_ms / 1000.0)
    from unnest(v_outcomes) as o
    -- PENDING: two senders that had it one after the other, the first one late and yet first to record.
    where d.organization_id = o.organization_id and d.id = o.delivery_id and d.state = 'PENDING'
    returning d.organization_id, d.id, d.attempts, d.last_attempt_at, o.duration_ms, o.status, o.error, o.response
  )
  insert into public.webhook_attempts (
    organization_id, delivery_id, number, attempted_at, duration_ms, status, error, response
  )
  select r.organization_id, r.id, r.attempts, r.last_attempt_at, r.duration_ms, r.status, r.error,
    left(r.response, 4096)
  from recorded as r;
  get diagnostics v_recorded = row_count;
  return v_recorded;
end;
$$;

comment on function private.record_webhook_attempts(jsonb) is
  'Records what came of claimed deliveries: an array of private.webhook_outcome. One whose lease was taken over, or whose webhook '
  'is gone, is passed over. Returns how many were recorded.';

grant execute on function private.record_webhook_attempts(jsonb) to fieldtrack_worker;

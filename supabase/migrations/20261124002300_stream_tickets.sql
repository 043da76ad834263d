-- The live stream's share of the database: tickets, who may listen, what a listener missed, and where people at work are.
--
-- A browser's EventSource cannot send an Authorization header, so an administrator asks for a ticket and puts it into the
-- address: good for one use within 30 seconds, stored as a hash. Addresses end up in logs; a used ticket is worth nothing.
-- The edge function admin-events reads as fieldtrack_edge, which may name these functions and private.read_log and no table.
-- Positions are state and no log: they are read anew each second, and the function compares with what it sent.
-- Not covered: the stream itself (edge-functions/admin-events).

create table private.stream_tickets (
  organization_id uuid not null,
  token_hash bytea not null unique,
  employee_id uuid not null,
  expires_at timestamptz not null,
  primary key (organization_id, token_hash),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
);

alter table private.stream_tickets enable row level security;

-- The employee reference.
create index stream_tickets_employee on private.stream_tickets (organization_id, employee_id);

comment on table private.stream_tickets is 'SHA-256 of tickets for the live stream that nobody has used yet.';

-- NOTE: nothing is granted on it: create_stream_ticket writes it, use_stream_ticket deletes by the secret.

create function private.create_stream_ticket() returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_leader();
  v_ticket text := private.make_token('ft_ticket_');
  v_expires_at timestamptz := now() + interval '30 seconds';
begin
  perform private.take_token(v_admin.organization_id, 'stream_tickets', v_admin.employee_id);
  insert into private.stream_tickets (organization_id, token_hash, employee_id, expires_at)
  values (v_admin.organization_id, private.hash_token(v_ticket), v_admin.employee_id, v_expires_at);
  return jsonb_build_object('ticket', v_ticket, 'expires_at', v_expires_at);
end;
$$;

comment on function private.create_stream_ticket() is 'Body of public.create_stream_ticket.';

grant execute on function private.create_stream_ticket() to authenticated;

create function public.create_stream_ticket() returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.create_stream_ticket();
$$;

comment on function public.create_stream_ticket() is
  'A ticket for one connection to the live stream within 30 seconds, for clients that cannot send a header (EventSource):
GET /functions/v1/admin-events?ticket=… Answers {ticket, expires_at}; the ticket is shown only here.
Administrators, and managers for the people of their teams; 30 a minute for each.
Errors: admin_required 403, rate_limited 429.';

grant execute on function public.create_stream_ticket() to authenticated;

-- One guarded statement: of two connections with one ticket the second waits for the first and finds nothing.
create function private.use_stream_ticket(in_token_hash bytea)
returns table (organization_id uuid, employee_id uuid, app_role text, is_manager boolean)
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return query
  delete from private.stream_tickets as t
  using public.employees as e
  where t.token_hash = in_token_hash
    and t.expires_at > now()
    and e.organization_id = t.organization_id and e.id = t.employee_id
    and e.is_active and (e.app_role = 'ADMIN' or private.is_manager(e.organization_id, e.id))
  returning t.organization_id, t.employee_id, e.app_role, private.is_manager(e.organization_id, e.id);
end;
$$;

comment on function private.use_stream_ticket(bytea) is
  'Whose ticket (its SHA-256) it is, once: the administrator or manager, if still one; no row for a ticket that expired, was used or never was.';

grant execute on function private.use_stream_ticket(bytea) to fieldtrack_edge;

create function private.purge_stream_tickets() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.delete_in_turns('stream-tickets', 'private.stream_tickets', 'r.expires_at <= now()', 20000);
end;
$$;

comment on function private.purge_stream_tickets() is 'Deletes tickets that expired unused. Run by schedule; returns how many.';

-- Who listens. The function has verified the token; the tenant and the role come from here, as everywhere.

create function private.find_member(in_user_id uuid)
returns table (organization_id uuid, employee_id uuid, app_role text, is_manager boolean)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select e.organization_id, e.id, e.app_role, private.is_manager(e.organization_id, e.id)
  from public.employees as e
  where e.user_id = in_user_id and e.is_active;
end;
$$;

comment on function private.find_member(uuid) is 'The active employee row of a user whose token an edge function has verified.';

grant execute on function private.find_member(uuid) to fieldtrack_edge;

create function private.keep_admins(in_organization_ids uuid[], in_employee_ids uuid[])
returns table (organization_id uuid, employee_id uuid)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select e.organization_id, e.id
  from unnest(in_organization_ids, in_employee_ids) as a (organization_id, employee_id)
  join public.employees as e on e.organization_id = a.organization_id and e.id = a.employee_id
  where e.is_active and e.app_role = 'ADMIN';
end;
$$;

comment on function private.keep_admins(uuid[], uuid[]) is
  'Of the given people, pair by pair, those who are active administrators now: the stream ends for the others.';

grant execute on function private.keep_admins(uuid[], uuid[]) to fieldtrack_edge;

-- A manager of teams without people leads nobody and keeps listening: somebody may come.
create function private.teams_of(in_organization_ids uuid[], in_employee_ids uuid[])
returns table (organization_id uuid, employee_id uuid, member_ids uuid[])
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select me.organization_id, me.id, coalesce(array_agg(e.id) filter (where e.id is not null and e.id <> me.id), '{}')
  from unnest(in_organization_ids, in_employee_ids) as a (organization_id, employee_id)
  join public.employees as me on me.organization_id = a.organization_id and me.id = a.employee_id
  join public.team_managers as m on m.organization_id = me.organization_id and m.employee_id = me.id
  left join public.employees as e on e.organization_id = m.organization_id and e.team_id = m.team_id
  where me.is_active
  group by me.organization_id, me.id;
end;
$$;

comment on function private.teams_of(uuid[], uuid[]) is
  'Whom the given people lead, pair by pair, as private.managed_employee_ids says of a caller; no row for who manages no team '
  'or is not active: the stream ends for them.';

grant execute on function private.teams_of(uuid[], uuid[]) to fieldtrack_edge;

create function private.keep_api_keys(in_organization_ids uuid[], in_api_key_ids uuid[])
returns table (organization_id uuid, api_key_id uuid)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select k.organization_id, k.id
  from unnest(in_organization_ids, in_api_key_ids) as a (organization_id, api_key_id)
  join public.api_keys as k on k.organization_id = a.organization_id and k.id = a.api_key_id
  where (k.revoked_at is null or k.revoked_at > now())
    and (k.expires_at is null or k.expires_at > now());
end;
$$;

comment on function private.keep_api_keys(uuid[], uuid[]) is
  'Of the given API keys, pair by pair, those that are valid now: the stream ends for the others. What a key may do never changes.';

grant execute on function private.keep_api_keys(uuid[], uuid[]) to fieldtrack_edge;

-- Where a reader begins that wants what is written from now on.
create function private.log_end() returns table (epoch smallint, xact xid8)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select max(e.epoch), pg_snapshot_xmin(pg_current_snapshot())
  from private.event_epochs as e;
end;
$$;

comment on function private.log_end() is
  'The end of the log: every event before (epoch, xact, 0) can be read now, none will come before it later.';

grant execute on function private.log_end() to fieldtrack_edge;

-- False too for a position that this log never handed out, such as one from before a restore that went back in time:
-- a client that waits for it would miss everything up to there, silently.
create function private.is_log_kept_since(in_epoch smallint, in_xact xid8, in_id bigint) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (in_epoch, in_xact, in_id) >= (
      select f.epoch, f.xact, f.id from private.event_log_floor as f
    )
    and (in_epoch, in_xact) <= (
      (select max(e.epoch) from private.event_epochs as e),
      pg_snapshot_xmax(pg_current_snapshot())
    );
end;
$$;

comment on function private.is_log_kept_since(smallint, xid8, bigint) is
  'Whether a reader that stopped at this position can go on from it without missing an event.';

grant execute on function private.is_log_kept_since(smallint, xid8, bigint) to fieldtrack_edge;

-- No horizon here: the upper bound is one that read_log or log_end gave, hence below it.
-- The organization is the first column of both bounds and not a condition of its own. A row comparison is estimated by its first
-- column, and all events have the same epoch: "after this epoch" looks like no row at all, the two indexes look alike, and the
-- planner took the one without the organization, reading everybody's events.
create function private.read_organization_log(
  in_organization_id uuid,
  in_after_epoch smallint, in_after_xact xid8, in_after_id bigint,
  in_last_epoch smallint, in_last_xact xid8, in_last_id bigint,
  in_max_rows integer
) returns setof public.events
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select e.*
  from public.events as e
  where (e.organization_id, e.epoch, e.xact, e.id) > (
      in_organization_id,
      in_after_epoch, in_after_xact, in_after_id
    )
    and (e.organization_id, e.epoch, e.xact, e.id) <= (
      in_organization_id,
      in_last_epoch, in_last_xact, in_last_id
    )
  order by e.organization_id, e.epoch, e.xact, e.id
  limit least(in_max_rows, 1000);
end;
$$;

comment on function private.read_organization_log(uuid, smallint, xid8, bigint, smallint, xid8, bigint, integer) is
  'Events of one organization after a position and up to another that a reader of the log has reached, oldest first, at most '
  '1,000: what a client of the live stream missed.';

grant execute on function private.read_organization_log(
  uuid, smallint, xid8, bigint, smallint, xid8, bigint, integer
) to fieldtrack_edge;

-- Where people are. Who is at work is found in active_users, so a read costs what there is to show, not the number of members;
-- employee_last_state has no index beside its key (all it holds changes with every point).

create function private.live_position(in_state public.employee_last_state) returns text
language plpgsql stable
set search_path = ''
as $$
declare
  -- A position of an earlier session says nothing about the open one.
  v_is_checked_in boolean := in_state.is_checked_in and in_state.fix_session_id is not distinct from in_state.session_id;
begin
  return json_build_object(
    'employee_id', in_state.employee_id,
    'session_id', in_state.fix_session_id,
    'is_checked_in', v_is_checked_in,
    'recorded_at', in_state.recorded_at,
    'latitude', in_state.latitude,
    'longitude', in_state.longitude,
    'accuracy_m', in_state.accuracy_m,
    'speed_mps', in_state.speed_mps,
    'heading_deg', in_state.heading_deg,
    'battery_pct', in_state.battery_pct,
    'is_mock', in_state.is_mock,
    'distance_m', case when v_is_checked_in then in_state.distance_m end,
    'distance_is_provisional', case when v_is_checked_in then in_state.distance_is_provisional end
  )::text;
end;
$$;

comment on function private.live_position(public.employee_last_state) is
  'A position as the live stream sends it. session_id is the session in which it was taken, is_checked_in whether that is open.';

create function private.read_positions_at_work(in_organization_ids uuid[])
returns table (organization_id uuid, employee_id uuid, location text)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select l.organization_id, l.employee_id, private.live_position(l)
  from public.active_users as u
  join public.employee_last_state as l on l.organization_id = u.organization_id and l.employee_id = u.employee_id
  where u.organization_id = any (in_organization_ids)
    and l.is_checked_in and l.fix_session_id = l.session_id;
end;
$$;

comment on function private.read_positions_at_work(uuid[]) is
  'The newest position of everybody of these organizations who has an open session and sent one from it.';

grant execute on function private.read_positions_at_work(uuid[]) to fieldtrack_edge;

create function private.read_positions_of(in_organization_ids uuid[], in_employee_ids uuid[])
returns table (organization_id uuid, employee_id uuid, location text)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select l.organization_id, l.employee_id, private.live_position(l)
  from unnest(in_organization_ids, in_employee_ids) as a (organization_id, employee_id)
  join public.employee_last_state as l on l.organization_id = a.organization_id and l.employee_id = a.employee_id;
end;
$$;

comment on function private.read_positions_of(uuid[], uuid[]) is
  'The last position of the given people, pair by pair, at work or not: how those who just checked out are shown a last time.';

grant execute on function private.read_positions_of(uuid[], uuid[]) to fieldtrack_edge;

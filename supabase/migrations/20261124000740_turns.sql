-- Turns: what serves all organizations serves one after the other, each a bounded piece.
--
-- A loop over all tenants has two ways to fail them. One tenant has more to do than the others: then everybody takes a turn,
-- the one
-- that waited longest first, and a round begins anew while there is time. Or one tenant's data raises: then its piece alone is
-- undone (a subtransaction each), counted and told, and the others go on; it is tried again after a minute, then after two,
-- four …
-- at most an hour. A run ends after two seconds, because what it wrote holds back the readers of the event log until it commits;
-- what is left asks for the next run at once.
-- Not covered: deliveries of webhooks, whose claim takes turns by itself (chapter 002050).

create table private.tenant_turns (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  loop_name text not null,
  last_turn_at timestamptz not null,
  failures integer not null default 0,
  failing_since timestamptz,
  retry_at timestamptz,
  error text,
  primary key (organization_id, loop_name),
  constraint failing_has_its_count check ((failures = 0) = (failing_since is null)),
  constraint failing_is_tried_again check ((failures = 0) = (retry_at is null))
);

alter table private.tenant_turns enable row level security;

-- Whom does a loop pass over now, and whom does it try again?
create index tenant_turns_failing on private.tenant_turns (loop_name, retry_at) where failures > 0;

comment on table private.tenant_turns is
  'When an organization had its turn in each loop, and whether its piece fails: since when, how often in a row, and why.';

-- The loops. `due` finds the organizations with something to do and since when; `turn` is a function of private that does a
-- bounded
-- piece for one and answers how many things it did, 0 when nothing is left.
create table private.tenant_loops (
  name text primary key,
  schedule_name text not null,
  due text not null,
  turn text not null
);

alter table private.tenant_loops enable row level security;

comment on table private.tenant_loops is
  'What serves all organizations in turns: which have something due (SQL: id, since), and the function that does a piece for one.';

create function private.record_turn(in_loop text, in_organization_id uuid, in_error text) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  -- From organizations: its turn may have been the last one of an organization that is gone now.
  insert into private.tenant_turns as t (organization_id, loop_name, last_turn_at, failures, failing_since, retry_at, error)
  select o.id, in_loop, clock_timestamp(), (in_error is not null)::integer,
    case when in_error is not null then clock_timestamp() end,
    case when in_error is not null then clock_timestamp() + interval '1 minute' end,
    in_error
  from public.organizations as o
  where o.id = in_organization_id
  on conflict on constraint tenant_turns_pkey do update
  set last_turn_at = excluded.last_turn_at,
    failures = case when in_error is null then 0 else t.failures + 1 end,
    failing_since = case when in_error is not null then coalesce(t.failing_since, excluded.failing_since) end,
    retry_at = case when in_error is not null
      then clock_timestamp() + least(interval '1 minute' * 2 ^ least(t.failures, 6), interval '1 hour') end,
    error = in_error;
end;
$$;

comment on function private.record_turn(text, uuid, text) is
  'Notes that an organization had its turn in a loop, and what went wrong if something did; it is tried again after a while.';

-- One organization's piece. Whatever it raises is undone and belongs to that organization; only the clock of the whole run
-- (query_canceled, which OTHERS leaves out) ends everything. A lock that somebody holds for long is that organization's
-- affair too.
create function private.take_turn(in_loop text, in_turn text, in_organization_id uuid) returns bigint
language plpgsql volatile
set search_path = ''
set lock_timeout = '1s'
as $$
declare
  v_items bigint;
begin
  begin
    execute format('select private.%I($1)', in_turn) into v_items using in_organization_id;
    perform private.record_turn(in_loop, in_organization_id, null);
    return coalesce(v_items, 0);
  exception
    when others then
      perform private.record_turn(in_loop, in_organization_id, left(sqlstate || ': ' || sqlerrm, 300));
      raise warning 'loop %: the turn of organization % failed: %', in_loop, in_organization_id, sqlstate;
      return 0;
  end;
end;
$$;

comment on function private.take_turn(text, text, uuid) is
  'Does one organization''s piece of a loop in a subtransaction: 0 when nothing is left, or when it failed, which is noted.';

create function private.take_turns(in_loop text, in_budget interval default '2 seconds') returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_ends_at timestamptz := clock_timestamp() + in_budget;
  v_loop private.tenant_loops;
  v_round uuid[];
  v_next uuid[];
  v_organization_id uuid;
  v_items bigint;
  v_done bigint := 0;
  v_is_over boolean := false;
begin
  select l.* into strict v_loop from private.tenant_loops as l where l.name = in_loop;
  execute format($sql$
    select coalesce(array_agg(d.id order by t.last_turn_at nulls first, d.id), '{}')
    from (%s) as d (id, since)
    left join private.tenant_turns as t on t.organization_id = d.id and t.loop_name = $1
    where t.retry_at is null or t.retry_at <= clock_timestamp()
  $sql$, v_loop.due) into v_round using in_loop;
  while v_round <> '{}' and not v_is_over loop
    v_next := '{}';
    foreach v_organization_id in array v_round loop
      v_items := private.take_turn(in_loop, v_loop.turn, v_organization_id);
      v_done := v_done + v_items;
      if v_items > 0 then
        v_next := v_next || v_organization_id;
      end if;
      v_is_over := clock_timestamp() >= v_ends_at;
      exit when v_is_over;
    end loop;
    v_round := v_next;
  end loop;
  if v_is_over then
    -- There may be more: the next run in a transaction of its own, as soon as a worker comes by.
    perform private.enqueue('schedule', jsonb_build_object('name', v_loop.schedule_name), v_loop.schedule_name);
  end if;
  return v_done;
end;
$$;

comment on function private.take_turns(text, interval) is
  'Gives every organization with something due in a loop its turns until nothing is left or the time is over; then the next run is '
  'asked for. Answers how many things were done.';

-- Deleting by age alone, whosever the rows are: all at once; and only if that raises, organization by organization.
create function private.delete_in_turns(in_loop text, in_table regclass, in_condition text, in_max_rows integer) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_statement constant text := format($sql$
    delete from %1$s as d
    where d.ctid = any (array(
      select r.ctid from %1$s as r
      where (%2$s)
        and ($1::uuid is null or r.organization_id = $1)
        and ($2::uuid[] = '{}' or r.organization_id <> all ($2))
      limit $3 for update skip locked))
  $sql$, in_table, in_condition);
  v_failing uuid[] := array(
    select t.organization_id from private.tenant_turns as t where t.loop_name = in_loop and t.failures > 0 and t.retry_at > now()
  );
  v_organization_id uuid;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  begin
    execute v_statement using null::uuid, v_failing, in_max_rows;
    get diagnostics v_deleted = row_count;
    return v_deleted;
  exception
    when others then
      raise warning 'loop %: by organization, because of %', in_loop, sqlstate;
  end;
  for v_organization_id in
    execute format($sql$
      select distinct r.organization_id from %s as r where (%s) and r.organization_id <> all ($1) limit 1000
    $sql$, in_table, in_condition) using v_failing
  loop
    begin
      execute v_statement using v_organization_id, v_failing, greatest(in_max_rows / 10, 1);
      get diagnostics v_rows = row_count;
      v_deleted := v_deleted + v_rows;
    exception
      when others then
        perform private.record_turn(in_loop, v_organization_id, left(sqlstate || ': ' || sqlerrm, 300));
    end;
  end loop;
  return v_deleted;
end;
$$;

comment on function private.delete_in_turns(text, regclass, text, integer) is
  'Deletes up to so many rows of a table for which a condition (SQL, of r) holds; an organization whose rows refuse to go is passed '
  'over, noted, and tried again later.';

-- For the metrics, the alert and each organization's health.
create function private.loop_report() returns table (loop_name text, due bigint, failing bigint, oldest_s double precision)
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_loop private.tenant_loops;
begin
  for v_loop in select l.* from private.tenant_loops as l order by l.name loop
    loop_name := v_loop.name;
    execute format($sql$
      select count(*), coalesce(greatest(0, extract(epoch from now() - min(d.since))), 0)::double precision
      from (%s) as d (id, since)
    $sql$, v_loop.due) into due, oldest_s;
    failing := (select count(*) from private.tenant_turns as t where t.loop_name = v_loop.name and t.failures > 0);
    return next;
  end loop;
  return query
  select t.loop_name, 0::bigint, count(*), 0::double precision
  from private.tenant_turns as t
  where t.failures > 0 and not exists (select from private.tenant_loops as l where l.name = t.loop_name)
  group by t.loop_name;
end;
$$;

comment on function private.loop_report() is
  'Each loop over all organizations: how many have something due, how long the first has waited, and how many fail.';

grant execute on function private.loop_report() to fieldtrack_worker, service_role;

create function private.failing_turns()
returns table (organization_id uuid, loop_name text, failures integer, failing_since timestamptz, retry_at timestamptz,
  error text)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select t.organization_id, t.loop_name, t.failures, t.failing_since, t.retry_at, t.error
  from private.tenant_turns as t
  where t.failures > 0
  order by t.failing_since
  limit 100;
end;
$$;

comment on function private.failing_turns() is 'Whose turns fail, longest first: at most a hundred, for operators.';

grant execute on function private.failing_turns() to service_role;

-- Each schedule, with one organization whose every row raises when it is touched: the others' work is done, the failure is
-- counted,
-- told to operators and to that organization, and tried again later. A schedule that this file does not know fails it.
begin;
select plan(47);
select tests.cast_on_stage();

-- Work for both organizations, by schedule: what is due, and how one sees that it was done.
create temporary table due (schedule_name text, done text) on commit drop;
insert into due values
  ('forgotten-sessions', $$select not exists (select from public.attendance_sessions as s
    where s.organization_id = $1 and s.status = 'ACTIVE')$$),
  ('retry-intents', $$select not exists (select from public.retry_intents as r
    where r.organization_id = $1 and r.state = 'PENDING' and r.next_attempt_at <= now())$$),
  ('retry-intents-clean', $$select not exists (select from public.retry_intents as r
    where r.organization_id = $1 and r.settled_at < now() - interval '72 hours')$$),
  ('location-retention', $$select exists (select from public.attendance_sessions as s
    where s.organization_id = $1 and s.points_purged_at is not null)$$),
  ('erasures', $$select not exists (select from private.erasures as x
    where x.organization_id = $1 and x.completed_at is null)$$),
  ('organization-deletion', $$select not exists (select from public.organizations as o where o.id = $1)$$),
  ('leftovers', $$select not exists (select from public.invitations as i where i.organization_id = $1)
    and not exists (select from private.rate_buckets as b where b.organization_id = $1 and b.kind = 'expenses')
    and not exists (select from private.webhook_leases as l where l.organization_id = $1)$$),
  ('snapshots', $$select d.valid_until > now() from public.org_dashboard_snapshot as d where d.organization_id = $1$$),
  ('reconcile', $$select not exists (select from public.employee_metrics_snapshot as m
    where m.organization_id = $1 and m.sessions = 99)$$),
  ('event-retention', $$select not exists (select from public.events as e
    where e.organization_id = $1 and e.occurred_at < now() - interval '30 days')$$),
  ('stalled-consumers', $$select exists (select from public.events as e
    where e.organization_id = $1 and e.type = 'consumer.dropped')$$),
  ('stream-tickets', $$select not exists (select from private.stream_tickets as t where t.organization_id = $1)$$);
-- Those that touch no organization's rows.
create temporary table tenantless (schedule_name text, reason text) on commit drop;
insert into tenantless values
  ('location-partitions', 'makes empty tables'),
  ('location-partition-drop', 'drops tables in which no row is left'),
  ('request-spans', 'ids and times of traces; whose they are is in no row');
select set_eq(
  $$select s.name from private.schedules as s$$,
  $$select d.schedule_name from due as d union all select t.schedule_name from tenantless as t$$,
  'each schedule has its case here, or touches no organization''s rows');

create function pg_temp.prepare(tenant uuid, person text) returns void language plpgsql as $$
declare
  v_session_id uuid;
begin
  insert into public.employees (organization_id, id, name) values
    (tenant, md5(person || 'gone')::uuid, 'Gone'), (tenant, md5(person || 'never')::uuid, 'Never'),
    (tenant, md5(person || 'open')::uuid, 'Open');
  v_session_id := tests.closed_session(person, now() - interval '401 days', now() - interval '400 days', tenant);
  perform tests.compute_distance(v_session_id, tenant);
  insert into public.attendance_sessions (organization_id, employee_id, checked_in_at, checked_in_received_at)
  values (tenant, md5(person || 'open')::uuid, now() - interval '3 days', now() - interval '3 days');
  insert into public.retry_intents (organization_id, queue, payload, reason, next_attempt_at)
  values (tenant, 'distance', jsonb_build_object('organization_id', tenant, 'session_id', v_session_id), 'x', now());
  insert into public.retry_intents (organization_id, queue, payload, reason, state, settled_at)
  values (tenant, 'distance', '{"n": 2}', 'x', 'DISCARDED', now() - interval '4 days');
  insert into private.erasures (organization_id, employee_id) values (tenant, md5(person || 'gone')::uuid);
  insert into public.invitations (organization_id, employee_id, email, status, expires_at)
  values (tenant, md5(person || 'never')::uuid, person || '@never.test', 'PENDING', now() - interval '40 days');
  insert into private.rate_buckets (organization_id, kind, subject_id, tokens, refilled_at)
  values (tenant, 'expenses', tenant, 1, now() - interval '2 days');
  insert into private.webhook_leases (organization_id, webhook_id, delivery_id, lease, expires_at)
  values (tenant, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now() - interval '2 hours');
  insert into private.stream_tickets (organization_id, employee_id, token_hash, expires_at)
  values (tenant, tests.user_id(person), sha256(convert_to(person, 'UTF8')), now() - interval '1 hour');
  update public.events as e set occurred_at = now() - interval '31 days', xact = '3' where e.organization_id = tenant;
  perform private.refresh_dashboard(tenant);
  update public.org_dashboard_snapshot as d set valid_until = '-infinity' where d.organization_id = tenant;
  update public.employee_metrics_snapshot as m set sessions = 99
  where m.organization_id = tenant and m.employee_id = tests.user_id(person);
  update public.organizations as o set deletion_due_at = now() where o.id = tenant;
end
$$;
select pg_temp.prepare(tests.other(), 'mallory');
select pg_temp.prepare(tests.acme(), 'bob');
insert into private.event_consumers (name, epoch, xact, id) values ('stalled', 0, '0', 0);

-- Whatever touches a row of Other raises. (An AFTER trigger would come too late for some, a BEFORE one for none.)
create function pg_temp.poison() returns trigger language plpgsql as $$
begin
  if coalesce(old.organization_id, new.organization_id) = tests.other() then
    raise exception 'poisoned';
  end if;
  return coalesce(new, old);
end
$$;
create function pg_temp.poison_all() returns void language plpgsql as $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid::regclass from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
    where c.relkind in ('r', 'p') and not c.relispartition
      and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and c.oid not in ('private.tenant_turns'::regclass)
  loop
    execute format('create trigger _000_poison before insert or update or delete on %s
      for each row execute function pg_temp.poison()', v_table);
  end loop;
end
$$;
select pg_temp.poison_all();

-- A claim's schedules leave no job for a worker.
create function pg_temp.is_done(schedule_name text, tenant uuid) returns boolean language plpgsql as $$
declare
  v_done boolean;
begin
  execute (select d.done from due as d where d.schedule_name = is_done.schedule_name) into v_done using tenant;
  return v_done;
end
$$;

select is(pg_temp.is_done(d.schedule_name, tests.acme()), false, format('%s has something to do for Acme', d.schedule_name))
from due as d;
-- Deleting the organization comes last: nothing would be left for the others.
create temporary table ran on commit drop as
select d.schedule_name, private.run_schedule(d.schedule_name) as outcome, pg_temp.is_done(d.schedule_name, tests.acme()) as acme
from (select d.* from due as d order by d.schedule_name = 'organization-deletion', d.schedule_name = 'event-retention') as d;
select is(r.outcome, 'done', format('%s runs to its end', r.schedule_name)) from ran as r;
select is(r.acme, true, format('%s did what was due for Acme', r.schedule_name)) from ran as r;
select is(
  (select count(*) from ran as r where not pg_temp.is_done(r.schedule_name, tests.other())), 12::bigint,
  'and for Other nothing');

select cmp_ok((select count(*) from private.tenant_turns as t where t.organization_id = tests.other() and t.failures > 0),
  '>=', 10::bigint, 'each failure is noted');
select is_empty($$select 1 from private.tenant_turns as t where t.organization_id <> tests.other() and t.failures > 0$$,
  'with the one whose data it was');
select ok((select bool_and(t.error ~ 'poisoned' and t.retry_at > now()) from private.tenant_turns as t where t.failures > 0),
  'why, and when it is tried again');
select ok(
  (select sum(value) >= 10 from private.metric_samples() where name = 'loop_organizations_failing'), 'there is a metric of it');
select tests.become('mallory');
select ok(public.system_health() #> '{loops,failing}' @> '["location-retention"]', 'the organization''s health says so');
select is(public.system_health() ->> 'status', 'degraded', 'as a problem');

select tests.become_postgres();
select is(private.purge_locations(), 0::bigint, 'until then it is passed over');
update private.tenant_turns set retry_at = '-infinity' where loop_name = 'location-retention';
drop trigger _000_poison on public.attendance_sessions;
drop trigger _000_poison on public.events;
drop trigger _000_poison on public.employee_last_state;
drop trigger _000_poison on public.employee_latest_sessions;
select is(private.purge_locations(), 1::bigint, 'mended, it has its turn');
select is_empty(
  $$select 1 from private.tenant_turns where loop_name = 'location-retention' and failures > 0$$, 'and is well again');

select * from finish();
rollback;

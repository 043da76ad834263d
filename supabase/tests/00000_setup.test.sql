-- What the claims share: the cast, stepping into a role, and comparing error codes. It sorts before all claims, so
-- `supabase test db` (which runs `pg_prove --ext .pg --ext .sql -r supabase/tests`) makes the schema `tests` first and counts
-- this file as a test that passes. It commits: after one run each claim can be run alone. Running it again makes it anew.
--
-- The cast: alice (administrator), bob and carol (employees) and dave (deactivated) of Acme; mallory, administrator of Other.
-- Each claim begins with tests.cast_on_stage() and ends with a rollback. What was in the database before is out of the way
-- meanwhile and untouched afterwards, so a claim holds on a new database and on one that is used, with its worker running.

begin;
set local client_min_messages = warning;

-- The CLI makes the extension itself; by hand it may still be missing. npm's PostgreSQL has none: there the tests load
-- pgTAP's functions from a package (test/fixtures/pgtap.ts).
do $$
begin
  if to_regproc('extensions.plan') is null
    and exists (select from pg_catalog.pg_available_extensions as e where e.name = 'pgtap')
  then
    create extension pgtap with schema extensions;
  end if;
end
$$;

drop schema if exists tests cascade;
create schema tests;
grant usage on schema tests to public;

-- The claims' own helpers are temporary and used by every role; the migrations took that right from PUBLIC (chapter 000100).
do $$
begin
  execute format('grant temporary on database %I to public', current_database());
end
$$;

create function tests.user_id(person text) returns uuid language sql immutable as $$
  select ('00000000-0000-4000-8000-' || lpad(encode(convert_to(person, 'UTF8'), 'hex'), 12, '0'))::uuid
  where length(person) <= 6
  union all
  select md5(person)::uuid where length(person) > 6
$$;

-- Takes away, until the claim's rollback, every organization, whatever belongs to one, and all jobs. TRUNCATE locks the tables
-- besides, so a worker or a schedule that runs here waits until the claim is over, instead of taking its jobs.
create function tests.clear_stage() returns setof text language plpgsql as $$
declare
  v_tables text;
begin
  -- Nothing to take away: the usual case, and the quick one.
  if not exists (select from public.organizations) and not exists (select from pgboss.job) then
    return;
  end if;
  select string_agg(c.oid::regclass::text, ', ' order by c.oid) into v_tables
  from pg_catalog.pg_class as c
  where c.relkind in ('r', 'p') and not c.relispartition
    and (c.oid in ('public.organizations'::regclass, 'pgboss.job'::regclass)
      or c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped));
  -- The worker locks some of these tables in another order: who waits gives way soon, and tries again.
  perform set_config('lock_timeout', '100ms', true);
  for v_attempt in 1 .. 100 loop
    begin
      -- The audit log's trigger refuses a TRUNCATE, whoever asks: it rests for this one.
      alter table public.audit_log disable trigger user;
      execute format('truncate %s', v_tables);
      alter table public.audit_log enable trigger user;
      perform set_config('lock_timeout', '0', true);
      return;
    exception
      when lock_not_available or deadlock_detected then
        perform pg_sleep(0.05);
    end;
  end loop;
  raise exception 'Other connections hold the tables for long: stop what works on this database, then run the claims again.';
end
$$;

create function tests.cast_on_stage() returns setof text language plpgsql as $$
declare
  v_acme uuid := '00000000-0000-4000-8000-0000000acbe0';
  v_other uuid := '00000000-0000-4000-8000-0000000007e0';
  v_person text;
begin
  perform tests.clear_stage();
  -- The claims' people; somebody may have signed up as one of them while trying things out.
  delete from auth.users as u where u.email like '%@example.test';
  foreach v_person in array '{alice,bob,carol,dave,mallory}'::text[] loop
    insert into auth.users (id, email, email_confirmed_at)
    values (tests.user_id(v_person), v_person || '@example.test', now());
  end loop;
  insert into public.organizations (id, name, slug, time_zone, currency)
  values (v_acme, 'Acme', 'acme', 'Europe/Ljubljana', 'EUR'), (v_other, 'Other', 'other', 'UTC', 'USD');
  insert into public.employees (organization_id, id, user_id, name, app_role, is_active) values
    (v_acme, tests.user_id('alice'), tests.user_id('alice'), 'Alice', 'ADMIN', true),
    (v_acme, tests.user_id('bob'), tests.user_id('bob'), 'Bob', 'EMPLOYEE', true),
    (v_acme, tests.user_id('carol'), tests.user_id('carol'), 'Carol', 'EMPLOYEE', true),
    (v_acme, tests.user_id('dave'), tests.user_id('dave'), 'Dave', 'EMPLOYEE', false),
    (v_other, tests.user_id('mallory'), tests.user_id('mallory'), 'Mallory', 'ADMIN', true);
end
$$;

create function tests.acme() returns uuid language sql immutable as $$
  select '00000000-0000-4000-8000-0000000acbe0'::uuid
$$;

create function tests.other() returns uuid language sql immutable as $$
  select '00000000-0000-4000-8000-0000000007e0'::uuid
$$;

-- Acme's day by the clock on its wall. Never current_date, which is that of UTC: at 23:30 it is yesterday's in Ljubljana.
create function tests.today(time_zone text default 'Europe/Ljubljana') returns date language sql stable as $$
  select (now() at time zone time_zone)::date
$$;

-- From here on the statements are a signed-in person's, as PostgREST would run them.
create function tests.become(person text) returns setof text language plpgsql as $$
begin
  perform set_config('request.jwt.claims', jsonb_build_object(
    'role', 'authenticated', 'sub', tests.user_id(person), 'email', person || '@example.test')::text, true);
  perform set_config('role', 'authenticated', true);
end
$$;

create function tests.become_role(role_name text, claims jsonb default null) returns setof text language plpgsql as $$
begin
  perform set_config('request.jwt.claims', coalesce(claims::text, ''), true);
  perform set_config('role', role_name, true);
end
$$;

create function tests.become_worker(organization_id uuid) returns setof text language plpgsql as $$
begin
  perform set_config('request.jwt.claims', '', true);
  perform set_config('fieldtrack.organization_id', coalesce(organization_id::text, ''), true);
  perform set_config('role', 'fieldtrack_worker', true);
end
$$;

create function tests.become_postgres() returns setof text language plpgsql as $$
begin
  perform set_config('request.jwt.claims', '', true);
  perform set_config('role', 'postgres', true);
end
$$;

-- Registered errors all come as SQLSTATE PGRST; the code is in the message.
create function tests.throws_code(statement text, code text, description text) returns text language plpgsql as $$
begin
  execute statement;
  return extensions.fail(description || ': no error');
exception
  when sqlstate 'PGRST' then
    return extensions.is(sqlerrm::jsonb ->> 'code', code, description);
end
$$;

create function tests.point(at timestamptz, latitude double precision default 46, longitude double precision default 14.5)
returns jsonb language sql immutable as $$
  select jsonb_build_object('recorded_at', at, 'latitude', latitude, 'longitude', longitude, 'accuracy_m', 5)
$$;

-- A session in the past, closed, without going through the API.
create function tests.closed_session(
  person text, checked_in_at timestamptz, checked_out_at timestamptz, organization_id uuid default tests.acme()
) returns uuid language sql as $$
  insert into public.attendance_sessions (
    organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by
  ) values (
    closed_session.organization_id, tests.user_id(person), 'CLOSED', closed_session.checked_in_at,
    closed_session.checked_out_at, closed_session.checked_out_at, 'EMPLOYEE'
  ) returning id
$$;

-- What the worker does with the queue analytics, as the worker: every job, and those that follow. Answers how many.
create function tests.work_off_analytics() returns integer language plpgsql as $$
declare
  v_job record;
  v_done integer := 0;
begin
  loop
    perform tests.become_postgres();
    delete from pgboss.job as j
    where j.id = (
      select i.id from pgboss.job as i where i.name = 'analytics' and i.state = 'created' order by i.start_after, i.id limit 1)
    returning j.data ->> 'organization_id' as organization_id, j.data ->> 'employee_id' as employee_id, j.data ->> 'day' as day
    into v_job;
    exit when v_job.day is null;
    perform tests.become_worker(v_job.organization_id::uuid);
    if v_job.employee_id is null then
      perform private.compute_organization_day(v_job.organization_id::uuid, v_job.day::date);
    else
      perform private.compute_employee_day(v_job.organization_id::uuid, v_job.employee_id::uuid, v_job.day::date);
    end if;
    v_done := v_done + 1;
  end loop;
  return v_done;
end
$$;

-- And with the queue distance, for one session.
create function tests.compute_distance(session_id uuid, organization_id uuid default tests.acme()) returns text
language plpgsql as $$
declare
  v_outcome text;
begin
  perform tests.become_worker(compute_distance.organization_id);
  v_outcome := private.compute_session_distance(compute_distance.organization_id, compute_distance.session_id);
  perform tests.become_postgres();
  return v_outcome;
end
$$;

-- A webhook that has answered before, without going through the API; and an event that it may be told of.
create function tests.webhook(events text[] default '{*}', organization_id uuid default tests.acme()) returns uuid
language plpgsql as $$
declare
  v_id uuid;
begin
  insert into public.webhooks (organization_id, url, events)
  values (webhook.organization_id, 'https://hooks.example.test/', webhook.events)
  returning id into v_id;
  insert into public.webhook_circuits (organization_id, webhook_id, last_success_at)
  values (webhook.organization_id, v_id, now());
  perform private.new_webhook_secret(webhook.organization_id, v_id);
  return v_id;
end
$$;

create function tests.emit(type text, events integer default 1, organization_id uuid default tests.acme())
returns setof text language sql as $$
  select private.emit_event(emit.organization_id, emit.type, 'session', gen_random_uuid(), null, '{}')::text
  from generate_series(1, emit.events)
$$;

-- Claims as the worker and records one outcome for all that was claimed. Answers how many were recorded.
create function tests.deliver(
  status integer, error text default null, retry_after_s integer default null, most integer default 100
) returns integer language plpgsql as $$
declare
  v_outcomes jsonb;
begin
  select coalesce(jsonb_agg(jsonb_build_object('organization_id', c.organization_id, 'webhook_id', c.webhook_id,
    'delivery_id', c.delivery_id, 'lease', c.lease, 'duration_ms', 12, 'status', deliver.status, 'error', deliver.error,
    'retry_after_s', deliver.retry_after_s)), '[]')
  into v_outcomes
  from private.claim_webhook_deliveries(deliver.most, 30) as c;
  return private.record_webhook_attempts(v_outcomes);
end
$$;

grant execute on all functions in schema tests to public;

-- The claims call pgTAP's functions in every role. Those that postgres made are granted to nobody (chapter 000100).
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select d.objid::regprocedure
    from pg_catalog.pg_depend as d join pg_catalog.pg_extension as e on e.oid = d.refobjid
    where e.extname = 'pgtap' and e.extowner = current_user::regrole and d.deptype = 'e'
      and d.refclassid = 'pg_catalog.pg_extension'::regclass and d.classid = 'pg_catalog.pg_proc'::regclass
  loop
    execute format('grant execute on function %s to public', v_function);
  end loop;
end
$$;

select plan(2);
select has_schema('tests', 'the schema tests is there');
select ok(not exists (
    select from pg_catalog.pg_proc as p
    where p.pronamespace = 'tests'::regnamespace and not has_function_privilege('anon', p.oid, 'execute')),
  'every role can call what the claims share');
select * from finish();
commit;

-- What a platform may or may not have, set up by one function that an operator can run again.
--
-- Schedules are rows of private.schedules. Where pg_cron serves this database it runs them; elsewhere the worker does,
-- never both: private.is_cron_usable() decides for either side.
-- Receipts are files in Supabase Storage: where its schema is present, their bucket and its policies are set up here.
-- Not covered yet: realtime.

create table private.schedules (
  name text primary key,
  cron text not null,
  command text not null,
  description text not null
);

alter table private.schedules enable row level security;

comment on table private.schedules is 'What runs by the clock (UTC): cron expression, SQL command, and why.';

insert into private.schedules (name, cron, command, description) values
  ('location-partitions', '17 * * * *', 'select private.maintain_location_partitions()',
    'Keeps the monthly partitions of gps_locations three months ahead.'),
  ('forgotten-sessions', '*/5 * * * *', 'select private.close_forgotten_sessions()',
    'Closes sessions open for longer than their organization allows, at their last point.');

grant select on private.schedules to fieldtrack_worker, service_role;

create policy select_worker on private.schedules for select to fieldtrack_worker using (true);

create function private.is_cron_usable() returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  -- The extension's files may be there while its scheduler serves another database of the cluster.
  return exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron')
    and pg_catalog.current_setting('cron.database_name', true) = pg_catalog.current_database();
end;
$$;

comment on function private.is_cron_usable() is
  'Whether pg_cron is installed and serves this database. If not, the worker runs the schedules.';

grant execute on function private.is_cron_usable() to fieldtrack_worker, service_role;

-- The worker may not run arbitrary commands: it names a schedule.
create function private.run_schedule(name text) returns text
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_command text;
begin
  select s.command into v_command from private.schedules as s where s.name = run_schedule.name;
  if not found then
    raise exception 'schedule % does not exist', run_schedule.name;
  end if;
  -- One run at a time, whoever starts it.
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('fieldtrack.schedule.' || run_schedule.name, 0)) then
    return 'running';
  end if;
  execute v_command;
  return 'done';
end;
$$;

comment on function private.run_schedule(text) is
  'Runs a schedule by its name, one at a time: done, or running when another run holds it.';

grant execute on function private.run_schedule(text) to fieldtrack_worker;

create function private.install_platform() returns text[]
language plpgsql volatile
set search_path = ''
as $$
declare
  v_found text[] := array[]::text[];
  v_schedule private.schedules;
  v_buckets regclass := pg_catalog.to_regclass('storage.buckets');
begin
  if pg_catalog.current_setting('cron.database_name', true) = pg_catalog.current_database()
    and exists (select from pg_catalog.pg_available_extensions as a where a.name = 'pg_cron')
  then
    begin
      create extension if not exists pg_cron with schema pg_catalog;
    exception
      when insufficient_privilege then
        raise notice 'pg_cron is available, but % may not create it: let a superuser do it, then run this again',
          current_user;
    end;
  end if;

  if private.is_cron_usable() then
    v_found := v_found || 'pg_cron'::text;
    for v_schedule in select s.* from private.schedules as s order by s.name loop
      execute pg_catalog.format('select cron.schedule(%L, %L, %L)', 'fieldtrack-' || v_schedule.name, v_schedule.cron,
        pg_catalog.format('select private.run_schedule(%L)', v_schedule.name));
    end loop;
  end if;

  if v_buckets is not null then
    v_found := v_found || 'storage'::text;
    -- Dynamic, because the table is not there everywhere and plpgsql_check reads this function too.
    execute pg_catalog.format($sql$
      insert into %s (id, name, public, file_size_limit, allowed_mime_types)
      values ('receipts', 'receipts', false, 10485760,
        array['image/jpeg', 'image/png', 'image/webp', 'application/pdf'])
      on conflict (id) do update
      set public = excluded.public,
        file_size_limit = excluded.file_size_limit,
        allowed_mime_types = excluded.allowed_mime_types
    $sql$, v_buckets);
    -- A receipt lies under organization/employee/ (create_receipt_path). It is read by signed URL, which asks select;
    -- nobody replaces or deletes one: it is evidence.
    drop policy if exists insert_own_receipt on storage.objects;
    create policy insert_own_receipt on storage.objects for insert to authenticated with check (
      bucket_id = 'receipts'
      and (storage.foldername(name))[1] = (select private.current_organization_id())::text
      and (storage.foldername(name))[2] = (select private.current_employee_id())::text
    );
    drop policy if exists select_member_receipt on storage.objects;
    create policy select_member_receipt on storage.objects for select to authenticated using (
      bucket_id = 'receipts'
      and (storage.foldername(name))[1] = (select private.current_organization_id())::text
      and ((select private.is_admin()) or (storage.foldername(name))[2] = (select private.current_employee_id())::text)
    );
  end if;
  return v_found;
end;
$$;

comment on function private.install_platform() is
  'Sets up the optional parts of the platform that are present (pg_cron, storage) and returns their names. Safe to run again.';

select private.install_platform();

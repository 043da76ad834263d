-- The roles a Supabase cluster has before the first migration: once a cluster, whatever the number of databases.
-- Passwords are set by whoever starts the cluster.

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'anon') then
    create role anon nologin;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
    create role authenticated nologin;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    create role service_role nologin bypassrls;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'authenticator') then
    create role authenticator login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'supabase_auth_admin') then
    create role supabase_auth_admin login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'supabase_storage_admin') then
    create role supabase_storage_admin login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'supabase_realtime_admin') then
    create role supabase_realtime_admin login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'postgres') then
    create role postgres login nosuperuser createrole createdb bypassrls;
  end if;
end
$$;

grant anon, authenticated, service_role to authenticator;

-- With ADMIN from PostgreSQL 16 on, as hosted projects do it: before 16 CREATEROLE alone was enough.
grant anon, authenticated, service_role to postgres with admin option;
grant authenticator to postgres with admin option;

-- Storage and Realtime ask the policies as the caller's role.
grant anon, authenticated, service_role to supabase_storage_admin, supabase_realtime_admin;
-- Policies on their tables are written by migrations: a hosted project allows that to postgres by its extension supautils.
grant supabase_storage_admin, supabase_realtime_admin to postgres;

-- As on hosted projects: before PostgreSQL 17's pg_cron its cron.database_name is shown to superusers and monitors only.
grant pg_monitor to postgres;

-- A hosted project allows it by supautils: PostgREST's settings are those of its role.
grant set on parameter pgrst.db_pre_request to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = auth;
alter role supabase_storage_admin set search_path = storage;
alter role supabase_realtime_admin set search_path = realtime;
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role postgres set search_path = "$user", public, extensions;

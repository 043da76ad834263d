-- Schemas, extensions, and a floor of nothing.
--
-- Schemas tell the audience: `public` is the API that PostgREST serves, `private` holds what no client may name,
-- `gps` holds the partitions of one large table, `pgboss` (a later chapter) is the queue.
--
-- PostgreSQL grants EXECUTE on every new function to PUBLIC, and Supabase projects made before 2026-10-30 grant new
-- tables to anon and authenticated by name. Both are taken back here, for every object the migrations will create, so
-- that each later chapter grants exactly what it means to. The per-schema form of `alter default privileges … revoke …
-- from public` does nothing in PostgreSQL; only the global form works, and it binds only the role that runs it.
--
-- Not covered: pg_cron, realtime and storage. They are the platform's; private.install_platform() uses them if present.

do $$
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'FieldTrack needs PostgreSQL 15 or later, and this is %.', current_setting('server_version')
      using hint = 'Upgrade the server, then apply the migrations.';
  end if;
end
$$;

create schema if not exists extensions;

create extension if not exists pgcrypto with schema extensions;

-- An exclusion constraint over (organization, employee, time range) keeps a person's sessions from overlapping.
create extension if not exists btree_gist with schema extensions;

create schema private;

comment on schema private is
  'Helpers, trigger functions and the bodies of definer RPCs. Not served by PostgREST.';

create schema gps;

comment on schema gps is
  'Monthly partitions of public.gps_locations. Not served by PostgREST; nothing in it is granted to anyone.';

comment on schema public is
  'FieldTrack: tables under row level security and RPCs. Errors are {code, message, details, hint}; docs/error-codes.md.';

alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;

-- The invoker halves of RPCs call their bodies in private, so API roles may enter the schema; they can name nothing in
-- it but what is granted one by one.
grant usage on schema private to anon, authenticated, service_role;
grant usage on schema extensions to anon, authenticated, service_role;

-- Even with an empty search_path, a session's temporary schema comes first when the name of a type is looked up. Whoever may
-- make temporary objects could call a domain `text`, let its check run a function of their own, and call a definer whose body
-- declares a text: that ran as the definer's owner (test/security). Nothing here makes temporary objects but the owner.
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
end
$$;

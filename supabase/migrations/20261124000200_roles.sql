-- The database roles of our own processes, beside Supabase's anon, authenticated and service_role.
--
--   api_key            nologin: what PostgREST becomes for a request that carries an API key; rights follow its scopes.
--   fieldtrack_worker  login: the worker. It names the organization of the job it does for each transaction
--                      (setting fieldtrack.organization_id), and row level security holds it there.
--   fieldtrack_edge    login: the edge functions' own connection: a few private functions, no table.
--
-- Roles belong to the cluster, not to the database: a second database (db reset, a test's clone) finds them there, so
-- creation is guarded. No password stands here: the operator sets them (docs/operations.md).
-- PostgreSQL 16 and later give a role's creator ADMIN but not SET or INHERIT, hence the closing grants to postgres.

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'api_key') then
    create role api_key nologin noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'fieldtrack_worker') then
    create role fieldtrack_worker login noinherit;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'fieldtrack_edge') then
    create role fieldtrack_edge login noinherit;
  end if;
end
$$;

-- A transaction that stays open holds back the event log of every reader, so nobody of ours may forget one.
-- Durations: a distance job of 50,000 points takes well under a second; an edge call is one small statement.
alter role fieldtrack_worker set statement_timeout = '60s';
alter role fieldtrack_worker set idle_in_transaction_session_timeout = '15s';
alter role fieldtrack_edge set statement_timeout = '5s';
alter role fieldtrack_edge set idle_in_transaction_session_timeout = '5s';
alter role api_key set statement_timeout = '8s';

-- The second wall behind "ISO 8601": PostgreSQL would read 10/11/2026 as the eleventh of October. Year first, or it is refused.
alter role authenticator set datestyle = 'ISO, YMD';
alter role fieldtrack_edge set datestyle = 'ISO, YMD';

grant api_key to authenticator;

grant usage on schema public to api_key, fieldtrack_worker, fieldtrack_edge;
grant usage on schema private to api_key, fieldtrack_worker, fieldtrack_edge, supabase_auth_admin;
grant usage on schema extensions to api_key, fieldtrack_worker, fieldtrack_edge;

grant api_key to postgres;
grant fieldtrack_worker to postgres;
grant fieldtrack_edge to postgres;

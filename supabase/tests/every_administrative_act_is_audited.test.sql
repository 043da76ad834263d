-- What administrators and their keys change leaves a row of audit_log, and that row stays. The sweep reads the bodies: a volatile
-- function that asks who the administrator is must audit, by itself or through one of its helpers that do.
begin;
select plan(8);

create temporary table not_audited on commit drop as
select name::regprocedure, reason from (values
  ('private.test_webhook(uuid)', 'changes nothing: the event and its delivery are the trace'),
  ('private.create_stream_ticket()', 'the caller''s own way to read for half a minute; changes nothing of the organization'),
  ('private.get_leaderboard(text, date, date, integer)', 'a read that keeps its answer'),
  ('private.record_locations(uuid, uuid, jsonb, boolean)', 'not an administrator''s act: a key brings a phone''s points')
) as v (name, reason);

create temporary view acting as
select p.oid::regprocedure as name, p.prosrc
from pg_catalog.pg_proc as p
where p.pronamespace = 'private'::regnamespace and p.provolatile = 'v'
  and p.prosrc ~ '\mrequire_admin\(' and p.proname not like 'require\_%';

select cmp_ok((select count(*) from acting), '>=', 15::bigint, 'there are acts to look at');

select is_empty(
  $$
    select a.name
    from acting as a
    where a.prosrc !~ 'private\.audit\('
      and not exists (
        select from pg_catalog.pg_proc as h
        where h.pronamespace = 'private'::regnamespace and h.prosrc ~ 'private\.audit\('
          and a.prosrc ~ ('private\.' || h.proname || '\(')
      )
      and a.name not in (select n.name from not_audited as n)
  $$,
  'every act of an administrator is audited'
);

select tests.cast_on_stage();
select tests.become('alice');
select public.update_organization('{"max_speed_mps": 60}') is not null as acted;
select results_eq(
  $$select action, actor_type::text, actor_id, before, after from public.audit_log$$,
  $$
    select 'organization.updated', 'employee', tests.user_id('alice'), '{"max_speed_mps": 70}'::jsonb,
      '{"max_speed_mps": 60}'::jsonb
  $$,
  'with who did it, before and after'
);
select throws_ok('delete from public.audit_log where true', '42501', null, 'an administrator deletes none');
select tests.become_role('service_role', '{"role": "service_role"}');
select throws_ok($$update public.audit_log set action = 'a.b' where true$$, '42501', null, 'nor does the service change one');
select tests.become_postgres();
select throws_ok('delete from public.audit_log where true', '42501', 'audit_log is append-only', 'nor its owner');
select throws_ok('truncate public.audit_log', '42501', 'audit_log is append-only', 'nor all of them');
insert into auth.users (id, email, email_confirmed_at) values (tests.user_id('fiona'), 'fiona@example.test', now());
select tests.become('fiona');
select public.create_organization('Fiona and sons', 'fiona', 'UTC') is not null as acted;
select results_eq(
  $$select action, actor_type::text, actor_id = private.current_employee_id(), after ->> 'slug' from public.audit_log$$,
  $$values ('organization.founded', 'employee', true, 'fiona')$$,
  'the first act of an organization is its founding'
);
select * from finish();
rollback;

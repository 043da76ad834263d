-- After a restore on another host a name of a time zone may be unknown. Only that organization stands still, and it can mend
-- itself.
begin;
select plan(6);
select tests.cast_on_stage();
select private.refresh_dashboard(o.id) from public.organizations as o;
select tests.closed_session('mallory', now() - interval '2 days 2 hours', now() - interval '2 days', tests.other()) is not null;

alter table public.organizations disable trigger user;
update public.organizations set time_zone = 'US/Pacific-Gone' where slug = 'other';
alter table public.organizations enable trigger user;
update public.organization_time_zones set time_zone = 'US/Pacific-Gone' where organization_id = tests.other();
update public.org_dashboard_snapshot set valid_until = '-infinity' where true;

select is(private.refresh_dashboards(), 1::bigint, 'another organization''s dashboard is refreshed');
select matches((select t.error from private.tenant_turns as t where t.organization_id = tests.other()), 'time zone',
  'what failed is told');
select tests.become('mallory');
select is((public.update_organization('{"time_zone": "America/Los_Angeles"}')).time_zone, 'America/Los_Angeles',
  'the administrator changes the name');
select tests.become_postgres();
select results_eq(
  $$select z.time_zone from public.organization_time_zones as z where z.organization_id = tests.other()$$,
  $$values ('America/Los_Angeles')$$, 'which stands for the past too');
update private.tenant_turns set retry_at = '-infinity' where true;
select is(private.refresh_dashboards() > 0, true, 'the loop comes back to it');
select is_empty($$select 1 from private.tenant_turns where failures > 0$$, 'and all is well');

select * from finish();
rollback;

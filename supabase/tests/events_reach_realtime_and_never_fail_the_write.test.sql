-- What the database tells Realtime and whom the policy admits; that it arrives is tested by supabase-js
-- (test/local/realtime.test.ts).
begin;
select plan(14);
select tests.cast_on_stage();
select ok('realtime' = any (private.install_platform()), 'realtime is found');
select ok('realtime' = any (private.install_platform()), 'and may be set up again');

select tests.become('bob');
select isnt(public.check_in(now() - interval '1 hour', gen_random_uuid()), null, 'Bob checks in');
select tests.become_postgres();
select results_eq(
  $$
    select m.topic, m.event, m.private, m.payload
    from realtime.messages as m
    where m.topic = 'org:' || tests.acme() and m.event = 'session.checked_in'
  $$,
  $$
    select 'org:' || tests.acme(), 'session.checked_in', true, jsonb_build_object(
      'id', format('%s.%s.%s', e.epoch, e.xact, e.id), 'type', 'session.checked_in', 'timestamp', e.occurred_at)
    from public.events as e
    where e.organization_id = tests.acme() and e.type = 'session.checked_in'
  $$,
  'the private channel of the organization hears of the event, once, and not of whom and where'
);

select set_config('realtime.topic', 'org:' || tests.acme(), true);
select tests.become('alice');
select cmp_ok((select count(*) from realtime.messages), '>', 0::bigint, 'its administrator may listen');
select tests.become('bob');
select is((select count(*) from realtime.messages), 0::bigint, 'an employee may not');
select tests.become('mallory');
select is((select count(*) from realtime.messages), 0::bigint, 'another organization''s administrator may not');

-- Carol manages Bob's team.
select tests.become_postgres();
insert into public.teams (organization_id, id, name) values (tests.acme(), tests.user_id('north'), 'North');
insert into public.team_managers (organization_id, team_id, employee_id)
values (tests.acme(), tests.user_id('north'), tests.user_id('carol'));
select set_config('realtime.topic', 'team:' || tests.user_id('north'), true);
update public.employees set team_id = tests.user_id('north') where id = tests.user_id('bob');
select is(
  (select array_agg(m.topic order by m.topic) from realtime.messages as m where m.event = 'employee.updated'
    and m.topic in ('org:' || tests.acme(), 'team:' || tests.user_id('north'))),
  array['org:' || tests.acme(), 'team:' || tests.user_id('north')],
  'the team of the person hears of it too');
select tests.become('carol');
select is((select count(*) > 0 from realtime.messages), true, 'its manager may listen');
select tests.become('bob');
select is((select count(*) from realtime.messages), 0::bigint, 'who belongs to it may not');
select tests.become('mallory');
select is((select count(*) from realtime.messages), 0::bigint, 'nor somebody else''s administrator');

select tests.become_postgres();
update public.employees set team_id = null where id = tests.user_id('bob');
-- What the trigger calls is not there any more: a schema of that name, without the function.
alter schema realtime rename to realtime_that_broke;
select tests.become('bob');
select isnt(public.check_out(now(), gen_random_uuid()), null, 'a broken Realtime does not fail a check-out');
select tests.become_postgres();
select is(
  (select count(*) from public.events where organization_id = tests.acme() and type = 'session.checked_out'), 1::bigint,
  'whose event is in the log');
select is(
  (
    select count(*) from realtime_that_broke.messages
    where topic = 'org:' || tests.acme() and event = 'session.checked_out'
  ), 0::bigint, 'and was not broadcast');

select * from finish();
rollback;

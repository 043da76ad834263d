-- Realtime is not in the stand-in: its table and functions are made here with the signatures that Supabase gives them.
begin;
select plan(10);
select tests.cast_on_stage();
create schema realtime;
create table realtime.messages (
  id uuid default gen_random_uuid(), topic text not null, extension text not null, payload jsonb, event text, private boolean
);
alter table realtime.messages enable row level security;
create function realtime.topic() returns text language sql stable as $$
  select nullif(current_setting('realtime.topic', true), '')
$$;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language plpgsql as $$
begin
  if current_setting('tests.realtime_is_broken', true) = 'on' then
    raise exception 'no partition of relation "messages" found for row';
  end if;
  insert into realtime.messages (topic, extension, payload, event, private) values (topic, 'broadcast', payload, event, private);
end
$$;
grant usage on schema realtime to authenticated;
grant select on realtime.messages to authenticated;
grant execute on function realtime.topic() to authenticated;

select ok('realtime' = any (private.install_platform()), 'realtime is found');
select ok('realtime' = any (private.install_platform()), 'and may be set up again');

select tests.become('bob');
select isnt(public.check_in(now() - interval '1 hour', gen_random_uuid()), null, 'Bob checks in');
select tests.become_postgres();
select results_eq(
  $$
    select m.topic, m.event, m.private, m.payload
    from realtime.messages as m
  $$,
  $$
    select 'org:' || tests.acme(), 'session.checked_in', true, jsonb_build_object(
      'id', format('%s.%s.%s', e.epoch, e.xact, e.id), 'type', 'session.checked_in', 'timestamp', e.occurred_at)
    from public.events as e
    where e.type = 'session.checked_in'
  $$,
  'the private channel of the organization hears of the event, once, and not of whom and where'
);

select set_config('realtime.topic', 'org:' || tests.acme(), true);
select tests.become('alice');
select is((select count(*) from realtime.messages), 1::bigint, 'its administrator may listen');
select tests.become('bob');
select is((select count(*) from realtime.messages), 0::bigint, 'an employee may not');
select tests.become('mallory');
select is((select count(*) from realtime.messages), 0::bigint, 'another organization''s administrator may not');

select tests.become_postgres();
select set_config('tests.realtime_is_broken', 'on', true);
select tests.become('bob');
select isnt(public.check_out(now(), gen_random_uuid()), null, 'a broken Realtime does not fail a check-out');
select tests.become_postgres();
select is((select count(*) from public.events where type = 'session.checked_out'), 1::bigint, 'whose event is in the log');
select is((select count(*) from realtime.messages), 1::bigint, 'and was not broadcast');

select * from finish();
rollback;

-- The schema of Supabase Realtime as far as policies, triggers and realtime.ts look at it: names, columns and signatures are
-- those
-- of a hosted project. Realtime there reads the messages from the log of the database; here a trigger notes them in
-- _realtime.outbox with their transaction, and realtime.ts reads those that nothing can precede any more. Applied by the
-- superuser, once.

create schema realtime authorization supabase_realtime_admin;
create schema _realtime authorization supabase_realtime_admin;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
set local role supabase_realtime_admin;

create table realtime.messages (
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  updated_at timestamp not null default now(),
  inserted_at timestamp not null default now(),
  id uuid not null default gen_random_uuid(),
  primary key (id, inserted_at)
) partition by range (inserted_at);

-- A hosted project has one partition a day for three days; here one holds them all, and realtime.ts deletes the old rows.
create table realtime.messages_default partition of realtime.messages default;
create index messages_default_inserted_at on realtime.messages_default (inserted_at);

alter table realtime.messages enable row level security;
-- Nobody but the owner comes by the partition's own name.
alter table realtime.messages_default enable row level security;

grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;

create function realtime.topic() returns text language sql stable as $$
  select nullif(current_setting('realtime.topic', true), '')::text
$$;

create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language plpgsql as $$
declare
  v_id uuid := gen_random_uuid();
  v_payload jsonb := payload;
begin
  if jsonb_typeof(payload) = 'object' and not payload ? 'id' then
    v_payload := jsonb_set(payload, '{id}', to_jsonb(v_id));
  end if;
  perform set_config('realtime.topic', topic, true);
  insert into realtime.messages (id, payload, event, topic, private, extension)
  values (v_id, v_payload, event, topic, private, 'broadcast');
exception
  -- A message that cannot be stored must not undo what it tells of.
  when others then
    raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
end
$$;

create table _realtime.outbox (
  xact xid8 not null default pg_current_xact_id(),
  position bigint generated always as identity,
  id uuid not null,
  inserted_at timestamp not null,
  primary key (xact, position)
);

create function _realtime.note_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into _realtime.outbox (id, inserted_at) values (new.id, new.inserted_at);
  return null;
end
$$;

create trigger note_message after insert on realtime.messages
  for each row when (new.extension = 'broadcast') execute function _realtime.note_message();

reset role;

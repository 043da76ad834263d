import type { TestDatabase } from '../fixtures/database.ts';

/**
 * Storage and Realtime are not in the stack without Docker: their tables are made here with the signatures that Supabase gives
 * them, so that private.install_platform() sets our policies on them and the matrix can try those.
 */
export async function installPlatformStandIns(database: TestDatabase): Promise<void> {
  await database.sql('postgres').unsafe(`
    create schema storage;
    create table storage.buckets (
      id text primary key, name text not null, public boolean, file_size_limit bigint, allowed_mime_types text[]
    );
    create table storage.objects (
      id uuid primary key default gen_random_uuid(), bucket_id text references storage.buckets (id), name text, owner_id text
    );
    alter table storage.objects enable row level security;
    create function storage.foldername(name text) returns text[] language sql immutable as $$
      select (string_to_array(name, '/'))[1 : array_length(string_to_array(name, '/'), 1) - 1]
    $$;
    grant usage on schema storage to anon, authenticated, service_role;
    -- Supabase grants everything on this table to the API roles; row level security alone holds it.
    grant all on storage.objects to anon, authenticated;
    grant execute on function storage.foldername(text) to anon, authenticated;
    create schema realtime;
    create table realtime.messages (
      id uuid default gen_random_uuid(), topic text not null, extension text not null, payload jsonb, event text, private boolean
    );
    alter table realtime.messages enable row level security;
    create function realtime.topic() returns text language sql stable as $$
      select nullif(current_setting('realtime.topic', true), '')
    $$;
    create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
    language sql as $$
      insert into realtime.messages (topic, extension, payload, event, private) values (topic, 'broadcast', payload, event, private)
    $$;
    grant usage on schema realtime to anon, authenticated, service_role;
    grant select, insert on realtime.messages to anon, authenticated;
    grant execute on function realtime.topic() to anon, authenticated;
    select private.install_platform();
  `);
}

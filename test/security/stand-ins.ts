import type { TestDatabase } from '../fixtures/database.ts';

/**
 * Storage is not in the stack without Docker: its tables are made here with the signatures that Supabase gives them, so that
 * private.install_platform() sets our policies on them and the matrix can try those.
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
    select private.install_platform();
  `);
}

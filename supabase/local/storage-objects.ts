import type postgres from 'postgres';
import { refusals } from './storage-refusal.ts';

/** What storage.objects says of a file, as policies let the caller see it. */
export type StoredObject = {
  id: string;
  name: string;
  bucket_id: string;
  version: string;
  created_at: Date;
  updated_at: Date;
  last_accessed_at: Date;
  metadata: { eTag: string; size: number; mimetype: string; cacheControl: string; lastModified: string };
  user_metadata: Record<string, unknown> | null;
};

export type Bucket = {
  id: string;
  public: boolean;
  file_size_limit: number | null;
  allowed_mime_types: string[] | null;
};

export type Claims = { sub?: string; role: string } & Record<string, unknown>;

const roles = new Set(['anon', 'authenticated', 'service_role']);

/** The caller's transaction: row level security decides with their role and claims, as for PostgREST. */
export async function asCaller<T>(
  sql: postgres.Sql,
  claims: Claims,
  work: (tx: postgres.TransactionSql) => Promise<T>,
): Promise<T> {
  if (!roles.has(claims.role)) throw refusals.accessDenied(`role "${claims.role}" cannot use Storage`);
  const result = await sql.begin(async (tx) => {
    await tx`
      select set_config('role', ${claims.role}, true), set_config('request.jwt.claims', ${JSON.stringify(claims)}, true),
        set_config('request.jwt.claim.sub', ${claims.sub ?? ''}, true),
        set_config('request.jwt.claim.role', ${claims.role}, true)`;
    return work(tx);
  });
  return result as T;
}

/** Buckets are looked up as the server itself: whether one exists is no secret, what lies in it is. */
export async function findBucket(sql: postgres.Sql, id: string): Promise<Bucket> {
  const [bucket] = await sql<Bucket[]>`
    select id, public, file_size_limit::float8 as file_size_limit, allowed_mime_types from storage.buckets where id = ${id}`;
  if (!bucket) throw refusals.noSuchBucket();
  return bucket;
}

export async function findObject(db: postgres.ISql, bucket: string, name: string): Promise<StoredObject> {
  const [object] = await db<StoredObject[]>`
    select * from storage.objects where bucket_id = ${bucket} and name = ${name}`;
  if (!object) throw refusals.noSuchKey();
  return object;
}

export type NewObject = {
  bucket: string;
  name: string;
  version: string;
  owner: string | undefined;
  metadata: StoredObject['metadata'];
  userMetadata: Record<string, unknown> | null;
  replaces: boolean;
};

/** Answers the id. Row level security and the unique index refuse what may not be, in the words of a hosted project. */
export async function insertObject(tx: postgres.TransactionSql, object: NewObject): Promise<string> {
  const { bucket, name, version, metadata, userMetadata, replaces } = object;
  const uuid = /^[0-9a-f-]{36}$/i;
  const owner = object.owner && uuid.test(object.owner) ? object.owner : null;
  const onConflict = replaces
    ? tx`on conflict (bucket_id, name) do update
        set version = excluded.version, metadata = excluded.metadata, user_metadata = excluded.user_metadata,
          owner = excluded.owner, owner_id = excluded.owner_id, updated_at = now()`
    : tx``;
  try {
    const [row] = await tx<{ id: string }[]>`
      insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
      values (${bucket}, ${name}, ${version}, ${owner}, ${object.owner ?? null}, ${tx.json(metadata)},
        ${userMetadata === null ? null : tx.json(userMetadata as postgres.JSONValue)})
      ${onConflict}
      returning id`;
    return row?.id ?? '';
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === '42501') throw refusals.accessDenied('new row violates row-level security policy');
    if (code === '23505') throw refusals.duplicate();
    throw error;
  }
}

export async function deleteObjects(db: postgres.ISql, bucket: string, names: string[]): Promise<StoredObject[]> {
  return db<StoredObject[]>`
    delete from storage.objects where bucket_id = ${bucket} and name = any (${names}) returning *`;
}

export type Listing = {
  prefix: string;
  limit: number;
  offset: number;
  search: string;
  column: 'name' | 'updated_at' | 'created_at' | 'last_accessed_at';
  descending: boolean;
};

/** The files directly in a folder, and its folders as rows that have nothing but a name. */
export async function listObjects(db: postgres.ISql, bucket: string, listing: Listing) {
  const { limit, offset, search, column, descending } = listing;
  const folder = listing.prefix === '' || listing.prefix.endsWith('/') ? listing.prefix : `${listing.prefix}/`;
  return db`
    with found as (
      select o.*, substr(o.name, length(${folder}::text) + 1) as rest from storage.objects as o
      where o.bucket_id = ${bucket} and starts_with(o.name, ${folder})
    ),
    entries as (
      select rest as name, id, updated_at, created_at, last_accessed_at, metadata from found where strpos(rest, '/') = 0
      union all
      select distinct split_part(rest, '/', 1), null::uuid, null::timestamptz, null::timestamptz, null::timestamptz, null::jsonb
      from found where strpos(rest, '/') > 0
    )
    select * from entries where starts_with(name, ${search})
    order by id is not null, ${db(column)} ${descending ? db`desc` : db`asc`}, name
    limit ${limit} offset ${offset}`;
}

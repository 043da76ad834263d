import { createHmac, randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Context, Hono } from 'hono';
import postgres from 'postgres';
import { z } from 'zod';
import { createSigner } from './keys.ts';
import * as objects from './storage-objects.ts';
import { refusals, StorageRefusal } from './storage-refusal.ts';
import { checkMimeType, etagOf, readUpload } from './storage-upload.ts';

export type StorageOptions = {
  /** As supabase_storage_admin. */
  databaseUrl: string;
  jwtSecret: string;
  /** Where files are kept. */
  folder: string;
};

export type Storage = { fetch: (request: Request) => Promise<Response>; stop: () => Promise<void> };

/** A bucket without a limit of its own takes what a hosted project takes by default. */
const DEFAULT_LIMIT_BYTES = 50 * 1024 * 1024;

const signSchema = z.object({ expiresIn: z.int().positive().max(315_360_000) });
const signManySchema = signSchema.extend({ paths: z.array(z.string()).max(1000) });
const removeSchema = z.object({ prefixes: z.array(z.string()).min(1).max(1000) });
const listSchema = z.object({
  prefix: z.string().default(''),
  limit: z.int().min(1).max(1000).default(100),
  offset: z.int().min(0).default(0),
  search: z.string().nullish(),
  sortBy: z
    .object({
      column: z.enum(['name', 'updated_at', 'created_at', 'last_accessed_at']).default('name'),
      order: z.string().nullish(),
    })
    .nullish(),
});

/**
 * Supabase Storage's stand-in, as far as receipts need it: policies on storage.objects are asked by PostgreSQL with the caller's
 * role and claims, and every answer has the shape that a hosted project gives (test/local/storage.test.ts holds the table).
 */
export async function startStorage(options: StorageOptions): Promise<Storage> {
  const { folder } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const sql = postgres(options.databaseUrl, { max: 4, onnotice: () => {}, idle_timeout: 30 });
  const people = createSigner(options.jwtSecret);
  // A key of its own: who holds a signed URL holds no token that PostgREST would take.
  const urls = createSigner(createHmac('sha256', options.jwtSecret).update('storage urls').digest('hex'));
  const fileOf = (version: string) => join(folder, version);

  async function callerOf(c: Context): Promise<objects.Claims> {
    const [, token] = /^Bearer\s+(.+)$/i.exec(c.req.header('authorization') ?? '') ?? [];
    if (!token) throw refusals.noAuthorization();
    const claims = await people.verify(token).catch((error: unknown) => {
      throw refusals.accessDenied(error instanceof Error ? error.message : 'invalid signature');
    });
    return { ...claims, role: String(claims.role ?? 'anon') };
  }

  async function bodyOf<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
    const parsed = schema.safeParse(await c.req.json().catch(() => undefined));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw refusals.invalidRequest(
      `body${issue?.path.map((key) => `/${String(key)}`).join('') ?? ''}: ${issue?.message}`,
    );
  }

  async function upload(c: Context, replaces: boolean): Promise<Response> {
    const { bucket: bucketId, name } = pathOf(c);
    const claims = await callerOf(c);
    const bucket = await objects.findBucket(sql, bucketId);
    const isForm = c.req.header('content-type')?.startsWith('multipart/form-data');
    if (!isForm) checkMimeType(c.req.header('content-type') ?? '', bucket.allowed_mime_types);
    const row = { bucket: bucketId, name, owner: claims.sub, replaces };
    // Whoever may not store it is told before the file is read.
    const nothing = { eTag: '', size: 0, mimetype: '', cacheControl: '', lastModified: '' };
    await asked(() =>
      objects.asCaller(sql, claims, async (tx) => {
        await objects.insertObject(tx, { ...row, version: randomUUID(), metadata: nothing, userMetadata: null });
        throw new Undo();
      }),
    );
    const sent = await readUpload(c.req.raw, bucket.file_size_limit ?? DEFAULT_LIMIT_BYTES);
    checkMimeType(sent.mimetype, bucket.allowed_mime_types);
    const version = randomUUID();
    const { bytes, mimetype, cacheControl } = sent;
    const metadata = {
      eTag: etagOf(bytes),
      size: bytes.length,
      mimetype,
      cacheControl,
      lastModified: new Date().toISOString(),
    };
    await writeFile(fileOf(version), bytes, { mode: 0o600 });
    try {
      const { id, former } = await objects.asCaller(sql, claims, async (tx) => {
        const before = replaces ? await objects.findObject(tx, bucketId, name).catch(() => undefined) : undefined;
        const all = { ...row, version, metadata: { ...metadata, contentLength: bytes.length, httpStatusCode: 200 } };
        return { id: await objects.insertObject(tx, { ...all, userMetadata: sent.userMetadata }), former: before };
      });
      if (former) await rm(fileOf(former.version), { force: true });
      return c.json({ Key: `${bucketId}/${name}`, Id: id });
    } catch (error) {
      await rm(fileOf(version), { force: true });
      throw error;
    }
  }

  async function send(c: Context, object: objects.StoredObject): Promise<Response> {
    const { metadata } = object;
    const bytes = await readFile(fileOf(object.version)).catch(() => {
      throw refusals.noSuchKey();
    });
    const download = c.req.query('download');
    const attachment = download === undefined ? {} : disposition(download || (object.name.split('/').at(-1) ?? ''));
    return new Response(new Uint8Array(bytes), {
      headers: {
        'content-type': metadata.mimetype,
        'cache-control': metadata.cacheControl,
        etag: metadata.eTag,
        'last-modified': new Date(metadata.lastModified).toUTCString(),
        'x-content-type-options': 'nosniff',
        ...attachment,
      },
    });
  }

  /** The row, if the caller may see it. */
  async function visible(c: Context): Promise<objects.StoredObject> {
    const { bucket, name } = pathOf(c);
    const claims = await callerOf(c);
    return objects.asCaller(sql, claims, (tx) => objects.findObject(tx, bucket, name));
  }

  async function info(c: Context): Promise<Response> {
    const object = await visible(c);
    const { id, name, version, bucket_id, metadata, user_metadata, created_at, updated_at } = object;
    const { size, mimetype: content_type, cacheControl: cache_control, eTag: etag } = metadata;
    const facts = { id, name, version, bucket_id, size, content_type, cache_control, etag };
    return c.json({ ...facts, metadata: user_metadata, last_modified: updated_at, created_at });
  }

  const signedUrl = async (bucket: string, name: string, expiresIn: number) => {
    const token = await urls.sign({ url: `${bucket}/${name}` }, `${expiresIn}s`);
    // As it is: storage-js encodes the URL that it puts together.
    return `/object/sign/${bucket}/${name}?token=${token}`;
  };

  const app = new Hono().basePath('/storage/v1');
  const path = ':bucket/:name{.+}';

  app.post(`/object/sign/${path}`, async (c) => {
    const { expiresIn } = await bodyOf(c, signSchema);
    const { bucket_id, name } = await visible(c);
    return c.json({ signedURL: await signedUrl(bucket_id, name, expiresIn) });
  });
  app.post('/object/sign/:bucket', async (c) => {
    const { expiresIn, paths } = await bodyOf(c, signManySchema);
    const bucket = c.req.param('bucket');
    const claims = await callerOf(c);
    const rows = await objects.asCaller(
      sql,
      claims,
      (tx) =>
        tx<{ name: string }[]>`select name from storage.objects where bucket_id = ${bucket} and name = any (${paths})`,
    );
    const seen = new Set(rows.map((row) => row.name));
    const missing = 'Either the object does not exist or you do not have access to it';
    const answer = paths.map(async (name) =>
      seen.has(name)
        ? { error: null, path: name, signedURL: await signedUrl(bucket, name, expiresIn) }
        : { error: missing, path: name, signedURL: null },
    );
    return c.json(await Promise.all(answer));
  });
  app.get(`/object/sign/${path}`, async (c) => {
    const { bucket, name } = pathOf(c);
    const claims = await urls.verify(c.req.query('token') ?? '').catch((error: unknown) => {
      throw refusals.invalidJwt(error instanceof Error ? error.message : 'invalid token');
    });
    if (claims.url !== `${bucket}/${name}`) throw refusals.invalidJwt('The token is for another file');
    // Whoever holds a signed URL reads without a person's policies: the signing asked them.
    return send(c, await objects.findObject(sql, bucket, name));
  });
  app.post('/object/list/:bucket', async (c) => {
    const { sortBy, search, ...rest } = await bodyOf(c, listSchema);
    const claims = await callerOf(c);
    const listing = {
      ...rest,
      search: search ?? '',
      column: sortBy?.column ?? 'name',
      descending: sortBy?.order === 'desc',
    };
    return c.json(await objects.asCaller(sql, claims, (tx) => objects.listObjects(tx, c.req.param('bucket'), listing)));
  });
  app.get(`/object/info/authenticated/${path}`, info);
  app.get(`/object/info/${path}`, info);
  app.get(`/object/public/${path}`, async (c) => {
    const { bucket, name } = pathOf(c);
    // A private bucket is not told apart from one that is not there.
    if (!(await objects.findBucket(sql, bucket)).public) throw refusals.noSuchBucket();
    return send(c, await objects.findObject(sql, bucket, name));
  });
  app.get(`/object/authenticated/${path}`, async (c) => send(c, await visible(c)));
  for (const route of [
    '/object/upload/sign/*',
    '/object/move',
    '/object/copy',
    '/object/list-v2/*',
    '/upload/*',
    '/render/*',
  ]) {
    const what = `/storage/v1${route.replace('/*', '')}`;
    app.all(route, () => Promise.reject(refusals.notHere(what)));
  }
  app.get(`/object/${path}`, async (c) => send(c, await visible(c)));
  app.post(`/object/${path}`, (c) => upload(c, c.req.header('x-upsert') === 'true'));
  app.put(`/object/${path}`, (c) => upload(c, true));
  app.delete('/object/:bucket', async (c) => {
    const { prefixes } = await bodyOf(c, removeSchema);
    const claims = await callerOf(c);
    const bucket = c.req.param('bucket');
    const gone = await objects.asCaller(sql, claims, (tx) => objects.deleteObjects(tx, bucket, prefixes));
    // After the commit: a file without a row is litter, a row without a file would be a lie.
    for (const { version } of gone) await rm(fileOf(version), { force: true });
    return c.json(gone);
  });
  app.delete(`/object/${path}`, async (c) => {
    const { bucket, name } = pathOf(c);
    const claims = await callerOf(c);
    const gone = await objects.asCaller(sql, claims, (tx) => objects.deleteObjects(tx, bucket, [name]));
    if (gone.length === 0) throw refusals.accessDenied('Access denied');
    for (const { version } of gone) await rm(fileOf(version), { force: true });
    return c.json({ message: 'Successfully deleted' });
  });
  app.get('/bucket', async (c) => {
    const claims = await callerOf(c);
    return c.json(await objects.asCaller(sql, claims, (tx) => tx`select * from storage.buckets order by name`));
  });
  app.get('/bucket/:id', async (c) => {
    const claims = await callerOf(c);
    const id = c.req.param('id');
    const [bucket] = await objects.asCaller(sql, claims, (tx) => tx`select * from storage.buckets where id = ${id}`);
    if (!bucket) throw refusals.noSuchBucket();
    return c.json(bucket);
  });
  app.all('/bucket/*', () => Promise.reject(refusals.notHere('way to change buckets: migrations make them')));
  app.notFound((c) => refusals.notHere(new URL(c.req.url).pathname).answer());
  app.onError((error) => {
    if (error instanceof StorageRefusal) return error.answer();
    return new StorageRefusal(500, 'InternalError', error.message, 'InternalError').answer();
  });

  return {
    fetch: async (request) => app.fetch(request),
    stop: () => sql.end({ timeout: 1 }),
  };
}

/** Thrown to undo a transaction that only asked. */
class Undo extends Error {}

async function asked(question: () => Promise<unknown>): Promise<void> {
  await question().catch((error: unknown) => {
    if (!(error instanceof Undo)) throw error;
  });
}

/** The bucket and the object's name. Names are keys, never paths of a file system: files are named by their version. */
function pathOf(c: Context): { bucket: string; name: string } {
  const bucket = c.req.param('bucket') ?? '';
  const name = c.req.param('name') ?? '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused.
  if (name.length > 1024 || /[\u0000-\u001f\\{}^%`"<>#|~]/.test(name)) throw refusals.invalidKey(name);
  return { bucket, name };
}

function disposition(fileName: string): Record<string, string> {
  return { 'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(fileName)}` };
}

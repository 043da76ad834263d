import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');
const folder = mkdtempSync(join(tmpdir(), 'ft-storage-'));

let stack: TestStack;
let organizationId: string;
let alice: Member;
let bob: Member;
let carol: Member;
let mallory: Member;

beforeAll(async () => {
  stack = await startTestStack({ storageFolder: folder });
  ({ organizationId, admin: alice } = await foundOrganization(stack, 'acme'));
  bob = await addEmployee(stack, alice, 'bob');
  carol = await addEmployee(stack, alice, 'carol');
  mallory = (await foundOrganization(stack, 'other')).admin;
});
afterAll(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const files = () => readdirSync(folder).length;
const receipts = (person: Member) => person.client.storage.from('receipts');

async function newPath(person: Member, extension = 'png'): Promise<string> {
  const { data, error } = await person.client.rpc('create_receipt_path', { extension });
  if (error) throw error;
  return (data as { path: string }).path;
}

async function uploaded(person: Member): Promise<string> {
  const path = await newPath(person);
  const { error } = await receipts(person).upload(path, PNG, { contentType: 'image/png' });
  if (error) throw error;
  return path;
}

/** Plain HTTP, as Bob: the status and the body. */
async function call(
  method: string,
  path: string,
  init: { headers?: Record<string, string>; body?: string | Buffer | FormData } = {},
) {
  const answer = await fetch(`${stack.url}/storage/v1${path}`, {
    method,
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${bob.accessToken}`, ...init.headers },
    ...(init.body === undefined ? {} : { body: init.body }),
  });
  const text = await answer.text();
  return [answer.status, text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text];
}

const png = { headers: { 'content-type': 'image/png' }, body: PNG };
const json = (body: unknown) => ({ headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const refusal = (statusCode: string, code: string, more = {}) => [
  400,
  expect.objectContaining({ statusCode, code, error: expect.any(String), message: expect.any(String), ...more }),
];

describe('what a hosted project answers to plain HTTP', () => {
  test('an upload to the own folder: its key and id', async () => {
    const path = await newPath(bob);
    expect(await call('POST', `/object/receipts/${path}`, png)).toEqual([
      200,
      { Key: `receipts/${path}`, Id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    ]);
    expect(await call('POST', `/object/receipts/${path}`, png)).toEqual(
      refusal('409', 'KeyAlreadyExists', { error: 'Duplicate' }),
    );
    const upsert = { ...png, headers: { ...png.headers, 'x-upsert': 'true' } };
    const denied = refusal('403', 'AccessDenied', { message: 'new row violates row-level security policy' });
    expect(await call('POST', `/object/receipts/${path}`, upsert)).toEqual(denied);
    expect(await call('PUT', `/object/receipts/${path}`, png)).toEqual(denied);
  });

  test('a form with the file under an empty name, as storage-js sends a Blob', async () => {
    const form = new FormData();
    form.append('cacheControl', '3600');
    form.append('', new Blob([PNG], { type: 'image/png' }));
    const path = await newPath(bob);
    expect(await call('POST', `/object/receipts/${path}`, { body: form })).toMatchObject([
      200,
      { Key: `receipts/${path}` },
    ]);
  });

  test("a colleague's and another organization's folder are refused by the policy, before the file is read", async () => {
    for (const path of [await newPath(carol), await newPath(mallory), `${randomUUID()}.png`]) {
      expect(await call('POST', `/object/receipts/${path}`, png)).toEqual(refusal('403', 'AccessDenied'));
    }
  });

  test('another type, too large a file, another bucket, no authorization', async () => {
    const path = await newPath(bob);
    const html = { headers: { 'content-type': 'text/html' }, body: '<p>' };
    expect(await call('POST', `/object/receipts/${path}`, html)).toEqual(
      refusal('415', 'InvalidMimeType', { error: 'invalid_mime_type' }),
    );
    const large = { ...png, body: Buffer.alloc(11 * 1024 * 1024) };
    expect(await call('POST', `/object/receipts/${path}`, large)).toEqual(refusal('413', 'EntityTooLarge'));
    expect(await call('POST', `/object/nothing/${path}`, png)).toEqual(refusal('404', 'NoSuchBucket'));
    const anonymous = await fetch(`${stack.url}/storage/v1/object/receipts/${path}`, { method: 'POST', ...png });
    expect([anonymous.status, await anonymous.json()]).toEqual(refusal('400', 'InvalidRequest'));
    expect(readdirSync(folder).every((name) => /^[0-9a-f-]{36}$/.test(name))).toBe(true);
  });

  test('an expired token and one of somebody else are refused', async () => {
    const path = await uploaded(bob);
    const expired = await stack.signer.sign({ sub: bob.userId, role: 'authenticated' }, '-1m');
    for (const token of [expired, 'x.y.z']) {
      const headers = { authorization: `Bearer ${token}` };
      expect(await call('GET', `/object/receipts/${path}`, { headers })).toEqual(refusal('403', 'AccessDenied'));
    }
    const worker = await stack.signer.sign({ role: 'fieldtrack_worker' }, '1m');
    const headers = { authorization: `Bearer ${worker}` };
    expect(await call('GET', `/object/receipts/${path}`, { headers })).toEqual(refusal('403', 'AccessDenied'));
  });

  test('a signed URL: relative, read without any header, for one file, until it expires', async () => {
    const path = await uploaded(bob);
    const [status, { signedURL }] = await call('POST', `/object/sign/receipts/${path}`, json({ expiresIn: 60 }));
    expect([status, signedURL]).toEqual([200, expect.stringContaining(`/object/sign/receipts/${path}?token=`)]);
    const read = (url: string) => fetch(`${stack.url}/storage/v1${url}`);
    const file = await read(signedURL);
    expect([file.status, file.headers.get('content-type')]).toEqual([200, 'image/png']);
    expect(Buffer.from(await file.arrayBuffer())).toEqual(PNG);

    const changed = await read(signedURL.slice(0, -3));
    expect([changed.status, await changed.json()]).toEqual(refusal('400', 'InvalidJWT', { error: 'InvalidJWT' }));
    const elsewhere = await read(signedURL.replace(path, await uploaded(carol)));
    expect([elsewhere.status, await elsewhere.json()]).toEqual(refusal('400', 'InvalidJWT'));
    // It is no person's token.
    const token = new URL(signedURL, stack.url).searchParams.get('token');
    const headers = { apikey: stack.publishableKey, authorization: `Bearer ${token}` };
    expect((await fetch(`${stack.url}/rest/v1/expenses`, { headers })).status).toBe(401);
  });

  test('several signed URLs, and none for what one may not see', async () => {
    const [mine, theirs] = [await uploaded(bob), await uploaded(carol)];
    expect(await call('POST', '/object/sign/receipts', json({ expiresIn: 60, paths: [mine, theirs] }))).toEqual([
      200,
      [
        { error: null, path: mine, signedURL: expect.stringContaining(`/object/sign/receipts/${mine}?token=`) },
        {
          error: 'Either the object does not exist or you do not have access to it',
          path: theirs,
          signedURL: null,
        },
      ],
    ]);
    expect(await call('POST', `/object/sign/receipts/${theirs}`, json({ expiresIn: 60 }))).toEqual(
      refusal('404', 'NoSuchKey', { error: 'not_found' }),
    );
  });

  test('download, info, and that the bucket is not public', async () => {
    const [mine, theirs] = [await uploaded(bob), await uploaded(carol)];
    for (const way of ['object', 'object/authenticated']) {
      expect((await call('GET', `/${way}/receipts/${mine}`))[0]).toBe(200);
      expect((await call('HEAD', `/${way}/receipts/${mine}`))[0]).toBe(200);
      expect(await call('GET', `/${way}/receipts/${theirs}`)).toEqual(refusal('404', 'NoSuchKey'));
      expect((await call('HEAD', `/${way}/receipts/${theirs}`))[0]).toBe(400);
    }
    expect(await call('GET', `/object/public/receipts/${mine}`)).toEqual(refusal('404', 'NoSuchBucket'));
    expect(await call('GET', `/object/info/receipts/${mine}`)).toEqual([
      200,
      expect.objectContaining({ name: mine, bucket_id: 'receipts', size: PNG.length, content_type: 'image/png' }),
    ]);
    for (const field of ['id', 'version', 'etag', 'last_modified']) {
      expect((await call('GET', `/object/info/receipts/${mine}`))[1], field).toHaveProperty(field, expect.any(String));
    }
  });

  test('a folder is listed as far as one may see it', async () => {
    const path = await uploaded(bob);
    const [status, rows] = await call('POST', '/object/list/receipts', json({ prefix: path.replace(/\/[^/]+$/, '') }));
    expect([status, rows]).toEqual([200, expect.any(Array)]);
    expect(rows.find((row: { name: string }) => path.endsWith(row.name))).toEqual({
      name: path.split('/').at(-1),
      id: expect.any(String),
      created_at: expect.any(String),
      updated_at: expect.any(String),
      last_accessed_at: expect.any(String),
      metadata: expect.objectContaining({ size: PNG.length, mimetype: 'image/png', eTag: expect.any(String) }),
    });
    const theirs = (await uploaded(carol)).replace(/\/[^/]+$/, '');
    expect(await call('POST', '/object/list/receipts', json({ prefix: theirs }))).toEqual([200, []]);
    const [, folders] = await call('POST', '/object/list/receipts', json({ prefix: '' }));
    expect(folders).toEqual([expect.objectContaining({ name: organizationId, id: null, metadata: null })]);
  });

  test('a receipt is evidence: nobody deletes it; buckets are nobody’s', async () => {
    const path = await uploaded(bob);
    expect(await call('DELETE', '/object/receipts', json({ prefixes: [path] }))).toEqual([200, []]);
    expect(await call('DELETE', `/object/receipts/${path}`)).toEqual(refusal('403', 'AccessDenied'));
    expect((await call('GET', `/object/receipts/${path}`))[0]).toBe(200);
    expect(await call('GET', '/bucket')).toEqual([200, []]);
    expect(await call('GET', '/bucket/receipts')).toEqual(refusal('404', 'NoSuchBucket'));
  });

  test('what the stand-in has not says so', async () => {
    for (const [method, path] of [
      ['POST', '/object/copy'],
      ['POST', '/bucket'],
      ['GET', '/render/image/authenticated/receipts/x.png'],
      ['POST', '/upload/resumable'],
    ] as const) {
      const [, body] = await call(method, path, method === 'POST' ? json({}) : {});
      expect(body, path).toMatchObject({ code: 'NotImplemented', message: expect.stringContaining('without Docker') });
    }
  });

  test('a name is a key and no path: nothing leaves the folder', async () => {
    const before = files();
    for (const name of ['..%2f..%2fevil.png', `${organizationId}/../../evil.png`, '%00.png', 'a%5cb.png']) {
      const [status] = await call('POST', `/object/receipts/${name}`, png);
      expect(status, name).not.toBe(200);
    }
    expect(files()).toBe(before);
  });
});

describe('storage-js', () => {
  test.each([
    ['File', new File([PNG], 'lunch.png', { type: 'image/png' }), {}],
    ['Blob', new Blob([PNG], { type: 'image/png' }), {}],
    ['Buffer', PNG, { contentType: 'image/png' }],
  ])('a %s is uploaded and downloaded', async (_, body, options) => {
    const path = await newPath(bob);
    const { data, error } = await receipts(bob).upload(path, body, options);
    expect([error, data]).toEqual([null, { path, id: expect.any(String), fullPath: `receipts/${path}` }]);
    const download = await receipts(bob).download(path);
    expect(download.error).toBeNull();
    expect(Buffer.from((await download.data?.arrayBuffer()) ?? new ArrayBuffer(0))).toEqual(PNG);
    expect(download.data?.type).toBe('image/png');
  });

  test("an administrator opens an employee's receipt by a signed URL; the name of a download is kept", async () => {
    const path = await uploaded(bob);
    const { data, error } = await receipts(alice).createSignedUrl(path, 60, { download: 'lunch.png' });
    expect(error).toBeNull();
    const file = await fetch(data?.signedUrl ?? '');
    expect([file.status, file.headers.get('content-disposition')]).toEqual([
      200,
      "attachment; filename*=UTF-8''lunch.png",
    ]);
    expect((await receipts(mallory).createSignedUrl(path, 60)).error?.message).toBe('Object not found');
  });

  test('list, info, exists, refusals', async () => {
    const path = await uploaded(bob);
    const { data: rows } = await receipts(alice).list(path.replace(/\/[^/]+$/, ''));
    expect(rows?.map((row) => row.name)).toContain(path.split('/').at(-1));
    expect((await receipts(alice).info(path)).data).toMatchObject({ contentType: 'image/png', size: PNG.length });
    expect((await receipts(alice).exists(path)).data).toBe(true);
    expect((await receipts(carol).exists(path)).data).toBe(false);
    const text = await receipts(bob).upload(await newPath(bob), 'no picture');
    expect(text.error).toMatchObject({ status: 400, statusCode: '415' });
    const colleague = await receipts(bob).upload(await newPath(carol), PNG, { contentType: 'image/png' });
    expect(colleague.error).toMatchObject({
      statusCode: '403',
      message: expect.stringContaining('row-level security'),
    });
  });
});

test("an erased person's receipts are removed by an administrator, with their files", async () => {
  const dave = await addEmployee(stack, alice, 'dave');
  const paths = [await uploaded(dave), await uploaded(dave)];
  const before = files();
  const erased = await alice.client.rpc('erase_employee', { employee_id: dave.employeeId, reason: 'Asked for it.' });
  const { receipts: listed } = erased.data as { receipts: string[] };
  expect([...listed].sort()).toEqual([...paths].sort());
  expect((await receipts(mallory).remove(listed)).data).toEqual([]);
  const { data } = await receipts(alice).remove(listed);
  expect(data?.map((object) => object.name).sort()).toEqual([...paths].sort());
  expect(files()).toBe(before - 2);
  expect((await receipts(alice).exists(paths[0] ?? '')).data).toBe(false);
});

test('an organization that gave notice removes all of its files', async () => {
  const { admin, organizationId: id } = await foundOrganization(stack, 'leaving');
  const erin = await addEmployee(stack, admin, 'erin');
  const paths = [await uploaded(admin), await uploaded(erin)];
  const before = files();
  expect((await receipts(admin).remove(paths)).data).toEqual([]);
  const [{ slug }] = (await stack.admin`select slug from public.organizations where id = ${id}`) as [{ slug: string }];
  expect((await admin.client.rpc('delete_organization', { slug })).error).toBeNull();
  expect((await receipts(erin).remove(paths)).data).toEqual([]);
  expect((await receipts(admin).remove(paths)).data).toHaveLength(2);
  expect(files()).toBe(before - 2);
});

test('a claim whose receipt never came is shown as such to the reviewer, in the queue and in the list', async () => {
  const submit = async (path: string) => {
    const claim = { amount: 5, description: 'Parking', receipt_path: path, client_request_id: randomUUID() };
    const { data, error } = await carol.client.rpc('submit_expense', claim);
    if (error) throw error;
    return data.id;
  };
  const came = await submit(await uploaded(carol));
  const never = await submit(await newPath(carol));
  const expected = new Map([
    [came, true],
    [never, false],
  ]);
  const queue = await alice.client
    .from('pending_expenses')
    .select('expense_id,expense(receipt_path,receipt_is_uploaded)')
    .in('expense_id', [came, never]);
  expect(queue.error).toBeNull();
  const list = await alice.client.from('expenses').select('id,receipt_is_uploaded').in('id', [came, never]);
  expect(new Map(list.data?.map((row) => [row.id, row.receipt_is_uploaded]))).toEqual(expected);
  expect(
    new Map(
      queue.data?.map((row) => [row.expense_id, (row.expense as { receipt_is_uploaded: boolean }).receipt_is_uploaded]),
    ),
  ).toEqual(expected);
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

describe('roles are as on Supabase', () => {
  test('postgres owns the database and is no superuser', async () => {
    const [row] = await database.sql('postgres')`
      select r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, d.datdba = r.oid as owns
      from pg_roles as r, pg_database as d where r.rolname = current_user and d.datname = current_database()`;
    expect(row).toEqual({ rolsuper: false, rolcreaterole: true, rolcreatedb: true, rolbypassrls: true, owns: true });
  });

  test('authenticator inherits nothing and may become each API role', async () => {
    const sql = database.sql('authenticator');
    await expect(sql`select * from auth.users`).rejects.toMatchObject({ code: '42501' });
    for (const role of ['anon', 'authenticated', 'service_role', 'api_key']) {
      const [row] = await sql.begin(async (tx) => {
        await tx.unsafe(`set local role ${role}`);
        return tx`select current_user as role`;
      });
      expect(row?.role).toBe(role);
    }
  });

  test.each([
    ['anon', '3s'],
    ['authenticated', '8s'],
    ['authenticator', '8s'],
  ])('%s has a statement timeout of %s', async (role, timeout) => {
    const [row] = await database.sql('postgres')`
      select from pg_roles where rolname = ${role} and ${`statement_timeout=${timeout}`} = any (rolconfig)`;
    expect(row).toBeDefined();
  });

  test('a new table of the public schema is granted to no API role', async () => {
    const sql = database.sql('postgres');
    await sql`create table public.test_ungranted (id int)`;
    for (const role of ['anon', 'authenticated', 'service_role']) {
      await expect(database.sql(role)`select * from public.test_ungranted`).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('creating the platform a second time in one cluster changes no role (roles belong to the cluster)', async () => {
    const other = await createTestDatabase();
    const [row] = await other.sql('postgres')`select rolsuper from pg_roles where rolname = 'postgres'`;
    await other.drop();
    expect(row?.rolsuper).toBe(false);
  });
});

describe('auth schema', () => {
  test('postgres may refer to auth.users and fire triggers on it, but not change it', async () => {
    const sql = database.sql('postgres');
    await sql`create table public.test_profile (user_id uuid references auth.users (id))`;
    await expect(sql`alter table auth.users add column mine text`).rejects.toMatchObject({ code: '42501' });
  });

  test('client roles cannot read auth.users', async () => {
    await expect(database.sql('authenticated')`select * from auth.users`).rejects.toMatchObject({ code: '42501' });
  });

  test.each(['request.jwt.claims', 'the older request.jwt.claim.*'])('uid, role, email read %s', async (form) => {
    const sub = randomUUID();
    const claims = { sub, role: 'authenticated', email: 'a@example.test' };
    const [row] = await database.sql('postgres').begin(async (tx) => {
      if (form === 'request.jwt.claims') {
        await tx`select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true)`;
      } else {
        for (const [name, value] of Object.entries(claims)) {
          await tx`select set_config(${`request.jwt.claim.${name}`}, ${value}, true)`;
        }
      }
      return tx`select auth.uid() as uid, auth.role() as role, auth.email() as email`;
    });
    expect(row).toEqual({ uid: sub, role: 'authenticated', email: 'a@example.test' });
  });

  test('without a token they are null, also on a pooled connection whose settings were used before', async () => {
    const sql = database.sql('postgres');
    await sql.begin((tx) => tx`select set_config('request.jwt.claims', '{"sub":"x"}', true)`);
    const [row] = await sql`select auth.uid() as uid, auth.jwt() as jwt`;
    expect(row).toEqual({ uid: null, jwt: null });
  });
});

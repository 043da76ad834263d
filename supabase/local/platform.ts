import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import postgres from 'postgres';
import { importLite } from './auth-warnings.ts';

const read = (file: string) => readFileSync(join(import.meta.dirname, file), 'utf8');

/** Roles that log in, with the password each is to have. Those a migration has yet to make are passed over. */
export async function setPasswords(adminUrl: string, passwords: Record<string, string>): Promise<void> {
  const sql = postgres(adminUrl, { max: 1, onnotice: () => {} });
  try {
    for (const [role, password] of Object.entries(passwords)) {
      const [found] = await sql`select from pg_catalog.pg_roles where rolname = ${role}`;
      if (found) await sql.unsafe(`alter role "${role}" password '${password.replaceAll("'", "''")}'`);
    }
  } finally {
    await sql.end();
  }
}

export type AppliedPlatform = {
  isNew: boolean;
  /** Parts that an older database of ours did not have yet: private.install_platform() has to look at it again. */
  added: string[];
};

/** Makes a fresh database look like a new Supabase project's, and adds to an older one what it lacks. All or nothing. */
export async function applyPlatform(adminUrl: string): Promise<AppliedPlatform> {
  const sql = postgres(adminUrl, { max: 1, onnotice: () => {} });
  try {
    const [found] = await sql`
      select to_regclass('auth.users') is null as auth,
        to_regclass('storage.objects') is null as storage,
        to_regclass('realtime.messages') is null as realtime`;
    const added = ['storage', 'realtime'].filter((part) => found?.[part]);
    if (!found?.auth && added.length === 0) return { isNew: false, added };
    const { getAuthSchemaSql } = await importLite();
    await sql.begin(async (tx) => {
      await tx.unsafe(read('roles.sql'));
      if (found?.auth) {
        await tx.unsafe(`alter database "${new URL(adminUrl).pathname.slice(1)}" owner to postgres`);
        await tx.unsafe(read('platform.sql'));
        // The tables are the auth server's own, so they belong to its role.
        await tx.unsafe('set local role supabase_auth_admin');
        await tx.unsafe(getAuthSchemaSql(false).replace(/CREATE SCHEMA IF NOT EXISTS auth;/i, ''));
        await tx.unsafe('grant all on all tables in schema auth to postgres; reset role');
      }
      for (const part of added) await tx.unsafe(read(`platform-${part}.sql`));
    });
    return { isNew: found?.auth === true, added };
  } finally {
    await sql.end();
  }
}

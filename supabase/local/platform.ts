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

/** Makes a fresh database look like a new Supabase project's. All or nothing. Returns false if it was done before. */
export async function applyPlatform(adminUrl: string): Promise<boolean> {
  const sql = postgres(adminUrl, { max: 1, onnotice: () => {} });
  try {
    const [found] = await sql`select to_regclass('auth.users') is not null as done`;
    if (found?.done) return false;
    const { getAuthSchemaSql } = await importLite();
    await sql.begin(async (tx) => {
      await tx.unsafe(read('roles.sql'));
      await tx.unsafe(`alter database "${new URL(adminUrl).pathname.slice(1)}" owner to postgres`);
      await tx.unsafe(read('platform.sql'));
      // The tables are the auth server's own, so they belong to its role.
      await tx.unsafe('set local role supabase_auth_admin');
      await tx.unsafe(getAuthSchemaSql(false).replace(/CREATE SCHEMA IF NOT EXISTS auth;/i, ''));
      await tx.unsafe('grant all on all tables in schema auth to postgres; reset role');
    });
    return true;
  } finally {
    await sql.end();
  }
}

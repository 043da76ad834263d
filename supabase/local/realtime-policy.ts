import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';

export type Claims = { sub?: string; role: string; exp?: number } & Record<string, unknown>;

const roles = new Set(['anon', 'authenticated', 'service_role']);

/**
 * Whether the policies on realtime.messages let the caller hear a private channel, asked as the real server asks it: a message
 * that nobody will get is put into the table, and whether the caller sees it is the answer. All of it is undone.
 */
export async function mayHear(
  sql: postgres.Sql,
  topic: string,
  claims: Claims,
  headers: Record<string, string>,
): Promise<boolean> {
  if (!roles.has(claims.role)) return false;
  let isVisible = false;
  const undo = new Error('asked');
  await sql
    .begin(async (tx) => {
      const id = randomUUID();
      await tx`insert into realtime.messages (id, topic, extension) values (${id}, ${topic}, 'broadcast')`;
      await tx`
        select set_config('role', ${claims.role}, true), set_config('realtime.topic', ${topic}, true),
          set_config('request.jwt.claims', ${JSON.stringify(claims)}, true),
          set_config('request.jwt.claim.sub', ${claims.sub ?? ''}, true),
          set_config('request.jwt.claim.role', ${claims.role}, true),
          set_config('request.headers', ${JSON.stringify(headers)}, true)`;
      const rows = await tx`select from realtime.messages where id = ${id} and extension = 'broadcast'`;
      isVisible = rows.length > 0;
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  return isVisible;
}

import type postgres from 'postgres';

/** @supabase/lite ignores banned_until at sign-in and refresh. True if the user was banned; the session is gone then. */
export async function endSessionIfBanned(sql: postgres.Sql, userId: string, sessionId: unknown): Promise<boolean> {
  const [banned] = await sql`select from auth.users where id = ${userId} and banned_until > now()`;
  if (!banned) return false;
  // Refresh tokens go with their session.
  if (typeof sessionId === 'string') await sql`delete from auth.sessions where id = ${sessionId}`;
  return true;
}

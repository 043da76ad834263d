import type postgres from 'postgres';
import { z } from 'zod';
import type { HookFunction } from './config.ts';

const answerSchema = z.union([
  z.object({ claims: z.record(z.string(), z.unknown()) }),
  z.object({ error: z.object({ http_code: z.int().optional(), message: z.string() }) }),
]);

export type HookEvent = { user_id: string; claims: Record<string, unknown>; authentication_method: string };
export type HookResult = { claims: Record<string, unknown> } | { error: { status: number; message: string } };

/** Calls the custom access token hook, as supabase_auth_admin and with Auth's two seconds. */
export async function callAccessTokenHook(
  sql: postgres.Sql,
  hook: HookFunction | undefined,
  event: HookEvent,
): Promise<HookResult> {
  if (!hook) return { claims: event.claims };
  const signature = `${hook.schema}.${hook.name}(jsonb)`;
  const [found] = await sql`select to_regprocedure(${signature}) is not null as exists`;
  // Before the migration that makes it there is nobody whom it could tell more about.
  if (!found?.exists) return { claims: event.claims };
  const payload = JSON.stringify(event);
  const rows = await sql.begin(async (tx) => {
    await tx`set local statement_timeout = '2s'`;
    return tx`select ${tx(hook.schema)}.${tx(hook.name)}(${payload}::text::jsonb) as answer`;
  });
  const answer = answerSchema.parse(rows[0]?.answer);
  if ('claims' in answer) return answer;
  return { error: { status: answer.error.http_code ?? 500, message: answer.error.message } };
}

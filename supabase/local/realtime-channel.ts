import { z } from 'zod';

const joinSchema = z.looseObject({
  access_token: z.string().nullish(),
  config: z
    .looseObject({
      private: z.boolean().nullish(),
      broadcast: z.looseObject({ replay: z.unknown().optional() }).nullish(),
      presence: z.looseObject({ enabled: z.boolean().nullish() }).nullish(),
      postgres_changes: z.array(z.unknown()).nullish(),
    })
    .nullish(),
});

export type Join = { token: string | undefined; isPrivate: boolean };

/** What a join asks for, or why it cannot have it, in words that reach the callback of subscribe(). */
export function readJoin(payload: unknown): Join | { reason: string } {
  const parsed = joinSchema.safeParse(payload ?? {});
  if (!parsed.success) return { reason: 'The payload of phx_join cannot be read' };
  const { access_token, config } = parsed.data;
  if (config?.postgres_changes?.length) {
    return {
      reason:
        'postgres_changes: no table is in the publication supabase_realtime, so nothing would come. Listen to the ' +
        'broadcasts of the private channel org:<organization_id> (docs/live-stream.md)',
    };
  }
  if (config?.presence?.enabled)
    return { reason: 'Presence: the stack without Docker has none, and FieldTrack uses none' };
  if (config?.broadcast?.replay) {
    return {
      reason: 'Replay: the stack without Docker has none. Read the table events after the last position instead',
    };
  }
  return { token: access_token ?? undefined, isPrivate: config?.private === true };
}

/** A client sends nothing on a channel: no policy lets it, and what happens is told by the database. */
export const CLIENTS_SEND_NOTHING =
  'Clients send no broadcasts and no presence here: the database tells what happened, by private.tg_events__broadcast';

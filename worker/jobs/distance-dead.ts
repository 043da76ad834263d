import { sql } from 'kysely';
import { deadLetters } from './dead-letters.ts';

/** A distance job used up its retries: the session says so too, until a replay gives it its figure. */
export const distanceDead = deadLetters('distance-dead', (trx, { organization_id, session_id }) =>
  sql`select private.fail_session_distance(${organization_id}, ${session_id})`.execute(trx),
);

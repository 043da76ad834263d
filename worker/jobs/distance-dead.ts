import { deadLetters } from './dead-letters.ts';

/** A distance job used up its retries; its session says so too. */
export const distanceDead = deadLetters('distance-dead');

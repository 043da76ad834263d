import { deadLetters } from './dead-letters.ts';

/** A day's figures used up their retries; they stay old until a replay, or the next change of the day, computes them. */
export const analyticsDead = deadLetters('analytics-dead');

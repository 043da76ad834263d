import { BoundedMap } from './bounded-map.ts';
import type { Logger } from './log.ts';

export type AbuseLog = {
  /** A refused call (401, 403 or 429) of an address and, where it named one, of a key or token by its public part. */
  record: (failure: { address: string; subject: string | undefined; status: number; log: Logger }) => void;
  /** Whether this address has failed to say who it is so often that it is no longer looked at; seconds to wait, or 0. */
  blockedForS: (address: string) => number;
};

/** Said at the 10th, 100th, 1,000th … failure of a window: a guess a second must not write a line a second. */
const isPowerOfTen = (count: number) => count >= 10 && Number.isInteger(Math.log10(count));

/**
 * Counts failures of this process by address and by key, and tells of repeated ones. An address with more than
 * `maxFailures` unauthenticated calls in a window is refused until the window ends, before the database is asked.
 */
export function createAbuseLog(options: { now: () => number; windowS?: number; maxFailures?: number }): AbuseLog {
  const { now, windowS = 60, maxFailures = 100 } = options;
  const counts = new BoundedMap<string, { since: number; count: number }>(20_000);

  function current(key: string): { since: number; count: number } {
    const known = counts.get(key);
    return known && now() - known.since < windowS * 1000 ? known : { since: now(), count: 0 };
  }

  function add(key: string): number {
    const { since, count } = current(key);
    counts.set(key, { since, count: count + 1 });
    return count + 1;
  }

  return {
    record({ address, subject, status, log }) {
      if (status === 401) add(`unknown ${address}`);
      const ofAddress = add(`address ${address}`);
      const ofSubject = subject === undefined ? 0 : add(`subject ${subject}`);
      if (!isPowerOfTen(ofAddress) && !isPowerOfTen(ofSubject)) return;
      const failures = { failures_of_address: ofAddress, failures_of_subject: ofSubject, window_s: windowS };
      log.warn({ address, subject, status, ...failures }, 'repeated failures');
    },
    blockedForS(address) {
      const { since, count } = current(`unknown ${address}`);
      return count < maxFailures ? 0 : Math.max(1, Math.ceil(windowS - (now() - since) / 1000));
    },
  };
}

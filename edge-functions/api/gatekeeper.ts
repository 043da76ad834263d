import type { AbuseLog } from '../_shared/abuse.ts';
import { hashSecret, type KeyVerdict, keyOf, refusedKey, tooManyCalls, type VerifyKey } from '../_shared/api-key.ts';
import { BoundedMap } from '../_shared/bounded-map.ts';
import type { Context } from '../_shared/kernel.ts';
import type { Mint } from '../_shared/mint.ts';
import { type RateState, rateLimitHeaders } from '../_shared/rate-limit.ts';

/**
 * How long a key counts as valid without asking again. Revoking is to take effect within a second; the database refuses a
 * revoked key at its next statement anyway, so this only decides who says no.
 */
const VERDICT_VALID_MS = 500;

const TOKEN_LIFETIME_S = 60;

/** A token is used again while this much of its life is left: the slowest call must end within it. */
const TOKEN_RESERVE_MS = 30_000;

/** Calls taken from the key's limit at once; what a process took and did not use is lost to the key for a moment. */
const MAX_CALLS_AT_ONCE = 100;

/** Keys that this process remembers. */
const MAX_KEYS = 5000;

type Known = {
  verdict: Extract<KeyVerdict, { refusal: null }>;
  verifiedAt: number;
  /** Calls that the database granted and nobody made yet. */
  lease: number;
  /** Calls it was asked for, and calls made since. */
  asked: number;
  used: number;
  token: { text: string; madeAt: number } | undefined;
};

export type Gatekeeper = (context: Context) => Promise<{ token: string }>;

/** Lets a request in for its key: recognised, within its limit, with a token that PostgREST understands. */
export function createGatekeeper(deps: {
  verifyKey: VerifyKey;
  mint: Mint;
  abuse: AbuseLog;
  now: () => number;
}): Gatekeeper {
  const { verifyKey, mint, abuse, now } = deps;
  const known = new BoundedMap<string, Known>(MAX_KEYS);
  const asking = new Map<string, Promise<Known>>();

  const isFresh = (entry: Known) => now() - entry.verifiedAt < VERDICT_VALID_MS;

  /** The limit had nothing to grant, and there has been no time for it to gain a call since. */
  function isSpent({ verdict, verifiedAt, lease }: Known): boolean {
    const gainsOneInMs = Math.min(60_000 / verdict.requestsPerMinute, VERDICT_VALID_MS);
    return lease < 1 && verdict.granted < 1 && now() - verifiedAt < gainsOneInMs;
  }

  /** What the last half second used; twice the last grant if that was spent sooner. */
  function callsWanted(before: Known): number {
    const wanted = isFresh(before) ? before.asked * 2 : before.used - before.lease;
    return Math.min(Math.max(wanted, 1), MAX_CALLS_AT_ONCE);
  }

  async function ask(context: Context, keyId: string, hash: Uint8Array, id: string): Promise<Known> {
    const before = known.get(id);
    const calls = before ? callsWanted(before) : 1;
    const verdict = await verifyKey(context, keyId, hash, calls);
    if (verdict.refusal !== null) {
      known.delete(id);
      throw refusedKey(verdict.refusal);
    }
    const lease = (before?.lease ?? 0) + verdict.granted;
    const entry: Known = { verdict, verifiedAt: now(), lease, asked: calls, used: 0, token: before?.token };
    known.set(id, entry);
    return entry;
  }

  /** One question at a time for a key, whatever the number of its calls. */
  function askOnce(context: Context, keyId: string, hash: Uint8Array, id: string): Promise<Known> {
    const running = asking.get(id);
    if (running !== undefined) return running;
    const question = ask(context, keyId, hash, id).finally(() => asking.delete(id));
    asking.set(id, question);
    return question;
  }

  function rateHeaders({ verdict, lease }: Known): Record<string, string> {
    const { requestsPerMinute } = verdict;
    const remaining = verdict.remaining + lease;
    const state: RateState = { remaining, resetS: ((requestsPerMinute - remaining) * 60) / requestsPerMinute };
    return rateLimitHeaders({ name: 'api_key', quota: requestsPerMinute, windowS: 60 }, state);
  }

  return async (context) => {
    const key = keyOf(context.request);
    context.subject = key.keyId;
    const hash = await hashSecret(key.secret);
    const id = `${key.keyId}${String.fromCharCode(...hash)}`;

    let entry = known.get(id);
    const blockedForS = entry ? 0 : abuse.blockedForS(context.address);
    if (blockedForS > 0) throw tooManyCalls('Too many calls with keys that are not valid.', blockedForS);

    // The question may have been another call's, and its grant spent by the time we hear of it; then it is asked again.
    while (!entry || !isFresh(entry) || entry.lease < 1) {
      if (!entry || !isSpent(entry)) entry = await askOnce(context, key.keyId, hash, id);
      if (isSpent(entry)) {
        context.answerHeaders = rateHeaders(entry);
        throw tooManyCalls('This key has used up its calls.', 60 / entry.verdict.requestsPerMinute);
      }
    }
    entry.lease -= 1;
    entry.used += 1;
    context.answerHeaders = rateHeaders(entry);
    return { token: await tokenOf(entry) };
  };

  async function tokenOf(entry: Known): Promise<string> {
    if (entry.token && now() - entry.token.madeAt < TOKEN_LIFETIME_S * 1000 - TOKEN_RESERVE_MS) return entry.token.text;
    const { organizationId, apiKeyId, scopes } = entry.verdict;
    const claims = { role: 'api_key', organization_id: organizationId, api_key_id: apiKeyId, scopes };
    entry.token = { text: await mint(claims, TOKEN_LIFETIME_S), madeAt: now() };
    return entry.token.text;
  }
}

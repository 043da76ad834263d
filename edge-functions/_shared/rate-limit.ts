import { BoundedMap } from './bounded-map.ts';

export type RateState = {
  /** Calls left now. */
  remaining: number;
  /** Seconds until the quota is whole again. */
  resetS: number;
};

export type RatePolicy = {
  /** A structured-field string: letters, digits, underscores. */
  name: string;
  quota: number;
  windowS: number;
};

/** RateLimit-Policy and RateLimit as draft-ietf-httpapi-ratelimit-headers-11 has them. */
export function rateLimitHeaders(policy: RatePolicy, state: RateState): Record<string, string> {
  const remaining = Math.max(0, Math.floor(state.remaining));
  return {
    'ratelimit-policy': `"${policy.name}";q=${policy.quota};w=${policy.windowS}`,
    ratelimit: `"${policy.name}";r=${remaining};t=${Math.max(0, Math.ceil(state.resetS))}`,
  };
}

export type Buckets = {
  /** Takes one; `retryAfterS` is there when it was refused. */
  take: (key: string) => RateState & { retryAfterS?: number };
};

/** Token buckets of this process, one a key: `quota` calls in `windowS`, all of them at once if they were saved up. */
export function createBuckets(policy: RatePolicy, options: { now: () => number; maxKeys?: number }): Buckets {
  const perMs = policy.quota / (policy.windowS * 1000);
  const buckets = new BoundedMap<string, { tokens: number; at: number }>(options.maxKeys ?? 10_000);
  return {
    take(key) {
      const at = options.now();
      const before = buckets.get(key);
      const tokens = before ? Math.min(policy.quota, before.tokens + (at - before.at) * perMs) : policy.quota;
      const isRefused = tokens < 1;
      const left = isRefused ? tokens : tokens - 1;
      buckets.set(key, { tokens: left, at });
      const state = { remaining: left, resetS: (policy.quota - left) / perMs / 1000 };
      return isRefused ? { ...state, retryAfterS: Math.max(1, Math.ceil((1 - tokens) / perMs / 1000)) } : state;
    },
  };
}

/** Methods and headers that a browser may use where its origin is on the list. */
const ALLOWED_HEADERS =
  'authorization, x-api-key, apikey, content-type, prefer, range, range-unit, accept-profile, content-profile, ' +
  'last-event-id, x-client-info, x-request-id, traceparent';
const EXPOSED_HEADERS =
  'content-range, content-location, location, preference-applied, ratelimit, ratelimit-policy, retry-after, x-request-id';

export type Cors = {
  /** What every answer carries: nothing for an origin that is not on the list, and never a wildcard. */
  headers: (request: Request) => Record<string, string>;
  /** The answer to a browser's question, or undefined if this is none. */
  preflight: (request: Request, methods: readonly string[]) => Response | undefined;
};

export function createCors(allowedOrigins: readonly string[]): Cors {
  function headers(request: Request): Record<string, string> {
    const origin = request.headers.get('origin');
    // Caches must know that the answer depends on who asks, also where it is "no".
    if (origin === null || !allowedOrigins.includes(origin)) return { vary: 'Origin' };
    return {
      vary: 'Origin',
      'access-control-allow-origin': origin,
      'access-control-expose-headers': EXPOSED_HEADERS,
    };
  }

  return {
    headers,
    preflight(request, methods) {
      if (request.method !== 'OPTIONS') return undefined;
      const allowed = headers(request);
      if (!('access-control-allow-origin' in allowed)) return new Response(null, { status: 204, headers: allowed });
      return new Response(null, {
        status: 204,
        headers: {
          ...allowed,
          'access-control-allow-methods': methods.join(', '),
          'access-control-allow-headers': ALLOWED_HEADERS,
          'access-control-max-age': '600',
        },
      });
    },
  };
}

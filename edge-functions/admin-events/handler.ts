import { eventPayloads } from '../../types/events.ts';
import type { AbuseLog } from '../_shared/abuse.ts';
import { hashSecret, keyOf, refusedKey, tooManyCalls, type VerifyKey } from '../_shared/api-key.ts';
import { bearerToken, type TokenVerifier } from '../_shared/jwt.ts';
import type { Context, Handler, Kernel } from '../_shared/kernel.ts';
import { refusal } from '../_shared/refusal.ts';
import type { Hub } from './hub.ts';
import type { LocationFeed } from './locations.ts';
import type { EventLog, Viewer } from './log.ts';
import { type Position, parsePosition } from './position.ts';
import { openStream } from './stream.ts';

/** Time until the answer begins; the stream goes on for as long as `streamMs` says. */
const TIMEOUT_MS = 10_000;
const RETRY_AFTER_S = 15;
/** Clients come back 1 to 3 seconds after an end: when a process stops, not all at once. */
const RETRY_MS = { least: 1000, spread: 2000 };

const TICKET = /^ft_ticket_[\w-]{43}$/;

export type Member = { organizationId: string; employeeId: string; appRole: string; isManager: boolean };

export type StreamDeps = {
  kernel: Kernel;
  abuse: AbuseLog;
  hub: Hub;
  log: EventLog;
  locations: LocationFeed;
  verifyToken: TokenVerifier;
  findMember: (context: Context, userId: string) => Promise<Member | undefined>;
  /** SHA-256 of the ticket; whose it was, once. */
  useTicket: (context: Context, ticketHash: Uint8Array) => Promise<Member | undefined>;
  verifyKey: VerifyKey;
  streamMs: number;
  heartbeatMs: number;
  now: () => number;
  /** Milliseconds since 1970, for the expiry of tokens. */
  wallClock: () => number;
  random: () => number;
};

/**
 * `GET /functions/v1/admin-events`: what happens in the organization, as server-sent events, for its administrators, for managers
 * (of the people of their teams), and for API keys with the scope events:read.
 */
export function createHandler(deps: StreamDeps): Handler {
  return deps.kernel({
    name: 'admin-events',
    methods: ['GET'],
    maxBodyBytes: 0,
    timeoutMs: TIMEOUT_MS,
    async handle(context) {
      if (context.path !== '/') throw refusal('not_found', 'There is nothing below admin-events.');
      const query = new URLSearchParams(context.query);
      const withLocations = readSwitch(query, 'locations');
      const { viewer, leftMs } = await authenticate(deps, context, query, withLocations);
      context.subject ??= viewer.id;
      const after = readPosition(context.request, query);
      const wants = readTypes(query.get('types'));
      const startedAt = deps.now();
      // A tenth less for some: clients that came together do not leave together.
      const lifeMs = Math.min(deps.streamMs * (1 - deps.random() / 10), leftMs);
      const stream = openStream(
        {
          log: deps.log,
          join: deps.hub.join,
          followLocations: deps.locations.follow,
          now: deps.now,
          onEnd: (why) => {
            const seconds = Math.round((deps.now() - startedAt) / 1000);
            context.log.info({ subject: viewer.id, why, seconds, ...deps.hub.counts() }, 'stream ended');
          },
        },
        {
          viewer,
          after,
          wants,
          withLocations,
          endsAt: startedAt + lifeMs,
          retryMs: Math.round(RETRY_MS.least + deps.random() * RETRY_MS.spread),
          heartbeatMs: deps.heartbeatMs,
          signal: context.request.signal,
        },
      );
      if (!stream) {
        throw refusal('too_many_streams', 'This organization has as many streams open as one process serves.', {
          hint: 'Close one, or wait as Retry-After says.',
          headers: { 'retry-after': String(RETRY_AFTER_S) },
        });
      }
      return new Response(stream, {
        headers: {
          'content-type': 'text/event-stream; charset=utf-8',
          // no-transform also keeps Deno and proxies from compressing, which would hold events back.
          'cache-control': 'no-store, no-transform',
          'x-accel-buffering': 'no',
        },
      });
    },
  });
}

async function authenticate(
  deps: StreamDeps,
  context: Context,
  query: URLSearchParams,
  withLocations: boolean,
): Promise<{ viewer: Viewer; leftMs: number }> {
  const ticket = query.get('ticket');
  if (ticket !== null) {
    context.route = 'ticket';
    const blockedForS = deps.abuse.blockedForS(context.address);
    if (blockedForS > 0) throw tooManyCalls('Too many calls with tickets that are not valid.', blockedForS);
    const owner = TICKET.test(ticket) ? await deps.useTicket(context, await hashSecret(ticket)) : undefined;
    if (!owner) {
      throw refusal('ticket_invalid', 'This ticket is not valid.', {
        hint: 'Get a new one with create_stream_ticket; it is good for one connection within 30 seconds.',
      });
    }
    return { viewer: leader(owner), leftMs: Number.POSITIVE_INFINITY };
  }
  if (context.request.headers.has('x-api-key')) {
    context.route = 'key';
    return authenticateKey(deps, context, withLocations ? ['events:read', 'locations:read'] : ['events:read']);
  }
  context.route = 'token';
  const token = bearerToken(context.request);
  if (token === undefined) {
    throw refusal('not_authenticated', 'There is no access token, ticket or API key in this request.', {
      hint: 'Send an administrator’s access token as Bearer token, ?ticket= from create_stream_ticket, or x-api-key.',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
  const { sub, exp } = await deps.verifyToken(token);
  const member = UUID.test(sub) ? await deps.findMember(context, sub) : undefined;
  if (!member) throw refusal('not_a_member', 'You are not an active member of an organization.');
  if (member.appRole !== 'ADMIN' && !member.isManager) {
    throw refusal('admin_required', 'Only an administrator or the manager of a team may do this.');
  }
  return { viewer: leader(member), leftMs: (exp ?? 0) * 1000 - deps.wallClock() };
}

const leader = ({ organizationId, employeeId, appRole }: Member): Viewer => ({
  organizationId,
  kind: appRole === 'ADMIN' ? 'administrator' : 'manager',
  id: employeeId,
});

/** Opening a stream is one call of the key's limit. */
async function authenticateKey(
  deps: StreamDeps,
  context: Context,
  scopes: readonly string[],
): Promise<{ viewer: Viewer; leftMs: number }> {
  const { keyId, secret } = keyOf(context.request);
  context.subject = keyId;
  const blockedForS = deps.abuse.blockedForS(context.address);
  if (blockedForS > 0) throw tooManyCalls('Too many calls with keys that are not valid.', blockedForS);
  const verdict = await deps.verifyKey(context, keyId, await hashSecret(secret), 1);
  if (verdict.refusal !== null) throw refusedKey(verdict.refusal);
  if (verdict.granted < 1) throw tooManyCalls('This key has used up its calls.', 60 / verdict.requestsPerMinute);
  const missing = scopes.find((scope) => !verdict.scopes.includes(scope));
  if (missing !== undefined) {
    throw refusal('scope_missing', `This API key lacks the scope ${missing}.`, {
      details: missing,
      hint: 'An administrator can make a key with this scope.',
    });
  }
  const { organizationId, apiKeyId, expiresAtS } = verdict;
  return {
    viewer: { organizationId, kind: 'api_key', id: apiKeyId },
    leftMs: expiresAtS === null ? Number.POSITIVE_INFINITY : expiresAtS * 1000 - deps.wallClock(),
  };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The header is EventSource's own, so it is newer than what the address once said. */
function readPosition(request: Request, query: URLSearchParams): Position | undefined {
  const text = request.headers.get('last-event-id') || query.get('last_event_id');
  if (!text) return undefined;
  const position = parsePosition(text);
  if (!position) {
    throw refusal('invalid_argument', 'Last-Event-ID is no position of this stream.', {
      details: 'last_event_id',
      hint: 'Send the id of the last event unchanged, or none.',
    });
  }
  return position;
}

/** `session.checked_in,expense.*` */
function readTypes(text: string | null): ((type: string) => boolean) | undefined {
  if (text === null) return undefined;
  const known = Object.keys(eventPayloads);
  const wanted = new Set<string>();
  for (const name of text.split(',')) {
    const matching = name.endsWith('.*') ? known.filter((type) => type.startsWith(name.slice(0, -1))) : [name];
    if (matching.length === 0 || matching.some((type) => !known.includes(type))) {
      throw refusal('invalid_argument', 'types names a type of event that does not exist.', {
        details: 'types',
        hint: 'A list with commas, such as session.checked_in,expense.*',
      });
    }
    for (const type of matching) wanted.add(type);
  }
  return (type) => wanted.has(type);
}

function readSwitch(query: URLSearchParams, name: string): boolean {
  const text = query.get(name) ?? '0';
  if (text !== '0' && text !== '1') throw refusal('invalid_argument', `${name} is 1 or 0.`, { details: name });
  return text === '1';
}

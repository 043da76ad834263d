import type { AbuseLog } from '../_shared/abuse.ts';
import { hashSecret } from '../_shared/api-key.ts';
import { readBody } from '../_shared/body.ts';
import { BoundedMap } from '../_shared/bounded-map.ts';
import type { Context, Handler, Kernel } from '../_shared/kernel.ts';
import { Refusal, refusal } from '../_shared/refusal.ts';
import { type Point, readPoint, type Unread } from './point.ts';
import { type DeviceState, type Protocol, type ProtocolName, protocols } from './protocols.ts';

/** Overland sends up to 1,000 points of about 600 bytes; OwnTracks a place with a photo, which is read past. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** How long a phone waits that hears "later". */
const LATER_S = 60;
const MAX_POINTS = 1000;
const TIMEOUT_MS = 10_000;
const MAX_KNOWN_TOKENS = 5000;

const TOKEN = /^ft_device_[0-9A-Za-z]{43}$/;

/** What private.ingest_locations answers. */
export type Ingested = {
  device_id: string;
  stored: number;
  duplicates: number;
  refused: number;
  without_session: number;
};

export type IngestDeps = {
  kernel: Kernel;
  abuse: AbuseLog;
  /** SHA-256 of the token, and the points: the token itself stays here. */
  ingest: (
    context: Context,
    tokenHash: Uint8Array,
    sent: { points: Point[]; unread: Partial<Record<Unread, number>>; state: DeviceState; protocol: ProtocolName },
  ) => Promise<Ingested>;
  /** Milliseconds since 1970. */
  wallClock: () => number;
};

/** `/functions/v1/ingest/{osmand,owntracks,overland}[/token]`: phones that report with an app of somebody else. */
export function createHandler({ kernel, abuse, ingest, wallClock }: IngestDeps): Handler {
  const known = new BoundedMap<string, true>(MAX_KNOWN_TOKENS);
  return kernel({
    name: 'ingest',
    methods: ['GET', 'POST'],
    maxBodyBytes: MAX_BODY_BYTES,
    timeoutMs: TIMEOUT_MS,
    async handle(context) {
      const { name, tokenInPath } = readPath(context.path);
      context.route = name;
      if (context.request.method === 'GET' && name !== 'osmand') {
        throw refusal('method_not_allowed', 'This app sends with POST.', { headers: { allow: 'POST' } });
      }
      const protocol: Protocol = protocols[name];
      try {
        await take(context, protocol, name, tokenInPath);
      } catch (error) {
        if (!protocol.losesOnRefusal || !(error instanceof Refusal) || error.status >= 500) throw error;
        // The body can never be taken: a refusal would hold up all that stands behind it on the phone.
        if (error.body.code === 'body_too_large') return protocol.delivered();
        throw refusal('try_later', error.body.message, {
          details: error.body.code,
          ...(error.body.hint === null ? {} : { hint: error.body.hint }),
          headers: { 'retry-after': error.headers['retry-after'] ?? String(LATER_S) },
        });
      }
      // The app hears "delivered" in any case: sending a point again that has no session would not give it one. What was not
      // kept is counted by its reason, and told (private.ingest_locations).
      return protocol.delivered();
    },
  });

  async function take(
    context: Context,
    protocol: Protocol,
    name: ProtocolName,
    tokenInPath: string | undefined,
  ): Promise<void> {
    const { request } = context;
    const report = await protocol.read({
      method: request.method,
      query: context.query,
      contentType: request.headers.get('content-type')?.toLowerCase() ?? '',
      userAgent: request.headers.get('user-agent') ?? '',
      body: request.method === 'POST' ? await unzipped(request, await context.body()) : new Uint8Array(0),
    });
    const token = [tokenInPath, ...tokensInHeader(request), report.token]
      .map((candidate) => candidate?.trim())
      .find((candidate) => candidate !== undefined && TOKEN.test(candidate));
    if (token === undefined) {
      throw refusal('device_token_invalid', 'There is no device token in this request, or it is not whole.', {
        hint: 'Put it at the end of the address, or where the app asks for a password.',
        headers: { 'www-authenticate': 'Basic realm="FieldTrack device token"' },
      });
    }
    const hash = await hashSecret(token);
    const id = String.fromCharCode(...hash);
    // Phones share addresses (mobile networks do that): one that is known here is not held up by what others tried.
    const blockedForS = known.get(id) ? 0 : abuse.blockedForS(context.address);
    if (blockedForS > 0) {
      throw refusal('rate_limited', 'Too many calls with tokens that are not valid.', {
        headers: { 'retry-after': String(blockedForS) },
      });
    }
    if (report.points.length > MAX_POINTS) {
      throw refusal('batch_size', `${report.points.length} points in one request.`, {
        hint: `Set the app to at most ${MAX_POINTS} points a request.`,
      });
    }
    const points: Point[] = [];
    const unread: Partial<Record<Unread, number>> = { ...report.unread };
    for (const raw of report.points) {
      const point = readPoint(raw, wallClock());
      if (typeof point === 'string') unread[point] = (unread[point] ?? 0) + 1;
      else points.push(point);
    }
    const result = await ingest(context, hash, { points, unread, state: report.state ?? {}, protocol: name });
    known.set(id, true);
    context.subject = result.device_id;
    context.log.info(result, 'points');
  }
}

/** Some apps and proxies compress; what comes out is held to the same size. */
async function unzipped(request: Request, body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const isZipped = body[0] === 0x1f && body[1] === 0x8b;
  if (!isZipped || !/gzip|^$/.test(request.headers.get('content-encoding') ?? '')) return body;
  const plain = new Blob([body]).stream().pipeThrough(new DecompressionStream('gzip'));
  try {
    return await readBody(
      new Request('http://body/', { method: 'POST', body: plain, duplex: 'half' } as RequestInit),
      MAX_BODY_BYTES,
    );
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw refusal('body_invalid', 'The body is not the gzip that it begins as.');
  }
}

function readPath(path: string): { name: ProtocolName; tokenInPath: string | undefined } {
  // People type addresses: a slash too many and a blank at the end mean nothing.
  const [, name, token] = /^\/+(osmand|owntracks|overland)(?:\/+([^/]*))?\/*$/.exec(path) ?? [];
  if (name === undefined) {
    throw refusal(
      'not_found',
      'The paths are /osmand, /owntracks and /overland, each with the token after it or without.',
    );
  }
  return { name: name as ProtocolName, tokenInPath: token?.replace(/(%20|\+)+$/g, '') || undefined };
}

/** As password or user name (OwnTracks asks for both), or as Bearer token (Overland). */
function tokensInHeader(request: Request): string[] {
  const [, scheme, value] = /^(Basic|Bearer) +(\S+)\s*$/i.exec(request.headers.get('authorization') ?? '') ?? [];
  if (scheme === undefined || value === undefined) return [];
  if (scheme.toLowerCase() === 'bearer') return [value];
  try {
    const pair = atob(value);
    return [pair.slice(pair.indexOf(':') + 1), pair.slice(0, pair.indexOf(':'))];
  } catch {
    return [];
  }
}

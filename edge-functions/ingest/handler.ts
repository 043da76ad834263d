import type { AbuseLog } from '../_shared/abuse.ts';
import { BoundedMap } from '../_shared/bounded-map.ts';
import type { Context, Handler, Kernel } from '../_shared/kernel.ts';
import { refusal } from '../_shared/refusal.ts';
import { type Point, readPoint } from './point.ts';
import { type Protocol, type ProtocolName, protocols } from './protocols.ts';

/** Overland sends up to 1,000 points of about 600 bytes. */
const MAX_BODY_BYTES = 1024 * 1024;
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
    points: Point[],
    unreadable: number,
    protocol: ProtocolName,
  ) => Promise<Ingested>;
};

/** `/functions/v1/ingest/{osmand,owntracks,overland}[/token]`: phones that report with an app of somebody else. */
export function createHandler({ kernel, abuse, ingest }: IngestDeps): Handler {
  const known = new BoundedMap<string, true>(MAX_KNOWN_TOKENS);
  return kernel({
    name: 'ingest',
    methods: ['GET', 'POST'],
    maxBodyBytes: MAX_BODY_BYTES,
    timeoutMs: TIMEOUT_MS,
    async handle(context) {
      const { name, tokenInPath } = readPath(context.path);
      context.route = name;
      const { request } = context;
      if (request.method === 'GET' && name !== 'osmand') {
        throw refusal('method_not_allowed', 'This app sends with POST.', { headers: { allow: 'POST' } });
      }
      const protocol: Protocol = protocols[name];
      const report = protocol.read({
        method: request.method,
        query: context.query,
        contentType: request.headers.get('content-type')?.toLowerCase() ?? '',
        body: request.method === 'POST' ? await context.body() : new Uint8Array(0),
      });
      const token = tokenInPath ?? tokenInHeader(request) ?? report.token;
      if (token === undefined || !TOKEN.test(token)) {
        throw refusal('device_token_invalid', 'There is no device token in this request, or it is not whole.', {
          hint: 'Put it at the end of the address, or where the app asks for a password.',
          headers: { 'www-authenticate': 'Basic realm="FieldTrack device token"' },
        });
      }
      const hash = await sha256(token);
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
      const points = report.points.flatMap((raw) => readPoint(raw) ?? []);
      const result = await ingest(context, hash, points, report.points.length - points.length, name);
      known.set(id, true);
      context.subject = result.device_id;
      // The app hears "delivered" in any case: sending a point again that has no session would not give it one.
      context.log.info(result, 'points');
      return protocol.delivered();
    },
  });
}

function readPath(path: string): { name: ProtocolName; tokenInPath: string | undefined } {
  const [, name, token] = /^\/(osmand|owntracks|overland)(?:\/([^/]*))?$/.exec(path) ?? [];
  if (name === undefined) {
    throw refusal(
      'not_found',
      'The paths are /osmand, /owntracks and /overland, each with the token after it or without.',
    );
  }
  return { name: name as ProtocolName, tokenInPath: token || undefined };
}

/** As password (OwnTracks; the user name does not matter), or as Bearer token (Overland). */
function tokenInHeader(request: Request): string | undefined {
  const [, scheme, value] = /^(Basic|Bearer) +(\S+)$/i.exec(request.headers.get('authorization') ?? '') ?? [];
  if (scheme === undefined || value === undefined) return undefined;
  if (scheme.toLowerCase() === 'bearer') return value;
  try {
    const pair = atob(value);
    return pair.slice(pair.indexOf(':') + 1);
  } catch {
    return undefined;
  }
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

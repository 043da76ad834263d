import type { AbuseLog } from '../_shared/abuse.ts';
import { BoundedMap } from '../_shared/bounded-map.ts';
import type { Context, Handler, Kernel } from '../_shared/kernel.ts';
import { Refusal, refusal } from '../_shared/refusal.ts';
import { fieldsOf, unpack } from './packing.ts';
import { type Point, readPoint, type Unreadable } from './point.ts';
import { type Protocol, type ProtocolName, protocols, type Report } from './protocols.ts';

/** A day of 15-second points in one request, as an app without a limit sends it after a day without signal. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_POINTS = 10_000;
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

/** What else of a request the database keeps, on the device. */
export type Told = {
  protocol: ProtocolName;
  /** How many points were none, by reason. */
  unreadable: Partial<Record<Unreadable | 'body_invalid', number>>;
  state: NonNullable<Report['state']>;
  setup: Report['setup'] | null;
  /** What the app calls itself. */
  app: string | null;
};

export type IngestDeps = {
  kernel: Kernel;
  abuse: AbuseLog;
  /** SHA-256 of the token, and the points: the token itself stays here. */
  ingest: (context: Context, tokenHash: Uint8Array, points: Point[], told: Told) => Promise<Ingested>;
};

/** `/functions/v1/ingest/{osmand,owntracks,overland}[/token]`: phones that report with an app of somebody else. */
export function createHandler({ kernel, abuse, ingest }: IngestDeps): Handler {
  const known = new BoundedMap<string, true>(MAX_KNOWN_TOKENS);

  async function store(context: Context, name: ProtocolName, tokenInPath: string | undefined): Promise<Response> {
    const { request } = context;
    const protocol: Protocol = protocols[name];
    const { report, unreadable } = await readReport(context, protocol);
    const candidates = [
      tokenInPath,
      ...tokensInHeader(request),
      ...tokensInQuery(context.query),
      ...(report.tokens ?? []),
    ];
    const token = candidates.map(trimmed).find((text) => text !== undefined && TOKEN.test(text));
    if (token === undefined) {
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
    const points: Point[] = [];
    for (const raw of report.points) {
      const point = readPoint(raw);
      if (typeof point === 'string') unreadable[point] = (unreadable[point] ?? 0) + 1;
      else points.push(point);
    }
    const app = request.headers.get('user-agent')?.slice(0, 100) ?? null;
    const told = { protocol: name, unreadable, state: report.state ?? {}, setup: report.setup ?? null, app };
    const result = await ingest(context, hash, points, told);
    known.set(id, true);
    context.subject = result.device_id;
    // The app hears "delivered" in any case: sending a point again that has no session would not give it one.
    context.log.info(result, 'points');
    return protocol.delivered();
  }

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
      try {
        return await store(context, name, tokenInPath);
      } catch (error) {
        if (error instanceof Refusal && protocols[name].needsServerErrors) return notNow(error, context, abuse);
        throw error;
      }
    },
  });
}

/** A 4xx could make the app throw away points that have a future: it hears 503, and who guesses tokens is still counted. */
function notNow(error: Refusal, context: Context, abuse: AbuseLog): Response {
  if (error.status >= 500) throw error;
  const { status, body } = error;
  const { address, subject, log } = context;
  if (status === 401 || status === 429) abuse.record({ address, subject, status, log });
  const headers = { 'retry-after': error.headers['retry-after'] ?? (status === 401 ? '300' : '30') };
  throw new Refusal(503, body, headers);
}

/** What cannot be read by an app that would keep sending it for ever is delivered and counted. */
async function readReport(
  context: Context,
  protocol: Protocol,
): Promise<{ report: Report; unreadable: Told['unreadable'] }> {
  const { request, query } = context;
  try {
    if (request.method === 'GET') {
      // The runtime hands out no body of a GET.
      const hasBody = Number(request.headers.get('content-length') ?? 0) > 0;
      const report = protocol.read({ method: 'GET', query, contentType: '', body: new Uint8Array(0) });
      return { report, unreadable: hasBody && report.points.length === 0 ? { body_invalid: 1 } : {} };
    }
    const contentType = request.headers.get('content-type') ?? '';
    const body = await unpack(await context.body(), request.headers.get('content-encoding'), MAX_BODY_BYTES);
    const fields = await fieldsOf(body, contentType);
    const sent = { method: request.method, query, contentType: contentType.toLowerCase(), body };
    return { report: protocol.read(fields ? { ...sent, fields } : sent), unreadable: {} };
  } catch (error) {
    if (!(error instanceof Refusal && protocol.needsServerErrors)) throw error;
    if (error.body.code !== 'body_invalid' && error.body.code !== 'body_too_large') throw error;
    return { report: { points: [] }, unreadable: { body_invalid: 1 } };
  }
}

function readPath(path: string): { name: ProtocolName; tokenInPath: string | undefined } {
  const [, name, token] = /^\/+(osmand|owntracks|overland)(?:\/+([^/]*))?\/*$/.exec(path) ?? [];
  if (name === undefined) {
    throw refusal(
      'not_found',
      'The paths are /osmand, /owntracks and /overland, each with the token after it or without.',
    );
  }
  return { name: name as ProtocolName, tokenInPath: token || undefined };
}

/** Pasted with a blank, a line break or a slash behind it, a token is still that token. */
function trimmed(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  let text = value;
  try {
    text = decodeURIComponent(value);
  } catch {
    // It holds a per cent sign of its own.
  }
  return text.replace(/^[\s/"'<]+|[\s/"'>]+$/g, '');
}

/** As user name or password (OwnTracks), or as Bearer token (Overland). */
function tokensInHeader(request: Request): string[] {
  const [, scheme, value] = /^(Basic|Bearer|Token) +(\S+)\s*$/i.exec(request.headers.get('authorization') ?? '') ?? [];
  if (scheme === undefined || value === undefined) return [];
  if (scheme.toLowerCase() !== 'basic') return [value];
  try {
    return atob(value).split(':').reverse();
  } catch {
    return [];
  }
}

function tokensInQuery(query: string): string[] {
  const parameters = new URLSearchParams(query);
  return ['token', 'access_token', 'id', 'deviceid', 'device_id'].flatMap((name) => parameters.getAll(name));
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

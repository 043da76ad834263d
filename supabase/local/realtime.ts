import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import postgres from 'postgres';
import { WebSocketServer } from 'ws';
import { createSigner, type KeyRing } from './keys.ts';
import { type Client, serveClient } from './realtime-client.ts';
import { followOutbox } from './realtime-outbox.ts';
import { type Claims, mayHear } from './realtime-policy.ts';

export type RealtimeOptions = {
  /** As supabase_realtime_admin. */
  databaseUrl: string;
  jwtSecret: string;
  keys: KeyRing;
  /** How often the policy is asked again while a token is good. */
  recheckMs?: number;
};

export type Realtime = {
  /** Takes a WebSocket over; `apiKey` is one that the gateway has accepted. */
  upgrade: (incoming: IncomingMessage, socket: Duplex, head: Buffer, apiKey: string) => void;
  stop: () => Promise<void>;
};

const RECHECK_MS = 300_000;
const MAX_FRAME_BYTES = 256 * 1024;

/** Supabase Realtime's stand-in: private channels that hear what realtime.send stored, for those whom the policy admits. */
export async function startRealtime(options: RealtimeOptions): Promise<Realtime> {
  const sql = postgres(options.databaseUrl, { max: 4, onnotice: () => {}, idle_timeout: 30 });
  const signer = createSigner(options.jwtSecret);
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES });
  const clients = new Set<Client>();
  const outbox = followOutbox(sql, (message) => {
    for (const client of clients) client.hear(message);
  });

  async function claimsOf(token: string): Promise<Claims> {
    // supabase-js sends the API key while nobody is signed in.
    const claims = await signer.verify(options.keys.tokenFor(token) ?? token).catch((error: unknown) => {
      const isExpired = (error as { code?: string }).code === 'ERR_JWT_EXPIRED';
      throw new Error(
        isExpired ? 'InvalidJWTToken: Token has expired' : 'InvalidJWTToken: The token is not one of ours',
      );
    });
    return { ...claims, role: String(claims.role ?? 'anon') };
  }

  return {
    upgrade(incoming, socket, head, apiKey) {
      const query = new URL(incoming.url ?? '/', 'http://gateway').searchParams;
      const kept = Object.entries(incoming.headers).filter(([name]) => name.startsWith('x-'));
      const headers = Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
      server.handleUpgrade(incoming, socket, head, (ws) => {
        const client = serveClient(ws, {
          version: query.get('vsn') === '2.0.0' ? '2.0.0' : '1.0.0',
          apiKey,
          recheckMs: options.recheckMs ?? RECHECK_MS,
          claimsOf,
          async refusalOf(name, isPrivate, claims) {
            if (!isPrivate || (await mayHear(sql, name, claims, headers))) return null;
            return `Unauthorized: You do not have permissions to read from this Channel topic: ${name}`;
          },
          onListening: () => outbox.setWanted([...clients].some(({ channels }) => channels.size > 0)),
          onGone: () => clients.delete(client),
        });
        clients.add(client);
      });
    },
    async stop() {
      for (const client of [...clients]) client.stop();
      server.close();
      await outbox.stop();
      await sql.end({ timeout: 1 });
    },
  };
}

import type { WebSocket } from 'ws';
import { CLIENTS_SEND_NOTHING, readJoin } from './realtime-channel.ts';
import { type Frame, readFrame, type Version, writeFrame } from './realtime-frames.ts';
import type { Message } from './realtime-outbox.ts';
import type { Claims } from './realtime-policy.ts';

/** supabase-js sends a heartbeat every 25 s. */
const SILENT_MS = 90_000;
const MAX_CHANNELS = 100;
/** setTimeout counts in 31 bits. */
const MAX_TIMEOUT_MS = 2_147_483_647;

type Channel = {
  topic: string;
  joinRef: string | null;
  isPrivate: boolean;
  claims: Claims;
  expiry?: NodeJS.Timeout;
  recheck?: NodeJS.Timeout;
};

export type ClientDeps = {
  version: Version;
  /** Stands for a token while nobody is signed in. */
  apiKey: string;
  recheckMs: number;
  /** Whose token it is; throws a sentence. */
  claimsOf: (token: string) => Promise<Claims>;
  /** Null, or why these claims may not hear the channel. */
  refusalOf: (name: string, isPrivate: boolean, claims: Claims) => Promise<string | null>;
  /** Called before a join is answered and after a channel is left: settles when nothing stored from now on is missed. */
  onListening: () => Promise<void>;
  onGone: () => void;
};

export type Client = { channels: ReadonlyMap<string, unknown>; hear: (message: Message) => void; stop: () => void };

/** One WebSocket with its channels. */
export function serveClient(ws: WebSocket, deps: ClientDeps): Client {
  const channels = new Map<string, Channel>();
  let heardAt = Date.now();
  const silence = setInterval(() => {
    if (Date.now() - heardAt > SILENT_MS) ws.terminate();
  }, SILENT_MS / 3);
  // One after another, as they came: a renewed token must not overtake the join that it belongs to.
  let turn = Promise.resolve();
  const inTurn = (work: () => Promise<void>) => {
    turn = turn.then(work).catch(() => ws.close(1011, 'The server failed'));
  };

  const send = (frame: Frame) => ws.readyState === ws.OPEN && ws.send(writeFrame(deps.version, frame));
  const push = (channel: Channel, event: string, payload: unknown) =>
    send({ joinRef: channel.joinRef, ref: null, topic: channel.topic, event, payload });
  const reply = ({ joinRef, ref, topic }: Frame, status: 'ok' | 'error', response: unknown) =>
    send({ joinRef, ref, topic, event: 'phx_reply', payload: { status, response } });
  const complain = (channel: Channel, extension: string, message: string) =>
    push(channel, 'system', { extension, status: 'error', message, channel: nameOf(channel.topic) });

  function forget(channel: Channel): void {
    clearTimeout(channel.expiry);
    clearTimeout(channel.recheck);
    if (channels.get(channel.topic) === channel) channels.delete(channel.topic);
    void deps.onListening();
  }

  /** Says why, then closes: the callback of subscribe() gets CLOSED and listeners of `system` get the reason. */
  function close(channel: Channel, message: string): void {
    forget(channel);
    complain(channel, 'system', message);
    push(channel, 'phx_close', {});
  }

  function watch(channel: Channel): void {
    clearTimeout(channel.expiry);
    clearTimeout(channel.recheck);
    const { exp } = channel.claims;
    const leftMs = exp === undefined ? MAX_TIMEOUT_MS : Math.min(exp * 1000 - Date.now(), MAX_TIMEOUT_MS);
    channel.expiry = setTimeout(() => close(channel, 'InvalidJWTToken: Token has expired'), leftMs);
    channel.recheck = setTimeout(() => inTurn(() => ask(channel)), deps.recheckMs);
  }

  async function ask(channel: Channel): Promise<void> {
    const isHere = () => channels.get(channel.topic) === channel;
    if (!isHere()) return;
    // Nobody is heard in doubt: where the database does not answer the channel closes, and the client joins again.
    const refusal = await deps
      .refusalOf(nameOf(channel.topic), channel.isPrivate, channel.claims)
      .catch(() => 'The policy could not be asked');
    if (!isHere()) return;
    if (refusal) close(channel, refusal);
    else watch(channel);
  }

  async function join(frame: Frame): Promise<void> {
    const asked = readJoin(frame.payload);
    if ('reason' in asked) return void reply(frame, 'error', asked);
    const { topic, joinRef, ref } = frame;
    const { isPrivate } = asked;
    if (!channels.has(topic) && channels.size >= MAX_CHANNELS) {
      return void reply(frame, 'error', { reason: `ChannelRateLimitReached: at most ${MAX_CHANNELS} channels` });
    }
    try {
      const claims = await deps.claimsOf(asked.token ?? deps.apiKey);
      const reason = await deps.refusalOf(nameOf(topic), isPrivate, claims);
      if (reason) return void reply(frame, 'error', { reason });
      const former = channels.get(topic);
      if (former) forget(former);
      if (ws.readyState !== ws.OPEN) return;
      const channel: Channel = { topic, joinRef: joinRef ?? ref, isPrivate, claims };
      channels.set(topic, channel);
      watch(channel);
      await deps.onListening();
      reply(frame, 'ok', { postgres_changes: [] });
    } catch (error) {
      reply(frame, 'error', { reason: sentenceOf(error) });
    }
  }

  async function renew(frame: Frame): Promise<void> {
    const channel = channels.get(frame.topic);
    const token = (frame.payload as { access_token?: unknown } | null)?.access_token;
    // A client that has no token yet says so; the one of the join counts on.
    if (!channel || typeof token !== 'string') return;
    try {
      channel.claims = await deps.claimsOf(token);
    } catch (error) {
      return close(channel, sentenceOf(error));
    }
    await ask(channel);
  }

  async function handle(frame: Frame): Promise<void> {
    const { topic, event } = frame;
    if (topic === 'phoenix') return void reply(frame, event === 'heartbeat' ? 'ok' : 'error', {});
    if (event === 'phx_join' && topic.startsWith('realtime:')) return join(frame);
    const channel = channels.get(topic);
    if (!channel) return void reply(frame, 'error', { reason: 'unmatched topic' });
    if (event === 'access_token') return renew(frame);
    if (event === 'phx_leave') {
      forget(channel);
      reply(frame, 'ok', {});
      return void push(channel, 'phx_close', {});
    }
    reply(frame, 'error', { reason: CLIENTS_SEND_NOTHING });
    complain(channel, event, CLIENTS_SEND_NOTHING);
  }

  ws.on('message', (data: Buffer, isBinary: boolean) => {
    heardAt = Date.now();
    const frame = readFrame(deps.version, data, isBinary);
    if (frame) inTurn(() => handle(frame));
    else ws.close(1003, 'This is no message of the Phoenix protocol');
  });
  ws.on('error', () => ws.terminate());
  ws.on('close', () => {
    clearInterval(silence);
    for (const channel of [...channels.values()]) forget(channel);
    deps.onGone();
  });

  return {
    channels,
    hear({ id, topic, event, payload, private: isPrivate }) {
      const channel = channels.get(`realtime:${topic}`);
      if (channel?.isPrivate !== isPrivate) return;
      const message = { type: 'broadcast', event, payload, meta: { id } };
      send({ joinRef: null, ref: null, topic: channel.topic, event: 'broadcast', payload: message });
    },
    stop: () => ws.terminate(),
  };
}

/** `org:…` of `realtime:org:…`. */
function nameOf(topic: string): string {
  return topic.slice('realtime:'.length);
}

function sentenceOf(error: unknown): string {
  return error instanceof Error && !('severity' in error) ? error.message : 'The policy could not be asked';
}

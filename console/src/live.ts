import { signal } from '@preact/signals';
import { createParser } from 'eventsource-parser';
import { accessToken, auth, settings } from './api.ts';

// The live stream (docs/live-stream.md), read by fetch: unlike EventSource it sends the person's token, so a renewed token
// and the place to resume from go into the same request, and no ticket is spent on a reconnect.

export type LiveEvent = { id: string; type: string; timestamp: string; data: Record<string, unknown> };

export type Position = {
  employee_id: string;
  session_id: string;
  is_checked_in: boolean;
  recorded_at: string;
  latitude: number;
  longitude: number;
  accuracy_m: number | null;
  speed_mps: number | null;
  heading_deg: number | null;
  battery_pct: number | null;
  is_mock: boolean;
  distance_m: number | null;
};

export type LiveState = 'connecting' | 'live' | 'broken' | 'refused';
export const liveState = signal<LiveState>('connecting');

export type Listener = {
  onEvent: (event: LiveEvent) => void;
  onPosition: (position: Position) => void;
  /** What is shown must be read anew: at the first connection, and when the place to resume from is gone. */
  onReset: () => void;
};

/** The server says something every 15 seconds; a connection that is silent for longer is dead and does not know it. */
const SILENCE_MS = 40_000;

/** Follows the stream until `signal` ends it, resuming after the last event for ever. */
export async function follow(listener: Listener, stop: AbortSignal): Promise<void> {
  let last: string | undefined;
  let failures = 0;
  let retryMs = 1000;
  while (!stop.aborted) {
    const openedAt = Date.now();
    const silence = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    // A network that comes back is tried at once, and one that went is not waited for.
    const offline = () => silence.abort();
    addEventListener('offline', offline);
    const onRetry = (wait: number) => {
      retryMs = wait;
    };
    try {
      heard();
      const token = await accessToken();
      const response = await fetch(`${settings().url}/functions/v1/admin-events?locations=1`, {
        headers: {
          apikey: settings().publishableKey,
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...(last ? { 'last-event-id': last } : {}),
        },
        signal: AbortSignal.any([stop, silence.signal]),
      });
      if (response.status === 401) await auth.refreshSession();
      if (response.status === 403) {
        liveState.value = 'refused';
        return;
      }
      if (!response.ok || !response.body) throw new Error(`The live stream answered ${response.status}`);
      // By callback and not as a stream of messages: a crowd sends thousands in a chunk, and each would cost a turn of the loop.
      const parser = createParser({
        onComment: heard,
        onRetry,
        onEvent({ event, id, data }) {
          if (event === 'location') return listener.onPosition(JSON.parse(data) as Position);
          if (event === 'ready' || event === 'reset') {
            if (event === 'reset' || last === undefined) listener.onReset();
            if (event === 'ready') {
              liveState.value = 'live';
              failures = 0;
            }
          } else listener.onEvent(JSON.parse(data) as LiveEvent);
          if (id) last = id;
        },
      });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        heard();
        parser.feed(decoder.decode(chunk.value, { stream: true }));
      }
      // Handed over after its time, not thrown out at the door.
      if (Date.now() - openedAt < 2000) failures += 1;
    } catch {
      failures += 1;
    } finally {
      clearTimeout(timer);
      removeEventListener('offline', offline);
    }
    if (stop.aborted) return;
    // A stream that ended well is only handed over; it is opened again before anybody notices.
    if (failures > 0) liveState.value = 'broken';
    await pause(failures === 0 ? 50 : Math.min(retryMs * 2 ** (failures - 1), 15_000) * (0.5 + Math.random()), stop);
  }
}

/** Ends early when the network comes back. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      stop.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    stop.addEventListener('abort', done);
  });
}

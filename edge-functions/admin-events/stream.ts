import { type Batch, concat, type EndReason, type Listener, type Membership } from './hub.ts';
import type { LocationFeed } from './locations.ts';
import { commentOf, type EventLog, frameOf, type LogEvent, mayHear, type Viewer } from './log.ts';
import { comparePositions, formatPosition, type Position } from './position.ts';

export type StreamOptions = {
  viewer: Viewer;
  /** Where the client stopped; undefined: from now on. */
  after: Position | undefined;
  wants: ((type: string) => boolean) | undefined;
  /** Positions too, once live. */
  withLocations: boolean;
  endsAt: number;
  retryMs: number;
  heartbeatMs: number;
  signal: AbortSignal;
};

/** Events a page of what was missed: about 50 KiB. */
const PAGE_ROWS = 100;

/** What may wait for a client that reads slowly, before it is dropped. One batch more can be in it. */
const MAX_QUEUED_BYTES = 256 * 1024;

const encoder = new TextEncoder();

/**
 * One client's stream: first what it missed, as fast as it reads, then what comes. Undefined where the organization has no
 * place left. `ready` tells the client where the one ends and the other begins.
 */
export function openStream(
  deps: {
    log: EventLog;
    join: (listener: Listener) => Membership | undefined;
    followLocations: LocationFeed['follow'];
    now: () => number;
    onEnd: (why: EndReason | 'the client left' | 'the client reads too slowly' | 'failure') => void;
  },
  options: StreamOptions,
): ReadableStream<Uint8Array> | undefined {
  const { log, now } = deps;
  const { viewer, after, wants } = options;
  let controller: ReadableStreamDefaultController<Uint8Array>;
  let state: 'catching up' | 'live' | 'ended' = 'catching up';
  let sent: Position | undefined;
  let lastSentAt = now();
  let unfollowLocations = () => {};

  const listener: Listener = {
    viewer,
    deliver(batch) {
      const chunk = chunkOf(batch);
      if (chunk) send(chunk);
    },
    tick(time) {
      if (time >= options.endsAt) listener.end('time is over');
      else if (state === 'live' && time - lastSentAt >= options.heartbeatMs) send(commentOf('still here'));
    },
    end(why) {
      if (!finish(why)) return;
      // Somebody who does not read would keep the connection for ever.
      if (isFull()) return controller.error(new Error(why));
      controller.enqueue(commentOf(why));
      controller.close();
    },
  };

  const membership = deps.join(listener);
  if (!membership) return undefined;

  const isFull = () => (controller.desiredSize ?? 0) <= 0;
  // A function, because the compiler does not see that the state changes while something is awaited.
  const isOver = () => state === 'ended';

  /** True for the first caller: a stream ends once. */
  function finish(why: Parameters<typeof deps.onEnd>[0]): boolean {
    if (state === 'ended') return false;
    state = 'ended';
    membership?.leave();
    unfollowLocations();
    options.signal.removeEventListener('abort', clientLeft);
    deps.onEnd(why);
    return true;
  }

  function clientLeft(): void {
    // Not as an error, which Deno would print for each client that goes home.
    if (finish('the client left')) controller.close();
  }

  /** Bytes are shared by all who get them, so what a slow client costs is its place in the queue. */
  function send(chunk: Uint8Array): void {
    if (isOver()) return;
    if (isFull()) {
      // Closing would wait for the client to read. It resumes where it stopped.
      if (finish('the client reads too slowly')) controller.error(new Error('too slow'));
      return;
    }
    controller.enqueue(chunk);
    lastSentAt = now();
  }

  function chunkOf(batch: Batch): Uint8Array | undefined {
    const [first] = batch.events;
    const last = batch.events.at(-1);
    if (!first || !last) return undefined;
    // A client may have been further, by another process that had read more.
    const isAllNew = sent === undefined || comparePositions(first.position, sent) > 0;
    const chunk = isAllNew && !wants && viewer.kind !== 'manager' ? batch.whole() : framesOf(batch.events);
    if (sent === undefined || comparePositions(last.position, sent) > 0) sent = last.position;
    return chunk;
  }

  function framesOf(events: readonly LogEvent[]): Uint8Array | undefined {
    const frames = events
      .filter(({ position }) => !sent || comparePositions(position, sent) > 0)
      .filter(({ type, employeeId }) => (!wants || wants(type)) && mayHear(viewer, employeeId))
      .map(({ frame }) => frame);
    return frames.length > 0 ? concat(frames) : undefined;
  }

  async function begin(place: Membership): Promise<Position> {
    const position = await place.position();
    if (after === undefined) return position;
    if (await log.isKeptSince(after)) return after;
    if (!isOver()) {
      const data = JSON.stringify({ reason: 'position_not_kept', position: formatPosition(after) });
      send(frameOf({ id: position, event: 'reset', data }));
    }
    return position;
  }

  /** Sends a page of what was missed, or goes live. The stream asks again when the client has read. */
  async function catchUp(place: Membership): Promise<void> {
    await place.teamKnown;
    sent ??= await begin(place);
    while (!isOver()) {
      const target = await place.position();
      if (comparePositions(sent, target) < 0) {
        const events = await log.readOrganization(viewer.organizationId, sent, target, PAGE_ROWS);
        if (isOver()) return;
        const chunk = framesOf(events);
        const isLastPage = events.length < PAGE_ROWS;
        sent = isLastPage ? target : (events.at(-1)?.position ?? target);
        if (chunk) {
          controller.enqueue(chunk);
          lastSentAt = now();
        }
        if (!isLastPage && chunk) return;
        if (!isLastPage) continue;
      }
      if (place.goLive(sent)) {
        state = 'live';
        const data = JSON.stringify({ position: formatPosition(sent) });
        controller.enqueue(frameOf({ id: sent, event: 'ready', data }));
        if (options.withLocations) unfollowLocations = deps.followLocations(viewer, send);
        return;
      }
    }
  }

  options.signal.addEventListener('abort', clientLeft, { once: true });
  return new ReadableStream<Uint8Array>(
    {
      start(own) {
        controller = own;
        controller.enqueue(encoder.encode(`retry: ${options.retryMs}\n: FieldTrack events\n\n`));
      },
      async pull() {
        if (state !== 'catching up') return;
        try {
          await catchUp(membership);
        } catch (error) {
          if (finish('failure')) controller.error(error);
        }
      },
      cancel() {
        finish('the client left');
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: MAX_QUEUED_BYTES }),
  );
}

import { describeError, type Logger } from '../_shared/log.ts';
import type { EventLog, LogEvent, Viewer } from './log.ts';
import type { Position } from './position.ts';

/** A client, as the hub sees it. */
export type Listener = {
  viewer: Viewer;
  /** Events of the organization, in order, all after those of the last call. */
  deliver: (batch: Batch) => void;
  /** Called about once a second: time for a heartbeat, or to end. */
  tick: (now: number) => void;
  end: (why: EndReason) => void;
};

export type EndReason =
  | 'time is over'
  | 'not an administrator any more'
  | 'manages no team any more'
  | 'the API key is not valid any more'
  | 'the process stops'
  | 'database unreachable';

/** What one read of the log brought for one organization; made once, whatever the number of its listeners. */
export type Batch = { events: readonly LogEvent[]; whole: () => Uint8Array };

export type Hub = {
  /** Registers a listener, or answers undefined where the organization has as many as it may. */
  join: (listener: Listener) => Membership | undefined;
  /** Ends all streams. */
  stop: () => void;
  counts: () => { organizations: number; listeners: number };
};

export type Membership = {
  /** Waits until it is known whom the viewer leads; at once for who is no manager. */
  teamKnown: Promise<void>;
  /** How far the process has read; waits for the reader to start. */
  position: () => Promise<Position>;
  /**
   * From now on, deliver. Refused (false) if the organization has had events since `seen`: then read on first. Nothing can
   * come between the question and the answer, so no event is lost or sent twice.
   */
  goLive: (seen: Position) => boolean;
  leave: () => void;
};

type Channel = { listeners: Set<Listener>; live: Set<Listener>; lastEvent: Position | undefined };

const MAX_ROWS = 1000;
const TICK_MS = 1000;
const MAX_PAUSE_MS = 5000;

/**
 * One reader of the log for all clients of the process: it polls while somebody listens, and hands each event to the listeners
 * of its organization.
 */
export function createHub(deps: {
  log: EventLog;
  logger: Logger;
  now: () => number;
  pollMs: number;
  recheckMs: number;
  maxListenersPerOrganization: number;
  compare: (a: Position, b: Position) => number;
}): Hub {
  const { log, logger, now } = deps;
  const channels = new Map<string, Channel>();
  let position: Position | undefined;
  let isReading = false;
  const waiting: (() => void)[] = [];
  let ticker: ReturnType<typeof setInterval> | undefined;
  let checkedAt = 0;
  let isChecking = false;
  let isStopped = false;

  async function readOn(): Promise<void> {
    let pauseMs = deps.pollMs;
    while (channels.size > 0 && !isStopped) {
      try {
        if (position === undefined) {
          position = await log.end();
          for (const wake of waiting.splice(0)) wake();
        }
        const events = await log.readAfter(position, MAX_ROWS);
        // Asked after the change was read and before it is handed out: a manager hears of nobody who has left the team.
        const moved = new Set(
          events.filter(({ changesTeams }) => changesTeams).map(({ organizationId }) => organizationId),
        );
        await refreshTeams([...moved].flatMap((id) => [...(channels.get(id)?.listeners ?? [])]));
        dispatch(events);
        pauseMs = events.length < MAX_ROWS ? deps.pollMs : 0;
      } catch (error) {
        // The position stays, so nothing is lost; clients notice nothing but silence.
        logger.error({ err: describeError(error) }, 'reading the log failed');
        pauseMs = Math.min(Math.max(pauseMs, 100) * 2, MAX_PAUSE_MS);
      }
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    // Whoever comes next begins at the end of the log as it is then.
    position = undefined;
    isReading = false;
  }

  /** One after the other, so that an answer that was asked for later is never overwritten by an earlier one. */
  let teamsInTurn: Promise<void> = Promise.resolve();
  function refreshTeams(listeners: readonly Listener[]): Promise<void> {
    const managers = listeners.filter(({ viewer }) => viewer.kind === 'manager');
    if (managers.length === 0) return Promise.resolve();
    const refreshed = teamsInTurn.then(async () => {
      const byId = new Map(managers.map(({ viewer }) => [viewer.id, viewer]));
      const teams = await log.teamsOf([...byId.values()]);
      for (const { viewer, end } of managers) {
        const team = teams.get(viewer.id);
        if (team) viewer.team = team;
        else end('manages no team any more');
      }
    });
    teamsInTurn = refreshed.catch(() => {});
    return refreshed;
  }

  function dispatch(events: readonly LogEvent[]): void {
    const byOrganization = new Map<string, LogEvent[]>();
    for (const event of events) {
      position = event.position;
      if (!channels.has(event.organizationId)) continue;
      const own = byOrganization.get(event.organizationId);
      if (own) own.push(event);
      else byOrganization.set(event.organizationId, [event]);
    }
    for (const [organizationId, own] of byOrganization) {
      const channel = channels.get(organizationId);
      if (!channel) continue;
      channel.lastEvent = own.at(-1)?.position;
      // Before the events are handed out: who was dismissed by one of them gets none of them.
      for (const { noLongerAdmin } of own) {
        if (noLongerAdmin === null) continue;
        for (const listener of channel.listeners) {
          const { kind, id } = listener.viewer;
          if (kind === 'administrator' && id === noLongerAdmin) listener.end('not an administrator any more');
        }
      }
      const batch = batchOf(own);
      for (const listener of channel.live) listener.deliver(batch);
    }
  }

  function tick(): void {
    const time = now();
    for (const { listeners } of channels.values()) for (const listener of listeners) listener.tick(time);
    if (time - checkedAt >= deps.recheckMs && !isChecking) void recheck(time);
  }

  /** One question for all clients. A database that does not answer for three checks ends the streams: nobody is trusted blindly. */
  async function recheck(time: number): Promise<void> {
    isChecking = true;
    const asked = [...channels.values()].flatMap(({ listeners }) => [...listeners]);
    try {
      await refreshTeams(asked);
      const others = asked.filter(({ viewer }) => viewer.kind !== 'manager');
      const byId = new Map(others.map(({ viewer }) => [viewer.id, viewer]));
      const allowed = await log.stillAllowed([...byId.values()]);
      checkedAt = time;
      for (const { viewer, end } of others) {
        if (allowed.has(viewer.id)) continue;
        end(viewer.kind === 'api_key' ? 'the API key is not valid any more' : 'not an administrator any more');
      }
    } catch (error) {
      logger.error({ err: describeError(error) }, 'checking who listens failed');
      if (time - checkedAt > 3 * deps.recheckMs) for (const listener of asked) listener.end('database unreachable');
    } finally {
      isChecking = false;
    }
  }

  return {
    join(listener) {
      const { organizationId } = listener.viewer;
      const channel = channels.get(organizationId) ?? { listeners: new Set(), live: new Set(), lastEvent: undefined };
      if (isStopped || channel.listeners.size >= deps.maxListenersPerOrganization) return undefined;
      // Systems leave a fifth of the places to people: one key opened all of them, and the administrators were refused.
      const keys = [...channel.listeners].filter(({ viewer }) => viewer.kind === 'api_key').length;
      if (
        listener.viewer.kind === 'api_key' &&
        keys >= Math.max(1, Math.floor(deps.maxListenersPerOrganization * 0.8))
      ) {
        return undefined;
      }
      if (channels.size === 0) checkedAt = now();
      channels.set(organizationId, channel);
      channel.listeners.add(listener);
      ticker ??= setInterval(tick, TICK_MS);
      if (!isReading) {
        isReading = true;
        void readOn();
      }
      return {
        teamKnown: refreshTeams([listener]),
        async position() {
          while (position === undefined) await new Promise<void>((resolve) => waiting.push(resolve));
          return position;
        },
        goLive(seen) {
          if (channel.lastEvent && deps.compare(channel.lastEvent, seen) > 0) return false;
          channel.live.add(listener);
          return true;
        },
        leave() {
          channel.listeners.delete(listener);
          channel.live.delete(listener);
          if (channel.listeners.size === 0 && channels.get(organizationId) === channel) channels.delete(organizationId);
          if (channels.size === 0) {
            clearInterval(ticker);
            ticker = undefined;
          }
        },
      };
    },
    stop() {
      isStopped = true;
      for (const { listeners } of [...channels.values()]) {
        for (const listener of [...listeners]) listener.end('the process stops');
      }
    },
    counts: () => ({
      organizations: channels.size,
      listeners: [...channels.values()].reduce((sum, { listeners }) => sum + listeners.size, 0),
    }),
  };
}

function batchOf(events: readonly LogEvent[]): Batch {
  let joined: Uint8Array | undefined;
  return {
    events,
    whole() {
      joined ??= events.length === 1 && events[0] ? events[0].frame : concat(events.map(({ frame }) => frame));
      return joined;
    },
  };
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

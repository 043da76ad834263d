import type { Database } from '../_shared/database.ts';
import { describeError, type Logger } from '../_shared/log.ts';
import { concat } from './hub.ts';
import { arrayOf, frameOf, mayHear, type Viewer } from './log.ts';

/** A person's newest position, as JSON that goes out unread. */
export type Location = { organizationId: string; employeeId: string; data: string };

export type LocationReader = {
  /** Everybody at work in these organizations who has sent a position. */
  atWork: (organizationIds: readonly string[]) => Promise<Location[]>;
  /** The given people, at work or not. */
  of: (people: readonly { organizationId: string; employeeId: string }[]) => Promise<Location[]>;
};

/** Positions for those streams that asked for them. */
export type LocationFeed = {
  /** From now on: first where everybody at work is, then whoever moved. Ends with the function answered. */
  follow: (viewer: Viewer, send: (chunk: Uint8Array) => void) => () => void;
};

type Send = (chunk: Uint8Array) => void;

/** A message about a person, made once for all who follow. */
type Message = { employeeId: string; frame: Uint8Array };

type Room = {
  /** Those who have been told where everybody is, and those who have not yet. */
  followers: Map<Send, Viewer>;
  newcomers: Map<Send, Viewer>;
  /** What was last sent of each person at work, to compare with. */
  known: Map<string, { data: string; frame: Uint8Array }>;
};

/**
 * One read a pause for all organizations that are followed. Positions are state: they are compared with what was sent, so a
 * person is sent once a pause at the most, and not at all where nothing changed. A read that fails is made up for by the next.
 */
export function createLocationFeed(deps: { reader: LocationReader; logger: Logger; pauseMs: number }): LocationFeed {
  const { reader, logger } = deps;
  const rooms = new Map<string, Room>();
  let isReading = false;

  async function readOn(): Promise<void> {
    while (rooms.size > 0) {
      try {
        await read();
      } catch (error) {
        logger.error({ err: describeError(error) }, 'reading positions failed');
      }
      await new Promise((resolve) => setTimeout(resolve, deps.pauseMs));
    }
    isReading = false;
  }

  async function read(): Promise<void> {
    // Rooms as they were asked for: one that opens meanwhile waits for the next read.
    const asked = new Map(rooms);
    const atWork = Map.groupBy(await reader.atWork([...asked.keys()]), ({ organizationId }) => organizationId);
    const gone = [...asked].flatMap(([organizationId, { known }]) => {
      const present = new Set((atWork.get(organizationId) ?? []).map(({ employeeId }) => employeeId));
      return [...known.keys()].filter((id) => !present.has(id)).map((employeeId) => ({ organizationId, employeeId }));
    });
    const left = gone.length > 0 ? await reader.of(gone) : [];
    const leftOf = Map.groupBy(left, ({ organizationId }) => organizationId);
    for (const { organizationId, employeeId } of gone) asked.get(organizationId)?.known.delete(employeeId);
    for (const [organizationId, room] of asked) {
      send(room, atWork.get(organizationId) ?? [], leftOf.get(organizationId) ?? []);
    }
  }

  function send(room: Room, atWork: readonly Location[], left: readonly Location[]): void {
    const changed: Message[] = left.map(({ employeeId, data }) => ({
      employeeId,
      frame: frameOf({ event: 'location', data }),
    }));
    for (const { employeeId, data } of atWork) {
      if (room.known.get(employeeId)?.data === data) continue;
      const frame = frameOf({ event: 'location', data });
      room.known.set(employeeId, { data, frame });
      changed.push({ employeeId, frame });
    }
    // A copy of each: a follower who reads too slowly leaves while it is sent to.
    tell([...room.followers], changed);
    const newcomers = [...room.newcomers];
    room.newcomers.clear();
    for (const [newcomer, viewer] of newcomers) room.followers.set(newcomer, viewer);
    tell(
      newcomers,
      [...room.known].map(([employeeId, { frame }]) => ({ employeeId, frame })),
    );
  }

  /** Bytes are joined once for all who may hear everything; a manager gets those of the people whom they lead. */
  function tell(followers: readonly [Send, Viewer][], messages: readonly Message[]): void {
    if (followers.length === 0 || messages.length === 0) return;
    let whole: Uint8Array | undefined;
    for (const [follower, viewer] of followers) {
      if (viewer.kind !== 'manager') {
        whole ??= concat(messages.map(({ frame }) => frame));
        follower(whole);
        continue;
      }
      const heard = messages.filter(({ employeeId }) => mayHear(viewer, employeeId));
      if (heard.length > 0) follower(concat(heard.map(({ frame }) => frame)));
    }
  }

  return {
    follow(viewer, follower) {
      const { organizationId } = viewer;
      const room = rooms.get(organizationId) ?? { followers: new Map(), newcomers: new Map(), known: new Map() };
      rooms.set(organizationId, room);
      room.newcomers.set(follower, viewer);
      if (!isReading) {
        isReading = true;
        void readOn();
      }
      return () => {
        room.newcomers.delete(follower);
        room.followers.delete(follower);
        const isEmpty = room.newcomers.size + room.followers.size === 0;
        if (isEmpty && rooms.get(organizationId) === room) rooms.delete(organizationId);
      };
    },
  };
}

export function createLocationReader(database: Database): LocationReader {
  return {
    async atWork(organizationIds) {
      return await database<Location[]>`
        select p.organization_id as "organizationId", p.employee_id as "employeeId", p.location as data
        from private.read_positions_at_work(${arrayOf(organizationIds)}::text::uuid[]) as p`;
    },
    async of(people) {
      return await database<Location[]>`
        select p.organization_id as "organizationId", p.employee_id as "employeeId", p.location as data
        from private.read_positions_of(
          ${arrayOf(people.map(({ organizationId }) => organizationId))}::text::uuid[],
          ${arrayOf(people.map(({ employeeId }) => employeeId))}::text::uuid[]
        ) as p`;
    },
  };
}

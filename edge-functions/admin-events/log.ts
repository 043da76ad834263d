import type { Database } from '../_shared/database.ts';
import { formatPosition, type Position } from './position.ts';

/** An event as it goes out, made once for all who listen. */
export type LogEvent = {
  position: Position;
  organizationId: string;
  type: string;
  frame: Uint8Array;
  /** Whom it is about; null for the organization's own. */
  employeeId: string | null;
  /** The employee who stopped being an active administrator by this event, if it is such a one. */
  noLongerAdmin: string | null;
  /** Somebody may have come into a team, left one, or begun or ended to manage one. */
  changesTeams: boolean;
};

/** Who listens: an administrator or a manager (employees.id), or an API key (api_keys.id). */
export type Viewer = {
  organizationId: string;
  kind: 'administrator' | 'manager' | 'api_key';
  id: string;
  /** The people whom a manager leads, as the hub knows them; of nobody else may a manager hear. */
  team?: ReadonlySet<string>;
};

export function mayHear({ kind, id, team }: Viewer, employeeId: string | null): boolean {
  return kind !== 'manager' || (employeeId !== null && (employeeId === id || team?.has(employeeId) === true));
}

/** What the stream asks the database. Nothing here knows clients. */
export type EventLog = {
  /** The end of the log: where somebody begins who wants what comes from now on. */
  end: () => Promise<Position>;
  /** What all organizations wrote after a position. */
  readAfter: (position: Position, maxRows: number) => Promise<LogEvent[]>;
  /** What one organization wrote after a position, up to another that readAfter has reached. */
  readOrganization: (organizationId: string, after: Position, last: Position, maxRows: number) => Promise<LogEvent[]>;
  /** Whether nothing after this position has been deleted. */
  isKeptSince: (position: Position) => Promise<boolean>;
  /** Whom each of these managers leads now, by the manager's id; who is missing manages no team any more. */
  teamsOf: (managers: readonly Viewer[]) => Promise<Map<string, ReadonlySet<string>>>;
  /** The ids of those viewers who are active administrators and valid keys now. */
  stillAllowed: (viewers: readonly Viewer[]) => Promise<Set<string>>;
};

type Row = {
  organization_id: string;
  epoch: number;
  xact: string;
  id: string;
  type: string;
  data: string;
  employee_id: string | null;
  no_longer_admin: string | null;
};

export function createEventLog(database: Database): EventLog {
  // The database makes the JSON text: payloads are not parsed here only to be written again. PostgreSQL's JSON has no line
  // breaks, which end a line of the stream.
  const columns = database`
    e.organization_id, e.epoch, e.xact::text as xact, e.id::text as id, e.type, e.employee_id,
    pg_catalog.jsonb_build_object(
      'id', pg_catalog.concat_ws('.', e.epoch, e.xact, e.id),
      'type', e.type,
      'timestamp', e.occurred_at,
      'actor', pg_catalog.jsonb_build_object('type', e.actor_type, 'id', e.actor_id),
      'data', e.payload
    )::text as data,
    case
      when e.type in ('employee.updated', 'employee.deactivated')
        and (e.payload ->> 'app_role' <> 'ADMIN' or e.payload ->> 'is_active' <> 'true')
      then e.employee_id
    end as no_longer_admin`;

  return {
    async end() {
      const [row] = await database<{ epoch: number; xact: string }[]>`
        select e.epoch, e.xact::text as xact from private.log_end() as e`;
      if (!row) throw new Error('private.log_end answered no row');
      return { epoch: row.epoch, xact: BigInt(row.xact), id: 0n };
    },
    async readAfter(position, maxRows) {
      const rows = await database<Row[]>`
        select ${columns}
        from private.read_log(
          ${position.epoch}, ${String(position.xact)}::text::xid8, ${String(position.id)}::text::bigint, ${maxRows}
        ) as e`;
      return rows.map(toEvent);
    },
    async readOrganization(organizationId, after, last, maxRows) {
      const rows = await database<Row[]>`
        select ${columns}
        from private.read_organization_log(
          ${organizationId},
          ${after.epoch}, ${String(after.xact)}::text::xid8, ${String(after.id)}::text::bigint,
          ${last.epoch}, ${String(last.xact)}::text::xid8, ${String(last.id)}::text::bigint,
          ${maxRows}
        ) as e`;
      return rows.map(toEvent);
    },
    async isKeptSince({ epoch, xact, id }) {
      const [row] = await database<{ kept: boolean }[]>`
        select private.is_log_kept_since(
          ${epoch}, ${String(xact)}::text::xid8, ${String(id)}::text::bigint
        ) as kept`;
      return row?.kept === true;
    },
    async teamsOf(managers) {
      const rows = await database<{ employee_id: string; members: string[] }[]>`
        select t.employee_id, pg_catalog.array_to_json(t.member_ids) as members from private.teams_of(
          ${arrayOf(managers.map(({ organizationId }) => organizationId))}::text::uuid[],
          ${arrayOf(managers.map(({ id }) => id))}::text::uuid[]
        ) as t`;
      return new Map(rows.map(({ employee_id, members }) => [employee_id, new Set(members)]));
    },
    async stillAllowed(viewers) {
      const people = viewers.filter(({ kind }) => kind === 'administrator');
      const keys = viewers.filter(({ kind }) => kind === 'api_key');
      const rows = await database<{ id: string }[]>`
        select a.employee_id as id from private.keep_admins(
          ${arrayOf(people.map(({ organizationId }) => organizationId))}::text::uuid[],
          ${arrayOf(people.map(({ id }) => id))}::text::uuid[]
        ) as a
        union all
        select k.api_key_id from private.keep_api_keys(
          ${arrayOf(keys.map(({ organizationId }) => organizationId))}::text::uuid[],
          ${arrayOf(keys.map(({ id }) => id))}::text::uuid[]
        ) as k`;
      return new Set(rows.map(({ id }) => id));
    },
  };
}

/** By hand: the connection fetches no types, so it knows no arrays. Only for ids that came from the database. */
export const arrayOf = (ids: readonly string[]) => `{${ids.join(',')}}`;

const encoder = new TextEncoder();

function toEvent(row: Row): LogEvent {
  const position = { epoch: row.epoch, xact: BigInt(row.xact), id: BigInt(row.id) };
  return {
    position,
    organizationId: row.organization_id,
    type: row.type,
    frame: frameOf({ id: position, event: row.type, data: row.data }),
    employeeId: row.employee_id,
    changesTeams: /^(employee|team)\./.test(row.type),
    noLongerAdmin: row.no_longer_admin,
  };
}

/** One message of an event stream. Without `id` the client's position stays what it was. */
export function frameOf(message: { id?: Position; event: string; data: string }): Uint8Array {
  const id = message.id ? `id: ${formatPosition(message.id)}\n` : '';
  return encoder.encode(`${id}event: ${message.event}\ndata: ${message.data}\n\n`);
}

export function commentOf(text: string): Uint8Array {
  return encoder.encode(`: ${text}\n\n`);
}

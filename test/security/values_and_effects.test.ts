// The matrix counts rows; this sweep looks at what they say and at what a call does: the values of every column, ids of others
// in any answer, writes into another tenant by whatever trigger or definer, and whether words tell that a row exists.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { type Actor, type Cast, castOnStage, catalogTables, fillEmptyTables, type Table } from './cast.ts';
import { identifiers, inventedIds, type Reach, rpcs, type TableRights, tables as tablePolicy } from './policy.ts';
import { attemptAll, installProbe, type Outcome, refusal } from './probe.ts';

let database: TestDatabase;
let cast: Cast;
let tables: Table[];
let cells = 0;
/** Whose rows each uuid stands in: organizations, and the employee whose row it is the id of. */
let owners: Map<string, { organizations: Set<string>; employees: Set<string> }>;

beforeAll(async () => {
  database = await createTestDatabase();
  const admin = database.sql('supabase_admin');
  cast = await castOnStage(database);
  tables = await catalogTables(admin);
  await fillEmptyTables(admin, tables, cast);
  const { bob, carol, mallory } = cast.people;
  const folders = [bob, carol, mallory].map((person) => `${person?.organizationId}/${person?.employeeId}/`);
  for (const folder of [...folders, '']) {
    await admin`insert into storage.objects (bucket_id, name) values ('receipts', ${`${folder}a.jpg`})`;
  }
  owners = await ownersOfIds();
  await installProbe(
    admin,
    tables.filter(isTenantTable).map(({ name }) => name),
  );
});
afterAll(async () => {
  console.log(`values and effects: ${cells} cells tried`);
  await database?.drop();
});

const has = ({ columns }: Table, name: string): boolean => columns.some((column) => column.name === name);

const isTenantTable = (table: Table): boolean =>
  ['r', 'p'].includes(table.kind) &&
  /^(public|private)\./.test(table.name) &&
  (table.name === 'public.organizations' || has(table, 'organization_id'));

/** Every actor, two at a time: the machine may have no more cores. */
async function complaintsOfAll(check: (actor: Actor) => Promise<string[]>): Promise<string[]> {
  const waiting = [...cast.actors];
  const complaints: string[] = [];
  const lane = async () => {
    for (let actor = waiting.shift(); actor; actor = waiting.shift()) complaints.push(...(await check(actor)));
  };
  await Promise.all([lane(), lane()]);
  return complaints;
}

/** Storage is the platform's, so it has no line in the policy of our own tables. */
const receipts: TableRights = {
  employee: 'own',
  manager: 'team',
  administrator: 'organization',
  // As on every project: Supabase grants it these tables and it passes by row level security.
  service: 'all',
  tenant: '(storage.foldername(name))[1]',
  owner: '(storage.foldername(name))[2]',
};

function rightsOn(table: string): TableRights {
  if (table === 'storage.objects') return receipts;
  return tablePolicy[table] ?? (table.startsWith('pgboss.') ? { worker: 'all' } : {});
}

const holds = (actor: Actor, scopes: readonly string[] | undefined): boolean =>
  scopes?.every((scope) => (actor.scopes as readonly string[] | undefined)?.includes(scope)) ?? false;

function reachOf(actor: Actor, rights: TableRights): Reach | undefined {
  if (actor.kind === 'key') return holds(actor, rights.key) ? 'organization' : undefined;
  if (actor.kind === 'manager') return rights.manager ?? rights.employee;
  if (['employee', 'administrator', 'worker', 'edge', 'service'].includes(actor.kind)) {
    return rights[actor.kind as 'employee' | 'administrator' | 'worker' | 'edge' | 'service'];
  }
  return undefined;
}

function isWithin(reach: Reach | undefined, actor: Actor, organizationId: string, employeeId: string): boolean {
  if (reach === undefined || reach === 'all') return reach === 'all';
  if (actor.organizationId === undefined || organizationId !== actor.organizationId) return false;
  if (reach === 'organization' || employeeId === actor.employeeId) return true;
  return reach === 'team' && (actor.team?.includes(employeeId) ?? false);
}

type Digest = Record<string, Record<string, string>>;

/** A digest of the values of each column for each owner: {"organization/employee": {column: "count:md5"}}. */
function digestStatement(table: Table): string {
  const rights = rightsOn(table.name);
  const tenant = rights.tenant ?? (has(table, 'organization_id') ? 'organization_id' : 'null');
  const owner = rights.owner ?? (has(table, 'employee_id') ? 'employee_id' : 'null');
  const digests = table.columns.map(
    ({ name }) =>
      `jsonb_build_object('${name}', count(*) || ':' || md5(string_agg(coalesce(t."${name}"::text, '<null>'), ',' ` +
      `order by t."${name}"::text collate "C")))`,
  );
  return `select coalesce(jsonb_object_agg(g.k, g.d), '{}') as digest from (
    select coalesce((${tenant})::text, '') || '/' || coalesce((${owner})::text, '') as k, ${digests.join(' || ')} as d
    from ${table.name} as t group by 1) as g`;
}

test('reading: each caller sees the values that the policy gives, in every column of every table, view and partition', async () => {
  const admin = database.sql('supabase_admin');
  const statements = tables.map((table) => ({ statement: digestStatement(table), answers: true }));
  const truth: Digest[] = [];
  for (const { statement } of statements) {
    const [row] = await admin.unsafe<{ digest: Digest }[]>(statement);
    truth.push(row?.digest ?? {});
  }
  const complaints = await complaintsOfAll(async (actor) => {
    const found: string[] = [];
    const outcomes = await attemptAll(database, actor, statements);
    for (const [index, table] of tables.entries()) {
      const seen = (outcomes[index]?.answer ?? {}) as Digest;
      const reach = reachOf(actor, rightsOn(table.name));
      const expected = truth[index] ?? {};
      for (const owner of new Set([...Object.keys(expected), ...Object.keys(seen)])) {
        const [organizationId = '', employeeId = ''] = owner.split('/');
        const allowed = isWithin(reach, actor, organizationId, employeeId);
        for (const { name: column } of table.columns) {
          cells += 1;
          const got = seen[owner]?.[column];
          if (got === (allowed ? expected[owner]?.[column] : undefined)) continue;
          found.push(
            allowed
              ? `${actor.name} does not read ${table.name}.${column} of ${owner}: ${outcomes[index]?.message ?? 'other values'}`
              : `LEAK: ${actor.name} reads ${table.name}.${column} of ${owner}; if that is meant: '${table.name}': { … } in policy.ts`,
          );
        }
      }
    }
    return found;
  });
  expect(complaints).toEqual([]);
});

// What says whose a row is, and what only a transition may set: no caller moves it by UPDATE, whatever else it may write.
const fixed = [
  'organization_id',
  'id',
  'employee_id',
  'session_id',
  'user_id',
  'app_role',
  'is_active',
  'status',
].concat(['reviewer_id', 'reviewed_at', 'review_comment', 'checked_in_at', 'checked_out_at', 'scopes', 'revoked_at']);

test('mass assignment: nobody updates a tenant, an owner, a role, a state or a review; no write reaches another tenant', async () => {
  const attempts = tables
    .filter(({ name }) => !name.startsWith('pgboss.') && name !== 'storage.objects')
    .flatMap(({ name, columns }) => [
      ...columns.map((column) => ({
        table: name,
        column: column.name,
        verb: 'update',
        statement: `update ${name} set "${column.name}" = "${column.name}"`,
      })),
      { table: name, column: '', verb: 'delete', statement: `delete from ${name}` },
      { table: name, column: '', verb: 'truncate', statement: `truncate ${name}` },
    ]);
  const complaints = await complaintsOfAll(async (actor) => {
    const outcomes = await attemptAll(
      database,
      actor,
      attempts.map(({ statement }) => ({ statement, answers: false })),
    );
    return attempts.flatMap(({ table, column, verb }, index) => {
      const outcome = outcomes[index] as Outcome;
      const found: string[] = [];
      cells += 1;
      const what = `LEAK: ${actor.name} may ${verb} ${table}${column && `.${column}`}`;
      if (verb === 'update' && fixed.includes(column) && outcome.state === null) found.push(what);
      if (verb === 'truncate' && outcome.state === null) found.push(what);
      const foreign = outcome.touched.filter((organizationId) => organizationId !== actor.organizationId);
      if (foreign.length > 0 && actor.kind !== 'service') found.push(`${what}, rows of another organization`);
      return found;
    });
  });
  expect(complaints).toEqual([]);
});

test('receipts: each person stores them under the own folder, and nowhere else', async () => {
  const { alice, bob, carol, mallory } = cast.people;
  const places = [bob, carol, alice, mallory].map((person) => ({
    employeeId: person?.employeeId,
    path: `${person?.organizationId}/${person?.employeeId}/${crypto.randomUUID()}.jpg`,
  }));
  places.push({ employeeId: undefined, path: `${crypto.randomUUID()}.jpg` });
  const complaints = await complaintsOfAll(async (actor) => {
    const outcomes = await attemptAll(
      database,
      actor,
      places.map(({ path }) => ({
        statement: `insert into storage.objects (bucket_id, name) values ('receipts', '${path}')`,
        answers: false,
      })),
    );
    return outcomes.flatMap(({ state }, index) => {
      cells += 1;
      const isOwn = actor.employeeId !== undefined && places[index]?.employeeId === actor.employeeId;
      return (state === null) === (isOwn || actor.kind === 'service')
        ? []
        : [`${actor.name} stores ${places[index]?.path}: ${state ?? 'stored'}`];
    });
  });
  expect(complaints).toEqual([]);
});

test('realtime: the channel of an organization is heard by its administrators, and no client writes to any', async () => {
  const channels = [cast.acme, cast.other];
  const complaints = await complaintsOfAll(async (actor) => {
    const found: string[] = [];
    for (const organizationId of channels) {
      const topic = `org:${organizationId}`;
      const [heard, written] = await attemptAll(database, actor, [
        {
          statement: `select to_jsonb(count(*)) from (select set_config('realtime.topic', '${topic}', true)) as s,
            lateral (select m.id from realtime.messages as m where s is not null) as m`,
          answers: true,
        },
        {
          statement: `insert into realtime.messages (topic, extension) values ('${topic}', 'broadcast')`,
          answers: false,
        },
      ]);
      cells += 2;
      const hears = Number(heard?.answer ?? 0) > 0;
      const isService = actor.kind === 'service';
      const may = isService || (actor.kind === 'administrator' && actor.organizationId === organizationId);
      if (hears !== may) found.push(`${actor.name} ${hears ? 'hears' : 'does not hear'} ${topic}`);
      if (written?.state === null && !isService) found.push(`${actor.name} writes to ${topic}`);
    }
    return found;
  });
  expect(complaints).toEqual([]);
});

const uuids = (text: string): string[] =>
  text.match(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g) ?? [];

async function ownersOfIds(): Promise<typeof owners> {
  const map: typeof owners = new Map();
  for (const table of tables.filter(isTenantTable)) {
    const tenant = table.name === 'public.organizations' ? 'id' : 'organization_id';
    const rows = await database
      .sql('supabase_admin')
      .unsafe<{ tenant: string; row: Record<string, unknown> }[]>(
        `select ${tenant} as tenant, to_jsonb(t) as row from ${table.name} as t`,
      );
    for (const { tenant: organizationId, row } of rows) {
      for (const id of uuids(JSON.stringify(row))) {
        const entry = map.get(id) ?? { organizations: new Set(), employees: new Set() };
        map.set(id, entry);
        entry.organizations.add(organizationId);
      }
      const owner = table.name === 'public.employees' ? row.id : row.employee_id;
      if (typeof row.id === 'string' && typeof owner === 'string') map.get(row.id)?.employees.add(owner);
    }
  }
  return map;
}

/** Ids in the answer or the refusal that belong to somebody whom the actor must not know of; what the call named aside. */
function othersIn(outcome: Outcome, actor: Actor, statement: string, reach: Reach | undefined): string[] {
  // What the call named and what stands in the caller's own token, it knew before.
  const named = new Set([...uuids(statement), ...uuids(JSON.stringify(actor.claims ?? {}))]);
  return uuids(JSON.stringify([outcome.answer, outcome.message])).filter((id) => {
    const entry = owners.get(id);
    if (entry === undefined || named.has(id)) return false;
    if (actor.organizationId === undefined || !entry.organizations.has(actor.organizationId)) return true;
    return (
      (reach === 'own' || reach === 'team') &&
      ['employee', 'manager'].includes(actor.kind) &&
      entry.employees.size > 0 &&
      ![actor.employeeId ?? '', ...(reach === 'team' ? (actor.team ?? []) : [])].some((id) => entry.employees.has(id))
    );
  });
}

type Routine = {
  name: string;
  arguments: { name: string; type: string; optional: boolean }[];
  /** Roles that may execute it. */
  callers: string[];
  isVoid: boolean;
};

async function routines(): Promise<Routine[]> {
  return database.sql('supabase_admin')<Routine[]>`
    select n.nspname || '.' || p.proname as name, p.prorettype = 'void'::regtype as "isVoid",
      (select coalesce(jsonb_agg(r.rolname), '[]') from pg_roles as r where has_function_privilege(r.oid, p.oid, 'execute')) as callers,
      coalesce((
        select jsonb_agg(jsonb_build_object('name', coalesce(p.proargnames[a.n], ''), 'type', format_type(a.type, null),
          'optional', a.n > p.pronargs - p.pronargdefaults) order by a.n)
        from unnest(p.proargtypes::oid[]) with ordinality as a (type, n)
      ), '[]') as arguments
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname in ('public', 'private') and p.prokind = 'f'
      and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
    order by 1`;
}

function sample(type: string): string {
  if (type === 'uuid') return 'gen_random_uuid()';
  if (type.endsWith('[]')) return "'{}'";
  if (type === 'text') return `'x'`;
  if (type === 'boolean') return 'true';
  if (type === 'date') return 'current_date';
  if (type.startsWith('timestamp')) return "now() - interval '1 minute'";
  if (type.startsWith('json')) return `'{}'`;
  if (/^(smallint|integer|bigint|numeric|real|double|xid8)/.test(type)) return `'1'`;
  return 'null';
}

/** Values that lead past the checks of arguments, so that it is the check of rights that answers. */
const telling: Record<string, string> = {
  review_expense: `status => 'APPROVED'`,
  update_employee: `changes => '{"phone": "1"}'`,
  correct_session: `checked_in_at => now() - interval '3 h', checked_out_at => now() - interval '2 h', reason => 'matrix'`,
  record_locations: `points => '[{"recorded_at": "2020-01-01T00:00:00Z", "latitude": 1, "longitude": 1}]'`,
};

function call(routine: Routine, ids: Record<string, string>): string {
  const given = telling[routine.name.replace(/^\w+\./, '')] ?? '';
  const list = routine.arguments
    .filter(({ name, optional }) => !given.includes(`${name} =>`) && (!optional || ids[name] !== undefined))
    .map(({ name, type }) => `"${name}" => (${ids[name] ? `'${ids[name]}'` : sample(type)})::${type}`);
  const answer = routine.isVoid ? 'null::jsonb' : 'to_jsonb(f)';
  return `select coalesce(jsonb_agg(${answer}), '[]') from ${routine.name}(${[...list, given].filter(Boolean).join(', ')}) as f`;
}

/** An id of each kind for the argument: what is another organization's, and what is nowhere. */
async function idsFor(argument: string, actor: Actor): Promise<Record<'foreign' | 'nowhere', string> | undefined> {
  const home = actor.organizationId ?? cast.acme;
  const away = home === cast.acme ? cast.other : cast.acme;
  if (argument === 'organization_id') return { foreign: away, nowhere: crypto.randomUUID() };
  const named = identifiers[argument];
  if (!named) return undefined;
  const [row] = await database
    .sql('supabase_admin')
    .unsafe<{ id: string }[]>(
      `select ${named.column ?? 'id'} as id from ${named.table} where organization_id = '${away}' limit 1`,
    );
  return row && { foreign: row.id, nowhere: crypto.randomUUID() };
}

test('calling: no answer shows, no call writes what is another’s; a foreign id is answered like one that never was', async () => {
  const list = await routines();
  const complaints = await complaintsOfAll(async (actor) => {
    const calls: { routine: Routine; argument: string; whose: string; statement: string }[] = [];
    for (const routine of list.filter(({ callers }) => callers.includes(actor.role))) {
      calls.push({ routine, argument: '', whose: 'none', statement: call(routine, {}) });
      for (const { name, type } of routine.arguments) {
        if (type !== 'uuid' || inventedIds.includes(name)) continue;
        const ids = await idsFor(name, actor);
        for (const [whose, id] of Object.entries(ids ?? {})) {
          calls.push({ routine, argument: name, whose, statement: call(routine, { [name]: id }) });
        }
      }
    }
    const outcomes = await attemptAll(
      database,
      actor,
      calls.map(({ statement }) => ({ statement, answers: true })),
    );
    return calls.flatMap(({ routine, argument, whose, statement }, index) => {
      const outcome = outcomes[index] as Outcome;
      cells += 1;
      const found: string[] = [];
      const short = routine.name.replace(/^\w+\./, '');
      // Processes of ours that serve all organizations, by functions of their own (the inventory of definers says why).
      const servesAll = ['fieldtrack_worker', 'fieldtrack_edge', 'service_role', 'supabase_auth_admin'].includes(
        actor.role,
      );
      const what = `${actor.name} calls ${routine.name}${argument && ` with ${argument} ${whose}`}`;
      const rights = rpcs[short];
      const reach =
        actor.kind === 'employee'
          ? rights?.employee
          : actor.kind === 'manager'
            ? (rights?.manager ?? rights?.employee)
            : 'organization';
      const shown = servesAll ? [] : othersIn(outcome, actor, statement, reach);
      if (shown.length > 0) found.push(`LEAK: ${what} and is shown ${shown.slice(0, 3).join(', ')}`);
      const touched = outcome.touched.filter(
        (id) => [cast.acme, cast.other].includes(id) && id !== actor.organizationId,
      );
      if (!servesAll && touched.length > 0) found.push(`LEAK: ${what} and writes there`);
      if (!servesAll && whose === 'foreign') {
        const twin = calls.findIndex(
          (other) => other.routine === routine && other.argument === argument && other.whose === 'nowhere',
        );
        const here = wordsOf(outcome, statement);
        const there = wordsOf(outcomes[twin] as Outcome, calls[twin]?.statement ?? '');
        if (here !== there) found.push(`LEAK: ${what} is told ${here}, and for an id that is nowhere ${there}`);
      }
      return found;
    });
  });
  expect(complaints).toEqual([]);
});

// Time tells what words do not. It follows the work, which can be counted: every scan, every row found and every row written of
// every table, so that the test cannot depend on the machine. Wall clock: `npm run bench -- existence`.
test('timing: an id of another organization costs the same work, row for row, as one that never was', async () => {
  const list = (await routines()).filter(({ name }) => name.startsWith('public.'));
  let compared = 0;
  const complaints: string[] = [];
  for (const actor of cast.actors.filter(({ kind }) =>
    ['employee', 'manager', 'administrator', 'key'].includes(kind),
  )) {
    for (const routine of list.filter(({ callers }) => callers.includes(actor.role))) {
      for (const { name, type } of routine.arguments) {
        if (type !== 'uuid' || inventedIds.includes(name)) continue;
        const ids = await idsFor(name, actor);
        if (!ids) continue;
        const works = await workOf(
          actor,
          [ids.nowhere, ids.nowhere, ids.foreign].map((id) => call(routine, { [name]: id })),
        );
        compared += 1;
        // The first call may still fill caches.
        if (works[1] !== works[2])
          complaints.push(`${actor.name}, ${routine.name}(${name}): ${works[1]} and ${works[2]}`);
      }
    }
  }
  expect(complaints).toEqual([]);
  expect(compared).toBeGreaterThan(40);
  // What is compared does tell rows that are there from rows that are not.
  const bob = cast.actors.find(({ kind }) => kind === 'employee') as Actor;
  const [own] = await database.sql('supabase_admin')<{ id: string }[]>`
    select id from public.attendance_sessions where employee_id = ${bob.employeeId ?? ''}`;
  const route = (id: string) => `select to_jsonb(f) from public.get_session_route(session_id => '${id}') as f`;
  const [, nowhere, found] = await workOf(bob, [crypto.randomUUID(), crypto.randomUUID(), own?.id ?? ''].map(route));
  expect(found).not.toBe(nowhere);
});

test('timing and words: whether an address belongs to a person of another organization, an invitation does not tell', async () => {
  const alice = cast.actors.find(({ kind }) => kind === 'administrator') as Actor;
  const [mallory] = await database.sql('supabase_admin')<{ email: string }[]>`
    select u.email from auth.users as u join public.employees as e on e.user_id = u.id
    where e.organization_id = ${cast.other} and e.is_active limit 1`;
  const invite = (email: string) => `select to_jsonb(f) from public.invite_employee('${email}', 'Somebody') as f`;
  const statements = ['nobody1@example.test', 'nobody2@example.test', mallory?.email ?? ''].map(invite);
  const [, nobody, known] = await workOf(alice, statements);
  expect(known).toBe(nobody);
  const outcomes = await attemptAll(
    database,
    alice,
    statements.map((statement) => ({ statement, answers: true })),
  );
  expect(outcomes.map(({ state, answer }) => [state, Object.keys(answer as object)])).toEqual(
    outcomes.map(() => [null, ['token', 'expires_at', 'employee_id', 'invitation_id']]),
  );
});

/** What each statement did to each of our tables, as the actor and undone: scans, rows found, rows written. */
async function workOf(actor: Actor, statements: readonly string[]): Promise<string[]> {
  let works: string[] = [];
  await database.sql(actor.role).begin(async (sql) => {
    await sql`select set_config('request.jwt.claims', ${actor.claims ? JSON.stringify(actor.claims) : ''}, true)`;
    // The same plan for every id.
    await sql`set local plan_cache_mode = force_generic_plan`;
    const rows = await sql<{ work: string }[]>`
      select probe.work(s.statement) as work from unnest(${statements as string[]}::text[]) with ordinality as s (statement, n)
      order by s.n`;
    works = rows.map(({ work }) => work);
  });
  return works;
}

/** Answer and refusal without the ids that the call named, so that two calls can be compared. */
function wordsOf(outcome: Outcome, statement: string): string {
  const text = JSON.stringify([refusal(outcome), outcome.message, outcome.answer]);
  // Ids that the call made up by itself differ between any two calls.
  return uuids(text).reduce(
    (masked, id) => (owners.has(id) && !statement.includes(id) ? masked : masked.replaceAll(id, 'ID')),
    text,
  );
}

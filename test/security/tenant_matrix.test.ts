import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { type Actor, type Cast, castOnStage, catalogTables, fillEmptyTables, type Table } from './cast.ts';
import { renderPolicy } from './page.ts';
import { identifiers, inventedIds, type Reach, rpcs, type TableRights, tables, type Verb } from './policy.ts';

// Every caller, every table, view and RPC of the catalog, every verb, on real rows: what comes back is compared with policy.ts.
// Each try runs as the real role with real claims, inside a block that is rolled back.

let database: TestDatabase;
let cast: Cast;
let catalog: Table[];
let cells = 0;

/** Everything of a tenant's own kind; the queue and the platform's tables are tried as relations of no tenant. */
const isTried = ({ name }: Table) => !/^(gps|storage)\./.test(name);

beforeAll(async () => {
  database = await createTestDatabase();
  const admin = database.sql('supabase_admin');
  await admin.unsafe(`
    create schema matrix;
    grant usage on schema matrix to public;
    -- Runs a statement as the caller and undoes it. Answers its SQLSTATE or error code, or the rows it touched or read.
    create function matrix.attempt(statement text) returns jsonb language plpgsql as $$
    declare
      v_answer jsonb;
      v_rows bigint;
      v_message text;
    begin
      begin
        if statement ~ '^select' then
          execute statement into v_answer;
        else
          execute statement;
          get diagnostics v_rows = row_count;
        end if;
        raise exception using errcode = 'ZZ001', message = coalesce(v_answer, to_jsonb(v_rows), 'null')::text;
      exception
        when sqlstate 'ZZ001' then
          get stacked diagnostics v_message = message_text;
          return jsonb_build_object('answer', v_message::jsonb);
        when sqlstate 'PGRST' then
          get stacked diagnostics v_message = message_text;
          return jsonb_build_object('refused', v_message::jsonb ->> 'code', 'text', v_message);
        when others then
          get stacked diagnostics v_message = message_text;
          return jsonb_build_object('refused', sqlstate, 'text', v_message);
      end;
    end $$;
    grant execute on function matrix.attempt(text) to public;
  `);
  cast = await castOnStage(database);
  catalog = (await catalogTables(admin)).filter(isTried);
  await fillEmptyTables(admin, catalog, cast);
});
afterAll(() => database?.drop());

type Outcome = { answer?: unknown; refused?: string; text?: string };

/** The statements, each by itself, as the actor; nothing of it stays. */
async function tryAll(actor: Actor, statements: readonly string[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await database
    .sql('supabase_admin')
    .begin(async (sql) => {
      await sql`select set_config('request.jwt.claims', ${actor.claims ? JSON.stringify(actor.claims) : ''}, true)`;
      if (actor.kind === 'worker') {
        await sql`select set_config('fieldtrack.organization_id', ${actor.organizationId ?? ''}, true)`;
      }
      await sql`select set_config('role', ${actor.role}, true)`;
      const rows = await sql<{ outcome: Outcome }[]>`
        select matrix.attempt(s.statement) as outcome
        from unnest(${statements as string[]}::text[]) with ordinality as s (statement, place) order by s.place`;
      outcomes.push(...rows.map(({ outcome }) => outcome));
      throw new Error('nothing of this stays');
    })
    .catch((error: unknown) => {
      if (!(error instanceof Error) || error.message !== 'nothing of this stays') throw error;
    });
  cells += statements.length;
  return outcomes;
}

function reachOf(actor: Actor, rights: TableRights | undefined): Reach | undefined {
  switch (actor.kind) {
    case 'employee':
      return rights?.employee;
    case 'manager':
      return rights?.manager ?? rights?.employee;
    case 'administrator':
      return rights?.administrator;
    case 'key':
      return rights?.key?.every((scope) => actor.scopes?.includes(scope)) ? 'organization' : undefined;
    case 'worker':
      return rights?.worker === 'organization' && !actor.organizationId ? undefined : rights?.worker;
    case 'edge':
      return rights?.edge;
    case 'service':
      return rights?.service;
    default:
      return undefined;
  }
}

const columnsOf = ({ columns }: Table, rights: TableRights | undefined) => {
  const has = (name: string) => columns.some((column) => column.name === name);
  return {
    tenant: rights?.tenant ?? (has('organization_id') ? 'organization_id' : undefined),
    owner: rights?.owner ?? (has('employee_id') ? 'employee_id' : undefined),
  };
};

/** Rows by whose they are, as somebody sees them. */
function countStatement(table: Table, rights: TableRights | undefined, actor: Actor): string {
  const { tenant, owner } = columnsOf(table, rights);
  const organization = actor.organizationId ?? '00000000-0000-0000-0000-000000000000';
  const isOfTenant = tenant ? `${tenant} = '${organization}'` : 'true';
  const isOwn = owner && actor.employeeId ? `${isOfTenant} and ${owner} = '${actor.employeeId}'` : 'false';
  const led = [actor.employeeId, ...(actor.team ?? [])].filter(Boolean).map((id) => `'${id}'`);
  const isTeams = owner && led.length > 0 ? `${isOfTenant} and ${owner} in (${led})` : 'false';
  return `select jsonb_build_object('own', count(*) filter (where ${isOwn}), 'team', count(*) filter (where ${isTeams}), 'organization', count(*) filter (where ${isOfTenant}),
    'all', count(*)) as counts from ${table.name}`;
}

test('each caller reads the rows that policy.ts says, and no other', async () => {
  const wrong: string[] = [];
  const admin = database.sql('supabase_admin');
  for (const actor of cast.actors) {
    const outcomes = await tryAll(
      actor,
      catalog.map((table) => countStatement(table, tables[table.name], actor)),
    );
    for (const [index, table] of catalog.entries()) {
      const rights = tables[table.name];
      const reach = reachOf(actor, rights);
      const seen = outcomes[index]?.answer as Record<Reach, number> | undefined;
      // The queue is the worker's own; pgboss is served to nobody.
      if (table.name.startsWith('pgboss.') && actor.kind === 'worker') continue;
      if (reach === undefined) {
        if (seen && seen.all > 0) {
          wrong.push(
            `${actor.name} reads ${seen.all} rows of ${table.name}; if that is meant: '${table.name}': { … } in policy.ts`,
          );
        }
        continue;
      }
      const [truth] = await admin.unsafe<{ counts: Record<Reach, number> }[]>(countStatement(table, rights, actor));
      const expected = truth?.counts[reach];
      if (seen === undefined) wrong.push(`${actor.name} is refused ${table.name}: ${outcomes[index]?.text}`);
      else if (seen.all !== expected) {
        wrong.push(`${actor.name} reads ${seen.all} rows of ${table.name} and should read ${expected} (${reach})`);
      }
      // Nothing proved on an empty table.
      if (truth?.counts.all === 0) wrong.push(`${table.name} has no row to try`);
    }
  }
  expect(wrong).toEqual([]);
});

test('each caller writes what policy.ts says, in the own organization, and nothing else', async () => {
  const wrong: string[] = [];
  for (const actor of cast.actors) {
    const tries = catalog.flatMap((table) => {
      if (table.name.startsWith('pgboss.') && actor.kind === 'worker') return [];
      const { tenant } = columnsOf(table, tables[table.name]);
      const elsewhere = tenant && actor.organizationId ? `${tenant} <> '${actor.organizationId}'` : 'true';
      const written = table.columns.filter(({ writable }) => writable);
      return [
        ...written.map(({ name }) => ({
          table,
          verb: 'insert' as Verb,
          statement: `insert into ${table.name} ("${name}") values (default)`,
        })),
        ...written.map(({ name }) => ({
          table,
          verb: 'update' as Verb,
          statement: `update ${table.name} set "${name}" = default where ${elsewhere}`,
        })),
        { table, verb: 'delete' as Verb, statement: `delete from ${table.name} where ${elsewhere}` },
      ];
    });
    const outcomes = await tryAll(
      actor,
      tries.map(({ statement }) => statement),
    );
    const granted = new Set<string>();
    for (const [index, { table, verb, statement }] of tries.entries()) {
      const { answer, refused, text } = outcomes[index] ?? {};
      // Without a grant PostgreSQL says so before it looks at a row or a rule.
      const isDenied = refused === '42501' && !text?.includes('row-level security');
      if (!isDenied && !['55000', '0A000'].includes(refused ?? '')) granted.add(`${table.name} ${verb}`);
      const isMeant = actor.kind === 'service' && tables[table.name]?.writes?.service?.includes(verb);
      if (typeof answer === 'number' && answer > 0 && !isMeant)
        wrong.push(`${actor.name}: ${statement} touched ${answer} rows`);
    }
    for (const table of catalog) {
      const may = (tables[table.name]?.writes as Record<string, readonly Verb[]> | undefined)?.[
        // Grants are the role's: an employee has the administrator's, and row level security tells them apart.
        actor.role === 'authenticated' ? 'administrator' : actor.role === 'api_key' ? 'key' : actor.kind
      ];
      for (const verb of ['insert', 'update', 'delete'] as const) {
        const is = granted.has(`${table.name} ${verb}`);
        if (is !== (may?.includes(verb) ?? false)) {
          wrong.push(`${actor.name} may ${is ? '' : 'not '}${verb} ${table.name}: writes in policy.ts says otherwise`);
        }
      }
    }
  }
  expect(wrong).toEqual([]);
}, 120_000);

type Rpc = { name: string; args: { name: string; type: string; optional: boolean }[] };

async function catalogRpcs(): Promise<Rpc[]> {
  return database.sql('supabase_admin')<Rpc[]>`
    select p.proname as name, coalesce(jsonb_agg(jsonb_build_object('name', a.name, 'type', format_type(a.type, null),
      'optional', a.place > p.pronargs - p.pronargdefaults) order by a.place) filter (where a.name is not null), '[]') as args
    from pg_proc as p
    left join lateral unnest(p.proargnames[1 : p.pronargs], p.proargtypes::oid[]) with ordinality as a (name, type, place) on true
    where p.pronamespace = 'public'::regnamespace
      and not exists (select from pg_type as t where t.oid = any (p.proargtypes) and t.typtype = 'c')
    group by p.oid order by p.proname`;
}

/** A literal of each type; a call need not succeed, it must get as far as the caller's rights let it. */
function literal(type: string): string {
  if (type === 'uuid') return 'gen_random_uuid()';
  if (type === 'text') return `'x'`;
  if (type === 'text[]') return `array['x']`;
  if (type === 'uuid[]') return 'array[gen_random_uuid()]';
  if (type === 'boolean') return 'true';
  if (type === 'date') return 'current_date';
  if (type.startsWith('timestamp')) return 'now()';
  if (type.startsWith('json')) return `'{}'`;
  return '1';
}

const forbidden = new Set([
  '42501',
  'not_authenticated',
  'not_a_member',
  'admin_required',
  'api_key_invalid',
  'scope_missing',
]);

function mayCall(actor: Actor, name: string): boolean {
  const rights = rpcs[name];
  if (actor.kind === 'employee') return rights?.employee !== undefined || rights?.signedIn === true;
  if (actor.kind === 'manager') {
    return (rights?.manager ?? rights?.employee) !== undefined || rights?.signedIn === true;
  }
  if (actor.kind === 'administrator') return rights?.administrator !== undefined || rights?.signedIn === true;
  if (actor.kind === 'signedIn') return rights?.signedIn === true;
  if (actor.kind === 'key') return rights?.key?.every((scope) => actor.scopes?.includes(scope)) ?? false;
  if (actor.kind === 'service') return rights?.service === true;
  return false;
}

test('each caller may call what policy.ts says', async () => {
  const functions = await catalogRpcs();
  const wrong = Object.keys(rpcs)
    .filter((name) => !functions.some((rpc) => rpc.name === name))
    .map((name) => `policy.ts has a line for ${name}, which is no function any more`);
  for (const actor of cast.actors) {
    const outcomes = await tryAll(
      actor,
      functions.map(({ name, args }) => {
        const given = args.filter(({ optional }) => !optional).map((arg) => `"${arg.name}" => ${literal(arg.type)}`);
        return `select to_jsonb(f) from public.${name}(${given.join(', ')}) as f`;
      }),
    );
    for (const [index, { name }] of functions.entries()) {
      const { refused, text } = outcomes[index] ?? {};
      const isLetIn =
        refused === undefined || !(forbidden.has(refused) || (rpcs[name]?.byRows && refused.endsWith('_not_found')));
      const isUndecided = rpcs[name]?.byRows === true && mayCall(actor, name);
      if (isLetIn !== mayCall(actor, name) && !isUndecided) {
        const line = rpcs[name]
          ? 'policy.ts says otherwise'
          : `if that is meant, policy.ts needs a line: ${name}: { … }`;
        wrong.push(`${actor.name} ${isLetIn ? 'may' : 'may not'} call ${name} (${text ?? 'answered'}); ${line}`);
      }
      if (refused && /^(XX|42[^5])/.test(refused)) wrong.push(`${name}: ${refused} ${text}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('an id of another organization or of a colleague, in any argument, names nothing', async () => {
  const admin = database.sql('supabase_admin');
  const functions = await catalogRpcs();
  const wrong: string[] = [];
  for (const { name, args } of functions) {
    for (const arg of args.filter(({ type, name: argument }) => type === 'uuid' && !inventedIds.includes(argument))) {
      const named = identifiers[arg.name];
      if (!named) {
        wrong.push(`${name}: policy.ts needs a line in identifiers (or inventedIds) for the argument ${arg.name}`);
        continue;
      }
      for (const actor of cast.actors.filter((one) => mayCall(one, name) && one.organizationId)) {
        const reach =
          actor.kind === 'manager'
            ? (rpcs[name]?.manager ?? rpcs[name]?.employee)
            : actor.kind === 'employee'
              ? rpcs[name]?.employee
              : undefined;
        const isOwnOnly = reach === 'own' || reach === 'team';
        const led = [actor.employeeId, ...(reach === 'team' ? (actor.team ?? []) : [])].map((id) => `'${id}'`);
        const owner = named.table === 'public.employees' ? 'id' : 'employee_id';
        const hasOwner = catalog
          .find((table) => table.name === named.table)
          ?.columns.some((column) => column.name === owner);
        const foreign = await admin.unsafe<{ id: string }[]>(
          `select id from ${named.table} where organization_id <> '${actor.organizationId}'
           ${isOwnOnly && hasOwner ? `or ${owner} not in (${led})` : ''} limit 20`,
        );
        if (foreign.length === 0) wrong.push(`${named.table} has no foreign row to try for ${name}`);
        const outcomes = await tryAll(
          actor,
          foreign.map(({ id }) => {
            const given = args
              .filter((one) => !one.optional || one.name === arg.name)
              .map((one) => `"${one.name}" => ${one.name === arg.name ? `'${id}'` : literal(one.type)}`);
            return `select to_jsonb(f) from public.${name}(${given.join(', ')}) as f`;
          }),
        );
        for (const { answer, text } of outcomes) {
          if (answer !== undefined && answer !== null) {
            wrong.push(
              `${actor.name}: ${name}(${arg.name} of another) answered ${JSON.stringify(answer).slice(0, 200)}`,
            );
          }
          if (
            text &&
            foreign.some(({ id }) => text.includes(id)) &&
            !/not_found|invalid_argument|no_open_session/.test(text)
          ) {
            wrong.push(`${actor.name}: ${name}(${arg.name} of another) tells of it: ${text}`);
          }
        }
      }
    }
  }
  expect(wrong).toEqual([]);
});

test('a temporary object in the way of a name is not picked up', async () => {
  const alice = cast.actors.find(({ kind }) => kind === 'administrator');
  if (!alice) throw new Error('no administrator');
  await database.sql('supabase_admin').begin(async (sql) => {
    // What a caller with SQL could make, first in every search_path that names none.
    await sql.unsafe(`
      create temporary table employees (organization_id uuid, id uuid, user_id uuid, is_active boolean, app_role text);
      create function pg_temp.now() returns timestamptz language sql as 'select timestamptz ''2000-01-01''';
    `);
    await sql`select set_config('request.jwt.claims', ${JSON.stringify(alice.claims)}, true)`;
    await sql`set local search_path = pg_temp, public`;
    await sql`select set_config('role', 'authenticated', true)`;
    const [row] = await sql`select private.is_admin() as is_admin, (public.get_my_profile() ->> 'employee_id') as id`;
    expect(row).toEqual({ is_admin: true, id: alice.employeeId });
  });
});

// With an empty search_path a temporary schema still comes first for names of types (not of functions): a domain called uuid whose
// check calls a function of one's own would run it inside a definer's body, as the definer's owner. So nobody but the owner of
// the database may make temporary objects.
test('who may call definers can make no temporary type for their bodies to pick up', async () => {
  const { template } = inject('cluster');
  const logins = ['fieldtrack_edge', 'fieldtrack_worker', 'authenticator', 'anon', 'authenticated', 'api_key'];
  // On the template, because rights on a database are not cloned: that the migrations did it.
  const mayMake = await database.sql('supabase_admin')`
    select r as role from unnest(${logins}::text[]) as r where has_database_privilege(r, ${template}, 'temporary')`;
  expect([...mayMake]).toEqual([]);
  const attack = database.sql('fieldtrack_edge').begin(async (sql) => {
    // What these call ran as postgres.
    for (const type of ['text', 'timestamptz']) {
      await sql.unsafe(`
        create function pg_temp.taken_over(pg_catalog.${type}) returns boolean language plpgsql as $$
        begin
          raise exception 'runs as %', current_user;
        end $$;
        create domain pg_temp.${type} as pg_catalog.${type} check (pg_temp.taken_over(value));
      `);
    }
    await sql`select private.verify_api_key('x', '\\x00', 1), private.ingest_locations('\\x00', '[]', '{}', 'b')`;
  });
  await expect(attack).rejects.toThrow(/permission denied to create temporary tables/);
});

test('docs/security.md shows this policy', async () => {
  const path = join(repositoryDir, 'docs', 'security.md');
  const page = readFileSync(path, 'utf8');
  const between = /(<!-- who may do what: made from test\/security\/policy.ts -->\n)[\s\S]*?(<!-- end -->)/;
  expect(page).toMatch(between);
  const rendered = page.replace(between, `$1${renderPolicy()}$2`);
  if (process.env.UPDATE_DOCS) writeFileSync(path, rendered);
  else expect(page, 'run UPDATE_DOCS=1 npx vitest run test/security').toBe(rendered);
  console.log(`tenant matrix: ${cells} cells tried, ${cast.actors.length} callers, ${catalog.length} tables and views`);
});

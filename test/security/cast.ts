// The people, keys and processes of the matrix, and real rows for each of them in every table.

import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import type { TestDatabase } from '../fixtures/database.ts';
import { type Scope, scopes } from './policy.ts';

type DatabaseRole =
  | 'anon'
  | 'authenticated'
  | 'api_key'
  | 'service_role'
  | 'fieldtrack_worker'
  | 'fieldtrack_edge'
  | 'supabase_auth_admin';

export type Kind =
  | 'outsider'
  | 'employee'
  | 'manager'
  | 'administrator'
  | 'signedIn'
  | 'key'
  | 'worker'
  | 'edge'
  | 'service'
  | 'auth';

export type Actor = {
  name: string;
  kind: Kind;
  role: DatabaseRole;
  claims?: Record<string, unknown>;
  /** Of the organization that the caller acts in; none: nothing may be reached by it. */
  organizationId?: string;
  employeeId?: string;
  /** The people whom a manager leads. */
  team?: readonly string[];
  scopes?: readonly Scope[];
};

export type Person = { userId: string; employeeId: string; organizationId: string };

export type Cast = { acme: string; other: string; people: Record<string, Person>; actors: Actor[] };

/** Acme: alice (administrator), bob and carol, each in a team of their own that max and mona manage; dave and the administrator dana, both deactivated. Other: mallory (administrator) and mike. */
export async function castOnStage(database: TestDatabase): Promise<Cast> {
  const admin = database.sql('supabase_admin');
  const acme = randomUUID();
  const other = randomUUID();
  await admin`insert into public.organizations (id, name, slug, time_zone, currency) values
    (${acme}, 'Acme', 'acme', 'Europe/Ljubljana', 'EUR'), (${other}, 'Other', 'other', 'UTC', 'USD')`;
  const people: Record<string, Person> = {};
  const cast = async (name: string, organizationId: string, appRole: string) => {
    const person = { userId: randomUUID(), employeeId: randomUUID(), organizationId };
    await admin`insert into auth.users (id, email, email_confirmed_at)
      values (${person.userId}, ${`${name}@example.test`}, now())`;
    await admin`insert into public.employees (organization_id, id, user_id, name, phone, app_role)
      values (${organizationId}, ${person.employeeId}, ${person.userId}, ${name}, '+386 1 000', ${appRole})`;
    people[name] = person;
    return person;
  };
  const alice = await cast('alice', acme, 'ADMIN');
  const bob = await cast('bob', acme, 'EMPLOYEE');
  const carol = await cast('carol', acme, 'EMPLOYEE');
  const max = await cast('max', acme, 'EMPLOYEE');
  const mona = await cast('mona', acme, 'EMPLOYEE');
  const dave = await cast('dave', acme, 'EMPLOYEE');
  const dana = await cast('dana', acme, 'ADMIN');
  const mallory = await cast('mallory', other, 'ADMIN');
  const mike = await cast('mike', other, 'EMPLOYEE');
  for (const [team, member, manager] of [
    ['North', bob, max],
    ['South', carol, mona],
    ['East', mike, mallory],
  ] as const) {
    await admin`with team as (insert into public.teams (organization_id, name) values (${member.organizationId}, ${team}) returning id),
      member as (update public.employees set team_id = (select id from team) where id = ${member.employeeId})
      insert into public.team_managers (organization_id, team_id, employee_id)
      select ${member.organizationId}, id, ${manager.employeeId} from team`;
  }
  const strangerId = randomUUID();
  await admin`insert into auth.users (id, email, email_confirmed_at)
    values (${strangerId}, 'stranger@example.test', now())`;

  const person = (name: string, kind: Kind, { userId, employeeId, organizationId }: Person): Actor => ({
    name,
    kind,
    role: 'authenticated',
    claims: { role: 'authenticated', sub: userId },
    ...(kind === 'outsider' ? {} : { organizationId, employeeId }),
  });
  const key = async (name: string, organizationId: string, held: readonly Scope[], ended = {}): Promise<Actor> => {
    const [row] = await admin<{ id: string }[]>`insert into public.api_keys ${admin({
      organization_id: organizationId,
      name,
      key_id: randomUUID().replaceAll('-', '').slice(0, 12),
      last_four: 'abcd',
      scopes: held,
      ...ended,
    })} returning id`;
    return {
      name,
      kind: Object.keys(ended).length > 0 ? 'outsider' : 'key',
      role: 'api_key',
      claims: { role: 'api_key', organization_id: organizationId, api_key_id: row?.id },
      ...(Object.keys(ended).length > 0 ? {} : { organizationId, scopes: held }),
    };
  };

  const actors: Actor[] = [
    { name: 'anon', kind: 'outsider', role: 'anon', claims: { role: 'anon' } },
    person('bob, employee', 'employee', bob),
    person('carol, his colleague', 'employee', carol),
    { ...person('max, manager of bob', 'manager', max), team: [bob.employeeId] },
    { ...person('mona, manager of carol', 'manager', mona), team: [carol.employeeId] },
    person('alice, their administrator', 'administrator', alice),
    person('mallory, administrator of Other', 'administrator', mallory),
    person('mike, employee of Other', 'employee', mike),
    person('dave, deactivated', 'signedIn', dave),
    person('dana, deactivated administrator', 'signedIn', dana),
    {
      name: 'a user without an organization',
      kind: 'signedIn',
      role: 'authenticated',
      claims: { role: 'authenticated', sub: strangerId },
    },
    {
      name: 'a user who was deleted, with claims of his own making',
      kind: 'signedIn',
      role: 'authenticated',
      claims: {
        role: 'authenticated',
        sub: randomUUID(),
        organization_id: acme,
        employee_id: alice.employeeId,
        app_role: 'ADMIN',
        user_metadata: { organization_id: acme, app_role: 'ADMIN' },
      },
    },
    { name: 'authenticated without claims', kind: 'outsider', role: 'authenticated' },
    ...(await Promise.all(scopes.map((scope) => key(`key with ${scope}`, acme, [scope])))),
    await key('key of Other with every scope', other, scopes),
    await key('revoked key', acme, scopes, { revoked_at: new Date(Date.now() - 1000) }),
    await key('expired key', acme, scopes, { expires_at: new Date(Date.now() - 1000) }),
    { name: 'worker for Acme', kind: 'worker', role: 'fieldtrack_worker', organizationId: acme },
    { name: 'worker for no organization', kind: 'worker', role: 'fieldtrack_worker' },
    { name: 'edge functions', kind: 'edge', role: 'fieldtrack_edge' },
    { name: 'service_role', kind: 'service', role: 'service_role', claims: { role: 'service_role' } },
    { name: 'Auth', kind: 'auth', role: 'supabase_auth_admin' },
  ];
  // A key's id under another organization's name is no key at all.
  const forged = actors.find(({ kind }) => kind === 'key');
  actors.push({
    name: 'key of Acme that names Other',
    kind: 'outsider',
    role: 'api_key',
    claims: { ...forged?.claims, organization_id: other },
  });

  for (const { userId, employeeId, organizationId } of [alice, bob, carol, max, mona, mallory, mike]) {
    await workADay(admin, userId);
    await admin`insert into private.rate_buckets (organization_id, kind, subject_id, tokens, refilled_at)
      values (${organizationId}, 'expenses', ${employeeId}, 10, now()) on conflict do nothing`;
  }
  await workADay(admin, dave.userId);
  await admin`update public.employees set is_active = false
    where organization_id = ${acme} and id in (${dave.employeeId}, ${dana.employeeId})`;
  return { acme, other, people, actors };
}

/** A closed session with points and a claim, through the same RPCs that a phone calls. */
async function workADay(admin: postgres.Sql, userId: string): Promise<void> {
  await admin.begin(async (sql) => {
    const claims = JSON.stringify({ role: 'authenticated', sub: userId });
    await sql`select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
    await sql`select public.check_in(now() - interval '5 h', gen_random_uuid(), 46, 14.5, 8)`;
    await sql`select public.record_locations(jsonb_agg(jsonb_build_object('recorded_at', now() - m * interval '1 minute',
      'latitude', 46 + m / 1000.0, 'longitude', 14.5, 'accuracy_m', 5))) from generate_series(250, 290, 10) as m`;
    await sql`select public.check_out(now() - interval '4 h', gen_random_uuid(), 46, 14.5, 8)`;
    await sql`select public.submit_expense(12.5, 'Parking', gen_random_uuid())`;
  });
  await admin.begin(async (sql) => {
    const [session] = await sql`select s.organization_id, s.id from public.attendance_sessions as s
      join public.employees as e on e.organization_id = s.organization_id and e.id = s.employee_id
      where e.user_id = ${userId}`;
    await sql`select set_config('fieldtrack.organization_id', ${session?.organization_id}, true)`;
    await sql`select private.compute_session_distance(${session?.organization_id}, ${session?.id})`;
  });
}

export type Table = {
  name: string;
  kind: string;
  columns: { name: string; type: string; base: string; needed: boolean; writable: boolean }[];
};

/** Every table and view of our schemas, and of the platform's that carry our policies. */
export async function catalogTables(admin: postgres.Sql): Promise<Table[]> {
  return admin<Table[]>`
    select n.nspname || '.' || c.relname as name, c.relkind as kind, jsonb_agg(jsonb_build_object(
      'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'base', format_type(case when t.typtype = 'd' then t.typbasetype else a.atttypid end, null),
      'needed', a.attnotnull and not a.atthasdef and a.attidentity = '',
      'writable', a.attgenerated = '' and a.attidentity <> 'a') order by a.attnum) as columns
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type as t on t.oid = a.atttypid
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
      and (n.nspname in ('public', 'private', 'gps', 'pgboss') or n.nspname || '.' || c.relname = 'storage.objects')
    group by 1, 2 order by 1`;
}

/**
 * A row for bob, carol and mallory in each tenant table that the day above left without one, made from the catalog: a table
 * of tomorrow is tried on real rows without anyone thinking of it. Triggers and rules of values stand aside for this.
 */
export async function fillEmptyTables(admin: postgres.Sql, tables: readonly Table[], cast: Cast): Promise<void> {
  const { bob, carol, mallory } = cast.people;
  for (const { name, kind, columns } of tables) {
    const has = (column: string) => columns.some((candidate) => candidate.name === column);
    if (!has('organization_id') || !['r', 'p'].includes(kind) || name.startsWith('gps.')) continue;
    // A row of it would make a manager of whoever is named; the cast has managers of its own.
    if (name === 'public.team_managers') continue;
    for (const person of [bob, carol, mallory]) {
      if (!person) continue;
      const owner = has('employee_id') ? `and employee_id = '${person.employeeId}'` : '';
      const [existing] = await admin.unsafe(
        `select from ${name} where organization_id = '${person.organizationId}' ${owner} limit 1`,
      );
      if (existing) continue;
      const values = new Map<string, string>([['organization_id', `'${person.organizationId}'`]]);
      if (has('employee_id')) values.set('employee_id', `'${person.employeeId}'`);
      for (const column of columns) {
        if (column.needed && column.writable && !values.has(column.name))
          values.set(column.name, column.type === 'private.actor_type' ? `'system'` : anyValue(column.base));
      }
      await insertAroundRules(admin, name, values);
    }
  }
}

async function insertAroundRules(admin: postgres.Sql, table: string, values: Map<string, string>): Promise<void> {
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    const checks = await sql<{ name: string; definition: string }[]>`
      select conname as name, pg_get_constraintdef(oid) as definition from pg_constraint
      where conrelid = ${table}::regclass and contype = 'c'`;
    for (const { name } of checks) await sql.unsafe(`alter table ${table} drop constraint "${name}"`);
    const columns = [...values.keys()].map((column) => `"${column}"`).join(', ');
    await sql.unsafe(`insert into ${table} (${columns}) values (${[...values.values()].join(', ')})`);
    for (const { name, definition } of checks) {
      await sql.unsafe(
        `alter table ${table} add constraint "${name}" ${definition.replace(/ NOT VALID$/, '')} not valid`,
      );
    }
  });
}

function anyValue(type: string): string {
  if (type.endsWith('[]')) return "'{}'";
  if (/^(text|character)/.test(type)) return `'row ${randomUUID().slice(0, 8)}'`;
  if (type === 'uuid') return `'${randomUUID()}'`;
  if (type === 'bytea') return `'\\x${randomUUID().replaceAll('-', '')}'`;
  if (type === 'boolean') return 'false';
  if (/^json/.test(type)) return "'{}'";
  if (/^timestamp/.test(type) || type === 'date') return 'now()';
  if (type === 'xid8') return "'5'";
  // A row of nulls of a type of ours.
  if (type.startsWith('private.')) return `jsonb_populate_record(null::${type}, '{}')`;
  if (type === 'interval') return "'1 second'";
  if (type === 'box') return "'(1,1),(0,0)'";
  if (type === 'point') return "'(0,0)'";
  if (type === 'polygon') return "'((0,0),(1,0),(1,1))'";
  if (type === 'inet') return "'192.0.2.1'";
  return '1';
}

// What a key may do, for every scope, every table and view, every function and every verb: the list comes from the
// catalog, so what a migration adds is in it. Tokens are minted as the function `api` mints them.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey, type IssuedKey } from '../fixtures/api-keys.ts';
import { addEmployee, foundOrganization, type Member, readClock, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { scopes as everyScope } from '../security/policy.ts';

// A list of its own beside this test's once left a new scope untried.
const scopes: string[] = [...everyScope];

/** What any valid key may call, whatever it may do besides. */
const anyKey = ['get_my_api_key'];

/** Functions that read tables of two scopes as their caller need both, and so does who says where events go. */
const needsSeveral: Record<string, string[]> = {
  get_session_route: ['sessions:read', 'locations:read'],
  export_session_gpx: ['sessions:read', 'locations:read'],
  export_session_geojson: ['sessions:read', 'locations:read'],
  create_webhook: ['webhooks:manage', 'events:read'],
  update_webhook: ['webhooks:manage', 'events:read'],
};

type Relation = {
  name: string;
  isView: boolean;
  granted: boolean;
  /** The policy for keys; of a view, those of the tables it reads as its caller. */
  policies: (string | null)[];
  /** The few writes that a table allows directly, with the policy of each. */
  writes: Record<string, string>;
  /** What its rows are filtered by here. */
  column: string;
};
type Rpc = {
  name: string;
  granted: boolean;
  source: string;
  args: { name: string; type: string; optional: boolean }[];
};
type Tenant = { organizationId: string; admin: Member; bob: Member; sessionId: string };

let stack: TestStack;
let acme: Tenant;
let other: Tenant;
let relations: Relation[];
let rpcs: Rpc[];
const tokens = new Map<string, string>();

beforeAll(async () => {
  stack = await startTestStack({ worker: true, poolSize: 8 });
  acme = await staff('acme');
  other = await staff('other');
  for (const tenant of [acme, other]) {
    for (const held of [...scopes.map((scope) => [scope]), scopes])
      tokens.set(nameOf(tenant, held), await issueToken(tenant, held));
  }
  relations = await stack.admin<Relation[]>`
    with recursive reads as (
      select c.oid as relation, c.oid as base from pg_catalog.pg_class as c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
      union
      select r.relation, d.refobjid from reads as r
      join pg_catalog.pg_rewrite as w on w.ev_class = r.base
      join pg_catalog.pg_depend as d on d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.base
    )
    select c.relname as name, c.relkind in ('v', 'm') as "isView",
      pg_catalog.has_any_column_privilege('api_key', c.oid, 'select') as granted,
      (select json_agg(pg_catalog.pg_get_expr(p.polqual, p.polrelid)) from reads as r
        join pg_catalog.pg_class as b on b.oid = r.base and b.relkind in ('r', 'p')
        left join pg_catalog.pg_policy as p on p.polrelid = r.base and p.polname = 'select_key'
        where r.relation = c.oid) as policies,
      (select coalesce(json_object_agg(v.verb, pg_catalog.pg_get_expr(coalesce(p.polqual, p.polwithcheck), p.polrelid)), '{}')
        from (values ('POST', 'a', 'insert'), ('PATCH', 'w', 'update'), ('DELETE', 'd', 'delete')) as v (verb, command, privilege)
        left join pg_catalog.pg_policy as p on p.polrelid = c.oid and p.polcmd = v.command::"char"
          and 'api_key'::regrole = any (p.polroles)
        where pg_catalog.has_table_privilege('api_key', c.oid, v.privilege)
          or v.privilege <> 'delete' and pg_catalog.has_any_column_privilege('api_key', c.oid, v.privilege)) as writes,
      (select a.attname from pg_catalog.pg_attribute as a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        order by a.attname <> 'organization_id', a.attnum limit 1) as column
    from pg_catalog.pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') order by c.relname`;
  rpcs = await stack.admin<Rpc[]>`
    select p.proname as name, pg_catalog.has_function_privilege('api_key', p.oid, 'execute') as granted,
      p.prosrc || coalesce((select b.prosrc from pg_catalog.pg_proc as b
        where b.pronamespace = 'private'::regnamespace and p.prosrc like '%private.' || b.proname || '(%'
          and (b.proname = p.proname or p.proname in ('record_location', 'create_site', 'update_site', 'create_team', 'update_team')) limit 1), '') as source,
      coalesce((select json_agg(json_build_object('name', a.name, 'type', pg_catalog.format_type(t.type, null),
          'optional', a.ordinality > p.pronargs - p.pronargdefaults) order by a.ordinality)
        from unnest(p.proargnames) with ordinality as a (name, ordinality)
        join unnest(p.proargtypes::oid[]) with ordinality as t (type, ordinality) using (ordinality)), '[]') as args
    from pg_catalog.pg_proc as p where p.pronamespace = 'public'::regnamespace
      -- A function of a row is a computed field: it knows what it is given, and who could read the row has it already.
      and not exists (select from pg_catalog.pg_type as t where t.oid = any (p.proargtypes::oid[]) and t.typrelid <> 0)
    order by p.proname`;
}, 120_000);
afterAll(() => stack?.stop());

const nameOf = (tenant: Tenant, held: string[]) => `${tenant === acme ? 'acme' : 'other'} ${held.join(' ')}`;
const tokenFor = (tenant: Tenant, held: string[]) => tokens.get(nameOf(tenant, held)) ?? '';

async function staff(name: string): Promise<Tenant> {
  const { organizationId, admin } = await foundOrganization(stack, name);
  const bob = await addEmployee(stack, admin, 'bob');
  const minutesAgo = readClock();
  const sessionId = await workAnHour(bob, minutesAgo);
  await bob.client.rpc('check_in', { checked_in_at: minutesAgo(1), client_request_id: crypto.randomUUID() });
  await bob.client.rpc('submit_expense', { amount: 5, description: 'Parking', client_request_id: crypto.randomUUID() });
  await admin.client.rpc('create_webhook', { url: 'https://example.com/hook', events: ['session.checked_in'] });
  await admin.client.rpc('invite_employee', { email: `carol@${name}.test`, name: 'Carol' });
  const { data: team } = await admin.client.rpc('create_team', { name: 'North' });
  await admin.client.rpc('set_team_manager', { team_id: team?.id ?? '', employee_id: bob.employeeId });
  const place = { name: 'Depot', latitude: 46.05, longitude: 14.5, radius_m: 100 };
  const { data: site } = await admin.client.rpc('create_site', { site: place });
  await stack.admin`insert into public.visits (organization_id, session_id, site_id, employee_id, entered_at)
    values (${organizationId}, ${sessionId}, ${(site as { id: string }).id}, ${bob.employeeId}, now())`;
  return { organizationId, admin, bob, sessionId };
}

async function issueToken(tenant: Tenant, held: string[]): Promise<string> {
  return tokenOf(await issue(tenant, held));
}

/** Straight into the table: the limit of new keys is another test's business. */
async function issue(tenant: Tenant, held: string[]): Promise<IssuedKey> {
  if (held.length === scopes.length) return createKey(tenant.admin, tenant.organizationId, held);
  const [row] = await stack.admin<{ id: string }[]>`
    insert into public.api_keys (organization_id, name, key_id, last_four, scopes)
    values (${tenant.organizationId}, ${held.join()}, private.random_base62(12), 'abcd', ${held}) returning id`;
  return { id: row?.id ?? '', key: '', organizationId: tenant.organizationId, scopes: held };
}

function tokenOf(key: IssuedKey): Promise<string> {
  const { id, organizationId, scopes } = key;
  return stack.signer.sign({ role: 'api_key', organization_id: organizationId, api_key_id: id, scopes }, '10 m');
}

function rest(token: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { apikey: stack.publishableKey, authorization: `Bearer ${token}`, ...init.headers };
  return fetch(`${stack.url}/rest/v1/${path}`, { ...init, headers });
}

function post(token: string, path: string, body: unknown, method = 'POST'): Promise<Response> {
  return rest(token, path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

type Outcome = { status: number; code: string | undefined; text: string };

async function outcome(response: Response): Promise<Outcome> {
  const text = await response.text();
  const { code } = text.startsWith('{') ? (JSON.parse(text) as { code?: string }) : {};
  return { status: response.status, code, text };
}

/** Refused for want of a scope (ours) or of a grant (PostgreSQL's). */
const isForbidden = ({ status, code }: Outcome) =>
  status === 403 && (code === 'scope_missing' || code === '42501' || code === 'admin_required');

const scopesOf = ({ policies }: Relation) => [
  ...new Set(policies.flatMap((policy) => /'(\w+:\w+)'/.exec(policy ?? '')?.[1] ?? [])),
];

/** Several at a time: a thousand requests one after the other would be most of this file's time. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    }),
  );
}

describe('tables and views', () => {
  test('what a key may read has one policy that names its organization and scope', () => {
    for (const relation of relations.filter(({ granted }) => granted)) {
      for (const policy of relation.policies) {
        expect(policy, relation.name).toMatch(/^\(\w*id = \( SELECT private\.key_organization_id\(/);
      }
      if (!['organizations', 'organization_time_zones'].includes(relation.name)) {
        expect(scopesOf(relation).length, relation.name).toBeGreaterThan(0);
        expect(scopes, relation.name).toEqual(expect.arrayContaining(scopesOf(relation)));
      }
    }
  });

  test('what holds secrets, other people’s acts or keys is granted to no key', () => {
    const granted = relations.filter(({ granted }) => granted).map(({ name }) => name);
    for (const name of ['api_keys', 'audit_log']) expect(granted).not.toContain(name);
  });

  test('with each scope alone, GET answers where the scope is the table’s and 403 elsewhere', async () => {
    const wrong: string[] = [];
    await each(
      relations.flatMap((relation) => scopes.map((scope) => ({ relation, scope }))),
      async ({ relation, scope }) => {
        const allowed = relation.granted && scopesOf(relation).every((needed) => needed === scope);
        // Nothing to find is no way around the scope either. (Not `is.null`: the planner knows that it finds nothing.)
        const nothing = relation.isView ? 'offset=1000' : `${relation.column}=eq.${crypto.randomUUID()}`;
        for (const query of ['select=*&limit=1', nothing]) {
          const path = `${relation.name}?${query}`;
          const got = await outcome(await rest(tokenFor(acme, [scope]), path));
          const right = allowed ? got.status === 200 : isForbidden(got);
          if (!right) wrong.push(`${scope} GET ${path}: ${got.status} ${got.code}`);
        }
      },
    );
    expect(wrong).toEqual([]);
  });

  test('a view answers a key that has the scopes of all tables it reads', async () => {
    for (const relation of relations.filter(({ granted, isView }) => granted && isView)) {
      const got = await outcome(await rest(await issueToken(acme, scopesOf(relation)), relation.name));
      expect(got.status, relation.name).toBe(200);
    }
  });

  test('POST, PATCH and DELETE of a table are 403 with any scope, but where it is granted with its own', async () => {
    const wrong: string[] = [];
    const all = relations.flatMap((relation) => ['POST', 'PATCH', 'DELETE'].map((method) => ({ ...relation, method })));
    await each(
      all.flatMap((one) =>
        one.writes[one.method] === undefined
          ? [{ ...one, held: scopes }]
          : scopes.map((scope) => ({ ...one, held: [scope] })),
      ),
      async ({ name, column, method, writes, held }) => {
        const path = method === 'POST' ? name : `${name}?${column}=not.is.null`;
        // Of the other tenant: what is let through deletes nothing that is counted here.
        const got = await outcome(await post(tokenFor(other, held), path, { [column]: null }, method));
        const policy = writes[method] ?? '';
        const allowed = held.length === 1 && policy.includes(`'${held[0]}'`);
        // A view that cannot be written says so in its own way.
        const right = allowed ? got.status < 300 : isForbidden(got) || got.code === '55000';
        if (!right) wrong.push(`${held.join()} ${method} ${path}: ${got.status} ${got.code}`);
      },
    );
    expect(wrong).toEqual([]);
    for (const { name, writes } of relations) {
      for (const policy of Object.values(writes)) expect(policy, name).toContain('private.key_organization_id(');
    }
  });

  test('a key reads all rows of its organization and none of another', async () => {
    const wrong: string[] = [];
    await each(
      relations.filter(({ granted, isView }) => granted && !isView),
      async ({ name, column }) => {
        const count = async (path: string) => {
          const response = await rest(tokenFor(acme, scopes), path, {
            method: 'HEAD',
            headers: { prefer: 'count=exact' },
          });
          return Number(response.headers.get('content-range')?.split('/')[1]);
        };
        const [truth] = await stack.admin.unsafe<{ n: number }[]>(
          `select count(*)::integer as n from public.${name} where ${column} = '${acme.organizationId}'`,
        );
        const seen = await count(name);
        // The worker may still be writing daily figures while this counts.
        if (seen > (truth?.n ?? 0) + 5 || (truth?.n ?? 0) - seen > 5) wrong.push(`${name}: ${seen} of ${truth?.n}`);
        if ((await count(`${name}?${column}=neq.${acme.organizationId}`)) !== 0)
          wrong.push(`${name} shows another tenant`);
      },
    );
    expect(wrong).toEqual([]);
  });

  test('the tables that integrators need are among them, with rows', async () => {
    for (const name of ['attendance_sessions', 'gps_locations', 'expenses', 'employees', 'invitations', 'events']) {
      const rows = (await (await rest(tokenFor(acme, scopes), `${name}?limit=1`)).json()) as unknown[];
      expect(rows, name).toHaveLength(1);
    }
  });
});

describe('functions', () => {
  /** Arguments of the right types; ids of the named tenant where the name says what they identify. */
  function argumentsOf(rpc: Rpc, tenant: Tenant): Record<string, unknown> {
    const ids: Record<string, string> = { employee_id: tenant.bob.employeeId, session_id: tenant.sessionId };
    const byType: Record<string, unknown> = {
      uuid: crypto.randomUUID(),
      text: 'x',
      'text[]': ['x'],
      integer: 1,
      bigint: 1,
      smallint: 1,
      numeric: 1,
      real: 1,
      'double precision': 1,
      boolean: true,
      date: '2026-11-01',
      jsonb: {},
      'timestamp with time zone': new Date().toISOString(),
    };
    return Object.fromEntries(
      rpc.args
        .filter(({ optional, name }) => !optional || name in ids)
        .map(({ name, type }) => [name, ids[name] ?? byType[type] ?? null]),
    );
  }

  const needed = (rpc: Rpc): string[] =>
    needsSeveral[rpc.name] ??
    [...rpc.source.matchAll(/require_(?:admin|leader)\('(\w+:\w+)'\)/g)].map(([, scope]) => scope ?? '').slice(0, 1);

  test('what is granted to keys asks for a scope, and nothing else is', () => {
    for (const rpc of rpcs.filter(({ granted, name }) => granted && !anyKey.includes(name))) {
      expect(needed(rpc), rpc.name).not.toEqual([]);
    }
    const granted = rpcs.filter(({ granted }) => granted).map(({ name }) => name);
    expect(granted).toEqual(
      expect.arrayContaining([
        'get_session_route',
        'invite_employee',
        'record_locations',
        'review_expense',
        'update_employee',
      ]),
    );
    for (const name of ['create_api_key', 'rotate_api_key', 'revoke_api_key', 'create_organization', 'check_in']) {
      expect(granted).not.toContain(name);
    }
  });

  test('with each scope alone, a call gets past the scope where it is the function’s, and is 403 elsewhere', async () => {
    const wrong: string[] = [];
    await each(
      rpcs.flatMap((rpc) => scopes.map((scope) => ({ rpc, scope }))),
      async ({ rpc, scope }) => {
        const wanted = needed(rpc);
        const allowed = rpc.granted && (anyKey.includes(rpc.name) || (wanted.length === 1 && wanted[0] === scope));
        // Of another tenant, so that a call that is let in changes nothing here.
        const got = await outcome(await post(tokenFor(acme, [scope]), `rpc/${rpc.name}`, argumentsOf(rpc, other)));
        const isHalfWay = got.status === 404 && wanted.length > 1 && wanted.includes(scope);
        const right = allowed
          ? got.status !== 401 && got.status !== 403 && got.status < 500
          : isForbidden(got) || isHalfWay;
        if (!right) wrong.push(`${scope} ${rpc.name}: ${got.status} ${got.text.slice(0, 200)}`);
      },
    );
    expect(wrong).toEqual([]);
  });

  test('functions that need two scopes answer a key with both', async () => {
    for (const [name, both] of Object.entries(needsSeveral)) {
      const rpc = rpcs.find((one) => one.name === name) as Rpc;
      const got = await outcome(await post(await issueToken(acme, both), `rpc/${name}`, argumentsOf(rpc, acme)));
      // The arguments are no URL and no webhook.
      const answer = { create_webhook: 400, update_webhook: 404 }[name] ?? 200;
      expect(got.status, `${name}: ${got.text}`).toBe(answer);
    }
  });

  test('named by a key with every scope, another organization’s rows do not exist and do not change', async () => {
    const before = await fingerprint(other.organizationId);
    const wrong: string[] = [];
    for (const rpc of rpcs.filter(({ granted, args }) => granted && args.some(({ type }) => type === 'uuid'))) {
      const got = await outcome(await post(tokenFor(acme, scopes), `rpc/${rpc.name}`, argumentsOf(rpc, other)));
      const hidden = got.status === 404 || got.status === 400 || (got.status < 300 && !mentions(got.text, other));
      if (!hidden) wrong.push(`${rpc.name}: ${got.status} ${got.text.slice(0, 200)}`);
    }
    expect(wrong).toEqual([]);
    expect(await fingerprint(other.organizationId)).toEqual(before);
  });

  const mentions = (text: string, { organizationId, bob, sessionId }: Tenant) =>
    [organizationId, bob.employeeId, sessionId].some((id) => text.includes(id));

  /** What people wrote; figures that the worker computes meanwhile are not among it. */
  async function fingerprint(organizationId: string): Promise<Record<string, string>> {
    const marks: Record<string, string> = {};
    for (const name of [
      'employees',
      'expenses',
      'gps_locations',
      'invitations',
      'api_keys',
      'audit_log',
      'organizations',
    ]) {
      const column = name === 'organizations' ? 'id' : 'organization_id';
      const [row] = await stack.admin.unsafe<{ mark: string }[]>(
        `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as mark from public.${name} as t
         where ${column} = '${organizationId}'`,
      );
      marks[name] = row?.mark ?? '';
    }
    return marks;
  }
});

test('a key of no organization that is served gets nothing at all', async () => {
  const token = await stack.signer.sign(
    { role: 'api_key', organization_id: acme.organizationId, api_key_id: crypto.randomUUID(), scopes },
    '1 m',
  );
  for (const { name } of relations.filter(({ granted }) => granted)) {
    const got = await outcome(await rest(token, `${name}?limit=1`));
    expect([got.status, got.code], name).toEqual([401, 'api_key_invalid']);
  }
});

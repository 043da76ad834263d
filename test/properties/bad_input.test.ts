// Whatever a caller sends, to every RPC of the catalog and to every edge function: the answer is right or a refusal with a code
// that is documented, it comes in time, it is no 5xx, and a call that was refused has changed nothing.

import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { edgeErrors, errors } from '../../types/errors.ts';
import { createKey } from '../fixtures/api-keys.ts';
import { hostileValues, type Ids, type JsonText, jsonObject } from '../fixtures/hostile.ts';
import { addEmployee, foundOrganization, type Member, readClock, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { scopes } from '../security/policy.ts';

const runs = Number(process.env.PROPERTY_RUNS ?? 100) * 12;
const seed = Number(process.env.PROPERTY_SEED ?? (Date.now() ^ (process.pid << 8)) >>> 0);

/** Below the 8 s after which PostgreSQL itself would end the statement; the machine may be busy. */
const MAX_ANSWER_MS = 5000;
const STATE_RESET_EVERY = 20;

type Rpc = {
  name: string;
  args: { name: string; type: string; optional: boolean }[];
  byPerson: boolean;
  byKey: boolean;
};
type Call = { title: string; path: string; init: RequestInit; kind: 'rpc' | 'read' | 'ingest' | 'stream' };
type Answer = { status: number; code: string | undefined; text: string; ms: number };

let stack: TestStack;
let organizationId: string;
let alice: Member;
let bob: Member;
let apiKey: string;
let deviceToken: string;
let deviceId: string;
let ids: Ids;
let rpcs: Rpc[];

beforeAll(async () => {
  stack = await startTestStack({ functions: true, functionEnv: { FIELDTRACK_STREAM_SECONDS: '5' } });
  ({ organizationId, admin: alice } = await foundOrganization(stack, 'acme'));
  const { admin: mallory } = await foundOrganization(stack, 'other');
  // A second administrator, so that no call is refused for being the last one's.
  await addEmployee(stack, alice, 'anna', 'ADMIN');
  bob = await addEmployee(stack, alice, 'bob');
  // Calls that succeed deactivate, erase and demote: they get to know these people only.
  const victims = [await addEmployee(stack, alice, 'carol'), await addEmployee(stack, alice, 'dave')];
  const minutesAgo = readClock();
  for (const person of [...victims, bob, mallory]) {
    await workAnHour(person, minutesAgo);
    const claimed = await person.client.rpc('submit_expense', {
      amount: 12.5,
      description: 'Parking',
      client_request_id: randomUUID(),
    });
    if (claimed.error) throw claimed.error;
  }
  const key = await createKey(alice, organizationId, [...scopes], { requests_per_minute: 60_000 });
  apiKey = key.key;
  await createKey(alice, organizationId, ['employees:read']);
  const webhook = await alice.client.rpc('create_webhook', { url: 'https://hooks.example.test/x', events: ['*'] });
  if (webhook.error) throw webhook.error;
  const device = await bob.client.rpc('my_device_token', { name: 'phone' });
  if (device.error) throw device.error;
  ({ token: deviceToken, id: deviceId } = device.data as { token: string; id: string });
  await bob.client.rpc('my_device_token', { name: 'another phone' });
  const team = await alice.client.rpc('create_team', { name: 'North' });
  if (team.error) throw team.error;
  const site = await alice.client.rpc('create_site', {
    site: { name: 'Depot', latitude: 46.05, longitude: 14.5, radius_m: 100 },
  });
  if (site.error) throw site.error;
  await bob.client.rpc('check_in', { checked_in_at: minutesAgo(1), client_request_id: randomUUID() });
  const idsOf = async (table: string, condition = 'true') => {
    const rows = await stack.admin.unsafe<{ id: string }[]>(`select id from ${table} where ${condition} limit 8`);
    return rows.map(({ id }) => id);
  };
  ids = {
    employee_id: [...victims, mallory].map(({ employeeId }) => employeeId),
    session_id: await idsOf('public.attendance_sessions'),
    expense_id: await idsOf('public.expenses'),
    webhook_id: await idsOf('public.webhooks'),
    api_key_id: await idsOf('public.api_keys', `id <> '${key.id}'`),
    device_token_id: await idsOf('public.device_tokens', `id <> '${deviceId}'`),
    delivery_id: await idsOf('public.webhook_deliveries'),
    team_id: [team.data.id],
    site_id: [(site.data as { id: string }).id],
    expense_ids: await idsOf('public.expenses'),
  };
  rpcs = [
    ...(await stack.admin<Rpc[]>`
      select p.proname as name, coalesce(jsonb_agg(jsonb_build_object('name', a.name, 'type', format_type(a.type, null),
        'optional', a.place > p.pronargs - p.pronargdefaults) order by a.place) filter (where a.name is not null), '[]') as args,
        has_function_privilege('authenticated', p.oid, 'execute') as "byPerson",
        has_function_privilege('api_key', p.oid, 'execute') as "byKey"
      from pg_proc as p
      left join lateral unnest(p.proargnames[1 : p.pronargs], p.proargtypes::oid[]) with ordinality as a (name, type, place) on true
      where p.pronamespace = 'public'::regnamespace
        and not exists (select from pg_type as t where t.oid = any (p.proargtypes) and t.typtype = 'c')
      group by p.oid order by p.proname`),
  ].filter(({ byPerson, byKey }) => byPerson || byKey);
  await watchChanges();
  await prepareEndlessValues();
});
afterAll(() => stack?.stop());

/** Every row that any transaction changed, of any organization, is written down: what was rolled back is not. */
async function watchChanges(): Promise<void> {
  await stack.admin.unsafe(`
    create schema watch;
    create table watch.changes (id bigint generated always as identity, what text, connected_as text);
    create function watch.note() returns trigger language plpgsql security definer set search_path = '' as $$
    begin
      insert into watch.changes (what, connected_as) values (tg_op || ' ' || tg_table_schema || '.' || tg_table_name, session_user);
      return null;
    end $$;
    do $$
    declare v_table regclass;
    begin
      for v_table in
        select c.oid from pg_class as c
        where c.relkind in ('r', 'p') and not c.relispartition
          and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'pgboss'::regnamespace)
      loop
        execute format('create trigger _999_watch after insert or update or delete on %s for each row execute function watch.note()', v_table);
      end loop;
    end $$;`);
}

/** What people could not undo by themselves, and what would hide everything else: limits that are used up, days that are locked. */
async function resetState(): Promise<void> {
  await stack.admin`delete from private.rate_buckets where true`;
  await stack.admin`update public.organizations set locked_until = null, deletion_due_at = null, max_session_hours = 16,
    late_upload_grace_hours = 72, location_retention_days = 365, time_zone = 'Europe/Ljubljana' where id = ${organizationId}`;
  await stack.admin`update public.employees set is_active = true, app_role = 'EMPLOYEE'
    where organization_id = ${organizationId} and id = any (${Object.values(ids).flat()}) and erased_at is null`;
  await stack.admin`update public.webhooks set is_active = true, disabled_at = null, disabled_reason = null where true`;
  await stack.admin`delete from public.webhooks as w where w.organization_id = ${organizationId} and not (w.id = any (${Object.values(ids).flat()}))`;
  await stack.admin`update public.expenses set status = 'PENDING', approved_amount = null, reviewer_id = null, reviewer_api_key_id = null,
    reviewed_at = null, review_comment = null where organization_id = ${organizationId} and id = any (${Object.values(ids).flat()})`;
}

async function send({ path, init, kind }: Call): Promise<Answer> {
  const startedAt = performance.now();
  const leaving = new AbortController();
  const response = await fetch(`${stack.url}${path}`, {
    ...init,
    signal: AbortSignal.any([leaving.signal, AbortSignal.timeout(15_000)]),
  });
  const opened = kind === 'stream' && response.status === 200;
  const text = opened ? '' : await response.text();
  const ms = performance.now() - startedAt;
  if (opened) leaving.abort();
  let code: string | undefined;
  try {
    code = (JSON.parse(text) as { code?: string } | null)?.code;
  } catch {
    code = undefined;
  }
  return { status: response.status, code, text, ms };
}

const registry: Record<string, { status: number }> = { ...errors, ...edgeErrors };

/** What PostgreSQL and PostgREST say by themselves of a call that is not one: docs/error-codes.md, "Codes of PostgREST and PostgreSQL". */
const passedThrough: [RegExp, number[]][] = [
  // A value that its type does not have.
  [/^22/, [400]],
  // No right; a function or a filter of the wrong shape.
  [/^42501$/, [401, 403]],
  // Nested deeper than PostgreSQL reads.
  [/^54001$/, [413, 500]],
  // No such function, as PostgreSQL has it: PostgREST 12 calls one with a single json argument by {} without it.
  [/^42883$/, [404]],
  // Written by GET.
  [/^25006$/, [405]],
  [/^PGRST1/, [400, 404, 405, 406, 415, 416]],
  [/^PGRST2/, [300, 400, 404]],
  [/^PGRST3/, [401]],
];

/** A table or column that is none, an operator that its type has not, a write of everything: filters can ask for these, RPCs not. */
const ofFilters: [RegExp, number[]][] = [
  [/^(42703|42804|42P10|21000)$/, [400]],
  [/^42P01$/, [404]],
];

function faultOf(
  { kind, init, path }: Call,
  { status, code, text, ms }: Answer,
  changes: string[],
): string | undefined {
  if (ms > MAX_ANSWER_MS) return `took ${Math.round(ms)} ms`;
  // OwnTracks deletes on any 4xx, so what is refused here is told it as a 503: docs/edge-functions.md.
  if (status === 503 && kind === 'ingest' && path.startsWith('/functions/v1/ingest/owntracks')) {
    if (code !== undefined && registry[code] && registry[code].status < 500 && changes.length === 0) return undefined;
  }
  if (status >= 500) return `answered ${status} ${text.slice(0, 300)}`;
  if (status < 300) return undefined;
  if (changes.length > 0) return `was refused (${status} ${code}) and changed: ${[...new Set(changes)].join(', ')}`;
  // PostgREST answers {} to a write to a table that is none.
  if (init.method === 'HEAD' || (kind === 'read' && status === 404 && text === '{}')) return undefined;
  if (code === undefined) return `answered ${status} without a code: ${text.slice(0, 300)}`;
  if (registry[code]) return registry[code].status === status ? undefined : `answered ${status} with the code ${code}`;
  const allowed = kind === 'read' ? [...passedThrough, ...ofFilters] : passedThrough;
  if (!allowed.some(([codes, statuses]) => codes.test(code) && statuses.includes(status))) {
    return `answered ${status} with a code that is not documented: ${text.slice(0, 300)}`;
  }
  return undefined;
}

/** Finds times that never come and numbers that are none, wherever they were let in. */
let endlessValues: string;

async function prepareEndlessValues(): Promise<void> {
  const columns = await stack.admin<{ name: string; column: string; isTime: boolean }[]>`
    select format('%I.%I', n.nspname, c.relname) as name, a.attname as column, t.typcategory = 'D' as "isTime"
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type as t on t.oid = a.atttypid
    where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'private')
      and t.typname in ('date', 'timestamptz', 'float4', 'float8', 'numeric')
      -- The first zone of an organization counts since ever, and a snapshot that was never made has ended since ever.
      and c.relname not in ('organization_time_zones', 'org_dashboard_snapshot')`;
  endlessValues = columns
    .map(({ name, column, isTime }) => {
      const isEndless = isTime ? `not isfinite("${column}")` : `"${column}" in ('NaN', 'Infinity', '-Infinity')`;
      return `select '${name}.${column}' as place where exists (select from ${name} where ${isEndless})`;
    })
    .join(' union all ');
}

async function trial(calls: Call[], everything: string): Promise<Map<string, number>> {
  const faults: string[] = [];
  const seen = new Map<string, number>();
  for (const [index, call] of calls.entries()) {
    if (index % STATE_RESET_EVERY === 0) {
      const endless = await stack.admin.unsafe<{ place: string }[]>(endlessValues);
      faults.push(...endless.map(({ place }) => `before call ${index}: ${place} holds a value without an end`));
      await resetState();
      await stack.admin`delete from watch.changes where true`;
    }
    const answer = await send(call).catch((error: unknown) => ({
      status: 599,
      code: undefined,
      text: String(error),
      ms: 0,
    }));
    // The gatekeepers of the functions count calls and note when a key was last used, whatever comes of the call.
    const changes = await stack.admin<{ what: string }[]>`
      with c as (delete from watch.changes where true returning what, connected_as)
      select what from c where connected_as = 'authenticator'
        or connected_as = 'fieldtrack_edge' and what !~ 'rate_buckets|api_keys|device_tokens'`;
    const fault = faultOf(
      call,
      answer,
      changes.map(({ what }) => what),
    );
    if (fault !== undefined) faults.push(`${call.title.slice(0, 1500)}\n    ${fault}`);
    const kind = answer.status < 300 ? '2xx' : `${answer.status} ${answer.code}`;
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
  }
  const kinds = [...seen].sort(([, a], [, b]) => b - a).map(([kind, count]) => `${kind}: ${count}`);
  console.log(
    `bad input, ${everything}: ${calls.length} calls (PROPERTY_SEED=${seed}), ${faults.length} faults; ${kinds.join(', ')}`,
  );
  expect(faults.slice(0, 40).join('\n')).toBe('');
  return seen;
}

const json = { 'content-type': 'application/json' };

/** A value as a query or a form has it: strings without their quotes, of what is long the beginning. */
function encodeText(value: JsonText): string {
  const plain = value.startsWith('"') ? String(JSON.parse(value)) : value;
  return encodeURIComponent(plain.slice(0, 300).toWellFormed());
}

type Caller = { who: string; may: (rpc: Rpc) => boolean; url: string; headers: Record<string, string> };

const person = (who: string, { accessToken }: Member): Caller => ({
  who,
  // It takes no argument that could be wrong, and who has left is refused everything that comes after.
  may: ({ byPerson, name }) => byPerson && name !== 'leave_organization',
  url: '/rest/v1/rpc',
  headers: { apikey: stack.publishableKey, authorization: `Bearer ${accessToken}` },
});

function callsOfRpcs(): fc.Arbitrary<Call> {
  const values = hostileValues(ids);
  const callers: Caller[] = [
    person('bob', bob),
    // Most is the administrator's.
    person('alice', alice),
    person('alice', alice),
    { who: 'a key', may: ({ byKey }) => byKey, url: '/functions/v1/api/rpc', headers: { 'x-api-key': apiKey } },
  ];
  const unknown = fc.tuple(fc.constantFrom('extra', 'organization_id', '', '👩🏽‍🚒'), values.any);
  const oneIn = <T>(count: number, arbitrary: fc.Arbitrary<T>) =>
    fc.oneof({ weight: count - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
  return fc.constantFrom(...callers).chain(({ who, may, url, headers }) =>
    fc.constantFrom(...rpcs.filter(may)).chain(({ name, args }) => {
      // Half of the calls have one argument wrong, so that it is looked at; in the others anything may be.
      const given = fc.option(fc.nat(Math.max(args.length - 1, 0)), { freq: 1, nil: undefined }).chain((wrong) =>
        fc.tuple(
          ...args.map((arg, place) => {
            const fits = wrong !== undefined && wrong !== place;
            const value = fits ? values.fitting(arg.type, arg.name) : values.of(arg.type, arg.name);
            return fc
              .option(value, { freq: arg.optional ? 2 : fits ? 1000 : 25, nil: undefined })
              .map((given) => [arg.name, given] as const);
          }),
        ),
      );
      return fc.tuple(given, oneIn(40, unknown), fc.nat(19)).map(([named, extra, way]): Call => {
        const entries = [...named, ...(extra ? [extra] : [])].filter(
          (entry): entry is readonly [string, JsonText] => entry[1] !== undefined,
        );
        const path = `${url}/${name}`;
        if (way === 0) {
          const query = entries.map(([key, value]) => `${encodeURIComponent(key)}=${encodeText(value)}`).join('&');
          return { title: `${who}: GET ${name}?${query}`, path: `${path}?${query}`, init: { headers }, kind: 'rpc' };
        }
        const body = jsonObject(entries);
        const init = { method: 'POST', headers: { ...headers, ...json }, body };
        return { title: `${who}: ${name}(${body})`, path, init, kind: 'rpc' };
      });
    }),
  );
}

test('every RPC, called by an employee, an administrator and a key with arguments of every wrong kind', {
  timeout: 60_000 + runs * 100,
}, async () => {
  const calls = fc.sample(callsOfRpcs(), { numRuns: runs, seed });
  const seen = await trial(calls, 'RPCs');
  // Nothing is proved if everything stops at the door.
  expect(seen.get('2xx') ?? 0).toBeGreaterThan(runs / 10);
});

function callsOfFunctions(): fc.Arbitrary<Call> {
  const values = hostileValues(ids);
  const oneOf = <T extends string>(...names: T[]) => fc.constantFrom(...names);
  const fields = (...names: string[]) =>
    fc.array(fc.tuple(fc.constantFrom(...names), values.any), { maxLength: 6 }).map(jsonObject);

  const operator = oneOf('', 'eq.', 'gt.', 'in.', 'like.', 'is.', 'fts.', 'not.', 'cs.', '(');
  const column = oneOf(
    'id',
    'name',
    'checked_in_at',
    'amount',
    'select',
    'order',
    'limit',
    'offset',
    'and',
    'or',
    'columns',
  );
  const filter = fc.tuple(column, operator, values.any).map(([name, by, value]) => `${name}=${by}${encodeText(value)}`);
  const notUtf8 = oneOf('%FF', '%C3%28', '%', '%zz', '%00', '%F0%9F', '%ED%A0%80').map((bytes) => `name=eq.${bytes}`);
  const query = fc.oneof(
    { weight: 12, arbitrary: fc.array(filter, { maxLength: 3 }).map((filters) => filters.join('&')) },
    { weight: 1, arbitrary: notUtf8 },
  );
  const table = oneOf(
    'employees',
    'expenses',
    'attendance_sessions',
    'gps_locations',
    'events',
    'webhooks',
    'export_sessions',
    'nothing',
  );
  const method = oneOf('GET', 'GET', 'GET', 'HEAD', 'PATCH', 'DELETE', 'POST', 'PUT');
  const read = fc.tuple(method, table, query, values.any).map(([by, where, what, value]): Call => {
    const hasBody = by !== 'GET' && by !== 'HEAD';
    return {
      title: `a key: ${by} ${where}?${what} ${hasBody ? value : ''}`,
      path: `/functions/v1/api/${where}?${what}`,
      init: { method: by, headers: { 'x-api-key': apiKey, ...json }, ...(hasBody ? { body: value } : {}) },
      kind: 'read',
    };
  });

  const authorization = { authorization: `Bearer ${deviceToken}` };
  const report = fc.oneof(
    fields('_type', 'lat', 'lon', 'tst', 'acc', 'vel', 'cog', 'batt').map(
      (message) => `[{"_type":"location"},${message}]`,
    ),
    fields('_type', 'lat', 'lon', 'tst', 'acc', 'vel', 'cog', 'batt').map((message) =>
      message.replace('}', message === '{}' ? '"_type":"location"}' : ',"_type":"location"}'),
    ),
    fields('timestamp', 'coords', 'battery', 'mock').map((location) => `{"location":${location}}`),
    fc
      .tuple(fields('timestamp', 'speed', 'course', 'battery_level'), values.any)
      .map(([properties, place]) => `{"locations":[{"geometry":{"coordinates":${place}},"properties":${properties}}]}`),
    values.any,
  );
  const app = oneOf('osmand', 'owntracks', 'overland', 'nothing');
  const type = oneOf('application/json', 'application/x-www-form-urlencoded', 'text/plain');
  const posted = fc.tuple(app, report, type).map(
    ([name, body, contentType]): Call => ({
      title: `a phone: ${name} ${contentType} ${body}`,
      path: `/functions/v1/ingest/${name}`,
      init: { method: 'POST', headers: { ...authorization, 'content-type': contentType }, body },
      kind: 'ingest',
    }),
  );
  const parameter = oneOf(
    'lat',
    'lon',
    'timestamp',
    'speed',
    'bearing',
    'batt',
    'accuracy',
    'location',
    'valid',
    'mock',
  );
  const asked = fc.array(fc.tuple(parameter, values.any), { maxLength: 8 }).map((pairs): Call => {
    const parameters = pairs.map(([name, value]) => `${name}=${encodeText(value)}`).join('&');
    return {
      title: `a phone: GET osmand?${parameters}`,
      path: `/functions/v1/ingest/osmand?${parameters}`,
      init: { headers: authorization },
      kind: 'ingest',
    };
  });
  const stream = fc.tuple(oneOf('last_event_id', 'types', 'ticket', 'x'), values.any).map(
    ([name, value]): Call => ({
      title: `alice: stream ${name}=${value}`,
      path: `/functions/v1/admin-events?${name}=${encodeText(value)}`,
      init: { headers: { authorization: `Bearer ${alice.accessToken}` } },
      kind: 'stream',
    }),
  );
  return fc.oneof(
    { weight: 3, arbitrary: read },
    { weight: 4, arbitrary: posted },
    { weight: 2, arbitrary: asked },
    { weight: 1, arbitrary: stream },
  );
}

test('every edge function, with queries, bodies and reports of every wrong kind', {
  timeout: 60_000 + runs * 25,
}, async () => {
  const calls = fc.sample(callsOfFunctions(), { numRuns: Math.ceil(runs / 4), seed });
  const seen = await trial(calls, 'edge functions');
  expect(seen.get('2xx') ?? 0).toBeGreaterThan(runs / 100);
});

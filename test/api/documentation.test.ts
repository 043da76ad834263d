// docs/api.md is what the API really answered: this test plays every call once and compares. After a change of the API:
// npx vitest run test/api/documentation.test.ts -u   writes the page anew.

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createClient } from '@supabase/supabase-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { answers } from '../../types/answers.ts';
import type { Database } from '../../types/database.ts';
import { describedAnswers, describedEvents } from '../fixtures/description.ts';
import { eventually, readClock, straightNorth, zoneAtNoon } from '../fixtures/organization.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { type Client, startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let receiver: Receiver;
beforeAll(async () => {
  receiver = await startReceiver();
  stack = await startTestStack({ worker: true });
});
afterAll(async () => {
  await stack?.stop();
  await receiver?.stop();
});

const introduction = (readable: string) => `# API

Generated: \`test/api/documentation.test.ts\` plays each call against a running stack and holds this page to the answers.

- Calls are \`POST /rest/v1/rpc/<name>\` with the headers \`apikey\` (the publishable key) and \`Authorization: Bearer\` (a user's
  access token); in supabase-js \`supabase.rpc(name, request)\`. The request is one JSON object: of an array PostgREST takes the
  first and drops the others, so the function \`api\` and the local gateway answer 400.
- A refusal is \`{code, message, details, hint}\` with a fitting status: [error-codes.md](error-codes.md).
  Beside the codes that are named below, any call may answer not_authenticated and not_a_member, with a key api_key_invalid and
  scope_missing.
- Other languages make their types from [openapi.json](openapi.json) (OpenAPI 3.1; everybody reads it at
  \`/functions/v1/api/openapi.json\`) and [events.schema.json](events.schema.json) (events, webhook bodies). What a call may leave out
  is listed as optional, with its default in brackets; the others that may be left out are null or empty then.
- **Retry** after a timeout, a 5xx, conflict_retry or an answer whose \`code\` is empty (PostgREST 12 gives status 400 to a
  request whose database connection broke) with the same \`client_request_id\` (check_in, check_out, submit_expense) or the same
  points: the first answer comes again, nothing is doubled. After a 429 wait \`Retry-After\` seconds. 57014 (500) says that a read took
  the 8 seconds it has: ask for less. Send late points in the order that suits the phone, up to 100 a call.
- **Times** are ISO 8601 with an offset (\`Z\`, \`+02:00\`). record_locations refuses one without; elsewhere it counts as UTC.
- **Read** tables and views at \`GET /rest/v1/<table>\` with PostgREST's filters, order and paging (1,000 rows a page at the most;
  \`Range\` and \`Prefer: count=exact\`, the only count: an estimate would tell of other tenants):
${readable}.
  Relations embed by the role they play: \`attendance_sessions?select=*,employee(name)\`,
  \`expenses?select=*,employee(name),reviewer(name)\` (where two roles lead to one table, the types of supabase-js want
  \`employee:employees!employee(name), reviewer:employees!reviewer(name)\`); an embedded list wants a limit of its own
  (\`employees?select=name,attendance_sessions(*)&attendance_sessions.order=checked_in_at.desc&attendance_sessions.limit=1\`). Row
  level security shows administrators their organization and employees their own rows ([security.md](security.md) has it table by
  table). Do not follow \`events\` by id: one that commits late may have a smaller id than what you have read. [Webhooks](webhooks.md) and the [live stream](live-stream.md) miss none.
- **Order** by what is indexed, and a page costs a page: attendance_sessions and export_sessions by \`checked_in_at.desc,id\`
  (session_id), expenses and export_expenses by \`submitted_at.desc,id\` (expense_id), all with or without \`employee_id=eq.\`,
  expenses with \`status=eq.\` too; employees by \`name,id\`; session_days and export_daily_metrics by \`day,employee_id\`; audit_log by
  \`id.desc\`. Points are read with \`session_id=eq.\`, by recorded_at. An employee names the own \`employee_id=eq.\` (get_my_profile):
  row level security alone looks at everybody's rows until the page is full. Other orders, filters and count=exact read all rows
  of the organization.
- **Export** with \`Accept: text/csv\`: export_sessions, export_daily_metrics, export_expenses (and any table). A page has 1,000
  rows at the most; the next one begins after the last row of the one before, so nothing is missed or doubled while rows come in:
  \`export_sessions?order=checked_in_at.desc,session_id\`, then also
  \`&checked_in_at=lte.T&or=(checked_in_at.lt."T",session_id.gt.ID)\` with T and ID of that last row (URL-encoded), until a page is
  shorter. export_expenses the same by submitted_at and expense_id; export_daily_metrics forward:
  \`order=day,employee_id\`, \`&day=gte.D&or=(day.gt.D,employee_id.gt.ID)\`. Text that a spreadsheet would run as a formula has an
  apostrophe in front. PostgREST writes no head when there is no row, and doubles backslashes.
- **Files of a session**: \`GET /rest/v1/rpc/export_session_gpx?session_id=…\` with \`Accept: application/gpx+xml\` and
  \`export_session_geojson\` with \`Accept: application/geo+json\`; with another \`Accept\` they answer as any call
  does, in JSON, and the GPX is a string in it (in supabase-js: as all others, without naming an \`Accept\`).

Ids and times below are stand-ins.
`;

test('docs/api.md shows every call of the API with a real request and answer', async () => {
  const minutesAgo = readClock();
  const sections: { name: string; request: unknown; answer: unknown }[] = [];
  const people = new Map<string, Client>();
  const described = describedAnswers();
  const call = async (who: string, name: string, request: Record<string, unknown>): Promise<Record<string, string>> => {
    const client = people.get(who);
    // The page is about any function; the compiler knows each one by itself.
    const { data, error } = await (client as Client).rpc(name as never, request as never);
    if (error !== null) throw new Error(`${name}: ${JSON.stringify(error)}`);
    sections.push({ name, request, answer: data });
    // Strictly: what the types promise, and nothing that they keep silent about.
    if (name in answers) answers[name as keyof typeof answers].parse(data);
    described.call(name, request, data);
    return data as Record<string, string>;
  };

  /** A call whose answer is a file of its own media type: supabase-js asks for JSON. */
  const file = async (who: string, name: string, sessionId: string, accept: string): Promise<void> => {
    const { data } = await (people.get(who) as Client).auth.getSession();
    const response = await fetch(`${stack.url}/rest/v1/rpc/${name}?session_id=${sessionId}`, {
      headers: { apikey: stack.publishableKey, authorization: `Bearer ${data.session?.access_token}`, accept },
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${name}: ${text}`);
    sections.push({
      name,
      request: { session_id: sessionId },
      answer: accept.endsWith('json') ? JSON.parse(text) : text,
    });
  };

  for (const name of ['ada', 'eva']) people.set(name, (await stack.signUp(`${name}@example.test`)).client);
  const organization = await call('ada', 'create_organization', {
    name: 'Acme',
    slug: 'acme',
    time_zone: zoneAtNoon(),
    currency: 'EUR',
  });
  await call('ada', 'update_organization', { changes: { max_session_hours: 14, locked_until: '2020-01-01' } });
  const { token, employee_id } = await call('ada', 'invite_employee', { email: 'eva@example.test', name: 'Eva' });
  await call('eva', 'accept_invitation', { token });
  await call('eva', 'get_my_profile', {});
  const session = await call('eva', 'check_in', {
    checked_in_at: minutesAgo(60),
    client_request_id: randomUUID(),
    latitude: 46,
    longitude: 14.5,
    accuracy_m: 8,
  });
  await call('eva', 'record_location', {
    recorded_at: minutesAgo(55),
    latitude: 46,
    longitude: 14.5,
    accuracy_m: 5,
    battery_pct: 80,
  });
  await call('eva', 'record_locations', {
    points: [...straightNorth(2, minutesAgo(50)), { recorded_at: 'yesterday', latitude: 46, longitude: 14.5 }],
  });
  await call('eva', 'check_out', { checked_out_at: minutesAgo(10), client_request_id: randomUUID() });
  await eventually('DONE', async () => {
    const { data } = await (people.get('ada') as Client).from('attendance_sessions').select('distance_status').single();
    return data?.distance_status === 'DONE';
  });
  await call('ada', 'get_session_route', { session_id: session.id });
  await file('ada', 'export_session_gpx', session.id ?? '', 'application/gpx+xml');
  await file('ada', 'export_session_geojson', session.id ?? '', 'application/geo+json');
  // The figures of the session that is over.
  let day = '';
  await eventually('figures of the day', async () => {
    const { data } = await (people.get('ada') as Client).from('org_daily_metrics').select('day').eq('sessions', 1);
    day = data?.[0]?.day ?? '';
    return day !== '';
  });
  await call('eva', 'get_my_summary', {});
  await call('eva', 'create_receipt_path', { extension: 'jpg' });
  // Claims beside those that the figures below are of.
  const claim = async (description: string): Promise<string> => {
    const rows = await stack.admin<{ id: string }[]>`
      insert into public.expenses (organization_id, employee_id, spent_on, amount, currency, description, client_request_id)
      select e.organization_id, e.id, current_date - 40, 8, 'EUR', ${description}, gen_random_uuid()
      from public.employees as e where e.id = ${employee_id ?? ''} returning id`;
    return rows[0]?.id ?? '';
  };
  await call('eva', 'update_expense', { expense_id: await claim('Parking'), changes: { amount: 9.5 } });
  await call('eva', 'withdraw_expense', { expense_id: await claim('Twice') });
  const expense = await call('eva', 'submit_expense', {
    amount: 24.9,
    description: 'Lunch with a customer',
    category: 'MEALS',
    client_request_id: randomUUID(),
  });
  await call('ada', 'review_expense', { expense_id: expense.id, status: 'APPROVED', approved_amount: 20 });
  await eventually('the expense in the figures', async () => {
    const { data } = await (people.get('ada') as Client).from('org_daily_expenses').select('expenses_approved');
    return (data ?? []).some(({ expenses_approved }) => expenses_approved === 1);
  });
  const paid = { expense_ids: [expense.id], reference: 'SEPA 2026-11' };
  await call('ada', 'mark_expenses_paid', paid);
  await call('ada', 'undo_expense_payment', { expense_ids: [expense.id], reason: 'Wrong account.' });
  const reopened = await claim('Reopened');
  await stack.admin`update public.expenses set status = 'REJECTED', review_comment = 'No receipt.', reviewed_at = now()
    where id = ${reopened}`;
  await call('ada', 'reopen_expense', { expense_id: reopened, reason: 'The receipt came by post.' });
  const aYear = { from_day: minutesAgo(364 * 1440).slice(0, 10), to_day: minutesAgo(-1440).slice(0, 10) };
  await call('ada', 'get_dashboard', {});
  await call('ada', 'get_live_map', { max_people: 100 });
  await call('ada', 'get_org_summary', aYear);
  await call('ada', 'get_user_summary', { employee_id, ...aYear });
  await call('ada', 'get_session_trend', { from_day: day, to_day: day });
  await call('ada', 'get_leaderboard', { metric: 'distance', ...aYear, top: 5 });
  await call('ada', 'get_expense_summary', aYear);
  await call('ada', 'correct_session', {
    session_id: session.id,
    checked_in_at: minutesAgo(60),
    checked_out_at: minutesAgo(5),
    reason: 'Left the phone in the car.',
  });
  await call('ada', 'recalculate_session', { session_id: session.id });
  await eventually('every distance is there', async () => {
    const waiting =
      await stack.admin`select from public.attendance_sessions where status = 'CLOSED' and distance_status = 'PENDING'`;
    return waiting.length === 0;
  });
  await (people.get('eva') as Client).rpc('check_in', {
    checked_in_at: minutesAgo(1),
    client_request_id: randomUUID(),
  });
  await call('ada', 'force_check_out', { employee_id, reason: 'Battery died.' });
  await call('eva', 'record_session', {
    checked_in_at: minutesAgo(900),
    checked_out_at: minutesAgo(840),
    client_request_id: randomUUID(),
  });
  const byHand = await call('ada', 'create_session', {
    employee_id,
    checked_in_at: minutesAgo(800),
    checked_out_at: minutesAgo(780),
    reason: 'The phone was at home.',
    client_request_id: randomUUID(),
  });
  const asked = await call('eva', 'request_correction', {
    reason: 'I was not there.',
    client_request_id: randomUUID(),
    session_id: byHand.id,
  });
  await call('ada', 'review_session', { session_id: byHand.id, comment: 'Asked the customer.' });
  await call('ada', 'review_correction', {
    correction_request_id: asked.id,
    status: 'REJECTED',
    comment: 'You were seen.',
  });
  await call('ada', 'void_session', { session_id: byHand.id, reason: 'It was another person.' });
  // The worker's events come before there is a webhook, not between its first deliveries.
  await eventually('distances are computed', async () => {
    const { count } = await (people.get('ada') as Client)
      .from('attendance_sessions')
      .select('*', { count: 'exact', head: true })
      .neq('distance_status', 'DONE');
    return count === 0;
  });
  await stack.admin`update private.webhook_settings set allow_localhost = true`;
  const webhook = await call('ada', 'create_webhook', {
    url: `${receiver.url}/fieldtrack`,
    events: ['expense.approved', 'session.checked_out'],
    description: 'Payroll',
  });
  await call('ada', 'update_webhook', { webhook_id: webhook.id, changes: { events: ['*'] } });
  const delivery = await call('ada', 'test_webhook', { webhook_id: webhook.id });
  await eventually('DELIVERED', async () => {
    const { data } = await (people.get('ada') as Client)
      .from('webhook_deliveries')
      .select('state')
      .eq('id', delivery.id ?? '')
      .single();
    return data?.state === 'DELIVERED';
  });
  await call('ada', 'rotate_webhook_secret', { webhook_id: webhook.id });
  await call('ada', 'retry_webhook_delivery', { delivery_id: delivery.id });
  await call('ada', 'replay_webhook_events', {
    webhook_id: webhook.id,
    occurred_from: minutesAgo(60),
    occurred_to: new Date().toISOString(),
  });
  // What a broken deployment leaves behind; the sessions are gone, so the jobs run and find nothing to do.
  const dead = await stack.admin<{ id: string }[]>`
    insert into public.retry_intents (organization_id, queue, payload, reason)
    select o.id, 'distance', jsonb_build_object('organization_id', o.id, 'session_id', gen_random_uuid()), 'error 42501'
    from public.organizations as o, generate_series(1, 3)
    returning id`;
  await call('ada', 'replay_retry_intent', { retry_intent_id: dead[0]?.id });
  await call('ada', 'discard_retry_intent', { retry_intent_id: dead[1]?.id });
  await call('ada', 'replay_retry_intents', { queue: 'distance', max_intents: 100 });
  await call('ada', 'update_employee', { employee_id, changes: { phone: '+386 1 234 56 78' } });
  const key = await call('ada', 'create_api_key', {
    name: 'Payroll',
    scopes: ['sessions:read', 'expenses:read'],
    expires_at: '2099-12-31T00:00:00Z',
  });
  await call('ada', 'rotate_api_key', { api_key_id: key.id, overlap_hours: 48 });
  await call('ada', 'update_api_key', { api_key_id: key.id, changes: { name: 'Payroll and hours', is_active: true } });
  const asKey = await stack.signer.sign(
    { role: 'api_key', organization_id: organization?.id ?? '', api_key_id: key.id ?? '' },
    '1m',
  );
  people.set('key', createClient<Database>(stack.url, stack.publishableKey, { accessToken: async () => asKey }));
  await call('key', 'get_my_api_key', {});
  await call('ada', 'revoke_api_key', { api_key_id: key.id });
  const depot = { name: 'Depot', latitude: 46.05, longitude: 14.5, radius_m: 80, external_id: 'D-1' };
  const { id: site_id } = await call('ada', 'create_site', { site: depot });
  await call('ada', 'update_site', { site_id, changes: { radius_m: 120 } });
  const sites = await call('eva', 'export_sites', {});
  await call('ada', 'import_sites', { sites });
  await call('ada', 'create_stream_ticket', {});
  const device = await call('ada', 'create_device_token', { employee_id, name: 'Van 3' });
  await call('eva', 'my_device_token', {});
  await call('ada', 'get_device_health', { employee_id });
  await call('ada', 'revoke_device_token', { device_token_id: device.id });
  await eventually('every distance', async () => {
    const rows = await stack.admin`select 1 from public.attendance_sessions where distance_status = 'PENDING'`;
    return rows.length === 0;
  });
  await call('ada', 'export_employee_data', { employee_id });
  await call('ada', 'queue_stats', {});
  people.set('service_role', stack.service());
  await call('service_role', 'reconcile_snapshot_tables', {});
  await call('service_role', 'appoint_administrator', {
    employee_id,
    reason: 'Asked for by the owner, letter of 3 March.',
  });
  await call('ada', 'system_health', {});
  const ivo = await stack.signUp('ivo@example.test');
  people.set('ivo', ivo.client);
  await stack.admin`
    insert into public.employees (organization_id, user_id, name) select o.id, ${ivo.userId}, 'Ivo' from public.organizations as o`;
  await call('ivo', 'leave_organization', {});
  const team = await call('ada', 'create_team', { name: 'North' });
  await call('ada', 'update_team', { team_id: team.id, name: 'North and east' });
  await call('ada', 'set_team_manager', { team_id: team.id, employee_id });
  await call('ada', 'delete_team', { team_id: team.id });
  await call('ada', 'create_employee', { name: 'Zora', employee_code: 'Z-1' });
  await call('ada', 'set_employee_active', { employee_id, is_active: false });
  await call('ada', 'erase_employee', { employee_id, reason: 'Asked for by letter of 3 March.' });
  await call('ada', 'delete_organization', { slug: 'acme', reason: 'We use something else.' });
  await call('ada', 'keep_organization', {});

  // Each webhook as docs/events.schema.json has it.
  const isDescribed = describedEvents('WebhookBody');
  expect(receiver.received.length).toBeGreaterThan(0);
  for (const { body } of receiver.received) isDescribed(JSON.parse(body));

  // The views are those of **Export**.
  const tables = await stack.admin<{ name: string }[]>`
    select c.relname as name from pg_catalog.pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm', 'v') and c.relname not like 'export\\_%'
      and has_any_column_privilege('authenticated', c.oid, 'select')
    order by c.relname`;
  const functions = await stack.admin<{ name: string; comment: string; isJson: boolean }[]>`
    select p.proname as name, pg_catalog.obj_description(p.oid, 'pg_proc') as comment, p.prorettype = 'jsonb'::regtype as "isJson"
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'public'::regnamespace
      -- Computed fields take a row; they are read with their table.
      and not exists (
        select from pg_catalog.pg_type as t where t.oid = any (p.proargtypes) and t.typtype = 'c'
      )
    order by p.proname`;
  expect(sections.map(({ name }) => name).sort()).toEqual(functions.map(({ name }) => name));
  expect(functions.filter(({ isJson }) => isJson).map(({ name }) => name)).toEqual(
    [...Object.keys(answers), 'export_employee_data', 'system_health'].sort(),
  );
  const comments = new Map(functions.map(({ name, comment }) => [name, comment]));
  const page = sections.map(({ name, request, answer }) => {
    const show = (value: unknown) =>
      isXml(value)
        ? `\`\`\`xml\n${standIn(value)}\n\`\`\``
        : `\`\`\`json\n${JSON.stringify(standIns(value), null, 2)}\n\`\`\``;
    const optional = described.optional(name);
    const leftOut = optional.length > 0 ? `\n\nOptional: ${optional.join(', ')}.` : '';
    return `## ${name}\n\n${comments.get(name)}${leftOut}\n\nRequest\n\n${show(request)}\n\nAnswer\n\n${show(answer)}\n`;
  });
  await expect([introduction(listed(tables.map(({ name }) => name))), ...page].join('\n')).toMatchFileSnapshot(
    join(repositoryDir, 'docs', 'api.md'),
  );
});

/** Names with commas, broken into lines of the page. */
function listed(names: readonly string[]): string {
  const lines = [' '];
  for (const [index, name] of names.entries()) {
    const word = index === names.length - 1 ? name : `${name},`;
    if (`${lines.at(-1)} ${word}`.length > 120) lines.push(' ');
    lines.push(`${lines.pop()} ${word}`);
  }
  return lines.join('\n');
}

const clockwork: Record<string, number> = {
  duration_s: 3000,
  sessions: 1,
  distance_m: 599.89,
  person_days: 1,
  employees: 1,
  average_session_s: 3000,
  average_session_m: 599.89,
  value: 599.89,
  queued: 12,
  waiting: 0,
  active: 0,
  oldest_waiting_s: 0,
  pending: 0,
  pending_expenses: 1,
  expenses_pending: 1,
  claimed_amount: 34.4,
  EUR: 9.5,
  xact: 1000,
  epoch: 0,
};
const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;
const date = /^\d{4}-\d\d-\d\d$/;

const isXml = (value: unknown): value is string => typeof value === 'string' && value.startsWith('<?xml');

function standIn(xml: string): string {
  return xml
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z/g, '2026-11-24T08:00:00.000Z')
    .replace(/(Eva )\d{4}-\d\d-\d\d/g, '$12026-11-24');
}

/** What differs from run to run, by something of the same kind that does not. */
function standIns(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => standIns(item));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, standIns(item, name)]));
  }
  if (typeof value === 'number' && key === 'event_id') return 1234;
  // Seconds between two calls of this test, and where a week begins, are the clock's business.
  if (typeof value === 'number' && key in clockwork) return clockwork[key];
  if (typeof value !== 'string') return value;
  if (key === 'xact') return '1000';
  if (key === 'host') return 'hooks.acme.example';
  if (value.startsWith('fti_')) return 'fti_…';
  if (value.startsWith('ft_live_')) return 'ft_live_…';
  if (value.startsWith('ft_device_')) return 'ft_device_…';
  if (value.startsWith('ft_ticket_')) return 'ft_ticket_…';
  if (key === 'key_id' || key === 'last_four') return '…';
  if (value.startsWith('whsec_')) return 'whsec_…';
  if (value.startsWith(receiver.url)) return value.replace(receiver.url, 'https://hooks.acme.example');
  if (time.test(value)) return '2026-11-24T08:00:00+00:00';
  if (key === 'time_zone') return 'Europe/Ljubljana';
  if (key === 'title') return 'Eva 2026-11-24';
  if (date.test(value) && key !== 'locked_until') return '2026-11-24';
  return value.replace(uuid, '6f1c0a52-0000-4000-8000-000000000000');
}

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createKey, withKey } from '../fixtures/api-keys.ts';
import {
  addEmployee,
  eventually,
  foundOrganization,
  type Member,
  readClock,
  workAnHour,
} from '../fixtures/organization.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { spawnWorker } from '../fixtures/worker.ts';

const attributes = z.array(z.object({ key: z.string(), value: z.looseObject({ stringValue: z.string().optional() }) }));
const span = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  name: z.string(),
  kind: z.number(),
  startTimeUnixNano: z.string(),
  endTimeUnixNano: z.string(),
  attributes,
  status: z.object({ code: z.number().optional() }).optional(),
});
const exported = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(span) })),
    }),
  ),
});
type Span = z.infer<typeof span> & { service: string | undefined };

let stack: TestStack;
let admin: Member;
let organizationId: string;
let collector: Receiver;
let endpoint: Receiver;
let webhookSecret: string;

beforeAll(async () => {
  collector = await startReceiver();
  endpoint = await startReceiver();
  stack = await startTestStack({
    worker: true,
    functions: true,
    functionEnv: {
      OTEL_DENO: 'true',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      // As the worker sends; Deno's default is protobuf.
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_TRACES_SAMPLER: 'parentbased_always_on',
      OTEL_BSP_SCHEDULE_DELAY: '500',
    },
    workerEnv: {
      LOG_LEVEL: 'trace',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OPERATOR_TOKEN: 'operators-only-token',
    },
  });
  ({ admin, organizationId } = await foundOrganization(stack, 'acme'));
  await stack.admin`update private.webhook_settings set allow_localhost = true`;
  const created = await admin.client.rpc('create_webhook', {
    url: `${endpoint.url}/hook?key=query-secret-value`,
    events: ['session.checked_out', 'session.recalculated', 'employee.updated'],
  });
  if (created.error) throw created.error;
  webhookSecret = (created.data as { secret: string }).secret;
});
afterAll(async () => {
  await stack?.stop();
  await collector?.stop();
  await endpoint?.stop();
});

const spans = (): Span[] =>
  collector.received
    .filter(({ path }) => path === '/v1/traces')
    .flatMap(({ body }) =>
      exported.parse(JSON.parse(body)).resourceSpans.flatMap(({ resource, scopeSpans }) => {
        const service = attributesOf(resource)['service.name'];
        return scopeSpans.flatMap((scope) => scope.spans.map((one) => ({ ...one, service })));
      }),
    );
const attributesOf = (of: { attributes: z.infer<typeof attributes> }): Record<string, string | undefined> =>
  Object.fromEntries(of.attributes.map(({ key, value }) => [key, value.stringValue]));
const msOf = (nanoseconds: string): number => Number(BigInt(nanoseconds) / 1000n) / 1000;
const [server, client, consumer] = [2, 3, 5];
/** The span of the app that called. */
const callersSpan = 'b7ad6b7169203331';
/** From the first span of the trace that is known to the one of this name. */
function chainOf(traceId: string, name: string): Span[] {
  const ofTrace = spans().filter((one) => one.traceId === traceId);
  const chain: Span[] = [];
  for (
    let next = ofTrace.find((one) => one.name === name);
    next && !chain.includes(next);
    next = ofTrace.find(({ spanId }) => spanId === chain[0]?.parentSpanId)
  )
    chain.unshift(next);
  return chain;
}
const linesOf = (part: string): string[] => stack.lines.filter((line) => line.part === part).map(({ line }) => line);

/** An RPC as a client that is itself traced sends it. */
async function rpcWithin(person: Member, traceparent: string, name: string, body: object): Promise<Response> {
  return fetch(`${stack.url}/rest/v1/rpc/${name}`, {
    method: 'POST',
    headers: {
      apikey: stack.publishableKey,
      authorization: `Bearer ${person.accessToken}`,
      'content-type': 'application/json',
      traceparent,
    },
    body: JSON.stringify(body),
  });
}

/** The worker said that it has a collector. */
const spansAreWanted = (): Promise<void> =>
  eventually('spans are wanted', async () => {
    const [row] = await stack.admin`select wanted_until > now() as wanted from private.span_reader`;
    return row?.wanted === true;
  });

describe('one trace', () => {
  test('a check-out, its transaction, distance, function and webhooks: each span is the child of what caused it', async () => {
    await spansAreWanted();
    const minutesAgo = readClock();
    const bob = await addEmployee(stack, admin, 'bob');
    await bob.client.rpc('check_in', { checked_in_at: minutesAgo(30), client_request_id: randomUUID() });
    const traceId = randomUUID().replaceAll('-', '');
    const out = { checked_out_at: minutesAgo(1), client_request_id: randomUUID() };
    const sentAt = Date.now();
    const response = await rpcWithin(bob, `00-${traceId}-${callersSpan}-01`, 'check_out', out);
    expect(response.status).toBe(200);
    const answeredAt = Date.now();

    const ofTrace = () => spans().filter((s) => s.traceId === traceId && !/analytics|compute_.*_day/.test(s.name));
    await eventually('five spans', async () => ofTrace().length >= 5);
    const spanOf = (name: string): Span => {
      const found = ofTrace().filter((s) => s.name === name);
      expect(found, name).toHaveLength(1);
      return found[0] as Span;
    };
    const request = spanOf('POST /rpc/check_out');
    expect(request).toMatchObject({ parentSpanId: callersSpan, kind: server });
    expect(attributesOf(request)).toMatchObject({
      'http.request.method': 'POST',
      'http.route': '/rpc/check_out',
      'db.system.name': 'postgresql',
      'db.stored_procedure.name': 'check_out',
    });
    // The times are the transaction's.
    expect(msOf(request.startTimeUnixNano)).toBeGreaterThanOrEqual(sentAt - 1);
    expect(msOf(request.endTimeUnixNano)).toBeGreaterThan(msOf(request.startTimeUnixNano));
    expect(msOf(request.endTimeUnixNano)).toBeLessThanOrEqual(answeredAt + 1);

    const distance = spanOf('process distance');
    expect(distance).toMatchObject({ parentSpanId: request.spanId, kind: consumer });
    const computed = spanOf('private.compute_session_distance');
    expect(computed).toMatchObject({ parentSpanId: distance.spanId, kind: client });
    const deliveries = ofTrace().filter(({ name }) => name === 'deliver webhook');
    // session.checked_out was caused by the request, session.recalculated by the job's transaction.
    expect(deliveries.map(({ parentSpanId }) => parentSpanId).sort()).toEqual([request.spanId, computed.spanId].sort());
    const events = await stack.admin<{ type: string; traceparent: string }[]>`
      select type, traceparent from public.events where traceparent like ${`00-${traceId}-%`}`;
    expect(Object.fromEntries(events.map(({ type, traceparent }) => [type, traceparent.split('-')[2]]))).toEqual({
      'session.checked_out': request.spanId,
      'session.recalculated': computed.spanId,
    });

    // What the endpoint received names the delivery's own span.
    const received = endpoint.received.filter(({ headers }) => headers.traceparent?.includes(traceId));
    expect(received.map(({ headers }) => headers.traceparent?.split('-')[2]).sort()).toEqual(
      deliveries.map(({ spanId }) => spanId).sort(),
    );
    const logged = linesOf('worker').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(logged).toContainEqual(
      expect.objectContaining({
        level: 'info',
        queue: 'distance',
        organization_id: organizationId,
        trace_id: traceId,
        span_id: distance.spanId,
        duration_ms: expect.any(Number),
        msg: 'job done',
      }),
    );
  });

  test('a call with an API key: the function, its request onward, the transaction and the webhook are one trace', async () => {
    await spansAreWanted();
    const { key } = await createKey(admin, organizationId, ['employees:write']);
    const gina = await addEmployee(stack, admin, 'gina');
    const traceId = randomUUID().replaceAll('-', '');
    const response = await withKey(stack, key, '/rpc/update_employee', {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${callersSpan}-01` },
      body: JSON.stringify({ employee_id: gina.employeeId, changes: { employee_code: 'G-1' } }),
    });
    expect(response.status).toBe(200);
    await eventually('four spans', async () => spans().filter((s) => s.traceId === traceId).length >= 4);
    const chain = chainOf(traceId, 'deliver webhook');
    expect(chain.map(({ service, name }) => `${service}: ${name}`)).toEqual([
      'fieldtrack-api: POST /api/rpc/update_employee',
      'fieldtrack-api: POST',
      'fieldtrack-database: POST /rpc/update_employee',
      'fieldtrack-worker: deliver webhook',
    ]);
    expect(chain[0]).toMatchObject({ kind: server, parentSpanId: callersSpan });
    // Whose trace is not recorded has none, and its traceparent arrives once all the same.
    const unrecorded = randomUUID().replaceAll('-', '');
    await withKey(stack, key, '/rpc/update_employee', {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${unrecorded}-${callersSpan}-00` },
      body: JSON.stringify({ employee_id: gina.employeeId, changes: { employee_code: 'G-2' } }),
    });
    const [event] = await stack.admin<{ traceparent: string }[]>`
      select traceparent from public.events where payload ->> 'employee_code' = 'G-2'`;
    expect(event?.traceparent).toMatch(new RegExp(`^00-${unrecorded}-[0-9a-f]{16}-00$`));
  });

  test('late points of a phone: the function, its call of the database, the job and the webhook are one trace', async () => {
    const minutesAgo = readClock();
    const hans = await addEmployee(stack, admin, 'hans');
    const device = await hans.client.rpc('my_device_token', { name: 'phone' });
    await hans.client.rpc('check_in', { checked_in_at: minutesAgo(60), client_request_id: randomUUID() });
    await hans.client.rpc('check_out', { checked_out_at: minutesAgo(2), client_request_id: randomUUID() });
    await eventually('the first distance', async () => {
      const { data } = await hans.client.from('attendance_sessions').select('distance_status').single();
      return data?.distance_status === 'DONE';
    });
    const traceId = randomUUID().replaceAll('-', '');
    const { token } = device.data as { token: string };
    const place = (minutes: number, north: number) => ({
      type: 'Feature',
      geometry: { type: 'Point', coordinates: [14.5, 46 + north] },
      properties: { timestamp: minutesAgo(minutes) },
    });
    const response = await fetch(`${stack.url}/functions/v1/ingest/overland/${token}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${callersSpan}-01` },
      body: JSON.stringify({ locations: [place(40, 0), place(20, 0.02)] }),
    });
    expect(response.status).toBe(200);
    await eventually('five spans', async () => chainOf(traceId, 'deliver webhook').length >= 5);
    expect(chainOf(traceId, 'deliver webhook').map(({ service, name }) => `${service}: ${name}`)).toEqual([
      'fieldtrack-ingest: POST /ingest/overland',
      'fieldtrack-ingest: private.ingest_locations',
      'fieldtrack-worker: process distance',
      'fieldtrack-worker: private.compute_session_distance',
      'fieldtrack-worker: deliver webhook',
    ]);
  });

  test('a request that is refused, or whose trace is not recorded, leaves no span', async () => {
    await spansAreWanted();
    const minutesAgo = readClock();
    const frank = await addEmployee(stack, admin, 'frank');
    const [refused, unrecorded] = [randomUUID(), randomUUID()].map((id) => id.replaceAll('-', ''));
    const nothing = { checked_out_at: minutesAgo(1), client_request_id: randomUUID() };
    expect((await rpcWithin(frank, `00-${refused}-${callersSpan}-01`, 'check_out', nothing)).status).toBe(409);
    const checkIn = { checked_in_at: minutesAgo(30), client_request_id: randomUUID() };
    expect((await rpcWithin(frank, `00-${unrecorded}-${callersSpan}-00`, 'check_in', checkIn)).status).toBe(200);
    expect(
      await stack.admin`select traceparent from public.events where traceparent like ${`00-${unrecorded}-%`}`,
    ).toEqual([{ traceparent: `00-${unrecorded}-${callersSpan}-00` }]);
    await eventually(
      'the spans were fetched',
      async () => (await stack.admin`select from private.request_spans`).length === 0,
    );
    expect(spans().filter(({ traceId }) => traceId === refused || traceId === unrecorded)).toEqual([]);
  });

  test('a request without a trace begins one at its job, and a traceparent that is malformed is none', async () => {
    const minutesAgo = readClock();
    const carol = await addEmployee(stack, admin, 'carol');
    await carol.client.rpc('check_in', { checked_in_at: minutesAgo(30), client_request_id: randomUUID() });
    const before = spans().length;
    const out = { checked_out_at: minutesAgo(1), client_request_id: randomUUID() };
    expect((await rpcWithin(carol, 'not-a-trace; drop table', 'check_out', out)).status).toBe(200);
    await eventually('a span of its own', async () =>
      spans()
        .slice(before)
        .some(({ name, parentSpanId }) => name === 'process distance' && !parentSpanId),
    );
  });

  test('without a collector the caller’s trace still reaches the webhook, and one that is away costs nothing', async () => {
    for (const env of [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }]) {
      const other = await startTestStack({ worker: true, workerEnv: env });
      try {
        const founded = await foundOrganization(other, 'other');
        await other.admin`update private.webhook_settings set allow_localhost = true`;
        await founded.admin.client.rpc('create_webhook', { url: endpoint.url, events: ['session.checked_out'] });
        const eve = await addEmployee(other, founded.admin, 'eve');
        const traceId = randomUUID().replaceAll('-', '');
        await other.admin.begin(async (trx) => {
          await trx`select set_config('request.headers',
            ${JSON.stringify({ traceparent: `00-${traceId}-b7ad6b7169203331-01` })}, true)`;
          await trx`insert into public.attendance_sessions (organization_id, employee_id, checked_in_at)
            values (${founded.organizationId}, ${eve.employeeId}, now() - interval '1 hour')`;
          await trx`select private.close_session(${founded.organizationId}, ${eve.employeeId}, now(), 'ADMIN',
            'session.force_checked_out', null)`;
        });
        await eventually('delivered within the trace', async () =>
          endpoint.received.some(({ headers }) => headers.traceparent?.includes(traceId)),
        );
        await eventually('distance done', async () => {
          const [row] = await other.admin`select distance_status from public.attendance_sessions`;
          return row?.distance_status === 'DONE';
        });
        const began = performance.now();
        await other.stop();
        expect(performance.now() - began).toBeLessThan(8000);
        const log = other.lines.filter(({ part }) => part === 'worker').map(({ line }) => line);
        expect(log.filter((line) => /"level":"(error|fatal)"/.test(line))).toEqual([]);
      } catch (error) {
        await other.stop().catch(() => {});
        throw error;
      }
    }
  });
});

test('no log line and no span of worker or functions holds a token, a key, a secret, a position or an address', async () => {
  const secrets: Record<string, string> = {
    'access token': admin.accessToken,
    'secret key': stack.secretKey,
    'publishable key': stack.publishableKey,
    'webhook secret': webhookSecret,
    'query of an endpoint': 'query-secret-value',
    'operators’ token': 'operators-only-token',
    'another token': 'guessed-operator-token',
    'job payload': 'do-not-log-this-payload',
    'what an endpoint answers': 'endpoint-answers-secretly',
    'role password': new URL(stack.database.url('fieldtrack_worker')).password,
    'e-mail address': '@example.test',
    latitude: '46.0517',
    longitude: '14.5063',
    phone: '+38640111222',
    name: 'Zvonimir Unmistakable',
  };
  const dave = await addEmployee(stack, admin, 'dave');
  const changes = { name: secrets.name ?? '', phone: secrets.phone ?? '' };
  expect((await admin.client.rpc('update_employee', { employee_id: dave.employeeId, changes })).error).toBeNull();
  endpoint.answers.set('/hook?key=query-secret-value', (_, response) =>
    response.writeHead(500).end('endpoint-answers-secretly'),
  );

  // Jobs: done, invalid, and failed with a message of PostgreSQL that quotes the row.
  await stack.admin`select private.enqueue('distance', '{"email": "do-not-log-this-payload"}', 'garbage')`;
  await stack.admin`create function private.tg_test__leak() returns trigger language plpgsql set search_path = '' as $$
    begin raise exception 'row of Zvonimir Unmistakable at 46.0517, 14.5063 (+38640111222)' using detail = new::text; end $$`;
  await stack.admin`create trigger leak before insert on public.session_days
    for each row execute function private.tg_test__leak()`;
  const minutesAgo = readClock();
  const failing = await workAnHour(dave, minutesAgo);
  await dave.client.rpc('record_locations', {
    session_id: failing,
    points: [{ recorded_at: minutesAgo(10), latitude: 46.0517, longitude: 14.5063 }],
  });
  await eventually('a failed job', async () => linesOf('worker').some((line) => line.includes('job failed')));
  await stack.admin`drop trigger leak on public.session_days`;
  await stack.admin`drop function private.tg_test__leak()`;
  await eventually('a failed delivery', async () =>
    linesOf('worker').some((line) => line.includes('webhook attempt') && line.includes('"status":500')),
  );

  // The pages, with tokens where they belong and where they do not.
  const url = /"url":"(http:[^"]+)"/.exec(linesOf('worker').join('\n'))?.[1];
  await fetch(`${url}/internal/queues`, { headers: { authorization: 'Bearer guessed-operator-token' } });
  await fetch(`${url}/internal/queues?token=operators-only-token`);
  await stack.admin`revoke execute on function private.metric_samples() from fieldtrack_worker`;
  await fetch(`${url}/metrics`);
  await stack.admin`grant execute on function private.metric_samples() to fieldtrack_worker`;

  // Functions: a key that is wrong, a token where a key belongs, a body with everything.
  for (const key of [stack.secretKey, admin.accessToken, `ft_live_${'a'.repeat(20)}`]) {
    await withKey(stack, key, '/rpc/record_locations', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...changes, latitude: 46.0517, longitude: 14.5063, email: admin.email }),
    });
  }
  await fetch(`${stack.url}/functions/v1/hello?email=someone@example.test&token=${admin.accessToken}`, {
    headers: { authorization: `Bearer ${admin.accessToken}` },
  });

  // Addresses that hold secrets: Deno writes addresses into its spans, if nobody stops it.
  const device = await dave.client.rpc('my_device_token', { name: 'phone' });
  secrets['device token'] = (device.data as { token: string }).token;
  const ticket = await admin.client.rpc('create_stream_ticket');
  secrets.ticket = (ticket.data as { ticket: string }).ticket;
  const { key } = await createKey(admin, organizationId, ['employees:read']);
  secrets['API key'] = key;
  const before = spans().length;
  const reported = await Promise.all([
    fetch(
      `${stack.url}/functions/v1/ingest/osmand/${secrets['device token']}?lat=46.0517&lon=14.5063&timestamp=${Date.now()}`,
    ),
    fetch(`${stack.url}/functions/v1/ingest/osmand?id=${secrets['device token']}&lat=46.0517&lon=14.5063`),
    withKey(stack, key, `/employees?name=eq.${encodeURIComponent(secrets.name ?? '')}&phone=eq.%2B38640111222`),
  ]);
  expect(reported.map(({ status }) => status)).toEqual([200, 200, 200]);
  const stream = await fetch(`${stack.url}/functions/v1/admin-events?ticket=${secrets.ticket}`);
  expect(stream.status).toBe(200);
  await stream.body?.cancel();
  await eventually('spans of all functions', async () =>
    ['fieldtrack-api', 'fieldtrack-ingest', 'fieldtrack-admin-events'].every((name) =>
      spans()
        .slice(before)
        .some(({ service }) => service === name),
    ),
  );

  // A worker that cannot log in: the library's own error holds the connection.
  const broken = new URL(stack.database.url('fieldtrack_worker'));
  broken.password = 'wrong-password-typed';
  const failed = spawnWorker({ DATABASE_URL: broken.href, LOG_LEVEL: 'trace' });
  await failed.ended;

  await eventually('the functions logged', async () => stack.lines.some(({ part }) => part === 'api'));
  const log = [
    ...stack.lines.map(({ part, line }) => `${part}: ${line}`),
    ...failed.lines,
    ...collector.received.map(({ path, body }) => `${path}: ${body}`),
  ];
  expect(log.length).toBeGreaterThan(10);
  for (const [what, secret] of Object.entries({ ...secrets, 'typed password': 'wrong-password-typed' })) {
    expect(
      log.filter((line) => line.includes(secret)),
      what,
    ).toEqual([]);
  }
});

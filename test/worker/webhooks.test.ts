import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { npmBinary } from '../../supabase/local/binaries.ts';
import { freePort } from '../../supabase/local/free-port.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { type EventType, eventPayloads } from '../../types/events.ts';
import { addEmployee, eventually, foundOrganization, type Member, workAnHour } from '../fixtures/organization.ts';
import { type Received, type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

const page = readFileSync(join(repositoryDir, 'docs', 'webhooks.md'), 'utf8');

let stack: TestStack;
let receiver: Receiver;
let admin: Member;

beforeAll(async () => {
  receiver = await startReceiver();
  stack = await startTestStack({ worker: true });
  await stack.admin`update private.webhook_settings set allow_localhost = true`;
  ({ admin } = await foundOrganization(stack, 'acme'));
});
afterAll(async () => {
  // First: what hangs at the receiver would hold the worker's stop.
  await receiver?.stop();
  await stack?.stop();
});

async function createWebhook(path: string, events: string[]): Promise<{ id: string; secret: string }> {
  const { data, error } = await admin.client.rpc('create_webhook', { url: receiver.url + path, events });
  if (error) throw error;
  return data as { id: string; secret: string };
}

const arrived = (path: string): Received[] => receiver.received.filter((request) => request.path === path);

/** One test event at a webhook; answers its delivery's id. */
async function sendTest(webhookId: string): Promise<string> {
  const { data, error } = await admin.client.rpc('test_webhook', { webhook_id: webhookId });
  if (error) throw error;
  return data.id;
}

const deliveryOf = async (id: string) => {
  const { data, error } = await admin.client.from('webhook_deliveries').select().eq('id', id).single();
  if (error) throw error;
  return data;
};

describe('webhooks', () => {
  test('an event arrives with its payload, signed so that standardwebhooks verifies it', async () => {
    const { id, secret } = await createWebhook('/verified', ['employee.created']);
    await addEmployee(stack, admin, 'bob');
    await eventually('the event arrives', async () => arrived('/verified').length === 1);
    const [request] = arrived('/verified');
    expect(request?.headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'FieldTrack-Webhooks/1',
    });
    const verified = new Webhook(secret).verify(request?.body ?? '', request?.headers ?? {}) as {
      type: EventType;
      timestamp: string;
      data: object;
    };
    expect(Object.keys(verified)).toEqual(['type', 'timestamp', 'id', 'organization_id', 'actor', 'data']);
    // One receiver of two organizations tells them apart, and finds the event in the log.
    const { data: event } = await admin.client
      .from('events')
      .select('epoch,xact,id,organization_id,actor_type,actor_id')
      .eq('type', 'employee.created')
      .order('id', { ascending: false })
      .limit(1)
      .single();
    expect(verified).toMatchObject({
      id: `${event?.epoch}.${event?.xact}.${event?.id}`,
      organization_id: event?.organization_id,
      actor: { type: event?.actor_type, id: event?.actor_id },
    });
    expect(verified.type).toBe('employee.created');
    expect(eventPayloads['employee.created'].parse(verified.data)).toMatchObject({ name: 'bob' });
    await eventually('it is recorded', async () => {
      const { data } = await admin.client.from('webhook_deliveries').select().eq('webhook_id', id);
      return data?.[0]?.state === 'DELIVERED';
    });
    const delivery = await deliveryOf(request?.headers['webhook-id'] ?? '');
    expect(delivery).toMatchObject({ attempts: 1, last_status: 204, last_error: null });
    const { data: attempts } = await admin.client.from('webhook_attempts').select().eq('delivery_id', delivery.id);
    expect(attempts).toMatchObject([{ number: 1, status: 204, error: null, response: null }]);
  });

  test('a test goes to its own webhook only, even past one that wants everything', async () => {
    const all = await createWebhook('/all', ['*']);
    const own = await createWebhook('/own', ['expense.approved']);
    await sendTest(own.id);
    await eventually('the test arrives', async () => arrived('/own').length === 1);
    expect(JSON.parse(arrived('/own')[0]?.body ?? '')).toMatchObject({
      type: 'webhook.test',
      data: { webhook_id: own.id },
    });
    expect(arrived('/all')).toHaveLength(0);
    const { error } = await admin.client.from('webhooks').delete().eq('id', all.id);
    expect(error).toBeNull();
  });

  /** What time would bring about: waits are over, a circuit may be tried again. */
  const timePasses = async (webhookId: string): Promise<void> => {
    await stack.admin`update public.webhook_deliveries set next_attempt_at = now()
      where webhook_id = ${webhookId} and state = 'PENDING'`;
    await stack.admin`update public.webhook_circuits set paused_until = null where webhook_id = ${webhookId}`;
  };

  test('500 for a while: tried again under the same id with a new time, and with both secrets after a rotation', async () => {
    const { id, secret } = await createWebhook('/failing', ['expense.approved']);
    receiver.answers.set('/failing', (_request, response) => {
      response.writeHead(arrived('/failing').length <= 2 ? 500 : 200).end('out of order');
    });
    const deliveryId = await sendTest(id);
    for (const attempts of [1, 2]) {
      await eventually(`attempt ${attempts}`, async () => (await deliveryOf(deliveryId)).attempts === attempts);
      const { state, last_status, last_error } = await deliveryOf(deliveryId);
      expect({ state, last_status, last_error }).toEqual({ state: 'PENDING', last_status: 500, last_error: 'status' });
      if (attempts === 2) await stack.admin`select pg_sleep(1.1)`;
      if (attempts === 2)
        expect((await admin.client.rpc('rotate_webhook_secret', { webhook_id: id })).error).toBeNull();
      await timePasses(id);
    }
    await eventually('delivered', async () => (await deliveryOf(deliveryId)).state === 'DELIVERED');
    const requests = arrived('/failing');
    expect(requests).toHaveLength(3);
    expect(new Set(requests.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([deliveryId]));
    expect(new Set(requests.map(({ body }) => body)).size).toBe(1);
    expect(requests[2]?.headers['webhook-timestamp']).not.toBe(requests[0]?.headers['webhook-timestamp']);
    expect(requests.map(({ headers }) => headers['webhook-signature']?.split(' ').length)).toEqual([1, 1, 2]);
    // The receiver has not changed its secret yet.
    for (const { body, headers } of requests) new Webhook(secret).verify(body, headers);
    const { data: attempts } = await admin.client
      .from('webhook_attempts')
      .select('number, status, error, response')
      .eq('delivery_id', deliveryId)
      .order('number');
    expect(attempts).toEqual([
      { number: 1, status: 500, error: 'status', response: 'out of order' },
      { number: 2, status: 500, error: 'status', response: 'out of order' },
      { number: 3, status: 200, error: null, response: 'out of order' },
    ]);
  });

  test('410 disables at once, others are told, and what waits is sent when it is taken back', async () => {
    const gone = await createWebhook('/gone', ['employee.created']);
    const watching = await createWebhook('/watching', ['webhook.disabled']);
    receiver.answers.set('/gone', (_request, response) => {
      response.writeHead(410).end();
    });
    const deliveryId = await sendTest(gone.id);
    await eventually('others are told', async () => arrived('/watching').length === 1);
    const told = JSON.parse(arrived('/watching')[0]?.body ?? '') as { type: EventType; data: unknown };
    expect(told.type).toBe('webhook.disabled');
    expect(eventPayloads['webhook.disabled'].parse(told.data)).toMatchObject({ webhook_id: gone.id, reason: 'GONE' });
    const { data: webhook } = await admin.client.from('webhooks').select().eq('id', gone.id).single();
    expect(webhook).toMatchObject({ is_active: true, disabled_reason: 'GONE' });
    await timePasses(gone.id);
    receiver.answers.delete('/gone');
    await admin.client.rpc('update_webhook', { webhook_id: gone.id, changes: { is_active: true } });
    await eventually('sent', async () => (await deliveryOf(deliveryId)).state === 'DELIVERED');
    await admin.client.from('webhooks').delete().eq('id', watching.id);
  });

  test('an endpoint that hangs delays no other, of its own organization or another', async () => {
    const hanging = await createWebhook('/hanging', ['expense.approved']);
    const quick = await createWebhook('/quick', ['expense.approved']);
    receiver.answers.set('/hanging', () => {});
    await stack.admin`
      select private.emit_event(organization_id, 'expense.approved', 'expense', gen_random_uuid(), null, '{}')
      from public.webhooks, generate_series(1, 30) where id = ${quick.id}`;
    const began = performance.now();
    await eventually('thirty arrive', async () => arrived('/quick').length === 30, 8000);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(arrived('/hanging')).toHaveLength(1);
    await admin.client.from('webhooks').delete().eq('id', hanging.id);
  });

  test('two hundred endpoints that hang, of ten organizations, leave the others what is left of the sockets', async () => {
    receiver.answers.set('/silent', () => {});
    const quick = await createWebhook('/lively', ['expense.approved']);
    await stack.admin`
      with organization as (
        insert into public.organizations (name, slug, time_zone, currency)
        select 'Silent', 'silent-' || i, 'UTC', 'EUR' from generate_series(1, 10) as i returning id
      ),
      hook as (
        insert into public.webhooks (organization_id, url, events)
        select o.id, ${`${receiver.url}/silent`}, '{*}' from organization as o, generate_series(1, 20)
        returning organization_id, id
      ),
      circuit as (
        insert into public.webhook_circuits (organization_id, webhook_id) select h.organization_id, h.id from hook as h
      )
      select private.new_webhook_secret(h.organization_id, h.id) from hook as h`;
    await stack.admin`
      select private.emit_event(id, 'expense.approved', 'expense', gen_random_uuid(), null, '{}')
      from public.organizations where slug like 'silent-%'`;
    await eventually('all of them hang', async () => arrived('/silent').length === 200, 5000);
    const began = performance.now();
    const deliveryId = await sendTest(quick.id);
    await eventually('the lively one', async () => (await deliveryOf(deliveryId)).state === 'DELIVERED', 8000);
    // Not when the first of them has used up its ten seconds.
    expect(performance.now() - began).toBeLessThan(3000);
    await stack.admin`delete from public.organizations where slug like 'silent-%'`;
    await admin.client.from('webhooks').delete().eq('id', quick.id);
  });

  test('a webhook that is deleted while its delivery is under way leaves nothing, and the sender goes on', async () => {
    const { id } = await createWebhook('/deleted', ['expense.approved']);
    let release = () => {};
    receiver.answers.set('/deleted', (_request, response) => {
      release = () => response.writeHead(204).end();
    });
    await sendTest(id);
    await eventually('under way', async () => arrived('/deleted').length === 1);
    expect((await admin.client.from('webhooks').delete().eq('id', id)).error).toBeNull();
    release();
    const next = await createWebhook('/next', ['expense.approved']);
    const deliveryId = await sendTest(next.id);
    await eventually('the next one', async () => (await deliveryOf(deliveryId)).state === 'DELIVERED');
  });

  test('what happens while a webhook is being deleted goes through', async () => {
    const { id } = await createWebhook('/going', ['employee.created']);
    const deleted = await stack.admin.begin(async (trx) => {
      const [holder] = await trx<{ pid: number }[]>`
        delete from public.webhooks where id = ${id} returning pg_backend_pid() as pid`;
      // Under way for as long as there are deliveries to delete with it.
      const invited = admin.client
        .rpc('invite_employee', { email: 'late@example.test', name: 'Late' })
        .then((it) => it);
      await eventually('the invitation waits for the deletion', async () => {
        const waiting = await stack.admin`
          select from pg_stat_activity where ${holder?.pid ?? 0} = any (pg_blocking_pids(pid))`;
        return waiting.length === 1;
      });
      return { invited };
    });
    expect((await deleted.invited).error).toBeNull();
  });

  test('a job that dies becomes a retry intent, and its replay does the work', async () => {
    const carol = await addEmployee(stack, admin, 'carol');
    await stack.admin`update pgboss.queue set retry_limit = 0 where name = 'distance'`;
    await stack.admin`revoke insert on public.session_days from fieldtrack_worker`;
    let sessionId = '';
    try {
      sessionId = await workAnHour(carol);
      await eventually('the intent', async () => {
        const { data } = await admin.client.from('retry_intents').select();
        return data?.[0]?.reason === 'error 42501';
      });
    } finally {
      await stack.admin`grant insert (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
        on public.session_days to fieldtrack_worker`;
    }
    const session = async () => {
      const { data } = await admin.client.from('attendance_sessions').select().eq('id', sessionId).single();
      return data;
    };
    expect(await session()).toMatchObject({ distance_status: 'FAILED', distance_m: null });
    const { data, error } = await admin.client.rpc('replay_retry_intents', { queue: 'distance' });
    expect({ data, error }).toEqual({ data: { replayed: 1, left: 0 }, error: null });
    await eventually('DONE', async () => (await session())?.distance_status === 'DONE');
    expect((await session())?.distance_m).toBeGreaterThan(30_000);
  });

  test("a stranger's receiver, as docs/webhooks.md shows it, verifies what it gets", async () => {
    const [, snippet = ''] = /```js\n([\s\S]+?)```/.exec(page) ?? [];
    // Beside our modules, so that its imports are found as in a project that installed them.
    const folder = mkdtempSync(join(repositoryDir, '.local-receiver-'));
    writeFileSync(join(folder, 'receiver.mjs'), snippet);
    const port = await freePort();
    const { data } = await admin.client.rpc('create_webhook', { url: `http://localhost:${port}/`, events: ['*'] });
    const { id, secret } = data as { id: string; secret: string };
    const child = spawn(npmBinary('node'), [join(folder, 'receiver.mjs')], {
      env: { PATH: process.env.PATH ?? '', PORT: String(port), WEBHOOK_SECRET: secret },
    });
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk;
    });
    try {
      await eventually('it listens', async () => {
        const answer = await fetch(`http://localhost:${port}/`, { method: 'POST', body: '{"forged":true}' }).catch(
          () => null,
        );
        return answer?.status === 401;
      });
      const deliveryId = await sendTest(id);
      await eventually('delivered', async () => (await deliveryOf(deliveryId)).state === 'DELIVERED');
      expect(printed).toContain(`${deliveryId} webhook.test`);
      expect(printed).not.toContain('forged');
    } finally {
      child.kill();
      rmSync(folder, { recursive: true });
      await admin.client.from('webhooks').delete().eq('id', id);
    }
  });

  test('types/events.ts, the database and docs/webhooks.md list the same types of events', async () => {
    const [row] = await stack.admin<{ types: string[] }[]>`select private.event_types() as types`;
    const types = Object.keys(eventPayloads).sort();
    expect([...(row?.types ?? [])].sort()).toEqual(types);
    const rows = [...page.matchAll(/^\| ([a-z_]+\.[a-z_]+(?:, [a-z_]+\.[a-z_]+)*) \| /gm)];
    const listed = rows.flatMap(([, types = '']) => types.split(', '));
    expect(listed.sort()).toEqual(types);
  });
});

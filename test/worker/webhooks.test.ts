import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EventType, eventPayloads } from '../../types/events.ts';
import { addEmployee, eventually, foundOrganization, type Member } from '../fixtures/organization.ts';
import { type Received, type Receiver, startReceiver } from '../fixtures/receiver.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

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
  await stack?.stop();
  await receiver?.stop();
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
    expect(Object.keys(verified)).toEqual(['type', 'timestamp', 'data']);
    expect(verified.type).toBe('employee.created');
    expect(eventPayloads['employee.created'].parse(verified.data)).toMatchObject({ name: 'bob' });
    await eventually('it is recorded', async () => {
      const { data } = await admin.client.from('webhook_deliveries').select().eq('webhook_id', id);
      return data?.[0]?.state === 'DELIVERED';
    });
    const delivery = await deliveryOf(request?.headers['webhook-id'] ?? '');
    expect(delivery).toMatchObject({ attempts: 1, last_status: 204, last_error: null, lease: null });
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
});

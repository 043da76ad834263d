import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { meet } from '../fixtures/overtaking.ts';

let database: TestDatabase;
let administrator: postgres.Sql;
let worker: postgres.Sql;
let gate: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  administrator = postgres(database.url('postgres'), { max: 1 });
  worker = postgres(database.url('fieldtrack_worker'), { max: 1 });
  gate = postgres(database.url('postgres'), { max: 1 });
});
afterAll(async () => {
  await Promise.all([administrator?.end(), worker?.end(), gate?.end()]);
  await database?.drop();
});

test('A webhook that is deleted while a failure of it is recorded: the recording finds nothing, and nobody deadlocks', async () => {
  const owner = database.sql('postgres');
  const [{ organizationId } = { organizationId: '' }] = await owner<{ organizationId: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR')
    returning id as "organizationId"`;
  const [{ webhookId } = { webhookId: '' }] = await owner<{ webhookId: string }[]>`
    insert into public.webhooks (organization_id, url, events)
    values (${organizationId}, 'https://hooks.example.test/', '{*}') returning id as "webhookId"`;
  await owner`insert into public.webhook_circuits (organization_id, webhook_id) values (${organizationId}, ${webhookId})`;
  await owner`select private.emit_event(${organizationId}, 'expense.approved', 'expense', ${randomUUID()}, null, '{}')`;
  const [claimed] = await worker`
    select organization_id, webhook_id, delivery_id, lease from private.claim_webhook_deliveries(10, 30)`;
  expect(claimed).toMatchObject({ webhook_id: webhookId });
  const outcomes = [{ ...claimed, duration_ms: 5, status: 500, error: 'status', response: null, retry_after_s: null }];

  // The circuit is held, so that the deletion has the webhook and not yet what hangs on it.
  const [deletion, recording] = await meet(
    owner,
    [gate, () => gate`select from public.webhook_circuits where webhook_id = ${webhookId} for update`],
    [administrator, () => administrator`delete from public.webhooks where id = ${webhookId}`],
    [
      worker,
      () => worker<{ recorded: number }[]>`
      select private.record_webhook_attempts(${JSON.stringify(outcomes)}::text::jsonb) as recorded`,
    ],
  );
  expect(deletion.count).toBe(1);
  expect(recording).toEqual([{ recorded: 0 }]);
});

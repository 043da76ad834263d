import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EventType, eventPayloads } from '../../types/events.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { readClock } from '../fixtures/organization.ts';

// The triggers write what types/events.ts says: every change that counts is played, and every payload is parsed strictly.

let database: TestDatabase;
let organizationId: string;
const userIds = { ada: randomUUID(), eva: randomUUID() };

beforeAll(async () => {
  database = await createTestDatabase();
  for (const [name, id] of Object.entries(userIds)) {
    await database.sql('supabase_admin')`
      insert into auth.users (id, email, email_confirmed_at) values (${id}, ${`${name}@example.test`}, now())
    `;
  }
});
afterAll(() => database?.drop());

/** One call as PostgREST makes it for a signed-in person; answers the function's result. */
async function as(
  person: keyof typeof userIds,
  call: (sql: postgres.TransactionSql) => postgres.PendingQuery<postgres.Row[]>,
) {
  const claims = JSON.stringify({ role: 'authenticated', sub: userIds[person] });
  const headers = JSON.stringify({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
  const rows = await database.sql('authenticated').begin(async (sql) => {
    await sql`select set_config('request.jwt.claims', ${claims}, true), set_config('request.headers', ${headers}, true)`;
    return call(sql);
  });
  return rows[0]?.result;
}

test('every type of event is written in the shape of its contract', async () => {
  const minutesAgo = readClock();
  const organization = await as(
    'ada',
    (sql) => sql`select to_jsonb(public.create_organization('Acme', 'acme', 'Europe/Ljubljana')) as result`,
  );
  organizationId = organization.id;
  const invited = await as('ada', (sql) => sql`select public.invite_employee('eva@example.test', 'Eva') as result`);
  await as('eva', (sql) => sql`select to_jsonb(public.accept_invitation(${invited.token})) as result`);
  const session = await as(
    'eva',
    (sql) => sql`
      select to_jsonb(public.check_in(${minutesAgo(60)}, ${randomUUID()}, latitude => 46.05, longitude => 14.5)) as result
    `,
  );
  const site = { name: 'Depot', latitude: 46.05, longitude: 14.5, radius_m: 100 };
  await as('ada', (sql) => sql`select public.create_site(${JSON.stringify(site)}::text::jsonb) as result`);
  const points = [40, 38, 30].map((minutes) => ({
    recorded_at: minutesAgo(minutes),
    latitude: 46.05,
    longitude: 14.5,
    accuracy_m: 5,
  }));
  await as('eva', (sql) => sql`select public.record_locations(${JSON.stringify(points)}::text::jsonb) as result`);
  await as('eva', (sql) => sql`select to_jsonb(public.check_out(${minutesAgo(5)}, ${randomUUID()})) as result`);
  await database.sql('fieldtrack_worker').begin(async (sql) => {
    await sql`select set_config('fieldtrack.organization_id', ${organizationId}, true)`;
    await sql`select private.compute_session_distance(${organizationId}, ${session.id})`;
  });
  await as(
    'ada',
    (sql) => sql`
      select to_jsonb(public.correct_session(${session.id}, ${minutesAgo(50)}, ${minutesAgo(10)}, 'wrong clock')) as result
    `,
  );
  // A day that comes late, before a session that is known: closed provisionally, then by its own check-out.
  const late = randomUUID();
  await as('eva', (sql) => sql`select to_jsonb(public.check_in(${minutesAgo(600)}, ${late})) as result`);
  await as(
    'eva',
    (sql) => sql`
      select to_jsonb(public.check_out(${minutesAgo(500)}, ${randomUUID()}, check_in_request_id => ${late})) as result
    `,
  );
  const long = await as(
    'ada',
    (sql) => sql`
      select to_jsonb(public.create_session(${invited.employee_id}, ${minutesAgo(3000)}, ${minutesAgo(1500)}, 'no phone')) as result
    `,
  );
  await as('ada', (sql) => sql`select to_jsonb(public.review_session(${long.id}, 'two shifts')) as result`);
  await as('ada', (sql) => sql`select to_jsonb(public.void_session(${long.id}, 'it was another')) as result`);
  for (const status of ['APPROVED', 'REJECTED']) {
    const asked = await as(
      'eva',
      (sql) => sql`
        select to_jsonb(public.request_correction('forgot', ${randomUUID()}, checked_in_at => ${minutesAgo(480)},
          checked_out_at => ${minutesAgo(470)})) as result
      `,
    );
    await as(
      'ada',
      (sql) => sql`select to_jsonb(public.review_correction(${asked.id}, ${status}, 'as agreed')) as result`,
    );
  }
  for (const status of ['APPROVED', 'REJECTED']) {
    const expense = await as(
      'eva',
      (sql) => sql`select to_jsonb(public.submit_expense(12.5, 'Taxi to the site', ${randomUUID()})) as result`,
    );
    await as(
      'ada',
      (sql) => sql`
        select to_jsonb(public.review_expense(${expense.id}, ${status}, comment => 'seen the receipt')) as result
      `,
    );
  }
  for (const [who, life] of Object.entries({
    eva: [`update_expense($1, '{"amount": 3}')`, 'withdraw_expense($1)'],
    ada: [
      `reopen_expense($1, 'By mistake.')`,
      `review_expense($1, 'APPROVED')`,
      'mark_expenses_paid(array[$1])',
      `undo_expense_payment(array[$1], 'By mistake.')`,
    ],
  })) {
    const claimed = await as(
      'eva',
      (sql) => sql`select to_jsonb(public.submit_expense(2, 'Parking at the site', ${randomUUID()})) as result`,
    );
    if (who === 'ada')
      await as('ada', (sql) => sql`select to_jsonb(public.review_expense(${claimed.id}, 'APPROVED')) as result`);
    for (const step of life) {
      await as(who as 'ada' | 'eva', (sql) =>
        sql.unsafe(`select to_jsonb(x) as result from public.${step.replace('$1', `'${claimed.id}'::uuid`)} as x`),
      );
    }
  }
  const changes = JSON.stringify({ name: 'Eva Novak', phone: '+386 1 234' });
  await as(
    'ada',
    (sql) => sql`select to_jsonb(public.update_employee(${invited.employee_id}, ${changes}::text::jsonb)) as result`,
  );
  await as('ada', (sql) => sql`select to_jsonb(public.set_employee_active(${invited.employee_id}, false)) as result`);
  const again = await as('ada', (sql) => sql`select public.invite_employee('eva@example.test') as result`);
  expect(again.employee_id, 'who comes back is the same employee').toBe(invited.employee_id);
  await as('eva', (sql) => sql`select to_jsonb(public.accept_invitation(${again.token})) as result`);
  // Unlocking is told, and so is a key whose maker is dismissed.
  for (const [lock, reason] of [
    ['2020-01-02', null],
    ['2020-01-01', 'By mistake.'],
  ] as const) {
    const locked = JSON.stringify({ locked_until: lock });
    await as(
      'ada',
      (sql) => sql`select to_jsonb(public.update_organization(${locked}::text::jsonb, ${reason})) as result`,
    );
  }
  const rights = (role: string) => JSON.stringify({ app_role: role });
  const setRole = (role: string) =>
    as(
      'ada',
      (sql) =>
        sql`select to_jsonb(public.update_employee(${invited.employee_id}, ${rights(role)}::text::jsonb)) as result`,
    );
  await setRole('ADMIN');
  await as('eva', (sql) => sql`select public.create_api_key('Hers', array['employees:read']) as result`);
  await setRole('EMPLOYEE');
  const team = await as('ada', (sql) => sql`select to_jsonb(public.create_team('North')) as result`);
  await as('ada', (sql) => sql`select public.set_team_manager(${team.id}, ${invited.employee_id})::text as result`);
  await as('ada', (sql) => sql`select public.delete_team(${team.id})::text as result`);
  await as('ada', (sql) => sql`select to_jsonb(public.update_organization('{"max_accuracy_m": 50}')) as result`);
  const device = await as('eva', (sql) => sql`select public.my_device_token() as result`);
  const state = { location: 'off', alarm: 'my own words', battery_saver: true };
  const told = JSON.stringify({ protocol: 'osmand', unreadable: { point_position_invalid: 12 }, state });
  const ahead = JSON.stringify([{ recorded_at: minutesAgo(-5), latitude: 46.05, longitude: 14.5 }]);
  await database.sql('fieldtrack_edge')`
    select private.ingest_locations(
      sha256(convert_to(${device.token}, 'UTF8')), ${ahead}::text::jsonb, ${told}::text::jsonb, null)`;

  const events = await database.sql('postgres')`
    select type, payload, actor_type, actor_id, subject_id, employee_id, traceparent from public.events order by id
  `;
  const played = new Set(events.map(({ type }) => type));
  for (const { type, payload } of events) {
    const shape = eventPayloads[type as EventType];
    expect(shape, `${type} has no contract in types/events.ts`).toBeDefined();
    expect(shape.safeParse(payload).error?.issues, `${type}: ${JSON.stringify(payload)}`).toBeUndefined();
  }
  // These come from elsewhere and are parsed where they are made.
  const elsewhere = new Set<string>(['consumer.dropped', 'webhook.disabled', 'webhook.test']);
  expect(Object.keys(eventPayloads).filter((type) => !played.has(type) && !elsewhere.has(type))).toEqual([]);

  const byType = new Map(events.map((event) => [event.type, event]));
  expect(events.find(({ type }) => type === 'session.checked_in')).toMatchObject({
    actor_type: 'employee',
    actor_id: invited.employee_id,
    subject_id: session.id,
    employee_id: invited.employee_id,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  });
  expect(byType.get('session.recalculated')).toMatchObject({ actor_type: 'worker', actor_id: null });
});

test('a change that is rolled back leaves no event, and a retry makes no second one', async () => {
  const at = readClock()(3);
  const count = async () => (await database.sql('postgres')`select count(*)::integer as n from public.events`)[0]?.n;
  const requestId = randomUUID();
  const checkIn = () =>
    as('eva', (sql) => sql`select to_jsonb(public.check_in(${at}, ${requestId})) as result`).then(
      (session) => session.id,
      (error: postgres.PostgresError) => JSON.parse(error.message).code,
    );
  const before = await count();
  await expect(
    database.sql('authenticated').begin(async (sql) => {
      const claims = JSON.stringify({ role: 'authenticated', sub: userIds.eva });
      await sql`select set_config('request.jwt.claims', ${claims}, true)`;
      await sql`select public.check_in(${at}, ${randomUUID()})`;
      throw new Error('the connection was lost');
    }),
  ).rejects.toThrow('the connection was lost');
  expect(await count()).toBe(before);
  await Promise.all([checkIn(), checkIn(), checkIn()]);
  expect(await count()).toBe(before + 1);
});

import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import { median } from '../quantile.ts';
import type { Section } from '../section.ts';
import { populate } from './reads/population.ts';

/** Calls of an administrator with an id in them, which is another organization's or nowhere; both are refused alike. */
const calls: Record<string, { ids: string; statement: string }> = {
  get_session_route: {
    ids: 'select id from public.attendance_sessions',
    statement: 'select public.get_session_route(session_id => $1)',
  },
  review_expense: {
    ids: 'select id from public.expenses',
    statement: `select public.review_expense(expense_id => $1, status => 'APPROVED')`,
  },
  update_employee: {
    ids: 'select id from public.employees',
    statement: `select public.update_employee(employee_id => $1, changes => '{"phone": "1"}')`,
  },
  update_webhook: {
    ids: 'select id from public.webhooks',
    statement: `select public.update_webhook(webhook_id => $1, changes => '{"is_active": true}')`,
  },
  retry_webhook_delivery: {
    ids: 'select id from public.webhook_deliveries',
    statement: 'select public.retry_webhook_delivery(delivery_id => $1)',
  },
  discard_retry_intent: {
    ids: 'select id from public.retry_intents',
    statement: 'select public.discard_retry_intent(retry_intent_id => $1)',
  },
};

const warmUpRounds = 50;

/** What test/security proves by counting rows, by the clock. */
export const existence: Section = {
  name: 'existence',
  question: 'Does time tell whether an id is that of a row of another organization?',
  async run(bench) {
    const database = await bench.createDatabase();
    const admin = database.sql('supabase_admin');
    const { organizationId } = await populate(database, { employees: 100, days: 20, pointsPerSession: 30 });
    await admin`insert into public.webhooks (organization_id, url, events)
      values (${organizationId}, 'https://hooks.example.test/', '{*}')`;
    await admin`select private.emit_event(${organizationId}, 'session.checked_in', 'session', gen_random_uuid(), null, '{}')
      from generate_series(1, 100)`;
    await admin`insert into public.retry_intents (organization_id, queue, payload, reason)
      select ${organizationId}, 'distance', jsonb_build_object('n', n), 'bench' from generate_series(1, 100) as n`;
    const outsider = await otherAdministrator(admin);
    await admin`analyze`;
    const authenticated = await database.sql('authenticated').reserve();
    const claims = JSON.stringify({ role: 'authenticated', sub: outsider });
    await authenticated`select set_config('request.jwt.claims', ${claims}, false)`;
    const rounds = bench.quick ? 200 : 2000;
    for (const [name, { ids, statement }] of Object.entries(calls)) {
      const foreign = await admin.unsafe<{ id: string }[]>(
        `${ids} where organization_id = '${organizationId}' limit 100`,
      );
      if (foreign.length === 0) throw new Error(`${name}: nothing to ask for`);
      const times: Record<'foreign' | 'nowhere', number[]> = { foreign: [], nowhere: [] };
      for (let round = -warmUpRounds; round < rounds; round += 1) {
        const pair = [
          ['foreign', foreign[(round + warmUpRounds) % foreign.length]?.id ?? ''],
          ['nowhere', randomUUID()],
        ] as const;
        // Now the one first, now the other: neither profits from its place.
        for (const [whose, id] of round % 2 ? pair : [...pair].reverse()) {
          const began = performance.now();
          const refused = await authenticated.unsafe(statement, [id], { prepare: true }).then(
            () => false,
            () => true,
          );
          if (!refused) throw new Error(`${name} was not refused`);
          if (round >= 0) times[whose].push((performance.now() - began) * 1000);
        }
      }
      const [theirs, none] = [median(times.foreign), median(times.nowhere)];
      bench.note(
        `${name}: ${theirs.toFixed(0)} us for another organization's id, ${none.toFixed(0)} us for one that is nowhere`,
      );
      bench.report({
        name: `${name}: median with another organization's id over one that is nowhere`,
        value: theirs / none,
        unit: 'ratio',
        goal: { atMost: 1.05 },
      });
    }
    authenticated.release();
  },
};

async function otherAdministrator(admin: postgres.Sql): Promise<string> {
  const [userId, organizationId] = [randomUUID(), randomUUID()];
  await admin`insert into auth.users (id, email, email_confirmed_at) values (${userId}, 'mallory@example.test', now())`;
  await admin`insert into public.organizations (id, name, slug, time_zone, currency)
    values (${organizationId}, 'Other', 'other', 'UTC', 'EUR')`;
  await admin`insert into public.employees (organization_id, user_id, name, app_role)
    values (${organizationId}, ${userId}, 'Mallory', 'ADMIN')`;
  return userId;
}

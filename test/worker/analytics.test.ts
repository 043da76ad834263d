// Daily figures under concurrency: whoever computes, waits, dies or comes twice, the day ends as the sum of what is committed.

import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { addEmployee, eventually, foundOrganization, workAnHour } from '../fixtures/organization.ts';
import { startTestStack } from '../fixtures/stack.ts';

describe('figures of a day', () => {
  const day = '2026-10-25';
  let database: TestDatabase;
  let owner: postgres.Sql;
  let worker: postgres.Sql;
  let acme: string;
  let bob: { id: string; userId: string };
  let carol: { id: string; userId: string };
  beforeAll(async () => {
    database = await createTestDatabase();
    owner = database.sql('supabase_admin');
    worker = database.sql('fieldtrack_worker');
  });
  afterAll(() => database?.drop());

  /** A fresh organization, so that no test reads what another one left. */
  beforeEach(async () => {
    await owner`delete from pgboss.job where true`;
    acme = randomUUID();
    await owner`insert into public.organizations (id, name, slug, time_zone, currency)
      values (${acme}, 'Acme', ${`acme-${acme.slice(0, 8)}`}, 'Europe/Ljubljana', 'EUR')`;
    const person = async (name: string) => {
      const [id, userId] = [randomUUID(), randomUUID()];
      await owner`insert into auth.users (id, email, email_confirmed_at)
        values (${userId}, ${`${userId}@example.test`}, now())`;
      await owner`insert into public.employees (organization_id, id, user_id, name)
        values (${acme}, ${id}, ${userId}, ${name})`;
      return { id, userId };
    };
    bob = await person('Bob');
    carol = await person('Carol');
  });

  /** A closed session of an hour with its session_days, as the distance job leaves it. */
  async function work(employeeId: string, hour: number, sql: postgres.Sql = owner): Promise<void> {
    const at = new Date(Date.parse(`${day}T00:00:00Z`) + hour * 3_600_000);
    const end = new Date(at.getTime() + 3_600_000);
    const [session] = await sql<{ id: string }[]>`insert into public.attendance_sessions
      (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
      values (${acme}, ${employeeId}, 'CLOSED', ${at}, ${end}, ${end}, 'EMPLOYEE') returning id`;
    await sql`insert into public.session_days
      (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
      values (${acme}, ${session?.id ?? ''}, ${day}, ${employeeId}, 'Europe/Ljubljana', ${at}, ${end}, 1000)`;
  }

  /** A transaction of the worker that is in the caller's hands, held to Acme. */
  async function begin(): Promise<postgres.ReservedSql> {
    const trx = await worker.reserve();
    await trx`begin`;
    await trx`select set_config('fieldtrack.organization_id', ${acme}, true)`;
    return trx;
  }

  async function end(trx: postgres.ReservedSql): Promise<void> {
    await trx`commit`;
    trx.release();
  }

  const employeeDay = (trx: postgres.Sql, employeeId: string) =>
    trx`select private.compute_employee_day(${acme}, ${employeeId}, ${day})`;
  const organizationDay = (trx: postgres.Sql) => trx`select private.compute_organization_day(${acme}, ${day})`;

  async function figures() {
    const [row] = await owner<{ employees: number; sessions: number; duration_s: number; distance_m: number }[]>`
      select employees, sessions, duration_s::int, distance_m::float8 from public.org_daily_metrics
      where organization_id = ${acme} and day = ${day}`;
    return row;
  }

  const isWaiting = async () => {
    const [row] = await owner<{ waiting: number }[]>`select count(*)::int as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    return (row?.waiting ?? 0) > 0;
  };

  const waitingJobs = () => owner<{ employee: string | null }[]>`
    select data ->> 'employee_id' as employee from pgboss.job where name = 'analytics' and state = 'created'`;

  /** All jobs that wait, and those that follow, until none is left. */
  async function workOff(): Promise<void> {
    for (;;) {
      const jobs = await owner<{ employee: string | null }[]>`delete from pgboss.job
        where name = 'analytics' and state = 'created' returning data ->> 'employee_id' as employee`;
      if (jobs.length === 0) return;
      for (const { employee } of jobs) {
        const trx = await begin();
        await (employee === null ? organizationDay(trx) : employeeDay(trx, employee));
        await end(trx);
      }
    }
  }

  /** The day's rows are there already, with something in them: a new row would be a lock by itself. */
  async function startTheDay(): Promise<void> {
    await work(bob.id, 4);
    await work(carol.id, 4);
    await workOff();
  }

  test('of two employee-days at once the second waits, and the organization has both', async () => {
    await startTheDay();
    await work(bob.id, 8);
    await work(carol.id, 9);
    await owner`delete from pgboss.job where true`;
    const first = await begin();
    await employeeDay(first, bob.id);
    const second = await begin();
    const waited = employeeDay(second, carol.id).execute();
    await eventually('the second waits for the first', isWaiting);
    await end(first);
    await waited;
    await end(second);
    // One job of the organization stands for both.
    expect(await waitingJobs()).toEqual([{ employee: null }]);
    await workOff();
    expect(await figures()).toEqual({ employees: 2, sessions: 4, duration_s: 14_400, distance_m: 4000 });
  });

  test('an organization-day that was fetched before an employee-day commits still has it', async () => {
    await startTheDay();
    await work(bob.id, 8);
    await owner`delete from pgboss.job where true`;
    const writer = await begin();
    await employeeDay(writer, bob.id);
    // Its job is in hand already, so the writer's own was dropped as a duplicate, or came too late: this run must not miss it.
    const reader = await begin();
    const read = organizationDay(reader).execute();
    await eventually('the reader waits for the writer', isWaiting);
    await end(writer);
    await read;
    await end(reader);
    expect(await figures()).toMatchObject({ sessions: 3 });
  });

  test('an employee-day that was fetched before the session that asked for it commits still has it', async () => {
    await startTheDay();
    await work(bob.id, 7);
    // That job waits; the next session asks for the same, and the job is fetched before it commits.
    const writer = await owner.reserve();
    await writer`begin`;
    await work(bob.id, 8, writer);
    expect(await waitingJobs()).toEqual([{ employee: bob.id }]);
    await owner`delete from pgboss.job where state = 'created'`;
    const reader = await begin();
    const read = employeeDay(reader, bob.id).execute();
    await eventually('the reader waits for the writer', isWaiting);
    await end(writer);
    await read;
    await end(reader);
    await workOff();
    expect(await figures()).toMatchObject({ sessions: 4 });
  });

  test('two runs of one organization-day at once end in the same figures', async () => {
    await work(bob.id, 8);
    await workOff();
    const first = await begin();
    await organizationDay(first);
    const second = await begin();
    const waited = organizationDay(second).execute();
    await eventually('the second waits', isWaiting);
    await end(first);
    await waited;
    await end(second);
    expect(await figures()).toEqual({ employees: 1, sessions: 1, duration_s: 3600, distance_m: 1000 });
  });

  test('a session that commits while its day is being computed is counted by the job that it enqueues', async () => {
    await work(bob.id, 8);
    await owner`delete from pgboss.job where true`;
    const running = await begin();
    await employeeDay(running, bob.id);
    const late = work(bob.id, 10);
    await eventually('the writer waits for the job', isWaiting);
    await end(running);
    await late;
    await workOff();
    expect(await figures()).toMatchObject({ sessions: 2, duration_s: 7200 });
  });

  test('a worker that dies before it commits leaves nothing, and the next run does all of it', async () => {
    await work(bob.id, 8);
    const dying = await begin();
    await employeeDay(dying, bob.id);
    const [self] = await dying<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await owner`select pg_terminate_backend(${self?.pid ?? 0})`;
    await eventually('gone', async () => {
      const rows = await owner`select 1 from pg_stat_activity where pid = ${self?.pid ?? 0}`;
      return rows.length === 0;
    });
    expect(await figures()).toBeUndefined();
    expect(await waitingJobs()).toEqual([{ employee: bob.id }]);
    await workOff();
    expect(await figures()).toMatchObject({ sessions: 1 });
  });

  test('two people of one organization submit on one day without waiting for each other', async () => {
    const submit = (userId: string) => async (trx: postgres.TransactionSql) => {
      await trx`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: userId })}, true),
        set_config('role', 'authenticated', true)`;
      await trx`select public.submit_expense(5, 'Parking', gen_random_uuid())`;
    };
    await database.sql('postgres').begin(async (first) => {
      await submit(bob.userId)(first);
      await database.sql('postgres').begin(async (second) => {
        await second`set local lock_timeout = '500ms'`;
        await submit(carol.userId)(second);
      });
    });
    expect(await waitingJobs()).toHaveLength(2);
  });

  test('a job that names another organization than it is held to changes nothing', async () => {
    const other = randomUUID();
    await owner`insert into public.organizations (id, name, slug, time_zone, currency)
      values (${other}, 'Other', ${`other-${other.slice(0, 8)}`}, 'UTC', 'EUR')`;
    await work(bob.id, 8);
    await owner`delete from pgboss.job where true`;
    const outcome = await worker.begin(async (trx) => {
      await trx`select set_config('fieldtrack.organization_id', ${other}, true)`;
      const [row] = await trx<{ employee: string; organization: string }[]>`
        select private.compute_employee_day(${acme}, ${bob.id}, ${day}) as employee,
          private.compute_organization_day(${acme}, ${day}) as organization`;
      return row;
    });
    expect(outcome).toEqual({ employee: 'gone', organization: 'gone' });
    expect(await figures()).toBeUndefined();
  });
});

test('a check-out and an expense are in the figures that the administrator reads a moment later', async () => {
  const stack = await startTestStack({ worker: true });
  try {
    const { admin } = await foundOrganization(stack, 'acme');
    const bob = await addEmployee(stack, admin, 'bob');
    await workAnHour(bob);
    const submitted = await bob.client.rpc('submit_expense', {
      amount: 12.5,
      description: 'Parking',
      client_request_id: randomUUID(),
    });
    expect(submitted.error).toBeNull();
    const total = async () => {
      const { data } = await admin.client
        .from('org_daily_metrics')
        .select('sessions, distance_m, duration_s, expenses_pending');
      return (data ?? []).reduce(
        (sum, row) => ({
          sessions: sum.sessions + row.sessions,
          distance_m: sum.distance_m + row.distance_m,
          duration_s: sum.duration_s + row.duration_s,
          expenses: sum.expenses + row.expenses_pending,
        }),
        { sessions: 0, distance_m: 0, duration_s: 0, expenses: 0 },
      );
    };
    await eventually('a session and an expense', async () => {
      const { sessions, expenses } = await total();
      return sessions === 1 && expenses === 1;
    });
    const { data: session } = await admin.client.from('attendance_sessions').select().single();
    expect(await total()).toMatchObject({ distance_m: session?.distance_m, duration_s: session?.duration_s });
  } finally {
    await stack.stop();
  }
});

import fc from 'fast-check';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

// Writers interleave: slow ones, ones that roll back, ones whose connection dies. Readers come and go with them, and some die
// after they have read. Whatever happens, each consumer sees every committed event, once, in one order.

let database: TestDatabase;
let organizationId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  const [organization] = await database.sql('postgres')<{ id: string }[]>`
    insert into public.organizations (name, slug, time_zone, currency) values ('Acme', 'acme', 'UTC', 'EUR') returning id
  `;
  if (!organization) throw new Error('no organization');
  organizationId = organization.id;
});
afterAll(() => database?.drop());

type Step =
  | { kind: 'begin' | 'commit' | 'rollback' | 'crash'; writer: number }
  | { kind: 'write'; writer: number; events: number }
  | { kind: 'read'; consumer: number; limit: number; ending: 'commit' | 'rollback' | 'crash' };

const writers = 4;
const consumers = ['first', 'second', 'third'];

const writer = fc.nat(writers - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('begin' as const), writer }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('write' as const), writer, events: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const), writer }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('rollback' as const, 'crash' as const), writer }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      consumer: fc.nat(consumers.length - 1),
      limit: fc.integer({ min: 1, max: 7 }),
      ending: fc.constantFrom(
        'commit' as const,
        'commit' as const,
        'commit' as const,
        'rollback' as const,
        'crash' as const,
      ),
    }),
  },
);

/** One connection with at most one open transaction; a crash is a backend that is terminated. */
class Session {
  #sql: postgres.Sql | undefined;
  #isOpen = false;

  async begin(): Promise<postgres.Sql> {
    this.#sql ??= postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
    if (!this.#isOpen) await this.#sql`begin`;
    this.#isOpen = true;
    return this.#sql;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async end(how: 'commit' | 'rollback' | 'crash'): Promise<void> {
    const sql = this.#sql;
    if (!sql || !this.#isOpen) return;
    this.#isOpen = false;
    if (how === 'commit') await sql`commit`;
    else if (how === 'rollback') await sql`rollback`;
    else {
      const [backend] = await sql`select pg_backend_pid() as pid`;
      await database.sql('supabase_admin')`select pg_terminate_backend(${backend?.pid}, 5000)`;
      await this.close();
    }
  }

  async close(): Promise<void> {
    await this.#sql?.end({ timeout: 1 }).catch(() => {});
    this.#sql = undefined;
    this.#isOpen = false;
  }
}

test('every consumer sees every committed event once and in one order, whatever writers and readers do', async () => {
  const admin = database.sql('postgres');
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      await admin`delete from private.event_consumers where true`;
      for (const name of consumers) await admin`select private.register_event_consumer(${name})`;
      const seen: string[][] = consumers.map(() => []);
      const sessions = Array.from({ length: writers }, () => new Session());
      const written = new Map<Session, string[]>();
      const committed: string[] = [];

      for (const one of steps) {
        if (one.kind === 'read') {
          const session = new Session();
          const sql = await session.begin();
          const rows = await sql<{ id: string }[]>`
            select id from private.read_events(${consumers[one.consumer] ?? ''}, ${one.limit})
          `;
          await session.end(one.ending);
          await session.close();
          if (one.ending === 'commit') seen[one.consumer]?.push(...rows.map(({ id }) => id));
          continue;
        }
        const session = sessions[one.writer];
        if (!session) continue;
        if (one.kind === 'begin') {
          const sql = await session.begin();
          // Assigns the transaction's id now, so that it is older than what others commit meanwhile.
          await sql`select pg_current_xact_id()`;
        } else if (one.kind === 'write') {
          const sql = await session.begin();
          const rows = await sql<{ id: string }[]>`
            with written as (
              select private.emit_event(${organizationId}, 'session.checked_in', 'session', gen_random_uuid(), null, '{}')
              from generate_series(1, ${one.events})
            )
            select currval(pg_get_serial_sequence('public.events', 'id')) as id, count(*) from written
          `;
          const last = Number(rows[0]?.id);
          const ids = Array.from({ length: one.events }, (_, index) => String(last - one.events + 1 + index));
          written.set(session, [...(written.get(session) ?? []), ...ids]);
        } else {
          if (one.kind === 'commit' && session.isOpen) committed.push(...(written.get(session) ?? []));
          await session.end(one.kind);
          written.delete(session);
        }
      }

      for (const session of sessions) {
        await session.end('rollback');
        await session.close();
      }
      // Other files of this run share the cluster and hold the horizon back for a moment.
      const deadline = Date.now() + 10_000;
      for (const [index, name] of consumers.entries()) {
        while ((seen[index]?.length ?? 0) < committed.length && Date.now() < deadline) {
          const rows = await admin<{ id: string }[]>`select id from private.read_events(${name}, 100)`;
          seen[index]?.push(...rows.map(({ id }) => id));
        }
      }
      const order = await admin<{ id: string }[]>`
        select id from public.events where id = any (${committed}) order by epoch, xact, id
      `;
      for (const events of seen) expect(events).toEqual(order.map(({ id }) => id));
      expect(order).toHaveLength(committed.length);
    }),
    { numRuns: Number(process.env.PROPERTY_RUNS ?? 12) },
  );
});

test('a reader that remembers the largest id would have lost the event of a slow transaction', async () => {
  const admin = database.sql('postgres');
  await admin`select private.register_event_consumer('patient')`;
  const slow = new Session();
  const sql = await slow.begin();
  await sql`select private.emit_event(${organizationId}, 'session.checked_in', 'session', gen_random_uuid(), null, '{}')`;
  await admin`select private.emit_event(${organizationId}, 'session.checked_out', 'session', gen_random_uuid(), null, '{}')`;
  // The later event has committed, and must wait: the slow one sorts before it.
  expect(await admin`select from private.read_events('patient')`).toHaveLength(0);
  await slow.end('commit');
  await slow.close();
  const read: string[] = [];
  await expect
    .poll(async () => {
      const rows = await admin<{ type: string }[]>`select type from private.read_events('patient')`;
      read.push(...rows.map(({ type }) => type));
      return read;
    })
    .toEqual(['session.checked_in', 'session.checked_out']);
});

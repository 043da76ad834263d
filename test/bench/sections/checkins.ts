import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import type { TestDatabase } from '../../fixtures/database.ts';
import { median } from '../quantile.ts';
import type { Bench, Section } from '../section.ts';
import { load, settle, type Worker } from './ingest/field.ts';

const CLIENTS = 32;

/** Whether colleagues wait for one another, and what a check-in writes beside its row. */
export const checkins: Section = {
  name: 'checkins',
  question: 'Do colleagues who check in at once wait for one another, and what else does a check-in write?',
  async run(bench) {
    const database = await bench.createDatabase();
    const one = await settle(database, 1, 320, false);
    const many = await settle(database, 32, 10, false);
    const clients = Array.from({ length: CLIENTS }, () =>
      postgres(database.url('authenticator'), { max: 1, onnotice: () => {}, connection: { role: 'authenticated' } }),
    );
    try {
      const seconds = bench.quick ? 0.5 : 3;
      const rounds = bench.quick ? 3 : 5;
      const turns = new Map<Worker, number>();
      const calls = (people: Worker[]) => async (client: number, turn: number) => {
        const person = people[turn % people.length];
        const sql = clients[client];
        if (!person || !sql) throw new Error('nobody there');
        await checkInAndOut(sql, person, turns);
      };
      await load(CLIENTS, seconds / 3, calls(one));
      await load(CLIENTS, seconds / 3, calls(many));
      const rates: [number, number][] = [];
      for (let round = 0; round < rounds; round += 1) {
        const inMany = await load(CLIENTS, seconds, calls(many));
        const inOne = await load(CLIENTS, seconds, calls(one));
        // A call is a check-in and a check-out.
        rates.push([inOne.perSecond * 2, inMany.perSecond * 2]);
      }
      bench.report({
        name: 'check-ins and -outs/s, one organization',
        value: median(rates.map(([a]) => a)),
        unit: '1/s',
      });
      bench.report({
        name: 'check-ins and -outs/s, 32 organizations',
        value: median(rates.map(([, b]) => b)),
        unit: '1/s',
      });
      bench.report({
        name: 'one organization / 32',
        value: median(rates.map(([a, b]) => a / b)),
        unit: 'x',
        goal: { atLeast: 0.9 },
      });
    } finally {
      await Promise.all(clients.map((client) => client.end({ timeout: 1 })));
    }
    await amplification(bench, database, one);
  },
};

/** A minute of work, each later than the one before. */
async function checkInAndOut(sql: postgres.Sql, person: Worker, turns: Map<Worker, number>): Promise<void> {
  const turn = (turns.get(person) ?? 0) + 1;
  turns.set(person, turn);
  const at = Date.now() - 48 * 3_600_000 + turn * 60_000;
  await sql`
    select public.check_in(${new Date(at)}::timestamptz, ${randomUUID()}::uuid)
    from (select set_config('request.jwt.claims', ${person.claims}, true) as claims) as c where c.claims <> ''`;
  await sql`
    select public.check_out(${new Date(at + 50_000)}::timestamptz, ${randomUUID()}::uuid)
    from (select set_config('request.jwt.claims', ${person.claims}, true) as claims) as c where c.claims <> ''`;
}

/** Rows and WAL of a check-in with all that follows in its transaction, over the row alone with the same keys. */
async function amplification(bench: Bench, database: TestDatabase, people: Worker[]): Promise<void> {
  const admin = database.sql('supabase_admin');
  await admin.unsafe(`
    create schema bare;
    create table bare.sessions (like public.attendance_sessions including all);
    alter table bare.sessions add foreign key (organization_id, employee_id) references public.employees (organization_id, id)`);
  const written = async (run: (trx: postgres.TransactionSql, person: Worker) => Promise<unknown>) => {
    let [rows, wal] = [0, 0];
    const some = people.slice(0, 50);
    for (const person of some) {
      await admin.begin(async (trx) => {
        const [before] = await trx<
          { lsn: string; rows: number }[]
        >`select pg_current_wal_insert_lsn() - '0/0' as lsn, ${rowsWritten(trx)} as rows`;
        await run(trx, person);
        const [after] = await trx<{ lsn: string; rows: number }[]>`
          select pg_current_wal_insert_lsn() - '0/0' as lsn, ${rowsWritten(trx)} as rows`;
        rows += ((after?.rows ?? 0) - (before?.rows ?? 0)) / some.length;
        wal += (Number(after?.lsn) - Number(before?.lsn)) / some.length;
      });
    }
    return { rows, wal };
  };
  const at = new Date(Date.now() - 60_000);
  const insert = () =>
    written(
      (trx, { organizationId, employeeId }) => trx`
        insert into bare.sessions (organization_id, employee_id, checked_in_at, check_in_request_id)
        values (${organizationId}, ${employeeId}, ${at}, ${randomUUID()})`,
    );
  const checkIn = () =>
    written(async (trx, { claims }) => {
      await trx`select set_config('request.jwt.claims', ${claims}, true)`;
      await trx`select public.check_in(${at}::timestamptz, ${randomUUID()}::uuid)`;
    });
  const bare = await insert();
  const whole = await checkIn();
  bench.report({ name: 'rows written a check-in', value: whole.rows, unit: 'rows' });
  bench.report({ name: 'WAL of a check-in', value: whole.wal, unit: 'bytes' });
  bench.report({ name: 'WAL of the bare row', value: bare.wal, unit: 'bytes' });
  bench.report({ name: 'write amplification (WAL)', value: whole.wal / bare.wal, unit: 'x' });
}

/** By this connection so far; what it has not handed to the statistics yet includes earlier transactions. */
function rowsWritten(trx: postgres.TransactionSql): postgres.PendingQuery<postgres.Row[]> {
  return trx`(select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::int from pg_stat_xact_all_tables
    where schemaname not in ('pg_catalog', 'pg_toast'))`;
}

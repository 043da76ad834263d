import type postgres from 'postgres';

export type Message = { id: string; topic: string; event: string; payload: unknown; private: boolean };

/** Often enough for a message to arrive within a blink, seldom enough to cost nothing. */
const POLL_MS = 40;
const AFTER_TROUBLE_MS = 500;
const BATCH = 500;
const CLEAN_MS = 3_600_000;

type Row = Message & { xact: string; position: string };

/**
 * Reads what realtime.send stored, each message once and in the order of its transaction: only rows that no running transaction can
 * precede any more. The real server reads the log of the database instead and sees the order of commits. It reads
 * while somebody listens; what was stored before is not told again, as on a hosted project.
 */
export function followOutbox(sql: postgres.Sql, onMessage: (message: Message) => void) {
  let isWanted = false;
  let isStopped = false;
  let running: Promise<void> | undefined;
  /** Settles when the place is known from which on nothing is missed. */
  let ready = Promise.withResolvers<void>();

  async function run(): Promise<void> {
    try {
      const [start] = await sql<{ xact: string }[]>`select pg_snapshot_xmin(pg_current_snapshot())::text as xact`;
      let [xact, position] = [start?.xact ?? '0', '0'];
      ready.resolve();
      while (isWanted && !isStopped) {
        const rows = await sql<Row[]>`
          select o.xact::text as xact, o.position::text as position, m.id, m.topic, m.event, m.payload, m.private
          from _realtime.outbox as o
          join realtime.messages as m on m.id = o.id and m.inserted_at = o.inserted_at
          where (o.xact, o.position) > (${xact}::text::xid8, ${position}::text::bigint)
            and o.xact < pg_snapshot_xmin(pg_current_snapshot())
          order by o.xact, o.position
          limit ${BATCH}`;
        for (const row of rows) {
          ({ xact, position } = row);
          onMessage(row);
        }
        if (rows.length < BATCH) await pause(POLL_MS);
      }
    } finally {
      // Who joins from here on waits for the next beginning.
      ready = Promise.withResolvers<void>();
    }
  }

  /** Old messages go, as a hosted project drops its partitions after three days. */
  async function clean(): Promise<void> {
    await sql`delete from _realtime.outbox where inserted_at < now() - interval '1 hour'`;
    await sql`delete from realtime.messages where inserted_at < now() - interval '3 days'`;
  }
  const forgetTrouble = () => {};
  void clean().catch(forgetTrouble);
  const cleaning = setInterval(() => void clean().catch(forgetTrouble), CLEAN_MS);

  async function keepRunning(): Promise<void> {
    while (isWanted && !isStopped) {
      // The database restarts: what is missed meanwhile is read from `events`, as after any broken connection.
      await run().catch(() => pause(AFTER_TROUBLE_MS));
    }
    running = undefined;
  }

  return {
    /** Settles, if it is wanted, when nothing that is stored from now on will be missed. */
    async setWanted(value: boolean): Promise<void> {
      isWanted = value && !isStopped;
      if (!isWanted) return;
      running ??= keepRunning();
      await ready.promise;
    },
    async stop(): Promise<void> {
      isStopped = true;
      clearInterval(cleaning);
      await running;
      ready.resolve();
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

import { PgBoss } from 'pg-boss';
import { distance } from '../../../worker/jobs/distance.ts';
import { eventually } from '../../fixtures/organization.ts';
import { spawnWorker } from '../../fixtures/worker.ts';
import { median } from '../quantile.ts';
import type { Section } from '../section.ts';
import { populate } from './reads/population.ts';

/** The worker with everything around a job, beside a pg-boss with nothing. */
export const jobs: Section = {
  name: 'jobs',
  question: 'How many jobs a second does the worker do, beside a pg-boss whose handler is empty?',
  async run(bench) {
    const count = bench.quick ? 500 : 3000;
    const shares: number[] = [];
    let [ours, bare, real] = [0, 0, 0];
    const rounds = bench.quick ? 1 : 3;
    for (let round = 0; round < rounds; round += 1) {
      const database = await bench.createDatabase();
      const { organizationId } = await populate(database, {
        employees: Math.ceil(count / 10),
        days: 10,
        pointsPerSession: 30,
      });
      const admin = database.sql('supabase_admin');
      await admin`vacuum analyze`;
      const rate = async (queue: string) => {
        await eventually(
          `${queue}: all done`,
          async () => {
            const [left] =
              await admin`select count(*)::int as n from pgboss.job where name = ${queue} and state < 'completed'`;
            return left?.n === 0;
          },
          300_000,
        );
        const [row] = await admin<{ rate: number; done: number }[]>`
          select count(*)::int as done, (count(*) / extract(epoch from max(completed_on) - min(started_on)))::float8 as rate
          from pgboss.job where name = ${queue} and state = 'completed'`;
        if (row?.done !== count) throw new Error(`${queue}: ${row?.done} of ${count} jobs were done`);
        return row.rate;
      };
      /**
       * Of a second filling. The first one warms up: the bare pg-boss runs in this process, whose code is compiled from the
       * round before, the worker in a new one, whose first 3,000 jobs go a seventh slower.
       */
      const warmRate = async (queue: string, fill: () => Promise<unknown>) => {
        await rate(queue);
        await admin`delete from pgboss.job where name = ${queue}`;
        await fill();
        return rate(queue);
      };

      const boss = new PgBoss({
        connectionString: database.url('supabase_admin'),
        migrate: false,
        createSchema: false,
        persistQueueStats: false,
        useListenNotify: false,
        schedule: false,
      });
      boss.on('error', () => {});
      await boss.start();
      await boss.createQueue('bench');
      const fillBare = () => admin`select private.enqueue('bench', '{}') from generate_series(1, ${count}::int)`;
      await fillBare();
      await boss.work('bench', { ...distance.options, burstWhenBatchFull: true }, async () => {});
      const theirs = await warmRate('bench', fillBare);
      await boss.stop({ graceful: false });

      // Sessions that are gone: everything around a job (fetching, payload, trace, a transaction of the tenant), no work.
      const fillOurs = () => admin`
        select private.enqueue('distance', jsonb_build_object('organization_id', ${organizationId}::uuid, 'session_id', id), id::text)
        from (select gen_random_uuid() as id from generate_series(1, ${count}::int)) as s`;
      await fillOurs();
      const worker = spawnWorker({ DATABASE_URL: database.url('fieldtrack_worker'), LOG_LEVEL: 'warn' });
      const mine = await warmRate('distance', fillOurs);
      await admin`delete from pgboss.job where name = 'distance'`;
      await admin.begin(async (trx) => {
        await trx`set local session_replication_role = replica`;
        await trx`update public.attendance_sessions set distance_status = 'PENDING' where status = 'CLOSED'`;
      });
      await admin`
        select private.enqueue('distance', jsonb_build_object('organization_id', organization_id, 'session_id', id), id::text)
        from (select * from public.attendance_sessions where status = 'CLOSED' limit ${count}) as s`;
      real += (await rate('distance')) / rounds;
      worker.child.kill('SIGTERM');
      await worker.ended;
      ours += mine / rounds;
      bare += theirs / rounds;
      shares.push(mine / theirs);
    }
    bench.report({ name: 'jobs/s by the worker, nothing to do', value: ours, unit: 'jobs/s' });
    bench.report({ name: 'empty jobs/s by pg-boss alone', value: bare, unit: 'jobs/s' });
    bench.report({
      name: 'share of pg-boss alone',
      value: median(shares),
      unit: 'x',
      goal: { atLeast: 0.5 },
    });
    bench.report({ name: 'jobs/s by the worker, distance of 30 points', value: real, unit: 'jobs/s' });
    bench.note(
      'pg-boss alone is as it comes: it plans each of its statements anew. The worker hands it connections that prepare them.',
    );
    bench.note(
      'A real job writes the session, its days, an event and the snapshots, and analytics jobs follow at the same time.',
    );
  },
};

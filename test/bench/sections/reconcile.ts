import { performance } from 'node:perf_hooks';
import type postgres from 'postgres';
import { median } from '../quantile.ts';
import type { Section } from '../section.ts';
import { populate } from './reads/population.ts';

/** Comparing all snapshots with all of the history, and mending a part of them. */
export const reconcile: Section = {
  name: 'reconcile',
  question: 'What does it cost to compare every snapshot with its base, and to mend it?',
  async run(bench) {
    const employees = bench.quick ? 400 : 10_000;
    const database = await bench.createDatabase();
    await populate(database, { employees, days: 30, pointsPerSession: 17 });
    const owner = database.sql('supabase_admin');
    await owner`vacuum analyze`;
    // What the population left out (pending expenses, totals) is mended at once, without the time limit of an API role.
    await database.sql('postgres')`select private.reconcile_snapshots(${4 * employees})`;
    await owner`vacuum analyze`;
    await owner`checkpoint`;
    bench.note(`${employees} people, 30 days of work`);
    const service = database.sql('service_role');

    const times: number[] = [];
    let rows = 0;
    const [before] = await owner<{ written: number }[]>`
      select pg_current_wal_lsn() - '0/0'::pg_lsn as written`;
    for (let round = 0; round < 5; round += 1) {
      const result = await run(service);
      times.push(result.ms);
      rows += result.rows;
    }
    const [after] = await owner<{ written: number }[]>`select pg_current_wal_lsn() - '0/0'::pg_lsn as written`;
    bench.report({ name: 'people', value: employees, unit: '' });
    bench.report({ name: 'without drift: rows written', value: rows, unit: '', goal: { atMost: 0 } });
    bench.report({ name: 'without drift: a run, median of 5', value: median(times), unit: 'ms' });
    bench.report({
      name: 'without drift: WAL of a run',
      value: (Number(after?.written) - Number(before?.written)) / 5 / 1024,
      unit: 'KiB',
    });

    const broken = await owner`
      update public.employee_last_state set latitude = 1, longitude = 1
      where recorded_at is not null and employee_id in (
        select employee_id from public.employee_last_state where recorded_at is not null order by employee_id limit 200)`;
    const healing = await run(service);
    bench.report({ name: 'positions that were broken', value: broken.count, unit: '' });
    bench.report({ name: 'mended in one run', value: healing.rows, unit: '', goal: { atLeast: broken.count } });
    bench.report({ name: 'mending them: a run', value: healing.ms, unit: 'ms' });
  },
};

async function run(sql: postgres.Sql): Promise<{ rows: number; ms: number }> {
  const from = performance.now();
  const [row] = await sql<{ repaired: Record<string, number> }[]>`
    select public.reconcile_snapshot_tables() as repaired`;
  const ms = performance.now() - from;
  return { rows: Object.values(row?.repaired ?? {}).reduce((sum, count) => sum + count, 0), ms };
}

// node .ci/pgboss-steps.ts 43: what takes our queue schema from that version (of private schema pgboss, `select version from
// pgboss.version`) to that of the installed pg-boss, as a migration of ours can hold it. docs/operations.md says when.
import { getMigrationPlans } from 'pg-boss';

/** Functions lose their search_path when they are replaced, and new tables are granted to nobody: as chapter 000500 did. */
const asChapter500 = `do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc as p where p.pronamespace = 'pgboss'::regnamespace
  loop
    execute pg_catalog.format('alter function %s set search_path = %L', v_function, '');
  end loop;
end
$$;

grant select, insert, update, delete on all tables in schema pgboss to fieldtrack_worker;
grant execute on all functions in schema pgboss to fieldtrack_worker;
`;

/**
 * `pg-boss plans migrate` prints the steps from the very first version, and builds indexes concurrently, which no transaction can.
 * A migration is one: the worker is stopped, so the locks of a plain build keep nobody but writers of jobs, for a moment.
 */
export function pgbossSteps(fromVersion: number): string {
  const wrapper = /^\s*(BEGIN;|COMMIT;|SET LOCAL |SELECT pg_advisory_xact_lock)/;
  const steps = getMigrationPlans('pgboss', fromVersion)
    .split('\n')
    .filter((line) => !wrapper.test(line))
    .map((line) => line.trimEnd().replace(/^(CREATE (?:UNIQUE )?INDEX|DROP INDEX) CONCURRENTLY/, '$1'))
    .join('\n')
    .trim();
  return `${steps}\n\n${asChapter500}`;
}

if (import.meta.main) {
  const version = Number(process.argv[2]);
  if (!Number.isInteger(version) || version < 1) {
    console.error('Which version is installed? select version from pgboss.version');
    process.exit(1);
  }
  console.log(pgbossSteps(version));
}

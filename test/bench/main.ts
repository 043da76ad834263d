// npm run bench: what the documents claim, measured. Every section runs on a PostgreSQL cluster that the run makes for
// itself and throws away, durable as a real one is (fsync on), and on the same code that is deployed.

import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { readOptions } from '../../scripts/options.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { buildTemplates, startThrowAwayCluster, type TestCluster } from '../fixtures/cluster.ts';
import { createTestDatabase } from '../fixtures/database.ts';
import { startTestStack } from '../fixtures/stack.ts';
import { mergeResults, type Row, type Run, toRow } from './results.ts';
import type { Bench, Section } from './section.ts';
import { sections } from './sections.ts';

const help = `npm run bench                     every section
npm run bench -- distance reads   the named ones
npm run bench -- --quick          smaller inputs, in two minutes: a glance; writes no results, misses no goal
npm run bench -- --write-docs     writes the documents that a section makes (docs/accuracy.md)

${sections.map(({ name, question }) => `  ${name.padEnd(12)} ${question}`).join('\n')}

Results go to test/bench/results.json and docs/performance.md, section by section. Exit code 1 when a section fails or, without --quick, misses a goal.`;

/** A quarter of the machine's memory, as PostgreSQL's manual advises. */
const sharedBuffersMb = Math.min(4096, Math.floor(totalmem() / 4 / 2 ** 20));

const config = {
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
} as const;
const { values, positionals } = readOptions(config, help);
const unknown = positionals.filter((name) => !sections.some((section) => section.name === name));

if (values.help) {
  console.log(help);
} else if (unknown.length > 0) {
  console.error(`There is no section ${unknown.join(', ')}.\n\n${help}`);
  process.exitCode = 2;
} else {
  const wanted = sections.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  await runAll(wanted);
}

async function runAll(wanted: readonly Section[]): Promise<void> {
  // So that what ends with the process ends: the default of a signal is to end it without a word.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const server = await startThrowAwayCluster({ shared_buffers: `${sharedBuffersMb}MB`, max_wal_size: '2GB' });
  try {
    const cluster = await buildTemplates(server.adminUrl);
    const conditions = await runConditions(cluster);
    const [missed, failed]: [string[], string[]] = [[], []];
    for (const section of wanted) {
      console.log(`\n== ${section.name}: ${section.question}`);
      const began = performance.now();
      // One that fails does not take the others' figures with it.
      const rows = await runSection(section, cluster).catch((error: unknown) => {
        console.error(error);
        return undefined;
      });
      if (rows === undefined) {
        failed.push(section.name);
        continue;
      }
      print(rows);
      console.log(`  (${Math.round((performance.now() - began) / 1000)} s)`);
      if (!values.quick) mergeResults(section.name, { ...conditions, measured_at: new Date().toISOString() }, rows);
      missed.push(...rows.filter(({ met }) => met === false).map(({ name }) => `${section.name}: ${name}`));
    }
    if (missed.length > 0) console.log(`\nGoals missed:\n${missed.map((name) => `  ${name}`).join('\n')}`);
    if (failed.length > 0) console.log(`\nFailed: ${failed.join(', ')}`);
    // On smaller inputs a goal says little.
    if (failed.length > 0 || (missed.length > 0 && !values.quick)) process.exitCode = 1;
  } finally {
    await server.stop();
  }
}

async function runSection(section: Section, cluster: TestCluster): Promise<Row[]> {
  const rows: Row[] = [];
  const endings: (() => Promise<void>)[] = [];
  const bench: Bench = {
    quick: values.quick,
    docsDir: values['write-docs'] ? join(repositoryDir, 'docs') : undefined,
    async createDatabase() {
      const database = await createTestDatabase({ cluster });
      endings.push(() => database.drop());
      return database;
    },
    async startStack(options = {}) {
      const stack = await startTestStack({ ...options, cluster });
      endings.push(() => stack.stop());
      return stack;
    },
    report: (figure) => rows.push(toRow(section.name, figure)),
    table: (head, lines) => console.log(`\n${formatTable(head, lines)}`),
    note: (line) => console.log(line),
  };
  try {
    await section.run(bench);
  } finally {
    for (const end of endings.reverse()) await end();
  }
  return rows;
}

function print(rows: readonly Row[]): void {
  const verdict = ({ met }: Row) => (met === null ? '' : met ? 'met' : 'MISSED');
  const lines = rows.map((row) => [row.name, readable(row.value), row.unit, row.goal ?? '', verdict(row)]);
  console.log(`\n${formatTable(['figure', 'value', 'unit', 'goal', ''], lines)}`);
}

/** Four significant digits are more than any of this is repeatable to. */
function readable(value: number): string {
  return Math.abs(value) >= 1000 ? Math.round(value).toString() : Number(value.toPrecision(4)).toString();
}

function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const isNumeric = head.map((_, column) =>
    cells.slice(1).every((row) => /^[-+<>=]*[\d.,]*\s?%?$/.test(row[column] ?? '')),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        isNumeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return cells.map((row) => `  ${line(row)}`).join('\n');
}

async function runConditions(cluster: TestCluster): Promise<Omit<Run, 'measured_at'>> {
  const sql = postgres(cluster.adminUrl, { max: 1 });
  const [version] = await sql<{ server_version: string }[]>`show server_version`;
  await sql.end();
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repositoryDir, encoding: 'utf8' }).trim();
  return {
    commit,
    postgres: version?.server_version ?? '',
    cpu: `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}`,
  };
}

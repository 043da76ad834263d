import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryDir } from '../../supabase/local/paths.ts';
import type { Figure, Goal } from './section.ts';
import { sections } from './sections.ts';

export interface Row {
  section: string;
  name: string;
  value: number;
  unit: string;
  /** As text, for people and reports: "<= 5"; null where the figure is only reported. */
  goal: string | null;
  met: boolean | null;
}

/** Under which conditions a section's rows came about. */
export interface Run {
  measured_at: string;
  commit: string;
  postgres: string;
  cpu: string;
}

interface Results {
  runs: Record<string, Run>;
  rows: Row[];
}

const file = join(import.meta.dirname, 'results.json');

export function toRow(section: string, { name, value, unit, goal }: Figure): Row {
  return { section, name, value, unit, goal: goal ? goalText(goal) : null, met: goal ? isMet(value, goal) : null };
}

function goalText(goal: Goal): string {
  const [sign, bound] = 'atMost' in goal ? ['<=', goal.atMost] : ['>=', goal.atLeast];
  // Some goals are measured too.
  return `${sign} ${Number(bound.toPrecision(4))}`;
}

function isMet(value: number, goal: Goal): boolean {
  return 'atMost' in goal ? value <= goal.atMost : value >= goal.atLeast;
}

/** Replaces the section's rows; those of other sections stay as they are. All in the order in which sections run. */
export function mergeResults(section: string, run: Run, rows: readonly Row[]): void {
  const before = readResults();
  const runsByName = { ...before.runs, [section]: run };
  const all = [...before.rows.filter((row) => row.section !== section), ...rows];
  const names = sections.map(({ name }) => name).filter((name) => name in runsByName);
  const results: Results = {
    runs: Object.fromEntries(names.map((name) => [name, runsByName[name] as Run])),
    rows: names.flatMap((name) => all.filter((row) => row.section === name)),
  };
  const runs = Object.entries(results.runs).map(
    ([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`,
  );
  const lines = results.rows.map((row) => `    ${JSON.stringify(row)}`);
  // A row a line: a difference in git is a difference in a figure.
  writeFileSync(file, `{\n  "runs": {\n${runs.join(',\n')}\n  },\n  "rows": [\n${lines.join(',\n')}\n  ]\n}\n`);
  writeFileSync(join(repositoryDir, 'docs', 'performance.md'), page(results));
}

/** docs/performance.md: the same rows for people. */
function page({ runs, rows }: Results): string {
  const count = (met: boolean) => rows.filter((row) => row.met === met).length;
  const chapters = Object.entries(runs).map(([name, run]) => {
    const lines = rows
      .filter((row) => row.section === name)
      .map(({ name: figure, value, unit, goal, met }) => {
        const shown = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : Number(value.toPrecision(3));
        return `| ${figure} | ${shown} ${unit} | ${goal ?? ''} | ${met === null ? '' : met ? 'met' : '**missed**'} |`;
      });
    return [
      `## ${name}`,
      '',
      `${run.measured_at.slice(0, 10)}, commit ${run.commit}, PostgreSQL ${run.postgres}, ${run.cpu}.`,
      '',
      '| figure | value | goal | |',
      '| --- | --- | --- | --- |',
      ...lines,
      '',
    ].join('\n');
  });
  return [
    '# Performance: measured',
    '',
    'Made by `npm run bench` (all sections) or `npm run bench -- <section>`; nothing here is written by hand. The bench and the database share the',
    'machine, durable settings (fsync on). Ratios are of runs in turns on the same machine and travel; absolute figures are of the machine named.',
    'What was tried to make them so is in [decisions.md](decisions.md); accuracy is in [accuracy.md](accuracy.md).',
    '',
    `Goals: ${count(true)} met, ${count(false)} missed.`,
    '',
    ...chapters,
  ].join('\n');
}

function readResults(): Results {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Results;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { runs: {}, rows: [] };
    throw error;
  }
}

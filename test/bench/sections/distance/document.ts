import { motions } from '../../../fixtures/tracks.ts';
import { median } from '../../quantile.ts';
import { methods, p95, type Row, size, type Verdict } from './accuracy.ts';

const titles: Record<Row['motion'], string> = {
  walk: 'Walking: an hour of pavements, corners, kerbs where one waits',
  city: 'City drive: 45 minutes of blocks, turns and traffic lights',
  motorway: 'Motorway: 45 minutes',
  parked: 'Parked: eight hours (errors in metres)',
  train: 'Train: 40 minutes, stations, a tunnel on every second stretch',
};

const number = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1));

/** docs/accuracy.md: all of it is made here, so that nothing in it can be older than its table. */
export function accuracyDocument(rows: readonly Row[], verdict: Verdict, commit: string, date: string): string {
  const goal = (name: string, value: string, wanted: string, met: boolean) =>
    `| ${name} | ${value} | ${wanted} | ${met ? 'met' : 'missed'} |`;
  const v = verdict;
  return `# How far distances are from the truth

Made by \`npm run bench -- distance --write-docs\` on ${date}, at commit ${commit}, algorithm version 2. The tracks are
generated (\`test/fixtures/tracks.ts\`): the truth is driven step by step over the WGS84 ellipsoid, so it is known exactly, and
a receiver sees it through noise. Every seed is fixed; the same commit gives the same table. Generated streets are not the
world: the numbers say how the methods compare, and what to expect where phones behave like this.

## Against the goals

| what | worst row | goal | |
| --- | --- | --- | --- |
${[
  goal('walking, sigma 5 m', `${number(v.walking_pct)} %`, '8 %', v.walking_pct <= 8),
  goal('driving (city, motorway, train), sigma 5 m', `${number(v.driving_pct)} %`, '3 %', v.driving_pct <= 3),
  goal('parked for eight hours, sigma 5 m', `${number(v.parked_m)} m`, '50 m', v.parked_m < 50),
  goal('sigma 10 m: rows over 1 point worse than the better other', String(v.rowsBehind), '0', v.rowsBehind === 0),
  goal(
    'sigma 10 m: median over the rows that move, ours beside the better other',
    `${number(v.medianOurs)} % / ${number(v.medianOthers)} %`,
    'less',
    v.medianOurs < v.medianOthers,
  ),
].join('\n')}

A row is one combination below; its figure is the median over nine seeds of the error's size. *Gaps* are judged by the rule that
is promised: after a silence of more than 120 s the straight leg counts once (and is marked), so the truth has the straight line
there too, for all three methods. Against the whole truth, what was driven in the silences included, nobody can know better than
chance: ${v.rowsBehindWhole} rows at sigma 10 m are then over one point worse than the better other, whose noise happens to fill in for the way it
did not see.

## Where it is weak

${weaknesses(rows)}

## The methods

- **plain**: the sum of all legs in order of time.
- **filter**: the sum without points that claim a worse accuracy than 100 m, or that would need more than 70 m/s from the last one
  kept (what Traccar documents as filter.accuracy and filter.maxSpeed).
- **ours**: \`private.advance_distance\` with an organization's defaults, in the database.

## The world

- *Sigma* is the deviation of the position on each axis; *white* noise is new at each fix, *drift* remembers itself for a minute, as
  real receivers' errors do. The claimed accuracy is the 68 % radius and wanders by a fifth around it.
- *Jumps*: one fix in 150 lies 150 to 1,500 m away and still claims to be good. *Duplicates*: one in five comes twice. *Shuffle*: all
  come in random order. *Gaps*: silences of half a minute to five. *Mute*: the receiver reports neither speed nor heading, which
  many cheap trackers do; no goal was set for it.
- What is compared is the way from the first fix to the last.

Errors in per cent of the way, median / 95th percentile of their size; *bias* is ours with its sign.

${motions.map((motion) => table(motion, rows)).join('\n\n')}
`;
}

/** The rows that a reader should know of, worst first. */
function weaknesses(rows: readonly Row[]): string {
  const moving = rows.filter(({ motion }) => motion !== 'parked');
  const worst = (title: string, wanted: readonly Row[]) => {
    const top = wanted.toSorted((a, b) => size(b.errors.ours) - size(a.errors.ours)).slice(0, 3);
    const told = top.map(
      ({ motion, world, noise, interval_s, errors }) =>
        `${motion}, ${world}, ${noise}, every ${interval_s} s: ${number(size(errors.ours))} %`,
    );
    return `- ${title}: ${told.join('; ')}.`;
  };
  return [
    worst(
      'Sigma 30 m (the receiver is indoors or between towers), the worst rows',
      moving.filter(({ sigma_m, world }) => sigma_m === 30 && world !== 'mute'),
    ),
    worst(
      'Neither speed nor heading, sigma 5 m, the worst rows (corners between fixes are cut, as every sum of legs does)',
      moving.filter(({ sigma_m, world }) => sigma_m === 5 && world === 'mute'),
    ),
  ].join('\n');
}

function table(motion: Row['motion'], rows: readonly Row[]): string {
  const lines = rows
    .filter((row) => row.motion === motion)
    .sort(
      (a, b) =>
        worldOrder(a) - worldOrder(b) ||
        a.noise.localeCompare(b.noise) ||
        a.sigma_m - b.sigma_m ||
        a.interval_s - b.interval_s,
    )
    .map((row) => {
      const cells = methods.map((method) => `${number(size(row.errors[method]))} / ${number(p95(row.errors[method]))}`);
      const bias = median(row.errors.ours);
      return `| ${row.world} | ${row.noise} | ${row.sigma_m} | ${row.interval_s} | ${cells.join(' | ')} | ${number(bias)} |`;
    });
  return `## ${titles[motion]}

| world | noise | sigma m | every s | plain | filter | ours | bias |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
${lines.join('\n')}`;
}

const order = ['clean', 'jumps', 'duplicates', 'shuffle', 'gaps', 'mute'];
const worldOrder = (row: Row): number => order.indexOf(row.world);

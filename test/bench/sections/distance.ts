import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Section } from '../section.ts';
import { judge, measureAccuracy } from './distance/accuracy.ts';
import { measureCost } from './distance/cost.ts';
import { accuracyDocument } from './distance/document.ts';
import { measureLive } from './distance/live.ts';
import { createTrackStore } from './distance/track-store.ts';

/** How far the figures are from what was truly travelled, and what they cost. */
export const distance: Section = {
  name: 'distance',
  question: 'How far are distances from the truth, and what do they cost?',
  async run(bench) {
    const store = await createTrackStore(bench);
    await measureCost(bench, store);
    await measureLive(bench, store);

    const tracks = await createTrackStore(bench);
    const [parameters] = await tracks.sql<{ gap_s: number }[]>`
      select (private.distance_parameters(${tracks.organizationId}) ->> 'gap_s')::float8 as gap_s`;
    const rows = await measureAccuracy(bench, tracks, parameters?.gap_s ?? 0);
    const verdict = judge(rows);
    const { walking_pct, driving_pct, parked_m, rowsBehind, rowsBehindWhole, medianOurs, medianOthers } = verdict;
    bench.report({ name: 'sigma 5 m, walking: worst row', value: walking_pct, unit: '%', goal: { atMost: 8 } });
    bench.report({ name: 'sigma 5 m, driving: worst row', value: driving_pct, unit: '%', goal: { atMost: 3 } });
    bench.report({ name: 'sigma 5 m, parked: worst row', value: parked_m, unit: 'm', goal: { atMost: 50 } });
    bench.report({ name: 'sigma 10 m: rows behind', value: rowsBehind, unit: 'rows', goal: { atMost: 0 } });
    bench.report({ name: 'sigma 10 m: rows behind, silences included', value: rowsBehindWhole, unit: 'rows' });
    bench.report({
      name: 'sigma 10 m: median row, ours',
      value: medianOurs,
      unit: '%',
      goal: { atMost: medianOthers },
    });
    bench.report({ name: 'sigma 10 m: median row, better other', value: medianOthers, unit: '%' });

    if (bench.docsDir === undefined || bench.quick) return;
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
    const date = new Date().toISOString().slice(0, 10);
    writeFileSync(join(bench.docsDir, 'accuracy.md'), accuracyDocument(rows, verdict, commit, date));
    bench.note('docs/accuracy.md written');
  },
};

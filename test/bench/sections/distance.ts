import { performance } from 'node:perf_hooks';
import type { Section } from '../section.ts';
import { measureCost } from './distance/cost.ts';

/** How far the figures are from what was truly travelled, and what they cost. */
export const distance: Section = {
  name: 'distance',
  question: 'How far are distances from the truth, and what do they cost?',
  async run(bench) {
    const startedAt = performance.now();
    await measureCost(bench);
    bench.note(`\n${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
  },
};

import type { Reporter, TestModule } from 'vitest/node';

const SHOWN = 8;

/** The budget (15 minutes on two cores) is kept by seeing who spends it. */
export class SlowestFiles implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const files = modules.map((module) => {
      const spent = module.diagnostic();
      return { name: module.relativeModuleId, ms: spent.duration + spent.collectDuration + spent.setupDuration };
    });
    files.sort((a, b) => b.ms - a.ms);
    if (files.length < 2) return;
    process.stdout.write('\n Slowest files\n');
    for (const { name, ms } of files.slice(0, SHOWN)) {
      process.stdout.write(`  ${(ms / 1000).toFixed(1).padStart(6)} s  ${name}\n`);
    }
  }
}

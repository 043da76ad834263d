import { defineConfig } from 'vitest/config';
import { SlowestFiles } from './test/slowest-files.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'console/test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Processes: @supabase/lite changes globals, and a file's PostgREST must die with its file.
    pool: 'forks',
    // How long something may take before it counts as never: no claim about speed, so with room for a busy machine. What must
    // be quick says so in its test.
    testTimeout: 60_000,
    // A stack is PostgREST, Auth and a clone.
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default', new SlowestFiles()],
  },
});

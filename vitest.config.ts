import { defineConfig } from 'vitest/config';
import { SlowestFiles } from './test/slowest-files.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    // Processes: @supabase/lite changes globals, and a file's PostgREST must die with its file.
    pool: 'forks',
    testTimeout: 20_000,
    // A stack is PostgREST, Auth and a clone; on a busy two-core machine that takes some seconds.
    hookTimeout: 60_000,
    reporters: ['default', new SlowestFiles()],
  },
});

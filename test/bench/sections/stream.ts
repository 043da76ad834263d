import type { Section } from '../section.ts';
import { measureLatency } from './stream/latency.ts';
import { measurePositions } from './stream/positions.ts';
import { startStreamProcess } from './stream/process.ts';
import { measureReconnects } from './stream/reconnects.ts';
import { makeTenants } from './stream/tenants.ts';

/** The live stream as a plain Deno process; the clients run in this process and share the machine with it and the database. */
export const stream: Section = {
  name: 'stream',
  question: 'How soon does a client hear what was committed, what does it cost, and is anything lost?',
  async run(bench) {
    const stack = await bench.startStack();
    // Before the process connects: what its questions cost the database is counted there.
    await stack.admin.unsafe(`alter database ${stack.database.name} set track_functions = 'pl'`);
    const process = await startStreamProcess(stack);
    try {
      const tenants = await makeTenants(stack, 20);
      await measureLatency(bench, stack, process, tenants);
      await measureReconnects(bench, stack, process, tenants);
      await measurePositions(bench, stack, process);
    } finally {
      await process.stop();
    }
  },
};

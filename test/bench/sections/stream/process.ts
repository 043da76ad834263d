import { readdirSync, readFileSync } from 'node:fs';
import { freePort } from '../../../../supabase/local/free-port.ts';
import { startEdgeProcess } from '../../../fixtures/edge-process.ts';
import type { TestStack } from '../../../fixtures/stack.ts';

export interface StreamProcess {
  url: string;
  residentKiB: () => number;
  /** Processor time used so far, in seconds. */
  cpuSeconds: () => number;
  stop: () => Promise<void>;
}

export async function startStreamProcess(stack: TestStack): Promise<StreamProcess> {
  const port = await freePort();
  const part = await startEdgeProcess(stack, {
    name: 'admin-events',
    port,
    env: { FIELDTRACK_STREAM_SECONDS: '3600' },
    onLine: (line) => console.log(`  admin-events: ${line}`),
  });
  const pid = () => pidWith(`DENO_SERVE_ADDRESS=tcp:127.0.0.1:${port}`);
  const url = `http://127.0.0.1:${port}/admin-events`;
  return { url, residentKiB: () => residentKiB(pid()), cpuSeconds: () => cpuSeconds(pid()), stop: part.stop };
}

/** Of the processes with this in their environment (npm's launcher is one) the biggest: Deno itself. */
function pidWith(variable: string): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const ours = pids.filter((pid) => readOr(`/proc/${pid}/environ`, '').split('\0').includes(variable)).map(Number);
  const [biggest] = ours.sort((a, b) => residentKiB(b) - residentKiB(a));
  if (biggest === undefined) throw new Error('the stream process is not there');
  return biggest;
}

function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readOr(`/proc/${pid}/status`, ''))?.[1] ?? 0);
}

/** Linux counts in hundredths of a second here, whatever the kernel ticks. */
function cpuSeconds(pid: number): number {
  // The second field is a name and may hold anything but a closing bracket at its end.
  const [, rest = ''] = /\) (.*)$/s.exec(readOr(`/proc/${pid}/stat`, '')) ?? [];
  const fields = rest.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

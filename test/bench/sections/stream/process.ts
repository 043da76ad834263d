import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { npmBinary } from '../../../../supabase/local/binaries.ts';
import { freePort } from '../../../../supabase/local/free-port.ts';
import { startPart } from '../../../../supabase/local/part.ts';
import { repositoryDir } from '../../../../supabase/local/paths.ts';
import type { TestStack } from '../../../fixtures/stack.ts';

export interface StreamProcess {
  url: string;
  residentKiB: () => number;
  /** Processor time used so far, in seconds. */
  cpuSeconds: () => number;
  stop: () => Promise<void>;
}

/** As docs/live-stream.md says to run it. */
export async function startStreamProcess(stack: TestStack): Promise<StreamProcess> {
  const port = await freePort();
  const marker = `tcp:127.0.0.1:${port}`;
  const part = startPart({
    name: 'admin-events',
    command: npmBinary('deno'),
    args: [
      'run',
      '--no-prompt',
      '--cached-only',
      `--config=${join(repositoryDir, 'edge-functions', 'deno.json')}`,
      '--allow-env',
      '--allow-net',
      '--allow-sys',
      `--allow-read=${repositoryDir}`,
      join(repositoryDir, 'edge-functions', 'admin-events', 'index.ts'),
    ],
    env: {
      DENO_SERVE_ADDRESS: marker,
      SUPABASE_URL: stack.url,
      FIELDTRACK_JWT_SECRET: stack.jwtSecret,
      FIELDTRACK_EDGE_DATABASE_URL: stack.database.url('fieldtrack_edge'),
      FIELDTRACK_STREAM_SECONDS: '3600',
      FIELDTRACK_LOG_LEVEL: 'warn',
      DENO_NO_UPDATE_CHECK: '1',
    },
    onLine: (line) => console.log(`  admin-events: ${line}`),
  });
  const url = `http://127.0.0.1:${port}/admin-events`;
  for (let tries = 0; ; tries += 1) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) break;
    if (tries > 400) throw new Error('the stream process does not answer');
    await pause(50);
  }
  const pid = () => pidWith(`DENO_SERVE_ADDRESS=${marker}`);
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

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

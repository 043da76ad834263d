import type { SpawnOptions } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Account } from './account.ts';
import { launch, waitForExit } from './launch.ts';

/** One thing the stack runs, by the name a person sees when it speaks or dies. */
export type Part = {
  name: string;
  /** Settles when the part has ended, asked or not; says how. */
  ended: Promise<string>;
  stop: () => Promise<void>;
};

export type PartOptions = {
  name: string;
  command: string;
  args?: string[];
  env?: Record<string, string | undefined>;
  cwd?: string;
  account?: Account | undefined;
  onLine: (line: string) => void;
  stopSignal?: NodeJS.Signals;
};

/** Long enough for the worker to hand back its jobs and for PostgreSQL's shutdown checkpoint. */
const STOP_GRACE_MS = 15_000;

export function startPart(options: PartOptions): Part {
  const stdio: SpawnOptions['stdio'] = ['ignore', 'pipe', 'pipe'];
  const env = { ...bareEnvironment(), ...options.env };
  const child = launch(options.command, options.args ?? [], {
    env,
    stdio,
    account: options.account,
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
  for (const stream of [child.stdout, child.stderr]) {
    if (stream) createInterface({ input: stream }).on('line', options.onLine);
  }
  const exited = waitForExit(child);
  const ended = exited.then(({ code, signal }) => (signal ? `was stopped by ${signal}` : `ended with code ${code}`));
  return {
    name: options.name,
    ended,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(options.stopSignal ?? 'SIGTERM');
      const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
      await exited;
      clearTimeout(impatience);
    },
  };
}

/**
 * What any program needs. Not the caller's whole environment: a stray PGRST_… or PGOPTIONS would configure a part, and
 * an edge function could read what a hosted one never sees.
 */
function bareEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'DENO_DIR'];
  return Object.fromEntries(kept.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

/** Asks `ready` until it says yes; fails at once, by name, if the part ends first. */
export async function whenReady(part: Part, ready: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let endedHow: string | undefined;
  void part.ended.then((how) => {
    endedHow = how;
  });
  while (!(await ready())) {
    if (endedHow) throw new Error(`${part.name} ${endedHow} before it was ready`);
    if (performance.now() > deadline) throw new Error(`${part.name} was not ready after ${timeoutMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

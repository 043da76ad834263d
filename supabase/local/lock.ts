import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Refusal } from './refusal.ts';

const holderSchema = z.object({ pid: z.int(), born: z.string(), url: z.string() });

export type Lock = { release: () => void };

/** One stack a data folder. A lock whose process is gone (a crash, a power cut) is taken over. */
export function takeLock(folder: string, url: string): Lock {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Refusal(`The folder of the local data cannot be made: ${why}.\nFIELDTRACK_LOCAL_DIR names another one.`);
  }
  const file = join(folder, 'stack.lock');
  const mine = { pid: process.pid, born: birthOf(process.pid) ?? '', url };
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      writeFileSync(file, JSON.stringify(mine), { flag: 'wx' });
      return { release: () => rmSync(file, { force: true }) };
    } catch (error) {
      if (!isExisting(error)) throw error;
    }
    const holder = readHolder(file);
    if (holder && isAlive(holder.pid) && (birthOf(holder.pid) ?? '') === holder.born) {
      throw new Refusal(
        `The stack is already running (process ${holder.pid}) at ${holder.url}.\n` +
          `Use it, or stop it first: Ctrl-C in its terminal, or \`kill ${holder.pid}\`.`,
      );
    }
    rmSync(file, { force: true });
  }
  throw new Refusal(`${file} is being written by another start. Try again.`);
}

/**
 * After a start was killed outright, its PostgreSQL is told to stop by the kernel and takes a moment. Waits for it;
 * names it if it does not go.
 */
export async function waitForFormerPostgres(dataDir: string, timeoutMs = 15_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const pid = postmasterPid(dataDir);
    if (!pid || !isAlive(pid) || !isPostgres(pid)) return;
    if (performance.now() > deadline) {
      throw new Refusal(`A PostgreSQL (process ${pid}) still uses ${dataDir}. Stop it with \`kill -INT ${pid}\`.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function postmasterPid(dataDir: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8'), 10) || undefined;
  } catch {
    return undefined;
  }
}

function readHolder(file: string): z.infer<typeof holderSchema> | undefined {
  try {
    return holderSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, under another account.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** A pid is used again sooner or later; with the time its process began it is not. Linux only, empty elsewhere. */
function birthOf(pid: number): string | undefined {
  return statOf(pid)?.split(' ')[19];
}

/** /proc/<pid>/stat after the parenthesised name, which may contain blanks. */
function statOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '');
  } catch {
    return undefined;
  }
}

function isPostgres(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgres');
  } catch {
    return true;
  }
}

function isExisting(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST';
}

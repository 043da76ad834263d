import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import type { Account } from './account.ts';

const hasSetpriv = probe('setpriv', ['--version']);

/**
 * Starts a program that cannot outlive us: the kernel stops it when this process dies, even by SIGKILL. It leads its
 * own process group, so that Ctrl-C in the terminal reaches only us and the parts stop in their order.
 */
export function launch(command: string, args: string[], options: SpawnOptions & { account?: Account | undefined }) {
  const { account, ...rest } = options;
  if (!hasSetpriv) return spawn(command, args, { ...rest, ...account, detached: true });
  const flags = ['--pdeathsig', 'INT', ...(account ? lend(account) : [])];
  return spawn('setpriv', [...flags, '--', command, ...args], { ...rest, detached: true });
}

export function waitForExit(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode });
  }
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
}

/**
 * Root's home is closed to others, and a clone in a container usually lies there. The account keeps one of root's
 * rights (to pass folders that are not its own); access(2), which initdb asks, honours it only without the uid fixup.
 */
function lend({ uid, gid }: Account): string[] {
  const rights = ['--inh-caps', '+dac_override', '--ambient-caps', '+dac_override', '--securebits', '+no_setuid_fixup'];
  const user = ['--reuid', String(uid), '--regid', String(gid), '--clear-groups'];
  return mayKeepRights() ? [...user, ...rights] : user;
}

let keepRights: boolean | undefined;
function mayKeepRights(): boolean {
  keepRights ??= probe('setpriv', [
    ...['--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps', '+dac_override'],
    ...['--ambient-caps', '+dac_override', '--securebits', '+no_setuid_fixup', '--', 'true'],
  ]);
  return keepRights;
}

function probe(command: string, args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

import { execFileSync } from 'node:child_process';

export type Account = { uid: number; gid: number };

/**
 * PostgreSQL refuses to run as root. A container often has nobody else logged in, so root lends it an account that
 * every Debian has; anyone else runs it as themselves.
 */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, name], { stdio: 'pipe' }).toString());
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // No such account: the next one.
    }
  }
  throw new Error('Running as root, and neither "postgres" nor "nobody" exists to run PostgreSQL as.');
}

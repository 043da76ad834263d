import { chownSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import postgres from 'postgres';
import { postgresAccount } from './account.ts';
import { postgresBinDir } from './binaries.ts';
import { launch, waitForExit } from './launch.ts';
import { type Part, startPart, whenReady } from './part.ts';

/** The cluster's first role. On Supabase too it is not `postgres`, which migrations run as and which is no superuser. */
export const superuser = 'supabase_admin';

export type Cluster = { part: Part; port: number; superuserPassword: string };

export function databaseUrl(port: number, role: string, password: string, database: string): string {
  return `postgres://${role}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
}

/** Makes the data folder beside its place and moves it there whole: a start that is cut short leaves nothing behind. */
export async function initCluster(dataDir: string, password: string, options: string[] = []): Promise<void> {
  const unfinished = `${dataDir}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true, mode: 0o700 });
  const account = postgresAccount();
  const passwordDir = mkdtempSync(join(tmpdir(), 'fieldtrack-'));
  const passwordFile = join(passwordDir, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account) for (const path of [unfinished, passwordDir, passwordFile]) chownSync(path, account.uid, account.gid);
  const args = [`--pgdata=${unfinished}`, `--username=${superuser}`, `--pwfile=${passwordFile}`, '--no-sync'];
  args.push('--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-instructions', ...options);
  const child = launch(join(postgresBinDir(), 'initdb'), args, { account, stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  child.on('error', (error) => {
    complaint += error.message;
  });
  const { code } = await waitForExit(child);
  rmSync(passwordDir, { recursive: true, force: true });
  if (code !== 0) throw new Error(`initdb failed: ${complaint.trim()}`);
  mkdirSync(dirname(dataDir), { recursive: true });
  renameSync(unfinished, dataDir);
}

export async function startCluster(options: {
  dataDir: string;
  port: number;
  superuserPassword: string;
  settings?: Record<string, string>;
  onLine: (line: string) => void;
}): Promise<Cluster> {
  const settings = {
    listen_addresses: '127.0.0.1',
    // TCP only: a socket would lie outside the data folder and outlive a crash.
    unix_socket_directories: '',
    timezone: 'UTC',
    log_min_messages: 'warning',
    ...options.settings,
  };
  const args = ['-D', options.dataDir, '-p', String(options.port)];
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
  const part = startPart({
    name: 'PostgreSQL',
    command: join(postgresBinDir(), 'postgres'),
    args,
    account: postgresAccount(),
    onLine: options.onLine,
    // "Fast" shutdown: SIGTERM would wait for every client to leave by itself.
    stopSignal: 'SIGINT',
  });
  const url = databaseUrl(options.port, superuser, options.superuserPassword, 'postgres');
  try {
    await whenReady(part, () => answers(url), 30_000);
  } catch (error) {
    await part.stop();
    throw error;
  }
  return { part, port: options.port, superuserPassword: options.superuserPassword };
}

async function answers(url: string): Promise<boolean> {
  const sql = postgres(url, { max: 1, connect_timeout: 2, onnotice: () => {} });
  try {
    await sql`select 1`;
    return true;
  } catch (error) {
    // A wrong password will not become right: let the caller hear of it.
    if (error instanceof postgres.PostgresError && error.code === '28P01') throw error;
    return false;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

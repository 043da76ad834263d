import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort, portIsFree } from '../../supabase/local/free-port.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';

// `npm start` as a person runs it: a child process on its own ports, with its own data folder.
const start = join(repositoryDir, 'supabase', 'local', 'start.ts');
const READY = 'FieldTrack is running';
let folder: string;
let port: number;
const running = new Set<Run>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldtrack-start-'));
  chmodSync(folder, 0o711);
  port = await freePortPair();
});
afterEach(async () => {
  for (const run of running) await run.end('SIGTERM');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

class Run {
  output = '';
  readonly child: ChildProcess;
  readonly code: Promise<number | null>;

  constructor(args: string[], env: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [start, '--port', String(port), ...args], {
      env: { ...process.env, FIELDTRACK_LOCAL_DIR: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.code = new Promise((resolve) => {
      this.child.once('exit', (code) => {
        running.delete(this);
        resolve(code);
      });
    });
    running.add(this);
  }

  async until(text: string): Promise<void> {
    let ended = false;
    void this.code.then(() => {
      ended = true;
    });
    while (!this.output.includes(text)) {
      if (ended) throw new Error(`ended without saying "${text}":\n${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.code;
  }
}

async function freePortPair(): Promise<number> {
  for (;;) {
    const candidate = await freePort();
    if (await portIsFree(candidate + 1)) return candidate;
  }
}

/** Processes that name this test's data folder or a descendant's socket of the given process. */
function descendants(of: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8').replace(/^.*\) /s, '');
      parents.set(Number(entry), Number(stat.split(' ')[1]));
    } catch {
      // It ended while we looked.
    }
  }
  const found = new Set([of]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) grown = Boolean(found.add(pid));
    }
  }
  found.delete(of);
  return [...found];
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

async function allGone(pids: number[], withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (pids.some(isAlive)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

test('a first start makes everything, prints the keys, and Ctrl-C leaves no process and frees the ports', async () => {
  const run = new Run([]);
  await run.until(READY);
  expect(run.output).toContain(`http://127.0.0.1:${port}`);
  expect(run.output).toMatch(/sb_publishable_\S+/);
  expect(run.output).toMatch(/sb_secret_\S+/);
  // The Supabase CLI takes it as it is.
  expect(run.output).toMatch(/postgres:\/\/postgres:\S+@127\.0\.0\.1:\d+\/postgres\?sslmode=disable/);
  expect((await fetch(`http://127.0.0.1:${port}/functions/v1/api?secret=x`)).status).toBe(401);
  await run.until('[http] GET /functions/v1/api 401');
  expect(run.output).not.toContain('secret=x');
  // What is said to run does.
  expect((await fetch(`http://127.0.0.1:${port + 2}/health`)).status).toBe(200);
  expect(statSync(join(folder, 'secrets.json')).mode & 0o777).toBe(0o600);
  const started = descendants(run.child.pid ?? 0);
  expect(started.length).toBeGreaterThan(3);
  expect(await run.end('SIGINT')).toBe(0);
  expect(started.filter(isAlive)).toEqual([]);
  expect([await portIsFree(port), await portIsFree(port + 1)]).toEqual([true, true]);
  expect(existsSync(join(folder, 'stack.lock'))).toBe(false);
});

test('a warm start takes less than ten seconds and keeps keys and data', async () => {
  const secrets = readFileSync(join(folder, 'secrets.json'), 'utf8');
  const began = performance.now();
  const run = new Run([]);
  await run.until(READY);
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(run.output).not.toContain('migrations');
  expect(readFileSync(join(folder, 'secrets.json'), 'utf8')).toBe(secrets);
});

test('with --quiet no request is printed; a long TMPDIR and the origins of the environment are no trouble', async () => {
  const deep = join(folder, 'd'.repeat(100));
  mkdirSync(deep, { recursive: true, mode: 0o711 });
  const run = new Run(['--quiet'], { TMPDIR: deep, FIELDTRACK_ALLOWED_ORIGINS: 'https://app.example' });
  await run.until(READY);
  const preflight = await fetch(`http://127.0.0.1:${port}/functions/v1/admin-events`, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'GET' },
  });
  expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.example');
  expect(run.output).not.toContain('[http]');
});

test('a database from before Storage and Realtime gets them, with bucket, policies and trigger', async () => {
  const databaseUrl = async (run: Run) => {
    await run.until(READY);
    return /postgres:\/\/\S+/.exec(run.output)?.[0].replace('?sslmode=disable', '') ?? '';
  };
  const before = new Run([]);
  const sql = postgres(await databaseUrl(before), { max: 1, onnotice: () => {} });
  await sql`drop trigger _900_broadcast on public.events`;
  await sql`drop schema storage cascade`;
  await sql`drop schema realtime cascade`;
  await sql`drop schema _realtime cascade`;
  await sql.end();
  await before.end('SIGTERM');
  const after = new Run([]);
  const again = postgres(await databaseUrl(after), { max: 1, onnotice: () => {} });
  const [row] = await again`
    select (select count(*)::integer from pg_policies where schemaname in ('storage', 'realtime')) as policies,
      (select count(*)::integer from storage.buckets where id = 'receipts') as buckets,
      (select count(*)::integer from pg_trigger where tgname = '_900_broadcast') as triggers`;
  await again.end();
  expect(row).toEqual({ policies: 4, buckets: 1, triggers: 1 });
});

test('a second start while one runs says where that one is, and leaves it alone', async () => {
  const first = new Run([]);
  await first.until(READY);
  const second = new Run(['--reset']);
  expect(await second.code).toBe(1);
  expect(second.output).toContain(`already running (process ${first.child.pid})`);
  expect(second.output).toContain(`kill ${first.child.pid}`);
  expect((await fetch(`http://127.0.0.1:${port}/functions/v1/api`)).status).toBe(401);
});

test.each([
  ['gateway', 0],
  ['PostgreSQL', 1],
])('a busy port of the %s is named, with what to do', async (part, offset) => {
  const squatter = createServer();
  await new Promise<void>((resolve) => squatter.listen(port + offset, '127.0.0.1', resolve));
  try {
    const run = new Run([]);
    expect(await run.code).toBe(1);
    expect(run.output).toContain(`Port ${port + offset}`);
    expect(run.output).toContain(part);
    expect(run.output).toContain('--port');
  } finally {
    squatter.close();
  }
});

test('a part that dies is named, and the rest stops', async () => {
  const run = new Run([]);
  await run.until(READY);
  const started = descendants(run.child.pid ?? 0);
  const postgrest = started.find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgrest'));
  if (!postgrest) throw new Error('PostgREST does not run');
  process.kill(postgrest, 'SIGKILL');
  expect(await run.code).toBe(1);
  expect(run.output).toContain('The part "PostgREST" was stopped by SIGKILL');
  expect(started.filter(isAlive)).toEqual([]);
});

test('a start that is killed outright takes its parts along, and the next start takes over its lock', async () => {
  const killed = new Run([]);
  await killed.until(READY);
  const started = descendants(killed.child.pid ?? 0);
  await killed.end('SIGKILL');
  expect(await allGone(started, 10_000)).toBe(true);
  expect(existsSync(join(folder, 'stack.lock'))).toBe(true);
  const next = new Run([]);
  await next.until(READY);
});

test('a half-written data folder is told of, and --reset begins anew with new secrets', async () => {
  const before = readFileSync(join(folder, 'secrets.json'), 'utf8');
  rmSync(join(folder, 'postgres', 'global', 'pg_control'));
  const refused = new Run([]);
  expect(await refused.code).toBe(1);
  expect(refused.output).toContain('is incomplete');
  expect(refused.output).toContain('npm start -- --reset');
  const reset = new Run(['--reset']);
  await reset.until(READY);
  expect(readFileSync(join(folder, 'secrets.json'), 'utf8')).not.toBe(before);
});

test('lost secrets are told of without quoting the file', async () => {
  const file = join(folder, 'secrets.json');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.slice(0, 200));
  try {
    const run = new Run([]);
    expect(await run.code).toBe(1);
    expect(run.output).toContain('missing or damaged');
    expect(run.output).not.toContain(text.slice(20, 60));
  } finally {
    writeFileSync(file, text);
  }
});

test('each login role has its own password, and none is in a log', async () => {
  const run = new Run([]);
  await run.until(READY);
  const { passwords } = JSON.parse(readFileSync(join(folder, 'secrets.json'), 'utf8'));
  for (const role of Object.keys(passwords)) {
    const sql = postgres({
      host: '127.0.0.1',
      port: port + 1,
      user: role,
      password: passwords[role],
      database: 'postgres',
    });
    expect(await sql`select current_user as name`, role).toEqual([{ name: role }]);
    await sql.end();
  }
  const log = readFileSync(join(folder, 'postgres.log'), 'utf8');
  for (const password of Object.values<string>(passwords)) expect(log).not.toContain(password);
});

test('a database that is ahead of the folder is told of', async () => {
  const { passwords } = JSON.parse(readFileSync(join(folder, 'secrets.json'), 'utf8'));
  const user = 'supabase_admin';
  const settings = { host: '127.0.0.1', port: port + 1, user, password: passwords[user], database: 'postgres' };
  const change = async (statement: string) => {
    const run = new Run([]);
    await run.until(READY);
    const sql = postgres(settings);
    await sql.unsafe(statement);
    await sql.end();
    await run.end('SIGTERM');
  };
  await change(`insert into supabase_migrations.schema_migrations (version, name) values ('29990101000000', 'later')`);
  const refused = new Run([]);
  expect(await refused.code).toBe(1);
  expect(refused.output).toContain('29990101000000');
  expect(refused.output).toContain('npm start -- --reset');
});

test('--help explains, an unknown option is refused with the same text', async () => {
  const help = new Run(['--help']);
  expect(await help.code).toBe(0);
  expect(help.output).toContain('--reset');
  const unknown = new Run(['--ports']);
  expect(await unknown.code).toBe(1);
  expect(unknown.output).toContain('--port N');
});

test('a data folder that is deleted under a running stack ends it in words', async () => {
  const reset = new Run(['--reset']);
  await reset.until(READY);
  await reset.end('SIGTERM');
  const run = new Run([]);
  await run.until(READY);
  rmSync(folder, { recursive: true, force: true });
  expect(await run.code).toBe(1);
  expect(run.output).toMatch(/The part "\w+" (ended|was stopped)/);
  expect(run.output).not.toMatch(/^\s+at .*:\d+:\d+/m);
  mkdirSync(folder, { recursive: true, mode: 0o711 });
});

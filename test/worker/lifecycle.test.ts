import type { ChildProcess } from 'node:child_process';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../fixtures/database.ts';
import { addEmployee, eventually, foundOrganization, type Member, workAnHour } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';
import { type RunningWorker, spawnWorker } from '../fixtures/worker.ts';

const running = new Set<ChildProcess>();

function startWorker(env: Record<string, string>): RunningWorker {
  const worker = spawnWorker(env);
  running.add(worker.child);
  worker.child.once('exit', () => running.delete(worker.child));
  return worker;
}

/** TCP in front of the database. Silent, it takes what comes, answers nothing and hangs up on nobody, new ones neither. */
async function startProxy(database: URL): Promise<{ url: string; silence: () => void; stop: () => Promise<void> }> {
  const sockets = new Set<Socket>();
  let isSilent = false;
  const server = createServer((client) => {
    const upstream = connect(Number(database.port), database.hostname);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => isSilent || to.write(chunk));
      from.on('error', () => {});
      from.on('close', () => isSilent || to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(database);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    silence: () => {
      isSilent = true;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const ready = (worker: RunningWorker) =>
  eventually('worker ready', async () => worker.lines.join('').includes('worker ready'));

afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
});

test('a bad environment is refused at once, with all problems and no value', async () => {
  const worker = startWorker({
    DATABASE_URL: 'mysql://root:hunter2@localhost/x',
    LOG_LEVEL: 'loud',
    DATABASE_POOL_SIZE: '0',
  });
  expect(await worker.ended).toMatchObject({ code: 1 });
  const output = worker.lines.join('');
  for (const name of ['DATABASE_URL', 'LOG_LEVEL', 'DATABASE_POOL_SIZE']) expect(output).toContain(name);
  expect(output).not.toContain('hunter2');
});

describe('with a database', () => {
  let stack: TestStack;
  let admin: Member;
  let env: Record<string, string>;
  beforeAll(async () => {
    stack = await startTestStack();
    ({ admin } = await foundOrganization(stack, 'acme'));
    env = { DATABASE_URL: stack.database.url('fieldtrack_worker') };
  });
  afterAll(() => stack?.stop());

  test('a worker that cannot start ends at once and says what to look at', async () => {
    const other = `bare_${stack.database.name}`;
    await stack.admin`create database ${stack.admin(other)}`;
    const changed = (change: (url: URL) => void) => {
      const url = new URL(stack.database.url('fieldtrack_worker'));
      change(url);
      return url.href;
    };
    const refusals: [string, RegExp][] = [
      [changed((url) => (url.password = 'not-it')), /28P01.*are role and password of DATABASE_URL the current ones/],
      [changed((url) => (url.pathname = '/nowhere')), /3D000.*names a database that does not exist/],
      [changed((url) => (url.pathname = `/${other}`)), /are all migrations applied/],
      [changed((url) => (url.port = '1')), /ECONNREFUSED.*is it up at the host and port of DATABASE_URL/],
      [changed((url) => (url.search = '?sslmode=require')), /does sslmode in DATABASE_URL fit/],
      [stack.database.url('postgres'), /logs in as another role than fieldtrack_worker/],
    ];
    for (const [url, said] of refusals) {
      const worker = startWorker({ DATABASE_URL: url });
      expect(await worker.ended, String(said)).toEqual({ code: 1, signal: null });
      expect(worker.lines.join('')).toMatch(said);
    }
    await stack.admin`drop database ${stack.admin(other)}`;
  });

  const statusOf = async (sessionId: string) => {
    const [row] = await stack.admin<{ distance_status: string }[]>`
      select distance_status from public.attendance_sessions where id = ${sessionId}`;
    return row?.distance_status;
  };

  /** Works an hour and stops its distance job half-way, after it locked the session, until released. */
  async function holdAJob(person: Member): Promise<{ sessionId: string; release: () => Promise<void> }> {
    const held = await stack.admin.reserve();
    await held`begin`;
    await held`lock table public.session_days in exclusive mode`;
    const sessionId = await workAnHour(person);
    await eventually('the job waits', async () => {
      const [row] = await stack.admin<{ waiting: number }[]>`
        select count(*)::int as waiting from pg_stat_activity
        where datname = current_database() and usename = 'fieldtrack_worker' and wait_event_type = 'Lock'`;
      return (row?.waiting ?? 0) > 0;
    });
    const release = async () => {
      await held`rollback`;
      held.release();
    };
    return { sessionId, release };
  }

  test('SIGTERM in the middle of a job: the job is finished, then the worker ends with code 0', async () => {
    const worker = startWorker(env);
    await ready(worker);
    const { sessionId, release } = await holdAJob(await addEmployee(stack, admin, 'bob'));
    worker.child.kill('SIGTERM');
    await eventually('worker stops', async () => worker.lines.join('').includes('worker stops'));
    await release();
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(await statusOf(sessionId)).toBe('DONE');
  });

  test('SIGTERM with a job that cannot end: the worker gives it back and ends within 15 s', async () => {
    const worker = startWorker(env);
    await ready(worker);
    const { sessionId, release } = await holdAJob(await addEmployee(stack, admin, 'erin'));
    const began = performance.now();
    worker.child.kill('SIGTERM');
    await worker.ended;
    expect(performance.now() - began).toBeLessThan(15_000);
    await release();
    const [job] = await stack.admin<{ state: string }[]>`
      select state from pgboss.job where name = 'distance' and singleton_key = ${sessionId}`;
    expect(job?.state).toBe('retry');
  });

  test('SIGTERM while the database neither answers nor hangs up: the worker ends all the same', async () => {
    const proxy = await startProxy(new URL(stack.database.url('fieldtrack_worker')));
    const worker = startWorker({ DATABASE_URL: proxy.url });
    await ready(worker);
    proxy.silence();
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toEqual({ code: 1, signal: null });
    expect(worker.lines.join('')).toContain('TimeoutError');
    await proxy.stop();
  }, 40_000);

  test('a worker killed in the middle of a job loses nothing: the next one does it', async () => {
    const first = startWorker(env);
    await ready(first);
    const { sessionId, release } = await holdAJob(await addEmployee(stack, admin, 'carol'));
    first.child.kill('SIGKILL');
    await first.ended;
    await release();
    // What 60 s without a heartbeat would bring about, without the wait.
    await stack.admin`update pgboss.job set heartbeat_on = now() - interval '5 minutes' where state = 'active'`;
    const second = startWorker(env);
    await ready(second);
    await eventually('DONE', async () => (await statusOf(sessionId)) === 'DONE', 40_000);
    second.child.kill('SIGTERM');
    expect(await second.ended).toEqual({ code: 0, signal: null });
  }, 90_000);

  test('broken connections do not end the worker', async () => {
    const worker = startWorker(env);
    await ready(worker);
    await stack.admin`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and usename = 'fieldtrack_worker'`;
    const sessionId = await workAnHour(await addEmployee(stack, admin, 'dave'));
    await eventually('DONE', async () => (await statusOf(sessionId)) === 'DONE', 30_000);
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toEqual({ code: 0, signal: null });
  });

  test('a worker that found its queue empty does not read a full one through for each fetch', async () => {
    // A database of its own: nothing has counted its rows yet, so PostgreSQL plans for few while there are none.
    const database = await createTestDatabase();
    const sql = database.sql('supabase_admin');
    const rowsRead = async (): Promise<number> => {
      const [row] = await sql`
        select (seq_tup_read + coalesce(idx_tup_fetch, 0))::float8 as n from pg_stat_user_tables where relname = 'job_common'`;
      return row?.n;
    };
    const worker = startWorker({ DATABASE_URL: database.url('fieldtrack_worker') });
    await ready(worker);
    await pause(2000);
    await sql`
      select private.enqueue('distance', jsonb_build_object('organization_id', gen_random_uuid(), 'session_id', i), i::text)
      from (select gen_random_uuid() as i from generate_series(1, 20000)) as sessions`;
    const before = await rowsRead();
    await eventually('5,000 jobs', async () => worker.lines.join('').split('"job done"').length > 5000, 60_000);
    worker.child.kill('SIGTERM');
    await worker.ended;
    // 1,000 fetches: each through what is left would be 17 million. For a second, until it plans again, some are.
    expect((await rowsRead()) - before).toBeLessThan(3_000_000);
    await database.drop();
  });
});

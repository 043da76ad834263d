import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sessionRoute } from '../../types/answers.ts';
import {
  addEmployee,
  eventually,
  foundOrganization,
  type Member,
  readClock,
  straightNorth,
  workAnHour,
} from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

describe('the distance job', () => {
  let stack: TestStack;
  let admin: Member;
  let organizationId: string;
  beforeAll(async () => {
    stack = await startTestStack({ worker: true });
    ({ admin, organizationId } = await foundOrganization(stack, 'acme'));
  });
  afterAll(() => stack?.stop());

  const status = async (sessionId: string): Promise<string | undefined> => {
    const [row] = await stack.admin<{ distance_status: string }[]>`
      select distance_status from public.attendance_sessions where id = ${sessionId}`;
    return row?.distance_status;
  };
  const session = async (sessionId: string) => {
    const { data, error } = await admin.client.from('attendance_sessions').select().eq('id', sessionId).single();
    if (error) throw error;
    return data;
  };

  test('a check-out is worked into a distance that the administrator reads', async () => {
    const bob = await addEmployee(stack, admin, 'bob');
    const sessionId = await workAnHour(bob);
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    const done = await session(sessionId);
    // 59 legs of 600 m; the metre per degree of the fixture is right within 0.1 %.
    expect(done.distance_m).toBeGreaterThan(35_300);
    expect(done.distance_m).toBeLessThan(35_500);
    expect(done.points_used).toBe(60);
    expect(done.points_rejected).toBe(0);
    expect(done.algorithm_version).toBe(3);
    const days = await stack.admin<{ distance_m: number; duration_s: number }[]>`
      select distance_m::float8, duration_s from public.session_days where session_id = ${sessionId}`;
    const sum = days.reduce((total, day) => total + day.distance_m, 0);
    expect(sum).toBeCloseTo(done.distance_m ?? 0, 6);
    expect(days.reduce((total, day) => total + day.duration_s, 0)).toBeGreaterThanOrEqual((done.duration_s ?? 0) - 1);
  });

  test('a session keeps the parameters that gave its figure, and its route is explained by them, until it is computed anew', async () => {
    const { admin: boss } = await foundOrganization(stack, 'parameters');
    const gina = await addEmployee(stack, boss, 'gina');
    const kept = async (sessionId: string) => {
      const { data } = await boss.client.from('attendance_sessions').select().eq('id', sessionId).single();
      return data as NonNullable<typeof data> & { distance_parameters: Record<string, number> };
    };
    const routeOf = async (sessionId: string) => {
      const { data } = await boss.client.rpc('get_session_route', { session_id: sessionId });
      return sessionRoute.parse(data);
    };
    const sessionId = await workAnHour(gina);
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    const paid = await kept(sessionId);
    expect(paid.distance_parameters).toMatchObject({ max_accuracy_m: 100, max_speed_mps: 70, gap_s: 120, stop_s: 180 });

    // Settings under which not one of its points counts: each claims 5 m.
    const changed = await boss.client.rpc('update_organization', {
      changes: { max_accuracy_m: 4, max_speed_mps: 40, gap_s: 60, stop_s: 600 },
    });
    expect(changed.error).toBeNull();
    const route = await routeOf(sessionId);
    expect(route.points.filter(({ flag }) => flag === 'ok')).toHaveLength(60);
    expect(route.points.reduce((sum, { leg_m }) => sum + leg_m, 0)).toBeCloseTo(paid.distance_m ?? 0, 1);
    expect(route).toMatchObject({ algorithm_version: 3, distance_parameters: paid.distance_parameters });

    const { error } = await boss.client.rpc('recalculate_session', { session_id: sessionId });
    expect(error).toBeNull();
    await eventually('a new figure', async () => (await kept(sessionId)).distance_m === 0);
    const anew = await kept(sessionId);
    expect(anew.distance_parameters).toMatchObject({ max_accuracy_m: 4, max_speed_mps: 40, gap_s: 60, stop_s: 600 });
    expect(anew.points_rejected).toBe(60);
    expect((await routeOf(sessionId)).totals.distance_m).toBe(0);
  });

  test('a late batch changes the figure, and sending it again does not', async () => {
    const minutesAgo = readClock();
    const carol = await addEmployee(stack, admin, 'carol');
    const sessionId = await workAnHour(carol, minutesAgo);
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    const before = await session(sessionId);
    const late = straightNorth(2, minutesAgo(4), 46.5);
    for (const expected of [2, 0]) {
      const { data, error } = await carol.client.rpc('record_locations', { points: late, session_id: sessionId });
      expect(error).toBeNull();
      expect(data).toMatchObject({ inserted: expected, duplicates: 2 - expected });
      await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    }
    const after = await session(sessionId);
    const points = (row: typeof after) => (row.points_used ?? 0) + (row.points_rejected ?? 0);
    expect(points(after)).toBe(points(before) + 2);
    expect(after.distance_computed_at).not.toBe(before.distance_computed_at);
  });

  test('a late batch of an open session makes its live distance provisional until the worker made it exact', async () => {
    const minutesAgo = readClock();
    const ivan = await addEmployee(stack, admin, 'ivan');
    const checkedIn = await ivan.client.rpc('check_in', {
      checked_in_at: minutesAgo(70),
      client_request_id: randomUUID(),
    });
    const points = straightNorth(60, minutesAgo(65));
    for (const batch of [points.slice(0, 20), points.slice(40), points.slice(20, 40)]) {
      const { error } = await ivan.client.rpc('record_locations', { points: batch });
      expect(error).toBeNull();
    }
    const live = () =>
      stack.admin<{ distance_m: number; is_provisional: boolean }[]>`select distance_m::float8, is_provisional
        from private.live_distances where session_id = ${checkedIn.data?.id ?? ''}`;
    await eventually('an exact live distance', async () => (await live())[0]?.is_provisional === false);
    expect((await live())[0]?.distance_m).toBeGreaterThan(35_300);
    expect((await live())[0]?.distance_m).toBeLessThan(35_500);
  });

  test('a batch that commits while the job holds the session is not lost', async () => {
    const minutesAgo = readClock();
    const dave = await addEmployee(stack, admin, 'dave');
    const sessionId = await workAnHour(dave, minutesAgo);
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    // Stand in for a job that is between its lock and its end: hold the row, let a batch queue behind it, and release.
    const points = straightNorth(1, minutesAgo(3), 46.4);
    let sent: Promise<unknown> = Promise.resolve();
    await stack.admin.begin(async (trx) => {
      await trx`select 1 from public.attendance_sessions where id = ${sessionId} for no key update`;
      sent = Promise.resolve(dave.client.rpc('record_locations', { points, session_id: sessionId }));
      await eventually('the batch waits for the lock', async () => {
        const [row] = await stack.admin<{ waiting: number }[]>`
          select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return (row?.waiting ?? 0) > 0;
      });
    });
    await sent;
    await eventually('61 points', async () => {
      const { points_used, points_rejected } = await session(sessionId);
      return (points_used ?? 0) + (points_rejected ?? 0) === 61;
    });
  });

  // check_out itself would wait for the foreign key's lock too: it updates a column of a unique key. This one does not.
  test('a forced check-out waits for a batch that has not committed, so its job sees the batch', async () => {
    const minutesAgo = readClock();
    const frank = await addEmployee(stack, admin, 'frank');
    const checkedIn = await frank.client.rpc('check_in', {
      checked_in_at: minutesAgo(70),
      client_request_id: randomUUID(),
    });
    const sessionId = checkedIn.data?.id ?? '';
    let checkOut: PromiseLike<{ error: unknown }> | undefined;
    await stack.database.sql('postgres').begin(async (trx) => {
      await trx`select set_config('request.jwt.claims',
        ${JSON.stringify({ role: 'authenticated', sub: frank.userId })}, true), set_config('role', 'authenticated', true)`;
      await trx`select public.record_locations(${trx.json(straightNorth(60, minutesAgo(65)))})`;
      checkOut = Promise.resolve(
        admin.client.rpc('force_check_out', { employee_id: frank.employeeId, checked_out_at: minutesAgo(2) }),
      );
      await eventually(
        'the check-out waits',
        async () => {
          const [row] = await stack.admin<{ waiting: number }[]>`
          select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and usename = 'authenticator'`;
          return row?.waiting === 1;
        },
        3000,
      );
    });
    expect(await checkOut).toMatchObject({ error: null });
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    expect((await session(sessionId)).points_used).toBe(60);
  });

  test('a payload of garbage goes to the dead letters, and its content to no log', async () => {
    await stack.admin`select private.enqueue('distance', ${stack.admin.json({ secret: 'do-not-log-me' })}, 'garbage')`;
    await eventually('dead letter', async () => {
      const [row] = await stack.admin<{ dead: number }[]>`
        select count(*)::int as dead from pgboss.job where name = 'distance' and singleton_key = 'garbage' and state = 'failed'`;
      return row?.dead === 1;
    });
    const log = stack.lines.filter(({ part }) => part === 'worker').map(({ line }) => line);
    expect(log.some((line) => line.includes('payload is not valid'))).toBe(true);
    expect(log.join('\n')).not.toContain('do-not-log-me');
  });

  test('a job that used up its retries marks the session FAILED', async () => {
    const erin = await addEmployee(stack, admin, 'erin');
    const sessionId = await workAnHour(erin);
    await eventually('DONE', async () => (await status(sessionId)) === 'DONE');
    await stack.admin`update public.attendance_sessions set distance_status = 'PENDING' where id = ${sessionId}`;
    await stack.admin`select private.enqueue('distance-dead',
      ${stack.admin.json({ organization_id: organizationId, session_id: sessionId })})`;
    await eventually('FAILED', async () => (await status(sessionId)) === 'FAILED');
  });

  test('a job that fails until its retries are used up reaches the dead letters, and the session says FAILED', async () => {
    const grace = await addEmployee(stack, admin, 'grace');
    await stack.admin`update pgboss.queue set retry_limit = 1, retry_delay = 0, retry_backoff = false where name = 'distance'`;
    // What a broken deployment would do: the job cannot write its days.
    await stack.admin`revoke insert on public.session_days from fieldtrack_worker`;
    try {
      const sessionId = await workAnHour(grace);
      await eventually('FAILED', async () => (await status(sessionId)) === 'FAILED', 30_000);
      const [job] = await stack.admin<{ retry_count: number; state: string }[]>`
        select retry_count, state from pgboss.job where name = 'distance' and singleton_key = ${sessionId}`;
      expect(job).toEqual({ retry_count: 1, state: 'failed' });
    } finally {
      await stack.admin`grant insert (organization_id, session_id, day, employee_id, time_zone, starts_at, ends_at, distance_m)
        on public.session_days to fieldtrack_worker`;
    }
  });

  test('a schedule is run by the worker where pg_cron does not serve the database', async () => {
    const heidi = await addEmployee(stack, admin, 'heidi');
    await stack.admin`insert into public.attendance_sessions
        (organization_id, employee_id, checked_in_at, checked_in_received_at)
      values (${organizationId}, ${heidi.employeeId}, now() - interval '20 hours', now() - interval '20 hours')`;
    await stack.admin`select private.enqueue('schedule', ${stack.admin.json({ name: 'forgotten-sessions' })})`;
    await eventually('closed by AUTO', async () => {
      const [row] = await stack.admin<{ closed_by: string | null }[]>`
        select closed_by from public.attendance_sessions where employee_id = ${heidi.employeeId}`;
      return row?.closed_by === 'AUTO';
    });
    const planned = await stack.admin`select 1 from pgboss.schedule where name = 'schedule'`;
    const wanted = await stack.admin`select 1 from private.schedules`;
    expect(planned).toHaveLength(wanted.length);
  });

  test('a job whose session is gone ends without an error', async () => {
    const [row] = await stack.admin<{ id: string }[]>`select private.enqueue('distance', ${stack.admin.json({
      organization_id: organizationId,
      session_id: '00000000-0000-4000-8000-000000000000',
    })}, 'gone') as id`;
    await eventually('completed', async () => {
      const [job] = await stack.admin<{ state: string; output: { outcome?: string } | null }[]>`
        select state, output from pgboss.job where id = ${row?.id ?? ''}`;
      return job?.state === 'completed' && job.output?.outcome === 'gone';
    });
  });
});

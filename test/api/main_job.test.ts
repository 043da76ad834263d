import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  addEmployee,
  eventually,
  foundOrganization,
  type Member,
  readClock,
  straightNorth,
} from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

let stack: TestStack;
let alice: Member;
let bob: Member;
let mallory: Member;
let sessionId: string;

beforeAll(async () => {
  stack = await startTestStack({ worker: true, functions: true });
  alice = (await foundOrganization(stack, 'acme')).admin;
  mallory = (await foundOrganization(stack, 'other')).admin;
  bob = await addEmployee(stack, alice, 'bob');
});
afterAll(() => stack?.stop());

describe('the main job, through supabase-js', () => {
  test('a refreshed token carries the claims that clients read, and keeps its role', async () => {
    const { data, error } = await bob.client.auth.refreshSession();
    expect(error).toBeNull();
    const [, payload = ''] = (data.session?.access_token ?? '').split('.');
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
    expect(claims).toMatchObject({ role: 'authenticated', app_role: 'EMPLOYEE', employee_id: bob.employeeId });
  });

  test('check in, points in two batches, check out', async () => {
    const minutesAgo = readClock();
    const checkedIn = await bob.client.rpc('check_in', {
      checked_in_at: minutesAgo(60),
      client_request_id: randomUUID(),
      latitude: 46,
      longitude: 14.5,
      accuracy_m: 8,
    });
    expect(checkedIn.error).toBeNull();
    sessionId = checkedIn.data?.id ?? '';
    const points = straightNorth(40, minutesAgo(50));
    for (const batch of [points.slice(20), points.slice(0, 20), points.slice(0, 20)]) {
      expect((await bob.client.rpc('record_locations', { points: batch })).error).toBeNull();
    }
    const checkedOut = await bob.client.rpc('check_out', {
      checked_out_at: minutesAgo(5),
      client_request_id: randomUUID(),
    });
    expect(checkedOut.error).toBeNull();
    expect(checkedOut.data).toMatchObject({ id: sessionId, status: 'CLOSED', closed_by: 'EMPLOYEE', duration_s: 3300 });
  });

  test('the administrator reads distance and route; embedding goes by the role of the relation', async () => {
    await eventually('DONE', async () => {
      const { data } = await alice.client
        .from('attendance_sessions')
        .select('distance_status')
        .eq('id', sessionId)
        .single();
      return data?.distance_status === 'DONE';
    });
    const { data: list, error } = await alice.client
      .from('attendance_sessions')
      .select('id, distance_m, employee(name, employee_code)')
      .order('checked_in_at', { ascending: false });
    expect(error).toBeNull();
    expect(list).toHaveLength(1);
    expect(list?.[0]).toMatchObject({ id: sessionId, employee: { name: 'bob', employee_code: 'EMP0002' } });
    const { data: route } = await alice.client.rpc('get_session_route', { session_id: sessionId });
    expect(route).toMatchObject({ session_id: sessionId, distance_status: 'DONE', points_used: 40 });
    // 39 legs of 600 m.
    expect(list?.[0]?.distance_m).toBeGreaterThan(23_300);
    expect(list?.[0]?.distance_m).toBeLessThan(23_500);
  });

  test('the employee reads the own route', async () => {
    const { data } = await bob.client.rpc('get_session_route', { session_id: sessionId });
    expect(data).toMatchObject({ employee_id: bob.employeeId });
  });

  test('another organization sees nothing, whatever it asks', async () => {
    for (const table of ['attendance_sessions', 'gps_locations', 'session_days', 'invitations'] as const) {
      const { data, error, count } = await mallory.client.from(table).select('*', { count: 'exact' });
      expect({ table, error, rows: data?.length, count }).toEqual({ table, error: null, rows: 0, count: 0 });
    }
    const { data: people } = await mallory.client.from('employees').select('id, organization(name)');
    expect(people).toHaveLength(1);
    const refused = await mallory.client.rpc('get_session_route', { session_id: sessionId });
    expect(refused.status).toBe(404);
    expect(refused.error).toMatchObject({ code: 'session_not_found' });
  });

  test('no table can be written by a client, not even the own rows', async () => {
    const session = bob.client.from('attendance_sessions');
    expect((await session.update({ distance_m: 1e6 }).eq('id', sessionId)).error?.code).toBe('42501');
    expect((await bob.client.from('attendance_sessions').delete().eq('id', sessionId)).error?.code).toBe('42501');
    const promoted = await bob.client.from('employees').update({ app_role: 'ADMIN' }).eq('id', bob.employeeId);
    expect(promoted.error?.code).toBe('42501');
    const moved = await alice.client
      .from('employees')
      .update({ organization_id: randomUUID() })
      .eq('id', bob.employeeId);
    expect(moved.error?.code).toBe('42501');
  });

  test('service_role reads all organizations', async () => {
    const { data } = await stack.service().from('organizations').select('id');
    expect(data).toHaveLength(2);
  });
});

describe('over plain HTTP', () => {
  const call = (name: string, body: unknown, token?: string) =>
    fetch(`${stack.url}/rest/v1/rpc/${name}`, {
      method: 'POST',
      headers: {
        apikey: stack.publishableKey,
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
    });

  test.each([
    ['check_in', { checked_in_at: '2100-01-01T00:00:00Z', client_request_id: randomUUID() }, 422, 'time_in_future'],
    ['check_in', { checked_in_at: '2020-01-01T00:00:00Z', client_request_id: randomUUID() }, 422, 'time_too_old'],
    [
      'check_out',
      { checked_out_at: new Date().toISOString(), client_request_id: randomUUID() },
      409,
      'no_open_session',
    ],
    ['record_locations', { points: [] }, 409, 'no_open_session'],
    ['invite_employee', { email: 'x@example.test', name: 'X' }, 403, 'admin_required'],
    ['accept_invitation', { token: 'fti_nonsense' }, 404, 'invitation_not_found'],
    ['create_organization', { name: 'X', slug: 'x-y', time_zone: 'UTC' }, 409, 'already_in_organization'],
    ['get_session_route', { session_id: randomUUID() }, 404, 'session_not_found'],
  ])('%s %j answers %i %s', async (name, body, status, code) => {
    const response = await call(name, body, bob.accessToken);
    expect(response.status).toBe(status);
    const answer: unknown = await response.json();
    expect(answer).toMatchObject({ code });
    expect(Object.keys(answer as object).sort()).toEqual(['code', 'details', 'hint', 'message']);
  });

  test('a wrong type is a 400 with the code of PostgreSQL, never a 500', async () => {
    const response = await call('check_in', { checked_in_at: 'yesterday?', client_request_id: 'x' }, bob.accessToken);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: expect.stringMatching(/^22/) });
  });

  test('without a token every RPC refuses', async () => {
    const minutesAgo = readClock();
    for (const name of ['check_in', 'check_out', 'record_locations', 'get_session_route', 'create_organization']) {
      const response = await call(name, {
        checked_in_at: minutesAgo(1),
        checked_out_at: minutesAgo(1),
        client_request_id: randomUUID(),
        points: [],
        session_id: randomUUID(),
        name: 'X',
        slug: 'x',
        time_zone: 'UTC',
      });
      expect([401, 404]).toContain(response.status);
    }
    const exact = await call('get_session_route', { session_id: sessionId });
    expect(exact.status).toBe(401);
  });

  test.each(['ADMIN', 'EMPLOYEE', 'postgres', 'supabase_admin', 'fieldtrack_worker'])(
    'a token with the role %s is refused',
    async (role) => {
      const token = await stack.signer.sign({ role, sub: bob.userId }, '1h');
      const response = await fetch(`${stack.url}/rest/v1/employees`, {
        headers: { apikey: stack.publishableKey, authorization: `Bearer ${token}` },
      });
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(response.status).toBeLessThan(500);
    },
  );

  test('metadata that a user can write gives no rights', async () => {
    const token = await stack.signer.sign(
      {
        role: 'authenticated',
        sub: bob.userId,
        app_role: 'ADMIN',
        user_metadata: { app_role: 'ADMIN' },
        organization_id: randomUUID(),
      },
      '1h',
    );
    const response = await call('invite_employee', { email: 'x@example.test', name: 'X' }, token);
    expect(response.status).toBe(403);
  });
});

// The live stream through the running stack: real gateway, real Deno process, real log.

import { request as httpRequest } from 'node:http';
import { SignJWT, UnsecuredJWT } from 'jose';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { comparePositions, parsePosition } from '../../edge-functions/admin-events/position.ts';
import { startBreakingProxy } from '../fixtures/breaking-proxy.ts';
import { describedEvents } from '../fixtures/description.ts';
import {
  emit,
  followByEventSource,
  idsInLog,
  type OpenStream,
  openEventStream,
  writeOverlapping,
} from '../fixtures/event-stream.ts';
import { addEmployee, eventually, foundOrganization, type Member } from '../fixtures/organization.ts';
import { seededRandom } from '../fixtures/random.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

/** Short, so that tests live through streams that end by themselves; and long enough for what must come before that. */
const STREAM_S = 8;

let stack: TestStack;
let acme: { organizationId: string; admin: Member };
let other: { organizationId: string; admin: Member };
let bob: Member;

beforeAll(async () => {
  stack = await startTestStack({
    functions: true,
    functionEnv: {
      FIELDTRACK_STREAM_SECONDS: String(STREAM_S),
      FIELDTRACK_STREAM_HEARTBEAT_SECONDS: '1',
      FIELDTRACK_STREAM_RECHECK_SECONDS: '1',
    },
  });
  acme = await foundOrganization(stack, 'acme');
  other = await foundOrganization(stack, 'other');
  bob = await addEmployee(stack, acme.admin, 'bob');
});
afterAll(() => stack?.stop());

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const refusalOf = async ({ response }: OpenStream) => [
  response.status,
  ((await response.json()) as { code: string }).code,
];

async function ticketOf(member: Member): Promise<string> {
  const { data, error } = await member.client.rpc('create_stream_ticket');
  if (error) throw error;
  return (data as { ticket: string }).ticket;
}

async function openReady(member: Member, query = '', lastEventId?: string): Promise<OpenStream> {
  const stream = await openEventStream(stack, {
    token: member.accessToken,
    query,
    ...(lastEventId ? { lastEventId } : {}),
  });
  await eventually('ready', async () => stream.messages.some(({ event }) => event === 'ready'));
  return stream;
}

const positionOf = (id: string) => parsePosition(id) ?? expect.fail(`${id} is no position`);
const eventsOf = ({ messages }: OpenStream) => messages.filter(({ event }) => event.includes('.'));

describe('who may listen', () => {
  const claims = () => ({ role: 'authenticated', sub: acme.admin.userId, aud: 'authenticated' });
  const secret = () => new TextEncoder().encode(stack.jwtSecret);
  const issuer = () => `${stack.url}/auth/v1`;

  test.each<[string, () => Promise<{ token?: string; query?: string }>, number, string]>([
    ['nobody', async () => ({}), 401, 'not_authenticated'],
    ['the publishable key', async () => ({ token: stack.publishableKey }), 401, 'not_authenticated'],
    ['nonsense', async () => ({ token: 'nonsense' }), 401, 'token_invalid'],
    [
      'a token of another issuer',
      async () => ({
        token: await new SignJWT({ ...claims(), iss: 'https://evil.example' })
          .setProtectedHeader({ alg: 'HS256' })
          .setExpirationTime('1h')
          .sign(secret()),
      }),
      401,
      'token_invalid',
    ],
    [
      'a token with another signature',
      async () => ({
        token: await new SignJWT({ ...claims(), iss: issuer() })
          .setProtectedHeader({ alg: 'HS256' })
          .setExpirationTime('1h')
          .sign(new TextEncoder().encode('x'.repeat(32))),
      }),
      401,
      'token_invalid',
    ],
    [
      'alg none',
      async () => ({
        token: new UnsecuredJWT({ ...claims(), iss: issuer() }).setExpirationTime('1h').encode(),
      }),
      401,
      'token_invalid',
    ],
    [
      'an expired token',
      async () => ({
        token: await new SignJWT({ ...claims(), iss: issuer() })
          .setProtectedHeader({ alg: 'HS256' })
          .setExpirationTime('-1m')
          .sign(secret()),
      }),
      401,
      'token_invalid',
    ],
    ['an employee', async () => ({ token: bob.accessToken }), 403, 'admin_required'],
    [
      'a stranger',
      async () => ({ token: (await stack.signUp('stranger@example.test')).accessToken }),
      403,
      'not_a_member',
    ],
    ['a made-up ticket', async () => ({ query: `?ticket=ft_ticket_${'a'.repeat(43)}` }), 401, 'ticket_invalid'],
    ['half a ticket', async () => ({ query: '?ticket=ft_ticket_abc' }), 401, 'ticket_invalid'],
    [
      'an expired ticket',
      async () => {
        const ticket = await ticketOf(acme.admin);
        await stack.admin`update private.stream_tickets set expires_at = now() where true`;
        return { query: `?ticket=${ticket}` };
      },
      401,
      'ticket_invalid',
    ],
    [
      'a position that is none',
      async () => ({ token: acme.admin.accessToken, query: '?last_event_id=1.2' }),
      400,
      'invalid_argument',
    ],
    [
      'a type that is none',
      async () => ({ token: acme.admin.accessToken, query: '?types=session.eaten' }),
      400,
      'invalid_argument',
    ],
  ])('%s is refused', async (_, request, status, code) => {
    expect(await refusalOf(await openEventStream(stack, await request()))).toEqual([status, code]);
  });

  test('other methods and deeper paths are refused', async () => {
    const post = await fetch(`${stack.url}/functions/v1/admin-events`, { method: 'POST', body: '{}' });
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET']);
    expect((await fetch(`${stack.url}/functions/v1/admin-events/x`)).status).toBe(404);
  });

  test('a ticket opens one stream; of two at the same moment one', async () => {
    const query = `?ticket=${await ticketOf(acme.admin)}`;
    const streams = await Promise.all([openEventStream(stack, { query }), openEventStream(stack, { query })]);
    expect(streams.map(({ response }) => response.status).sort()).toEqual([200, 401]);
    for (const stream of streams) stream.close();
    expect(await refusalOf(await openEventStream(stack, { query }))).toEqual([401, 'ticket_invalid']);
  });
});

test('an administrator hears what happens in the own organization, and nothing else', async () => {
  const [ours, theirs] = await Promise.all([openReady(acme.admin), openReady(other.admin)]);
  expect(ours.response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  expect(ours.response.headers.get('cache-control')).toContain('no-transform');
  const { error } = await acme.admin.client.rpc('update_employee', {
    employee_id: bob.employeeId,
    changes: { phone: '+386 1' },
  });
  expect(error).toBeNull();
  const isOurs = ({ messages }: OpenStream) => messages.some(({ data }) => JSON.stringify(data).includes('"phone"'));
  await eventually('the event', async () => isOurs(ours));
  for (const { data } of eventsOf(ours)) describedEvents('StreamEvent')(data);
  expect(eventsOf(ours).slice(-1)).toEqual([
    {
      id: (await idsInLog(stack, acme.organizationId)).at(-1),
      event: 'employee.updated',
      data: {
        id: (await idsInLog(stack, acme.organizationId)).at(-1),
        type: 'employee.updated',
        timestamp: expect.stringMatching(/^\d{4}-/),
        actor: { type: 'employee', id: acme.admin.employeeId },
        data: expect.objectContaining({ employee_id: bob.employeeId, changed: ['phone'] }),
      },
    },
  ]);
  await pause(500);
  expect(isOurs(theirs)).toBe(false);
  for (const stream of [ours, theirs]) stream.close();
});

test('a manager hears of the people of the team, and of who moves from before the next event on', async () => {
  const { client } = acme.admin;
  const [mia, carl] = await Promise.all([
    addEmployee(stack, acme.admin, 'mia'),
    addEmployee(stack, acme.admin, 'carl'),
  ]);
  const { data: team, error } = await client.rpc('create_team', { name: 'North' });
  if (error) throw error;
  const call = async (name: 'update_employee' | 'set_team_manager', args: object) => {
    const { error: refused } = await client.rpc(name, args as never);
    if (refused) throw refused;
  };
  await call('update_employee', { employee_id: bob.employeeId, changes: { team_id: team.id } });
  expect(await refusalOf(await openEventStream(stack, { token: mia.accessToken }))).toEqual([403, 'admin_required']);
  await call('set_team_manager', { team_id: team.id, employee_id: mia.employeeId });

  const stream = await openReady(mia);
  const aboutWhom = () => eventsOf(stream).map(({ data }) => (data.data as { employee_id: string }).employee_id);
  const phoneOf = (member: Member, phone: string) =>
    call('update_employee', { employee_id: member.employeeId, changes: { phone } });
  await phoneOf(carl, '+386 11');
  await phoneOf(bob, '+386 12');
  await eventually('the event about bob', async () => aboutWhom().includes(bob.employeeId));
  expect(new Set(aboutWhom())).toEqual(new Set([bob.employeeId]));

  // Carl comes and Bob leaves while the stream is open.
  await call('update_employee', { employee_id: carl.employeeId, changes: { team_id: team.id } });
  await call('update_employee', { employee_id: bob.employeeId, changes: { team_id: null } });
  const heardOfBob = () => aboutWhom().filter((id) => id === bob.employeeId).length;
  await phoneOf(carl, '+386 13');
  await eventually('the event about carl', async () =>
    eventsOf(stream).some(
      ({ data }) =>
        JSON.stringify(data).includes('"phone"') &&
        (data.data as { employee_id: string }).employee_id === carl.employeeId,
    ),
  );
  const before = heardOfBob();
  await phoneOf(bob, '+386 14');
  await phoneOf(carl, '+386 15');
  await eventually('two events about carl', async () => aboutWhom().filter((id) => id === carl.employeeId).length >= 3);
  expect(heardOfBob()).toBe(before);

  // What was missed is read with the team as it is now.
  const first = eventsOf(stream)[0]?.id ?? '';
  stream.close();
  const again = await openReady(mia, '', first);
  expect(new Set(eventsOf(again).map(({ data }) => (data.data as { employee_id: string }).employee_id))).toEqual(
    new Set([carl.employeeId]),
  );
  await call('set_team_manager', { team_id: team.id, employee_id: mia.employeeId, is_manager: false });
  expect(await again.ended).toBe(true);
  expect(again.comments.at(-1)).toBe('manages no team any more');
}, 60_000);

test('types choose what is sent', async () => {
  const stream = await openReady(acme.admin, '?types=expense.*,organization.updated');
  await acme.admin.client.rpc('update_employee', { employee_id: bob.employeeId, changes: { phone: '+386 2' } });
  await emit(stack, acme.organizationId, 1);
  await eventually('the event', async () => eventsOf(stream).length > 0);
  expect(eventsOf(stream).map(({ event }) => event)).toEqual(['organization.updated']);
  stream.close();
});

// Side by side, each in an organization of its own: they mostly wait.
describe.concurrent('over time', () => {
  test('a quiet stream shows that it lives, ends by itself, and says how soon to come back', async () => {
    const openedAt = performance.now();
    const stream = await openReady(other.admin);
    expect(await stream.ended).toBe(true);
    const seconds = (performance.now() - openedAt) / 1000;
    expect(seconds).toBeGreaterThan(STREAM_S * 0.8);
    expect(seconds).toBeLessThan(STREAM_S + 3);
    expect(stream.comments.filter((comment) => comment === 'still here').length).toBeGreaterThanOrEqual(2);
    expect(stream.comments.at(-1)).toBe('time is over');
  });

  test('a client that resumes gets what it missed, once and in order, also what committed late', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'resume');
    const random = seededRandom('resume');
    const first = await openReady(admin);
    const start = first.messages.find(({ event }) => event === 'ready')?.id ?? '';
    first.close();
    let isWriting = true;
    const writers = [
      (async () => {
        for (let number = 0; isWriting; number += 1) {
          await emit(stack, organizationId, number);
          await pause(random.below(30));
        }
      })(),
      // A transaction that stays open holds the reader back, and commits events with low ids late.
      (async () => {
        while (isWriting) {
          await stack.admin.begin(async (sql) => {
            await emit({ admin: sql as never }, organizationId, -1);
            await pause(random.below(600));
            await emit({ admin: sql as never }, organizationId, -2);
          });
          await pause(random.below(100));
        }
      })(),
    ];

    const received: string[] = [];
    let lastEventId = start;
    for (let round = 0; round < 40; round += 1) {
      const stream = await openEventStream(stack, {
        token: admin.accessToken,
        ...(round % 2 ? { lastEventId } : { query: `?last_event_id=${lastEventId}` }),
      });
      await pause(random.below(250));
      stream.close();
      await stream.ended;
      expect(stream.messages.some(({ event }) => event === 'reset')).toBe(false);
      received.push(...eventsOf(stream).map(({ id }) => id ?? ''));
      lastEventId = stream.messages.at(-1)?.id ?? lastEventId;
    }
    isWriting = false;
    await Promise.all(writers);
    const last = await openReady(admin, '', lastEventId);
    // The stream may begin before what happened last: a transaction that is open anywhere holds its reader back.
    const isAfterStart = (id: string) => comparePositions(positionOf(id), positionOf(start)) > 0;
    const expected = (await idsInLog(stack, organizationId)).filter(isAfterStart);
    await eventually('the rest', async () => received.length + eventsOf(last).length >= expected.length);
    received.push(...eventsOf(last).map(({ id }) => id ?? ''));
    last.close();
    expect(expected.length).toBeGreaterThan(100);
    expect(received).toEqual(expected);
  });

  // Each life ends early, by chance: while connecting, while what was missed is read, live, between two messages or within one.
  test('EventSource comes back by itself after each break of the network, loses nothing and hears nothing twice', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'eventsource');
    const random = seededRandom('eventsource');
    const proxy = await startBreakingProxy(`${stack.url}/functions/v1/admin-events`, random.below);
    const known = new Set(await idsInLog(stack, organizationId));
    const followers = await Promise.all(
      Array.from({ length: 20 }, () => followByEventSource(proxy.url, admin.accessToken, known)),
    );
    let isOver = false;
    const writing = writeOverlapping(stack, [organizationId], {
      writers: 3,
      pauseMs: 60,
      random,
      isOver: () => isOver,
    });
    proxy.breakAll(600);
    const reconnects = () => followers.reduce((sum, { connections }) => sum + connections() - 1, 0);
    await eventually('60 reconnects', async () => reconnects() >= 60, 30_000);
    proxy.spare();
    isOver = true;
    await writing;
    const expected = (await idsInLog(stack, organizationId)).filter((id) => !known.has(id));
    // They come back within 3 s, then once more at the end that the stream gives itself.
    await eventually('the rest', async () => followers.every(({ received }) => received.at(-1) === expected.at(-1)));
    for (const { received, resets, close } of followers) {
      close();
      expect(received).toEqual(expected);
      expect(resets()).toBe(0);
    }
    await proxy.stop();
    expect(expected.length).toBeGreaterThan(100);
    expect(Math.min(...Object.values(proxy.broken))).toBeGreaterThan(3);
  });

  test('EventSource comes back after an end that the stream gives itself', async () => {
    const { organizationId, admin } = await foundOrganization(stack, 'eventsource');
    const known = new Set(await idsInLog(stack, organizationId));
    const url = `${stack.url}/functions/v1/admin-events`;
    const { received, connections, close } = await followByEventSource(url, admin.accessToken, known);
    for (let number = 0; connections() < 2; number += 1) {
      await emit(stack, organizationId, number);
      await pause(50);
    }
    await pause(200);
    const expected = (await idsInLog(stack, organizationId)).filter((id) => !known.has(id));
    await eventually('the rest', async () => received.length >= expected.length);
    close();
    expect(received).toEqual(expected);
  });

  test.each<[string, (person: Member, admin: Member) => Promise<unknown>]>([
    [
      'deactivated',
      async (person, admin) =>
        admin.client.rpc('set_employee_active', { employee_id: person.employeeId, is_active: false }),
    ],
    [
      'made an employee',
      async (person, admin) =>
        admin.client.rpc('update_employee', { employee_id: person.employeeId, changes: { app_role: 'EMPLOYEE' } }),
    ],
    [
      'removed without an event',
      async (person) => {
        await stack.admin.begin(async (sql) => {
          await sql`set local session_replication_role = replica`;
          await sql`update public.employees set is_active = false where id = ${person.employeeId}`;
        });
      },
    ],
  ])('who stops being an administrator stops hearing: %s', async (_, dismiss) => {
    const { organizationId, admin } = await foundOrganization(stack, 'dismissal');
    const person = await addEmployee(stack, admin, 'ada', 'ADMIN');
    const [theirs, ours] = await Promise.all([openReady(person), openReady(admin)]);
    await dismiss(person, admin);
    expect(await theirs.ended).toBe(true);
    expect(theirs.comments.at(-1)).toBe('not an administrator any more');
    // Not even the event that says so. (What happened just before they came may be there: the process reads every 100 ms.)
    expect(eventsOf(theirs).filter(({ data }) => JSON.stringify(data).match(/"is_active":false|"EMPLOYEE"/))).toEqual(
      [],
    );
    await emit(stack, organizationId, 5);
    await eventually('the other stream', async () =>
      eventsOf(ours).some(({ data }) => (data.data as { number?: number }).number === 5),
    );
    ours.close();
    expect((await openEventStream(stack, { token: person.accessToken })).response.status).toBe(403);
  });
});

test('a long absence is read page by page; what retention deleted is told by reset', async () => {
  const { organizationId, admin } = await foundOrganization(stack, 'absent');
  const [oldest = ''] = await idsInLog(stack, organizationId);
  await stack.admin`
    select private.emit_event(${organizationId}, 'organization.updated', 'organization', ${organizationId}, null,
      jsonb_build_object('number', n)) from generate_series(1, 1234) as n`;
  const stream = await openReady(admin, '', oldest);
  expect(eventsOf(stream).map(({ id }) => id)).toEqual((await idsInLog(stack, organizationId)).slice(1));
  stream.close();

  // A position of an earlier cluster sorts before all of this one's; one that was never given is not kept either.
  const [last = ''] = (await idsInLog(stack, organizationId)).slice(-1);
  const [epoch, xact] = last.split('.');
  await stack.admin`update private.event_log_floor set epoch = ${Number(epoch)}, xact = ${xact ?? ''}::text::xid8, id = 0 where is_only_row`;
  for (const position of [oldest, '0.99999999999.1', '7.1.1']) {
    const reset = await openReady(admin, '', position);
    expect(reset.messages.map(({ event }) => event)).toEqual(['reset', 'ready']);
    expect(reset.messages[0]).toMatchObject({ data: { reason: 'position_not_kept', position } });
    reset.close();
  }
  const kept = await openReady(admin, '', last);
  expect(kept.messages.map(({ event }) => event)).toEqual(['ready']);
  kept.close();
  await stack.admin`update private.event_log_floor set epoch = 0, xact = '0', id = 0 where is_only_row`;
});

test('a client that does not read is dropped, the others go on', async () => {
  const { organizationId, admin } = await foundOrganization(stack, 'slow');
  const logged = (why: string) => stack.lines.filter(({ line }) => line.includes(why)).length;
  const before = logged('the client reads too slowly');
  const slow = httpRequest(`${stack.url}/functions/v1/admin-events`, {
    headers: { authorization: `Bearer ${admin.accessToken}` },
  });
  slow.on('error', () => {});
  await new Promise<void>((resolve) => {
    slow.on('response', (response) => {
      response.on('error', () => {});
      resolve();
    });
    slow.end();
  });
  const reader = await openReady(admin);
  const filling = 'x'.repeat(200_000);
  for (let number = 0; number < 400 && logged('the client reads too slowly') === before; number += 1) {
    await emit(stack, organizationId, number, filling);
    await pause(10);
  }
  expect(logged('the client reads too slowly')).toBe(before + 1);
  await emit(stack, organizationId, 1000);
  await eventually('the reader', async () =>
    eventsOf(reader).some(({ data }) => (data.data as { number: number }).number === 1000),
  );
  reader.close();
  slow.destroy();
});

test('API keys leave a fifth of the streams to people', async () => {
  const { admin } = await foundOrganization(stack, 'systems');
  const { data, error } = await admin.client.rpc('create_api_key', { name: 'All of it', scopes: ['events:read'] });
  if (error) throw error;
  const { key } = data as { key: string };
  const open = () => openEventStream(stack, { apiKey: key });
  const streams = await Promise.all(Array.from({ length: 40 }, open));
  expect(streams.map(({ response }) => response.status)).toEqual(Array(40).fill(200));
  expect(await refusalOf(await open())).toEqual([429, 'too_many_streams']);
  (await openReady(admin)).close();
  for (const stream of streams) stream.close();
});

test('the 51st stream of an organization is refused until one leaves', async () => {
  const { admin } = await foundOrganization(stack, 'crowd');
  const streams = await Promise.all(
    Array.from({ length: 50 }, () => openEventStream(stack, { token: admin.accessToken })),
  );
  expect(streams.every(({ response }) => response.status === 200)).toBe(true);
  const refused = await openEventStream(stack, { token: admin.accessToken });
  expect(refused.response.headers.get('retry-after')).toBe('15');
  expect(await refusalOf(refused)).toEqual([429, 'too_many_streams']);
  const elsewhere = await openReady(other.admin);
  elsewhere.close();
  // The gateway passes on that the client left: the place is free without waiting for the stream's end.
  streams[0]?.close();
  await eventually(
    'a free place',
    async () => {
      const stream = await openEventStream(stack, { token: admin.accessToken });
      streams.push(stream);
      return stream.response.status === 200;
    },
    2000,
  );
  for (const stream of streams) stream.close();
});

// Last in this file: what is connected before keeps the epoch it knows, as no connection outlives its cluster.
test('a position of the cluster before a restore goes on in the next one', async () => {
  const { organizationId, admin } = await foundOrganization(stack, 'restored');
  await emit(stack, organizationId, 1);
  const [oldest = '', ...missed] = await idsInLog(stack, organizationId);
  await stack.admin`insert into private.event_epochs (epoch, system_identifier) values (1, 4711)`;
  const afterRestore = postgres(stack.database.url('supabase_admin'), { max: 1 });
  await emit({ admin: afterRestore }, organizationId, 2);
  const stream = await openReady(admin, '', oldest);
  await emit({ admin: afterRestore }, organizationId, 3);
  await eventually('the live event', async () => eventsOf(stream).length >= missed.length + 2);
  await afterRestore.end();
  const ids = eventsOf(stream).map(({ id }) => id ?? '');
  expect(ids).toEqual([...missed, expect.stringMatching(/^2\./), expect.stringMatching(/^2\./)]);
  expect(stream.messages.some(({ event }) => event === 'reset')).toBe(false);
  stream.close();
});

import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../edge-functions/_shared/database.ts';
import { freePort } from '../../supabase/local/free-port.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';

let database: TestDatabase;
let edge: Database;
let road: Server | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await edge?.end({ timeout: 1 });
  road?.close();
  await database?.drop();
});

test('a function tries its database again each second: postgres.js by itself waits up to 20 s, and the requests with it', async () => {
  const real = new URL(database.url('fieldtrack_edge'));
  const url = new URL(real);
  url.port = String(await freePort());
  edge = openDatabase({ url: url.href, poolSize: 4, application: 'test' });
  const beganAtMs = performance.now();
  // Four a connection, one after the other.
  const refused = await Promise.allSettled(Array.from({ length: 16 }, () => edge`select 1`));
  expect(refused.map(({ status }) => status)).not.toContain('fulfilled');
  // The database is there now, behind the port where nobody listened.
  road = createServer((socket) => {
    const onward = connect(Number(real.port), real.hostname);
    socket.pipe(onward).pipe(socket);
    for (const end of [socket, onward]) end.on('error', () => {});
  });
  await new Promise<void>((resolve) => road?.listen(Number(url.port), '127.0.0.1', resolve));
  expect(await edge`select 1 as one`).toEqual([{ one: 1 }]);
  expect(performance.now() - beganAtMs).toBeLessThan(12_000);
});

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below the ports that systems give away by themselves (Linux from 32768 on, others from 49152), above those that have names. */
const ports = { from: 20_000, to: 32_768 };

/**
 * A port nobody uses now. No program that dials or binds port 0 takes it meanwhile, as one of the system's own choosing would be
 * taken; another caller of this may, once in some thousand. Who cannot bear that binds port 0.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = randomInt(ports.from, ports.to);
    if (await portIsFree(port)) return port;
  }
  throw new Error('Of a hundred ports of 127.0.0.1 none could be bound');
}

export function portIsFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

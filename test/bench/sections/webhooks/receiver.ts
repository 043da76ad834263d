// An integrator's endpoint in a process of its own, as it is in life. Told "reset" it forgets, asked "count" or "report" it
// answers.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ReceiverMessage, ReceiverReport } from './receiver-process.ts';

let atMs: number[] = [];
let waits: { path: string; ms: number }[] = [];

const server = createServer((message, response) => {
  let body = '';
  message.setEncoding('utf8');
  message.on('data', (chunk: string) => {
    body += chunk;
  });
  message.on('end', () => {
    const now = performance.timeOrigin + performance.now();
    atMs.push(now);
    const path = message.url ?? '/';
    // The event's own time is in the body, with microseconds.
    const [, timestamp = ''] = /"timestamp":"([^"]+)"/.exec(body) ?? [];
    waits.push({ path, ms: now - Date.parse(timestamp) });
    if (path !== '/dead') response.writeHead(204).end();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => tell({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }));

process.on('message', (message: ReceiverMessage) => {
  if (message === 'count') tell({ count: atMs.length });
  if (message === 'report') {
    const report: ReceiverReport = { count: atMs.length, firstMs: atMs[0] ?? 0, lastMs: atMs.at(-1) ?? 0, waits };
    tell(report);
  }
  atMs = message === 'reset' ? [] : atMs;
  waits = message === 'reset' ? [] : waits;
});

function tell(message: object): void {
  process.send?.(message);
}

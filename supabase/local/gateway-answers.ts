import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

export const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': '*, authorization',
  'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS',
  'access-control-expose-headers': '*',
};

/** A refusal of the gateway's own, in the shape that everything behind it has. */
export function answer(
  outgoing: ServerResponse,
  status: number,
  message: string,
  code = String(status),
  hint: string | null = null,
): void {
  outgoing.writeHead(status, { 'content-type': 'application/json', ...CORS });
  outgoing.end(JSON.stringify({ code, message, details: null, hint }));
}

/** A request that Node could not read has no answer object yet: the refusal is written as it is. */
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const isTooLong = error.code === 'HPE_HEADER_OVERFLOW';
  const status = isTooLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const body = JSON.stringify({
    code: status.slice(0, 3),
    message: isTooLong ? 'The URL and the headers are too long' : 'This is not HTTP',
    details: null,
    hint: isTooLong ? 'Ask for fewer values at once: a list of 100 ids in a filter fits everywhere.' : null,
  });
  const cors = Object.entries(CORS).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`${head}${cors.join('')}connection: close\r\n\r\n${body}`);
}

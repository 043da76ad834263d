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
  writeRefusal(socket, status, {
    code: status.slice(0, 3),
    message: isTooLong ? 'The URL and the headers are too long' : 'This is not HTTP',
    details: null,
    hint: isTooLong ? 'Ask for fewer values at once: a list of 100 ids in a filter fits everywhere.' : null,
  });
}

/** A WebSocket that is not opened; a browser shows the status to its developer, and the page learns that it failed. */
export function refuseUpgrade(socket: Duplex, status: 401 | 404, message: string): void {
  const reason = { 401: 'Unauthorized', 404: 'Not Found' }[status];
  writeRefusal(socket, `${status} ${reason}`, { code: String(status), message, details: null, hint: null });
}

function writeRefusal(socket: Duplex, status: string, refusal: Record<string, string | null>): void {
  const body = JSON.stringify(refusal);
  const cors = Object.entries(CORS).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`${head}${cors.join('')}connection: close\r\n\r\n${body}`);
}

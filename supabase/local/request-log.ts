import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** What a person reads of a request. Without the query: it may hold tokens, addresses and positions. */
export type RequestLine = { method: string; path: string; status: number; ms: number; id: string };

/** The caller's own id if it looks like one, so that it can be found in every log; else a new one. */
export function requestId(sent: string | string[] | undefined): string {
  return typeof sent === 'string' && /^[\w.-]{8,128}$/.test(sent) ? sent : randomUUID();
}

export function logRequest(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  id: string,
  onRequest: (line: RequestLine) => void,
): void {
  const began = performance.now();
  const path = (incoming.url ?? '/').split('?', 1)[0] ?? '/';
  outgoing.once('close', () => {
    const ms = Math.round(performance.now() - began);
    // 499, as nginx says it: the client left before the answer was whole.
    const status = outgoing.writableFinished ? outgoing.statusCode : 499;
    onRequest({ method: incoming.method ?? 'GET', path: printable(path), status, ms, id });
  });
}

/** What a path says on a terminal is its own text and nothing else. */
function printable(path: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced.
  return path.slice(0, 200).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}

export function requestText({ method, path, status, ms, id }: RequestLine): string {
  return `${method} ${path} ${status} ${ms} ms ${id}`;
}

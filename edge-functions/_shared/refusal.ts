import { type EdgeErrorCode, type ErrorCode, edgeErrors, errors } from '../../types/errors.ts';

export type ErrorBody = { code: string; message: string; details: string | null; hint: string | null };

/** A registered error on its way out, in PostgREST's shape. Thrown anywhere in a handler, answered by the kernel. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Record<string, string>;

  constructor(status: number, body: ErrorBody, headers: Record<string, string> = {}) {
    super(body.code);
    this.name = 'Refusal';
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** `throw refusal('body_invalid', 'The body is no JSON.')`: the status is that of the registry (types/errors.ts). */
export function refusal(
  code: ErrorCode | EdgeErrorCode,
  message: string,
  more: { details?: string; hint?: string; headers?: Record<string, string> } = {},
): Refusal {
  const { status } = { ...errors, ...edgeErrors }[code];
  const { details = null, hint = null, headers } = more;
  return new Refusal(status, { code, message, details, hint }, headers);
}

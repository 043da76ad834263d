/** Answers who asked: the request id, echoed if the caller sent a plausible one, made otherwise. */
export function createHandler(deps: { newRequestId: () => string }): (request: Request) => Response {
  return (request) => {
    const requestId = plausibleId(request.headers.get('x-request-id')) ?? deps.newRequestId();
    const headers = { 'x-request-id': requestId, 'cache-control': 'no-store' };
    if (request.method !== 'GET') {
      const body = {
        code: 'method_not_allowed',
        message: 'This function answers GET only.',
        details: null,
        hint: null,
      };
      return Response.json(body, { status: 405, headers: { ...headers, allow: 'GET' } });
    }
    return Response.json({ message: 'Hello from FieldTrack', request_id: requestId }, { headers });
  };
}

/** Ids end up in logs: what a caller sends is echoed only if it can break none. */
function plausibleId(id: string | null): string | undefined {
  return id && /^[\w.-]{8,128}$/.test(id) ? id : undefined;
}

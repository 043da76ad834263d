import type { Handler, Kernel } from '../_shared/kernel.ts';

/** The smallest function: it answers which request this was. */
export function createHandler({ kernel }: { kernel: Kernel }): Handler {
  return kernel({
    name: 'hello',
    methods: ['GET', 'HEAD'],
    maxBodyBytes: 0,
    timeoutMs: 1000,
    handle: ({ requestId }) => Response.json({ message: 'Hello from FieldTrack', request_id: requestId }),
  });
}

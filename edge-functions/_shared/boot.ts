import { createAbuseLog } from './abuse.ts';
import type { SharedEnv } from './env.ts';
import { createKernel, type Handler, type KernelDeps } from './kernel.ts';
import { createLogger } from './log.ts';
import { keepSpansClean } from './trace.ts';

/** The kernel as it runs, from the environment. Tests make their own. */
export function kernelOf(name: string, env: SharedEnv) {
  const now = () => performance.now();
  const log = createLogger({ service: name, level: env.FIELDTRACK_LOG_LEVEL });
  const abuse = createAbuseLog({ now });
  const deps: KernelDeps = {
    log,
    abuse,
    allowedOrigins: env.FIELDTRACK_ALLOWED_ORIGINS,
    trustedProxies: env.FIELDTRACK_TRUSTED_PROXIES,
    newRequestId: () => crypto.randomUUID(),
    now,
  };
  return { kernel: createKernel(deps), log, abuse, now };
}

/** Serves until the process ends: hosted, locally (DENO_SERVE_ADDRESS names a socket) and as a plain Deno process. */
export function serve(handler: Handler): Deno.HttpServer {
  keepSpansClean();
  const peer = (address: Deno.Addr) => ('hostname' in address ? address.hostname : undefined);
  return Deno.serve({ onListen: () => {} }, (request, info) => handler(request, peer(info.remoteAddr)));
}

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Mail, startAuth } from './auth.ts';
import { declaredFunctions, readConfig } from './config.ts';
import { startDataApi } from './data-api.ts';
import { startFunction } from './functions.ts';
import { startGateway } from './gateway.ts';
import { createKeyRing, createSigner } from './keys.ts';
import type { Part } from './part.ts';
import { startRealtime } from './realtime.ts';
import type { RequestLine } from './request-log.ts';
import { makeSocketFolder } from './socket-folder.ts';
import { startStorage } from './storage.ts';
import { startWorker, workerAnswers } from './worker.ts';

export type ServiceRole =
  | 'authenticator'
  | 'supabase_auth_admin'
  | 'supabase_storage_admin'
  | 'supabase_realtime_admin'
  | 'fieldtrack_worker'
  | 'fieldtrack_edge';

export type ServicesOptions = {
  port: number;
  /** The connection of a role to the database that is served. */
  urlOf: (role: ServiceRole) => string;
  jwtSecret: string;
  publishableKey: string;
  secretKey: string;
  functions: boolean;
  worker: boolean;
  workerEnv?: Record<string, string | undefined>;
  functionEnv?: Record<string, string | undefined>;
  poolSize?: number;
  /** The folder of the built administrator's page. */
  consoleDir?: string | undefined;
  /** Where Storage keeps files; without it they go when the services stop. */
  storageFolder?: string;
  realtimeRecheckMs?: number;
  onRequest?: (line: RequestLine) => void;
  onLine: (part: string, line: string) => void;
  onMail?: (mail: Mail) => void;
};

export type Services = { url: string; parts: Part[]; withoutWorker: boolean; stop: () => Promise<void> };

/** Everything in front of a migrated database. What was started is stopped again if a later part cannot start. */
export async function startServices(options: ServicesOptions): Promise<Services> {
  const config = readConfig();
  const signer = createSigner(options.jwtSecret);
  const keys = await createKeyRing(signer, options);
  const socketDir = makeSocketFolder();
  const parts: Part[] = [];
  const stops: (() => Promise<void>)[] = [];
  let withoutWorker = false;

  async function stop(): Promise<void> {
    // Last started, first stopped; one that fails to stop keeps none of the others running.
    for (const stopOne of stops.reverse().splice(0)) await stopOne().catch(() => {});
    rmSync(socketDir, { recursive: true, force: true });
  }

  async function startBehind(url: string) {
    const { jwtSecret, publishableKey, secretKey, onLine } = options;
    const startRest = async () => {
      const rest = await startDataApi({
        databaseUrl: options.urlOf('authenticator'),
        config,
        jwtSecret,
        publicUrl: url,
        socketDir,
        onLine: (line) => onLine('rest', withoutQuery(line)),
        ...(options.poolSize ? { poolSize: options.poolSize } : {}),
      });
      parts.push(rest.part);
      stops.push(rest.part.stop);
      return rest.socket;
    };
    const startAuthentication = async () => {
      const auth = await startAuth({
        databaseUrl: options.urlOf('supabase_auth_admin'),
        config,
        jwtSecret,
        publishableKey,
        secretKey,
        issuer: `${url}/auth/v1`,
        onMail: options.onMail ?? (() => {}),
      });
      stops.push(auth.stop);
      return auth;
    };
    const startFiles = async () => {
      const storage = await startStorage({
        databaseUrl: options.urlOf('supabase_storage_admin'),
        jwtSecret,
        folder: options.storageFolder ?? join(socketDir, 'storage'),
      });
      stops.push(storage.stop);
      return storage;
    };
    const startChannels = async () => {
      const realtime = await startRealtime({
        databaseUrl: options.urlOf('supabase_realtime_admin'),
        jwtSecret,
        keys,
        ...(options.realtimeRecheckMs ? { recheckMs: options.realtimeRecheckMs } : {}),
      });
      stops.push(realtime.stop);
      return realtime;
    };
    const startFunctions = async () => {
      const declared = options.functions ? declaredFunctions(config) : [];
      const env = {
        SUPABASE_URL: url,
        SUPABASE_ANON_KEY: publishableKey,
        SUPABASE_SERVICE_ROLE_KEY: secretKey,
        SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: publishableKey }),
        SUPABASE_SECRET_KEYS: JSON.stringify({ default: secretKey }),
        FIELDTRACK_JWT_SECRET: jwtSecret,
        FIELDTRACK_EDGE_DATABASE_URL: options.urlOf('fieldtrack_edge'),
        FIELDTRACK_ALLOWED_ORIGINS: allowedOrigins(config.auth.site_url),
        ...options.functionEnv,
      };
      const start = async (entry: (typeof declared)[number]) => {
        const onFunctionLine = (line: string) => onLine(entry.name, line);
        const started = await startFunction({ declared: entry, socketDir, env, onLine: onFunctionLine });
        parts.push(started.part);
        stops.push(started.part.stop);
        return [entry.name, started] as const;
      };
      return new Map(await all(declared.map(start)));
    };
    const [rest, auth, storage, realtime, functions] = await all([
      startRest(),
      startAuthentication(),
      startFiles(),
      startChannels(),
      startFunctions(),
    ]);
    return { rest, auth, storage, realtime, functions };
  }

  try {
    const { consoleDir: folder, publishableKey } = options;
    const adminConsole = folder === undefined ? undefined : { folder, publishableKey };
    const gateway = await startGateway({
      port: options.port,
      keys,
      signer,
      adminConsole,
      routes: startBehind,
      ...(options.onRequest ? { onRequest: options.onRequest } : {}),
    });
    stops.push(gateway.stop);
    if (options.worker) {
      const worker = startWorker({
        databaseUrl: options.urlOf('fieldtrack_worker'),
        httpPort: options.port === 0 ? 0 : options.port + 2,
        onLine: (line) => options.onLine('worker', line),
        ...(options.workerEnv ? { env: options.workerEnv } : {}),
      });
      withoutWorker = !worker;
      if (worker) {
        parts.push(worker);
        stops.push(worker.stop);
        // "Running" is said when it is true of all of them.
        if (options.port !== 0) await workerAnswers(worker, options.port + 2);
      }
    }
    return { url: gateway.url, parts, withoutWorker, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Like Promise.all, but every start has settled before a failure is told: each has registered how to stop it. */
async function all<const T extends readonly Promise<unknown>[]>(starts: T) {
  await Promise.allSettled(starts);
  return Promise.all(starts);
}

/** The pages that may call the functions: those of one's own app as Auth knows it, and what Vite and Next.js listen on. */
function allowedOrigins(siteUrl: string): string {
  if (process.env.FIELDTRACK_ALLOWED_ORIGINS !== undefined) return process.env.FIELDTRACK_ALLOWED_ORIGINS;
  const usual = ['localhost', '127.0.0.1'].flatMap((host) => [3000, 5173].map((port) => `http://${host}:${port}`));
  return [...new Set([new URL(siteUrl).origin, ...usual])].join(',');
}

/** PostgREST logs the URL of what it refuses; a query may hold an address, a position or an invitation's token. */
function withoutQuery(line: string): string {
  return line.replace(/("[A-Z]+ [^"?\s]*)\?[^"\s]*/g, '$1?…');
}

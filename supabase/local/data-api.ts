import { request } from 'node:http';
import { join } from 'node:path';
import { postgrestBinary } from './binaries.ts';
import type { Config } from './config.ts';
import { type Part, startPart, whenReady } from './part.ts';

export type DataApi = { part: Part; socket: string };

/** A real PostgREST, on a socket that only we and the gateway know. */
export async function startDataApi(options: {
  /** As authenticator. */
  databaseUrl: string;
  config: Config;
  jwtSecret: string;
  publicUrl: string;
  /** A folder of ours with a short path: a socket's may have 107 characters. */
  socketDir: string;
  poolSize?: number;
  onLine: (line: string) => void;
}): Promise<DataApi> {
  const { api } = options.config;
  const socket = join(options.socketDir, 'rest.sock');
  const part = startPart({
    name: 'PostgREST',
    command: postgrestBinary(),
    env: {
      PGRST_DB_URI: options.databaseUrl,
      PGRST_DB_SCHEMAS: api.schemas.join(','),
      PGRST_DB_EXTRA_SEARCH_PATH: api.extra_search_path.join(','),
      PGRST_DB_MAX_ROWS: String(api.max_rows),
      PGRST_DB_ANON_ROLE: 'anon',
      PGRST_DB_POOL: String(options.poolSize ?? 10),
      PGRST_JWT_SECRET: options.jwtSecret,
      PGRST_OPENAPI_SERVER_PROXY_URI: `${options.publicUrl}/rest/v1`,
      PGRST_SERVER_UNIX_SOCKET: socket,
      PGRST_LOG_LEVEL: 'warn',
    },
    onLine: options.onLine,
  });
  try {
    await whenReady(part, () => answers(socket), 20_000);
  } catch (error) {
    await part.stop();
    throw error;
  }
  return { part, socket };
}

/** 503 until the schema cache is loaded. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({ socketPath, path: '/', method: 'HEAD' }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    probe.on('error', () => resolve(false));
    probe.end();
  });
}

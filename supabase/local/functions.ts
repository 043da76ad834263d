import { connect } from 'node:net';
import { join } from 'node:path';
import { npmBinary } from './binaries.ts';
import { denoConfig, type FunctionConfig } from './config.ts';
import { type Part, startPart, whenReady } from './part.ts';
import { repositoryDir } from './paths.ts';

export type EdgeFunction = { name: string; part: Part; socket: string; verifyJwt: boolean };

/**
 * One Deno process a function, as isolated from one another as on a hosted project. npm: imports resolve from the
 * repository's node_modules ("manual" in edge-functions/deno.json): the lock file pins them, and a start needs no network.
 */
export async function startFunction(options: {
  declared: FunctionConfig;
  socketDir: string;
  env: Record<string, string | undefined>;
  onLine: (line: string) => void;
}): Promise<EdgeFunction> {
  const { name, entrypoint, verifyJwt } = options.declared;
  const socket = join(options.socketDir, `fn-${name}.sock`);
  const part = startPart({
    name: `function ${name}`,
    command: npmBinary('deno'),
    args: [
      'run',
      '--no-prompt',
      '--cached-only',
      `--config=${denoConfig(options.declared)}`,
      '--allow-env',
      '--allow-net',
      '--allow-sys',
      `--allow-read=${repositoryDir},${options.socketDir}`,
      `--allow-write=${socket}`,
      entrypoint,
    ],
    // One collector gets the spans of all of them.
    env: {
      OTEL_SERVICE_NAME: `fieldtrack-${name}`,
      ...options.env,
      DENO_SERVE_ADDRESS: `unix:${socket}`,
      DENO_NO_UPDATE_CHECK: '1',
      NO_COLOR: '1',
    },
    onLine: options.onLine,
  });
  try {
    await whenReady(part, () => accepts(socket), 20_000);
  } catch (error) {
    await part.stop();
    throw error;
  }
  return { name, part, socket, verifyJwt };
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
}

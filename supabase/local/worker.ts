import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { npmBinary } from './binaries.ts';
import { type Part, startPart } from './part.ts';
import { repositoryDir } from './paths.ts';

const entry = join(repositoryDir, 'worker', 'main.ts');

/** The worker exactly as it runs elsewhere: a Node process with its environment, connected as fieldtrack_worker. */
export function startWorker(options: {
  databaseUrl: string;
  /** Where its pages are served; 0: anywhere, its log says where. */
  httpPort: number;
  env?: Record<string, string | undefined>;
  onLine: (line: string) => void;
}): Part | undefined {
  if (!existsSync(entry)) return undefined;
  return startPart({
    name: 'worker',
    command: npmBinary('node'),
    args: [entry],
    // The worker is configured by its environment, here as anywhere.
    env: {
      LOG_LEVEL: 'info',
      HTTP_PORT: String(options.httpPort),
      ...process.env,
      ...options.env,
      DATABASE_URL: options.databaseUrl,
    },
    cwd: repositoryDir,
    onLine: options.onLine,
  });
}

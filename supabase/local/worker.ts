import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { npmBinary } from './binaries.ts';
import { type Part, startPart, whenReady } from './part.ts';
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

/** Settles when its pages are served: it has reached the database and its queues by then. */
export async function workerAnswers(worker: Part, httpPort: number): Promise<void> {
  // Who sets the worker's own variables has moved the page elsewhere.
  if (process.env.HTTP_PORT !== undefined || process.env.HTTP_HOST !== undefined) return;
  const asks = () =>
    fetch(`http://127.0.0.1:${httpPort}/health`).then(
      (answer) => answer.ok,
      () => false,
    );
  await whenReady(worker, asks, 30_000);
}

import { parseArgs } from 'node:util';
import { partLine, say, usage, welcome } from './console.ts';
import { removeInstallation } from './installation.ts';
import { startLocalStack } from './local-stack.ts';
import { takeLock } from './lock.ts';
import { localDir } from './paths.ts';
import { Refusal } from './refusal.ts';
import { requestText } from './request-log.ts';

const undo: (() => void | Promise<void>)[] = [];
let isStopping = false;

/** Undoes everything in reverse, and ends. What was still starting is stopped by the kernel when we are gone. */
async function stopAndExit(code: number): Promise<void> {
  // npm passes Ctrl-C on, so it may arrive twice.
  if (isStopping) return;
  isStopping = true;
  for (const undoOne of undo.splice(0).reverse()) {
    try {
      await undoOne();
    } catch (error) {
      say(`While stopping: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  process.exit(code);
}

async function main(): Promise<void> {
  const { port, reset, quiet, help } = readArguments();
  if (help) return say(usage);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!isStopping) say('\nStopping …');
      void stopAndExit(0);
    });
  }
  const folder = localDir();
  const began = performance.now();
  if (reset) {
    // Under the lock, so that no running stack loses its data.
    const lock = takeLock(folder, 'nowhere: it is being reset');
    removeInstallation(folder);
    lock.release();
  }
  const stack = await startLocalStack({
    folder,
    port,
    onStop: (undoOne) => undo.push(undoOne),
    ...(quiet ? {} : { onRequest: (line) => partLine('http', requestText(line)) }),
  });
  const { url, databaseUrl, secrets } = stack;
  const seconds = (performance.now() - began) / 1000;
  say(welcome({ url, databaseUrl, publishableKey: secrets.publishableKey, secretKey: secrets.secretKey, seconds }));
  for (const part of stack.parts) {
    void part.ended.then((how) => {
      if (!isStopping) say(`\nThe part "${part.name}" ${how}. Stopping the rest …`);
      return stopAndExit(1);
    });
  }
}

function readArguments(): { port: number; reset: boolean; quiet: boolean; help: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '54321' },
        reset: { type: 'boolean', default: false },
        quiet: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 1 || port > 65_533) throw new Error(`--port ${values.port} is no port`);
    return { ...values, port };
  } catch (error) {
    throw new Refusal(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
  }
}

try {
  await main();
} catch (error) {
  const text = error instanceof Refusal ? error.message : error instanceof Error ? error.stack : String(error);
  // While stopping, whatever was still starting fails: that is no news.
  if (!isStopping) say(`\n${text}`);
  await stopAndExit(1);
}

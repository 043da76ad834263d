// The worker: boots and stops, nothing else. Jobs are in jobs/, the way to the tables in database.ts.

import { setTimeout } from 'node:timers/promises';
import { openDatabase } from './database.ts';
import { readEnv, type WorkerEnv } from './env.ts';
import { createLogger, describeError } from './log.ts';
import { createQueue } from './queue.ts';

const env = environment();
const log = createLogger(env.LOG_LEVEL);
const database = openDatabase({
  connectionString: env.DATABASE_URL,
  poolSize: env.DATABASE_POOL_SIZE,
  onError: (error) => log.warn({ err: describeError(error) }, 'database connection lost'),
});
const queue = createQueue({ connectionString: env.DATABASE_URL, database, log });

const closeTimeoutMs = 2000;

let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // Asked twice: somebody is in a hurry; jobs in hand are found by their missing heartbeat.
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'worker stops');
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: describeError(error) }, 'worker did not stop cleanly');
        process.exit(1);
      },
    );
  });
}

try {
  await queue.start();
  log.info('worker ready');
} catch (error) {
  log.fatal({ err: describeError(error) }, 'worker cannot start: is the database up and migrated?');
  process.exit(1);
}

async function stop(): Promise<void> {
  await queue.stop();
  // A statement that still waits for a lock would hold the pool open for up to its timeout of 60 s; its job was handed back
  // to the queue above, so nothing is lost by not waiting.
  await Promise.race([database.close(), setTimeout(closeTimeoutMs, undefined, { ref: false })]);
  log.info('worker stopped');
}

function environment(): WorkerEnv {
  try {
    return readEnv(process.env);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}

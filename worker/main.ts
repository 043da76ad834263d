// The worker: boots and stops, nothing else. Jobs are in jobs/, the way to the tables in database.ts.

import { setTimeout } from 'node:timers/promises';
import { openDatabase } from './database.ts';
import { readEnv, type WorkerEnv } from './env.ts';
import { startHttp } from './http.ts';
import { jobs } from './jobs/index.ts';
import { createLogger, describeError } from './log.ts';
import { createMetrics } from './metrics.ts';
import { openOperators } from './operators.ts';
import { createQueue } from './queue.ts';
import { createReadiness } from './readiness.ts';
import { createRequestSpanLoop } from './request-spans.ts';
import { createSnapshotLoop } from './snapshots.ts';
import { startAdvice } from './start-advice.ts';
import { noTracing, startTracing } from './tracing.ts';
import { createWebhookDispatcher } from './webhooks/dispatcher.ts';

const env = environment();
const log = createLogger(env.LOG_LEVEL);
const database = openDatabase({
  connectionString: env.DATABASE_URL,
  poolSize: env.DATABASE_POOL_SIZE,
  onError: (error) => log.warn({ err: describeError(error) }, 'database connection lost'),
});
const tracing = env.OTEL_EXPORTER_OTLP_ENDPOINT
  ? await startTracing({
      endpoint: env.OTEL_EXPORTER_OTLP_ENDPOINT,
      serviceName: env.OTEL_SERVICE_NAME,
      revision: env.REVISION,
    })
  : noTracing;
const operators = openOperators({
  connectionString: env.DATABASE_URL,
  onError: (error) => log.warn({ err: describeError(error) }, 'database connection lost'),
});
const queues = Object.keys(jobs);
const webhooks = createWebhookDispatcher({ database, log, tracing });
const snapshots = createSnapshotLoop({ database, log });
// Without a collector nobody fetches, and the database writes none.
const requestSpans = env.OTEL_EXPORTER_OTLP_ENDPOINT ? createRequestSpanLoop({ database, tracing, log }) : undefined;
const metrics = createMetrics({
  samples: operators.samples,
  poolUse: database.poolUse,
  webhooks: webhooks.counters,
  revision: env.REVISION,
  queues,
  onError: (error) => log.warn({ err: describeError(error) }, 'the database gave no figures'),
});
const queue = createQueue({ connectionString: env.DATABASE_URL, database, log, metrics, tracing });

const closeTimeoutMs = 2000;
/** For all of it. Jobs get 10 s, webhooks 8 s; only a database that neither answers nor hangs up takes longer. */
const stopTimeoutMs = 20_000;

let isWorking = false;
let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // Asked twice: somebody is in a hurry; jobs in hand are found by their missing heartbeat.
    if (stopping) process.exit(1);
    stopping = true;
    isWorking = false;
    log.info({ signal }, 'worker stops');
    const late = setTimeout(stopTimeoutMs).then(() => {
      throw new DOMException('The worker did not stop in time', 'TimeoutError');
    });
    Promise.race([stop(), late]).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: describeError(error) }, 'worker did not stop cleanly');
        process.exit(1);
      },
    );
  });
}

// Before the queue: a worker that cannot start says on /ready what it waits for.
const http = await startHttp({
  host: env.HTTP_HOST,
  port: env.HTTP_PORT,
  metricsToken: env.METRICS_TOKEN,
  operatorToken: env.OPERATOR_TOKEN,
  pages: {
    ready: createReadiness({ operators, queues, worked: queue.worked, isWorking: () => isWorking }),
    metrics: metrics.render,
    internal: { queues: operators.queues, schedules: operators.schedules, snapshots: operators.snapshots },
  },
  log,
}).catch((error: unknown) => {
  log.fatal(
    { err: describeError(error) },
    'worker cannot listen: is HTTP_HOST an address of this machine, and HTTP_PORT free?',
  );
  process.exit(1);
});
log.info({ url: http.url }, 'worker listens');

try {
  const role = await database.role();
  if (role !== 'fieldtrack_worker') {
    // Row level security would not hold it to one organization at a time.
    log.fatal({ role }, 'worker cannot start: DATABASE_URL logs in as another role than fieldtrack_worker');
    process.exit(1);
  }
  await queue.start();
  isWorking = !stopping;
  webhooks.start();
  snapshots.start();
  requestSpans?.start();
  log.info('worker ready');
} catch (error) {
  log.fatal({ err: describeError(error) }, `worker cannot start: ${startAdvice(error)}`);
  process.exit(1);
}

async function stop(): Promise<void> {
  await Promise.all([queue.stop(), webhooks.stop(), snapshots.stop(), requestSpans?.stop()]);
  // A statement that still waits for a lock would hold the pool open for up to its timeout of 60 s; its job was handed back
  // to the queue above, so nothing is lost by not waiting.
  await Promise.all([http.close(), tracing.close()]);
  await Promise.race([
    Promise.all([database.close(), operators.close()]),
    setTimeout(closeTimeoutMs, undefined, { ref: false }),
  ]);
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

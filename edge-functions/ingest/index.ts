import { kernelOf, serve } from '../_shared/boot.ts';
import { ask, openDatabase } from '../_shared/database.ts';
import { readEnv } from '../_shared/env.ts';
import { callTraced } from '../_shared/trace.ts';
import { createHandler, type Ingested } from './handler.ts';

const env = readEnv(Deno.env.toObject(), {});
const { kernel, abuse } = kernelOf('ingest', env);
const database = openDatabase({
  url: env.FIELDTRACK_EDGE_DATABASE_URL,
  poolSize: env.FIELDTRACK_EDGE_POOL_SIZE,
  application: 'fieldtrack-ingest',
});

serve(
  createHandler({
    kernel,
    abuse,
    async ingest({ log, trace }, tokenHash, points, told) {
      const [row] = await callTraced('private.ingest_locations', trace.traceparent, (traceparent) =>
        ask(
          log,
          database<{ result: Ingested }[]>`
            select private.ingest_locations(
              ${tokenHash}, ${database.json(points)}, ${database.json(told)}, ${traceparent}) as result`,
        ),
      );
      if (!row) throw new Error('private.ingest_locations answered no row');
      return row.result;
    },
  }),
);

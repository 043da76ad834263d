import type { Section } from './section.ts';
import { api } from './sections/api.ts';
import { checkins } from './sections/checkins.ts';
import { contention } from './sections/contention.ts';
import { distance } from './sections/distance.ts';
import { existence } from './sections/existence.ts';
import { growth } from './sections/growth.ts';
import { ingest } from './sections/ingest.ts';
import { jobs } from './sections/jobs.ts';
import { reads } from './sections/reads.ts';
import { reconcile } from './sections/reconcile.ts';
import { rls } from './sections/rls.ts';
import { stream } from './sections/stream.ts';
import { webhooks } from './sections/webhooks.ts';

/** Every section of `npm run bench`, in the order they run. A new one is a file in sections/ and a line here. */
export const sections: readonly Section[] = [
  ingest,
  checkins,
  distance,
  reads,
  reconcile,
  contention,
  rls,
  existence,
  growth,
  jobs,
  api,
  webhooks,
  stream,
];

import type { Section } from './section.ts';
import { api } from './sections/api.ts';
import { distance } from './sections/distance.ts';
import { reads } from './sections/reads.ts';
import { reconcile } from './sections/reconcile.ts';
import { stream } from './sections/stream.ts';
import { webhooks } from './sections/webhooks.ts';

/** Every section of `npm run bench`, in the order they run. A new one is a file in sections/ and a line here. */
export const sections: readonly Section[] = [distance, reads, reconcile, api, webhooks, stream];

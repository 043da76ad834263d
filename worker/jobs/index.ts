import { analytics } from './analytics.ts';
import { analyticsDead } from './analytics-dead.ts';
import { distance } from './distance.ts';
import { distanceDead } from './distance-dead.ts';
import { schedule } from './schedule.ts';

/** Every queue with its handler. A test holds this list and the queues of the migrations together. */
export const jobs = {
  distance,
  'distance-dead': distanceDead,
  analytics,
  'analytics-dead': analyticsDead,
  schedule,
} as const;

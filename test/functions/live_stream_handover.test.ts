// The moment between what was missed and what comes, with a log whose answers come when the test says so.

import { afterEach, expect, test } from 'vitest';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { createHub, type Hub } from '../../edge-functions/admin-events/hub.ts';
import { type EventLog, frameOf, type LogEvent } from '../../edge-functions/admin-events/log.ts';
import { comparePositions, type Position } from '../../edge-functions/admin-events/position.ts';
import { openStream } from '../../edge-functions/admin-events/stream.ts';
import { eventually } from '../fixtures/organization.ts';

const viewer = { organizationId: 'acme', kind: 'administrator', id: 'ada' } as const;
const at = (id: number): Position => ({ epoch: 0, xact: 1n, id: BigInt(id) });
const event = (id: number): LogEvent => ({
  position: at(id),
  organizationId: viewer.organizationId,
  type: 'organization.updated',
  frame: frameOf({ id: at(id), event: 'organization.updated', data: '{}' }),
  employeeId: null,
  noLongerAdmin: null,
  changesTeams: false,
});

let hub: Hub | undefined;
afterEach(() => hub?.stop());

test('an event that comes while the last page of what was missed is read is neither lost nor sent twice', async () => {
  const events = [1, 2].map(event);
  const between = (after: Position, last: Position) =>
    events.filter(({ position }) => comparePositions(position, after) > 0 && comparePositions(position, last) <= 0);
  let polls = 0;
  let pages = 0;
  const log: EventLog = {
    end: async () => at(2),
    readAfter: async (position) => {
      polls += 1;
      return between(position, at(1000));
    },
    async readOrganization(_, after, last) {
      pages += 1;
      const page = between(after, last);
      if (pages === 1) {
        // The reader goes on meanwhile, and hands event 3 to those who are live already.
        events.push(event(3));
        const seen = polls;
        await eventually('two polls', async () => polls >= seen + 2);
      }
      return page;
    },
    isKeptSince: async () => true,
    teamsOf: async () => new Map(),
    stillAllowed: async (viewers) => new Set(viewers.map(({ id }) => id)),
  };
  hub = createHub({
    log,
    logger: createLogger({ service: 'test', level: 'silent' }),
    now: () => performance.now(),
    pollMs: 5,
    recheckMs: 60_000,
    maxListenersPerOrganization: 1,
    compare: comparePositions,
  });
  const body = openStream(
    { log, join: hub.join, followLocations: () => () => {}, now: () => performance.now(), onEnd: () => {} },
    {
      viewer,
      after: at(0),
      wants: undefined,
      withLocations: false,
      endsAt: Number.POSITIVE_INFINITY,
      retryMs: 1000,
      heartbeatMs: 60_000,
      signal: new AbortController().signal,
    },
  );
  let text = '';
  void (async () => {
    for await (const chunk of body ?? []) text += new TextDecoder().decode(chunk);
  })();
  await eventually('ready', async () => text.includes('event: ready'));
  events.push(event(4));
  await eventually('the live event', async () => text.includes('id: 0.1.4'));
  const ids = [...text.matchAll(/id: 0\.1\.(\d)\nevent: organization/g)].map(([, id]) => id);
  expect(ids).toEqual(['1', '2', '3', '4']);
});

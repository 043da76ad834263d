// The comparison of positions with what was sent, with a reader whose answers the test writes.

import { afterEach, expect, test } from 'vitest';
import { createLogger } from '../../edge-functions/_shared/log.ts';
import { createLocationFeed, type Location, type LocationReader } from '../../edge-functions/admin-events/locations.ts';
import { eventually } from '../fixtures/organization.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

const bob = (data: string): Location => ({ organizationId: 'acme', employeeId: 'bob', data });
const ann = (data: string): Location => ({ organizationId: 'acme', employeeId: 'ann', data });
const eve = (data: string): Location => ({ organizationId: 'other', employeeId: 'eve', data });

function feedOf(reader: Partial<LocationReader>) {
  const feed = createLocationFeed({
    reader: { atWork: async () => [], of: async () => [], ...reader },
    logger: createLogger({ service: 'test', level: 'silent' }),
    pauseMs: 5,
  });
  const follow = (organizationId: string) => {
    const heard: string[] = [];
    const leave = feed.follow({ organizationId, kind: 'administrator', id: 'ada' }, (chunk) => {
      const text = new TextDecoder().decode(chunk);
      heard.push(...[...text.matchAll(/event: location\ndata: (.*)\n\n/g)].map(([, data = '']) => data));
    });
    ends.push(leave);
    return { heard, leave };
  };
  return { follow };
}

test('who comes hears where everybody is, who was there hears what changed, each of the own organization', async () => {
  let rows = [bob('b1'), ann('a1'), eve('e1')];
  const { follow } = feedOf({ atWork: async () => rows });
  const first = follow('acme');
  const theirs = follow('other');
  await eventually('the first read', async () => first.heard.length > 0);
  rows = [bob('b2'), ann('a1'), eve('e1')];
  await eventually('the change', async () => first.heard.length > 2);
  const second = follow('acme');
  await eventually('the newcomer', async () => second.heard.length > 0);
  expect(first.heard).toEqual(['b1', 'a1', 'b2']);
  expect(second.heard).toEqual(['b2', 'a1']);
  expect(theirs.heard).toEqual(['e1']);
});

test('who leaves work is shown once more and then forgotten', async () => {
  let rows = [bob('b1'), ann('a1')];
  const asked: string[] = [];
  const { follow } = feedOf({
    atWork: async () => rows,
    async of(people) {
      asked.push(...people.map(({ employeeId }) => employeeId));
      return [bob('b-gone')];
    },
  });
  const first = follow('acme');
  await eventually('the first read', async () => first.heard.length === 2);
  rows = [ann('a1')];
  await eventually('the last word', async () => first.heard.length === 3);
  const second = follow('acme');
  await eventually('the newcomer', async () => second.heard.length > 0);
  expect(first.heard).toEqual(['b1', 'a1', 'b-gone']);
  expect(second.heard).toEqual(['a1']);
  expect(asked).toEqual(['bob']);
});

test('a read that fails is made up for by the next, the last word of who left included', async () => {
  let rows = [bob('b1')];
  let failures = 2;
  const fail = () => {
    failures -= 1;
    if (failures >= 0) throw new Error('the database is away');
  };
  const { follow } = feedOf({
    async atWork() {
      if (rows.length > 0) fail();
      return rows;
    },
    async of() {
      fail();
      return [bob('b-gone')];
    },
  });
  const { heard } = follow('acme');
  await eventually('the first read', async () => heard.length === 1);
  failures = 2;
  rows = [];
  await eventually('the last word', async () => heard.length === 2);
  expect(heard).toEqual(['b1', 'b-gone']);
  expect(failures).toBeLessThan(0);
});

test('nothing is read while nobody follows; who comes back hears where everybody is', async () => {
  let reads = 0;
  const { follow } = feedOf({
    async atWork() {
      reads += 1;
      return [bob('b1')];
    },
  });
  const first = follow('acme');
  await eventually('the first read', async () => first.heard.length > 0);
  first.leave();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const before = reads;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(reads).toBe(before);
  const again = follow('acme');
  await eventually('the next read', async () => again.heard.length > 0);
  expect([first.heard, again.heard]).toEqual([['b1'], ['b1']]);
});

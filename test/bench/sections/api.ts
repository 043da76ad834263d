import { setTimeout } from 'node:timers/promises';
import { Pool } from 'undici';
import { createKey } from '../../fixtures/api-keys.ts';
import { foundOrganization } from '../../fixtures/organization.ts';
import type { Section } from '../section.ts';
import { type Load, load } from './ingest/field.ts';

type Way = { name: string; headers: (turn: number) => Record<string, string>; path: string };

/** One row by key, as an integrator polls; the way there is what is measured. */
const QUERY = 'employees?select=id,name&limit=1';

/** What an API key costs over a token of one's own: the same request through the function and straight to PostgREST. */
export const api: Section = {
  name: 'api',
  question: 'What does a call with an API key cost over one with a token?',
  async run(bench) {
    const stack = await bench.startStack({ functions: true, functionEnv: { FIELDTRACK_LOG_LEVEL: 'warn' } });
    const { organizationId, admin } = await foundOrganization(stack, 'bench');
    // The highest limit is 1,000 calls a second and key: four of them are not what bounds this.
    const keys = await Promise.all(
      [1, 2, 3, 4].map(() => createKey(admin, organizationId, ['employees:read'], { requests_per_minute: 60_000 })),
    );
    const token = await stack.signer.sign(
      { role: 'api_key', organization_id: organizationId, api_key_id: keys[0]?.id, scopes: ['employees:read'] },
      '1h',
    );
    const straight: Way = {
      name: 'straight to /rest/v1 with a token',
      path: `/rest/v1/${QUERY}`,
      headers: () => ({ apikey: stack.publishableKey, authorization: `Bearer ${token}` }),
    };
    const through: Way = {
      name: 'through /functions/v1/api with a key',
      path: `/functions/v1/api/${QUERY}`,
      headers: (turn) => ({ 'x-api-key': keys[turn % keys.length]?.key ?? '' }),
    };

    const pool = new Pool(stack.url, { connections: 16 });
    const ask = (way: Way) => async (_client: number, turn: number) => {
      const answer = await pool.request({ path: way.path, method: 'GET', headers: way.headers(turn) });
      await answer.body.dump();
      if (answer.statusCode !== 200) throw new Error(`${way.name} answered ${answer.statusCode}`);
    };
    const seconds = bench.quick ? 0.6 : 8;
    const rows: (string | number)[][] = [];
    for (const clients of [1, 16]) {
      const results: Load[][] = [[], []];
      // In turns, so that what else the machine does meets both.
      for (let round = 0; round < 4; round += 1) {
        for (const [index, way] of [straight, through].entries()) {
          const measured = await load(clients, round === 0 ? Math.min(1, seconds) : seconds / 3, ask(way));
          if (round > 0) results[index]?.push(measured);
          // What is left to be written of this round does not belong to the next.
          await setTimeout(100);
        }
      }
      const [a, b] = results.map(middle) as [Load, Load];
      for (const [way, { perSecond, p50Ms, p99Ms }] of [
        [straight, a],
        [through, b],
      ] as const) {
        rows.push([clients, way.name, perSecond.toFixed(0), p50Ms.toFixed(2), p99Ms.toFixed(2)]);
      }
      const of = clients === 1 ? '1 client' : `${clients} clients`;
      bench.report({ name: `requests/s through the function, ${of}`, value: b.perSecond, unit: 'requests/s' });
      bench.report({ name: `requests/s straight, ${of}`, value: a.perSecond, unit: 'requests/s' });
      bench.report({ name: `share of straight that is left, ${of}`, value: b.perSecond / a.perSecond, unit: 'x' });
      if (clients === 1) bench.report({ name: 'added to a call (p50)', value: b.p50Ms - a.p50Ms, unit: 'ms' });
    }
    await pool.close();
    bench.table(['clients', 'way', 'requests/s', 'p50 ms', 'p99 ms'], rows);
    bench.note(
      'Load, gateway, function, PostgREST and PostgreSQL share the machine, and the gateway is passed twice on the way through.',
    );
  },
};

function middle(results: Load[]): Load {
  const sorted = [...results].sort((a, b) => a.perSecond - b.perSecond);
  return sorted[Math.floor(sorted.length / 2)] ?? { calls: 0, perSecond: 0, p50Ms: 0, p99Ms: 0 };
}

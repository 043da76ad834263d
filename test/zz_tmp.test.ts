import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from './fixtures/database.ts';
import { populate } from './bench/sections/reads/population.ts';
let database: TestDatabase; let user: string;
beforeAll(async () => { database = await createTestDatabase(); ({ adminUserId: user } = await populate(database, { employees: 200, days: 10, pointsPerSession: 4 })); }, 60_000);
afterAll(() => database?.drop());
test('cost', async () => {
  await database.sql('authenticator').begin(async (sql) => {
    await sql`select set_config('request.jwt.claims', ${JSON.stringify({ role: 'authenticated', sub: user, aud: 'authenticated', session_id: randomUUID(), email: 'a@b.c', app_metadata: { provider: 'email' }, organization_id: randomUUID() })}, true), set_config('role', 'authenticated', true)`;
    for (const f of ['private.jwt()', 'private.current_user_id()', 'private.current_organization_id()', 'private.is_admin()', 'private.current_employee_id()']) {
      const rows = await sql.unsafe(`explain (analyze, timing off) select ${f} from generate_series(1, 5000)`);
      const text = rows.map((r) => r['QUERY PLAN']).join(' ');
      console.log(f, (Number(/Execution Time: ([\d.]+)/.exec(text)?.[1]) / 5).toFixed(1), 'us');
    }
  });
});

// CSV through PostgREST: complete beyond its page of 1,000 rows, the caller's own rows only, and nothing that a spreadsheet runs.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addEmployee, foundOrganization, type Member } from '../fixtures/organization.ts';
import { startTestStack, type TestStack } from '../fixtures/stack.ts';

const count = 2345;
let stack: TestStack;
let alice: Member;
let bob: Member;
let mallory: Member;
let acme: string;

beforeAll(async () => {
  stack = await startTestStack();
  ({ admin: alice, organizationId: acme } = await foundOrganization(stack, 'acme'));
  mallory = (await foundOrganization(stack, 'other')).admin;
  bob = await addEmployee(stack, alice, 'bob');
  const carol = await addEmployee(stack, alice, 'carol');
  await stack.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    // Bob and Carol in turns; pairs check in at the same instant, so that a page may end between two equal times.
    await sql`insert into public.attendance_sessions
        (organization_id, employee_id, status, checked_in_at, checked_out_at, checked_out_received_at, closed_by)
      select ${acme}, case i % 2 when 0 then ${bob.employeeId}::uuid else ${carol.employeeId}::uuid end, 'CLOSED', t,
        t + interval '30 minutes', t + interval '30 minutes', 'EMPLOYEE'
      from generate_series(0, ${count - 1}) as i, lateral (select now() - make_interval(hours => 1 + i / 2)) as v (t)`;
    await sql`insert into public.expenses
        (organization_id, employee_id, spent_on, amount, currency, description, client_request_id, submitted_at)
      select ${acme}, ${bob.employeeId}, current_date, i + 1, 'EUR', 'Parking', gen_random_uuid(),
        now() - make_interval(mins => i / 2)
      from generate_series(0, ${count - 1}) as i`;
    await sql`insert into public.employee_daily_metrics (organization_id, employee_id, day, time_zone, currency, sessions)
      select ${acme}, e.id, current_date - i, 'UTC', 'EUR', 1
      from public.employees as e, generate_series(0, 799) as i where e.organization_id = ${acme}`;
  });
});
afterAll(() => stack?.stop());

/** Rows of cells, as RFC 4180 has them. */
function parse(csv: string): string[][] {
  // No row, no head: PostgREST takes the head from the first row.
  if (csv.trim() === '') return [];
  const rows: string[][] = [[]];
  for (const [, quoted, plain = '', end] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^,\n]*))(,|\n|$)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === '') break;
    if (end === '\n') rows.push([]);
  }
  return rows;
}

async function download(who: Member, path: string): Promise<Record<string, string>[]> {
  const response = await fetch(`${stack.url}/rest/v1/${path}`, {
    headers: { apikey: stack.publishableKey, authorization: `Bearer ${who.accessToken}`, accept: 'text/csv' },
  });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/csv');
  const [head = [], ...rows] = parse(text);
  return rows.map((row) => Object.fromEntries(head.map((name, index) => [name, row[index] ?? ''])));
}

/** All pages: each begins after the last row of the one before. This is what docs/api.md tells a client to do. */
async function downloadAll(who: Member, view: string, by: string, id: string, direction: 'asc' | 'desc') {
  const order = `order=${by}.${direction},${id}`;
  const [within, beyond] = direction === 'asc' ? ['gte', 'gt'] : ['lte', 'lt'];
  const all: Record<string, string>[] = [];
  let pages = 0;
  for (let after = ''; ; pages += 1) {
    const page = await download(who, `${view}?${order}${after}`);
    all.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < 1000) return { rows: all, pages: pages + 1 };
    const at = encodeURIComponent(`"${last[by]}"`);
    const bound = encodeURIComponent(last[by] ?? '');
    after = `&${by}=${within}.${bound}&or=(${by}.${beyond}.${at},${id}.gt.${last[id]})`;
  }
}

describe('an export', () => {
  const views = [
    ['export_sessions', 'checked_in_at', 'session_id', 'desc', count],
    ['export_expenses', 'submitted_at', 'expense_id', 'desc', count],
    ['export_daily_metrics', 'day', 'employee_id', 'asc', 2400],
  ] as const;

  test.each(views)('of %s is complete beyond 1,000 rows, each row once', async (view, by, id, direction, expected) => {
    const { rows, pages } = await downloadAll(alice, view, by, id, direction);
    expect(pages).toBe(3);
    expect(rows).toHaveLength(expected);
    expect(new Set(rows.map((row) => `${row[by]} ${row[id]}`)).size).toBe(expected);
  });

  test.each(views)(
    'of %s shows an employee the own rows and another organization none',
    async (view, by, id, direction) => {
      const { rows } = await downloadAll(bob, view, by, id, direction);
      expect(rows.length).toBeGreaterThan(700);
      expect(new Set(rows.map((row) => row.employee_id))).toEqual(new Set([bob.employeeId]));
      expect(new Set(rows.map((row) => row.employee_name))).toEqual(new Set(['bob']));
      expect(await download(mallory, view)).toEqual([]);
    },
  );

  test('neutralises what a spreadsheet would run and leaves the rest alone', async () => {
    const typed: [string, string][] = [
      ['=HYPERLINK("http://evil.example","click")', `'=HYPERLINK("http://evil.example","click")`],
      ['+1+1', "'+1+1"],
      ['-2+3', "'-2+3"],
      ['@SUM(A1:A9)', "'@SUM(A1:A9)"],
      ['\t=1+1', "'\t'=1+1"],
      ['\r=1+1', "'\r'=1+1"],
      ['  =1+1', "'  =1+1"],
      ['＝1+1', "'＝1+1"],
      ['Taxi;=1+1', "Taxi;'=1+1"],
      ['Line one\n=1+1', "Line one\n'=1+1"],
      ['Lunch, "Zum Löwen" 🍲', 'Lunch, "Zum Löwen" 🍲'],
      ['Drive A - B = 5 km', 'Drive A - B = 5 km'],
    ];
    await stack.admin.begin(async (sql) => {
      await sql`set local session_replication_role = replica`;
      for (const [index, [text]] of typed.entries()) {
        await sql`insert into public.expenses
          (organization_id, employee_id, spent_on, amount, currency, description, client_request_id, submitted_at)
          values (${acme}, ${bob.employeeId}, current_date, 0.5, 'EUR', ${text}, gen_random_uuid(),
            now() + make_interval(hours => 100 - ${index}))`;
      }
      await sql`update public.employees set name = '=cmd|calc' where id = ${bob.employeeId}`;
    });
    const rows = await download(alice, `export_expenses?order=submitted_at.desc,expense_id&limit=${typed.length}`);
    expect(rows.map(({ description }) => description)).toEqual(typed.map(([, cell]) => cell));
    expect(new Set(rows.map(({ amount }) => amount))).toEqual(new Set(['0.50']));
    expect(rows[0]?.employee_name).toBe("'=cmd|calc");
  });
});

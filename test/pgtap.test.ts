import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import postgres from 'postgres';
import { Parser } from 'tap-parser';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { supabaseDir } from '../supabase/local/paths.ts';
import { createTestDatabase, type TestDatabase } from './fixtures/database.ts';

const folder = join(supabaseDir, 'tests');
// Sorted as pg_prove sorts them: the first one makes what the claims share, and stays.
const [setup, ...files] = readdirSync(folder)
  .filter((file) => file.endsWith('.sql'))
  .sort();

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ pgtap: true });
  expect(setup).toBe('00000_setup.test.sql');
  const tap = await run(readFileSync(join(folder, `${setup}`), 'utf8'));
  expect(failures(tap), tap).toEqual([]);
});
afterAll(() => database?.drop());

describe('pgTAP', () => {
  test('there are claims to prove', () => {
    expect(files).not.toEqual([]);
  });

  for (const file of files) {
    test(file.replace(/\.test\.sql$/, '').replaceAll('_', ' '), async () => {
      const text = readFileSync(join(folder, file), 'utf8');
      // All files share one clone, so each must leave it as it was.
      expect(text, `${file} must begin with "begin;"`).toMatch(/^(\s*--.*\n|\s*\n)*\s*begin;/i);
      expect(text, `${file} must end with "rollback;"`).toMatch(/rollback;\s*$/i);
      expect(text, `${file} must not commit`).not.toMatch(/^\s*commit;/im);
      const tap = await run(text);
      expect(failures(tap), tap).toEqual([]);
    });
  }
});

/** On a connection of its own, as postgres, the way `supabase test db` runs it. Returns the TAP lines. */
async function run(text: string): Promise<string> {
  const sql = postgres(database.url('postgres'), { max: 1, onnotice: () => {} });
  try {
    const results: unknown = await sql.unsafe(text).simple();
    return [...tapLines(results)].join('\n');
  } catch (error) {
    if (!(error instanceof postgres.PostgresError)) throw error;
    throw new Error(
      `${error.message} (${error.code})${lineOf(text, error.position)}${error.where ? `\n${error.where}` : ''}`,
    );
  } finally {
    await sql.end();
  }
}

/** One result a statement, rows within: pgTAP's assertions are rows of one text column. */
function* tapLines(result: unknown): Generator<string> {
  if (!Array.isArray(result)) return;
  for (const item of result) {
    if (Array.isArray(item)) yield* tapLines(item);
    else if (item && typeof item === 'object') {
      const [value] = Object.values(item);
      if (typeof value === 'string') yield value;
    }
  }
}

function failures(tap: string): string[] {
  const found: string[] = [];
  const parser = new Parser({ strict: false }, (results) => {
    if (results.plan.start === null || results.count === 0) found.push('No plan, or no assertion ran');
    else if (results.plan.end !== results.count) found.push(`Planned ${results.plan.end}, ran ${results.count}`);
    for (const failure of results.failures) {
      found.push('name' in failure ? `${failure.id} ${failure.name}` : failure.tapError);
    }
  });
  parser.end(`TAP version 13\n${tap}\n`);
  return found;
}

function lineOf(text: string, position: string | undefined): string {
  if (!position) return '';
  return ` at line ${text.slice(0, Number(position)).split('\n').length}`;
}

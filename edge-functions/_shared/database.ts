import postgres from 'postgres';
import { describeError, type Logger } from './log.ts';
import { Refusal, refusal } from './refusal.ts';

export type Database = postgres.Sql;

/** A transaction pooler's port: statements prepared on one connection are not there on the next. */
const TRANSACTION_POOLER_PORT = '6543';

const RECONNECT_AFTER_AT_MOST_S = 1;

/** The function's own connections, as fieldtrack_edge: a few private functions, no table. */
export function openDatabase(options: { url: string; poolSize: number; application: string }): Database {
  return postgres(options.url, {
    max: options.poolSize,
    connect_timeout: 5,
    // The library's own waits grow to 20 s, and every request waits with them, long after the database is back.
    backoff: (failures) => Math.min(0.05 * 2 ** failures, RECONNECT_AFTER_AT_MOST_S),
    idle_timeout: 60,
    fetch_types: false,
    prepare: new URL(options.url).port !== TRANSACTION_POOLER_PORT,
    connection: { application_name: options.application },
    onnotice: () => {},
  });
}

/**
 * Runs one statement of ours. What `private.fail` raised is answered as PostgREST would; a database that cannot be reached
 * or is too slow is a 503, and nothing of its message leaves.
 */
export async function ask<T>(log: Logger, statement: Promise<T>): Promise<T> {
  try {
    return await statement;
  } catch (error) {
    const refused = raisedByFail(error);
    if (refused) throw refused;
    if (!isUnavailable(error)) throw error;
    log.warn({ err: describeError(error) }, 'database unavailable');
    throw refusal('database_unavailable', 'The database did not answer.', {
      hint: 'Try again in a moment.',
      headers: { 'retry-after': '5' },
    });
  }
}

function raisedByFail(error: unknown): Refusal | undefined {
  if (!(error instanceof postgres.PostgresError) || error.code !== 'PGRST') return undefined;
  const body = JSON.parse(error.message);
  const { status, headers } = JSON.parse(error.detail ?? '{}');
  return new Refusal(status, body, headers);
}

/**
 * Class 08: connection; 28: a login refused, as while its password is changed; 53: too many of something; 57: shutdown or statement
 * timeout; the rest are node's and postgres.js'.
 */
function isUnavailable(error: unknown): boolean {
  const { code } = describeError(error);
  return (
    code !== undefined &&
    /^(08|28|53|57)|^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EHOSTUNREACH|CONNECT|CONNECTION_)/.test(code)
  );
}

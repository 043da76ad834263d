import { describeError } from './log.ts';

/** By SQLSTATE or the system's code; of the libraries' own errors, which have none, by what they say. */
const advice: [RegExp, string][] = [
  [/^28/, 'the database refuses the login: are role and password of DATABASE_URL the current ones?'],
  [/^3D000/, 'DATABASE_URL names a database that does not exist'],
  [/CERT|TLS|SSL|^UNABLE_TO/, 'no TLS connection to the database: does sslmode in DATABASE_URL fit its certificate?'],
  [
    /^(42|3F)|^pg-boss/,
    'the database is not as this worker needs it: are all migrations applied (npx supabase db push), and pg-boss’s too?',
  ],
  [
    /^(08|53|57)|^E[A-Z_]+$|timeout|terminated/,
    'the database does not answer: is it up at the host and port of DATABASE_URL, with a connection to spare?',
  ],
];

/** What an operator is to look at when the worker cannot start. The error's message stays here: it may quote a row. */
export function startAdvice(error: unknown): string {
  const sign = describeError(error).code ?? (error instanceof Error ? error.message : '');
  return advice.find(([signs]) => signs.test(sign))?.[1] ?? 'is the database up and migrated?';
}

/** What a person sees while the stack runs. Secrets are shown once, by the welcome, on purpose. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

export async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  say(`  ${what.padEnd(44)} ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}

export function partLine(part: string, line: string): void {
  say(`[${part}] ${line}`);
}

export const usage = `npm start -- [options]

Runs FieldTrack without Docker: PostgreSQL, PostgREST, Auth, Storage, Realtime, edge functions and the worker behind one gateway.

  --port N   the gateway's port on 127.0.0.1 (54321); PostgreSQL listens on the next one, the worker's pages on the one after
  --reset    delete the local data and begin anew
  --quiet    do not print a line for each request (method, path, status, milliseconds, x-request-id)
  --help     this text

Data and secrets are kept in .local/ (or FIELDTRACK_LOCAL_DIR). Ctrl-C stops everything.`;

export function welcome(facts: {
  url: string;
  publishableKey: string;
  secretKey: string;
  databaseUrl: string;
  seconds: number;
}): string {
  const { url, publishableKey } = facts;
  return `
FieldTrack is running (${facts.seconds.toFixed(1)} s). Ctrl-C stops it.

  Console          ${url}/console/
  API URL          ${url}
  Publishable key  ${publishableKey}
  Secret key       ${facts.secretKey}
  Database         ${facts.databaseUrl}

Try:
  curl ${url}/functions/v1/api    (401: it wants an API key; README has a tour)
  curl ${url}/auth/v1/signup -H 'apikey: ${publishableKey}' -H 'content-type: application/json' \\
    -d '{"email":"alice@example.test","password":"correct horse battery"}'
  npm run demo
`;
}

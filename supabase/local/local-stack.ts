import { appendFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import postgres from 'postgres';
import { buildAdminConsole } from './admin-console.ts';
import { postgresBinDir, postgrestBinary } from './binaries.ts';
import { type Cluster, databaseUrl, initCluster, startCluster, superuser } from './cluster.ts';
import { readConfig } from './config.ts';
import { partLine, say, step } from './console.ts';
import { portIsFree } from './free-port.ts';
import { openInstallation, type Secrets } from './installation.ts';
import { takeLock, waitForFormerPostgres } from './lock.ts';
import { migrationState, pushMigrations } from './migrations.ts';
import type { Part } from './part.ts';
import { applyPlatform, setPasswords } from './platform.ts';
import { Refusal } from './refusal.ts';
import type { RequestLine } from './request-log.ts';
import { startServices } from './services.ts';

const DATABASE = 'postgres';

export type LocalStack = {
  url: string;
  secrets: Secrets;
  databaseUrl: string;
  parts: Part[];
};

/**
 * Brings everything up in order. Each thing that must be undone is handed to `onStop` the moment it exists, so that a
 * failure or Ctrl-C half-way undoes exactly what was done.
 */
export async function startLocalStack(options: {
  folder: string;
  port: number;
  onStop: (undo: () => void | Promise<void>) => void;
  onRequest?: (line: RequestLine) => void;
}): Promise<LocalStack> {
  const { folder, port, onStop } = options;
  const config = readConfig();
  // What this machine lacks is said before anything is made.
  postgresBinDir();
  postgrestBinary();
  const lock = takeLock(folder, `http://127.0.0.1:${port}`);
  onStop(lock.release);
  const { dataDir, secrets, isNew } = openInstallation(folder, config.db.major_version);
  await waitForFormerPostgres(dataDir);
  await refuseBusyPorts(port);

  if (isNew) await step('making the data folder', () => initCluster(dataDir, secrets.passwords.supabase_admin));
  const cluster = await step('PostgreSQL', () => startPostgres(folder, dataDir, port + 1, secrets));
  onStop(cluster.part.stop);
  await migrate(cluster, secrets);

  const consoleDir = await step('the console', buildAdminConsole);
  const services = await step('PostgREST, Auth, Storage, Realtime, functions', () =>
    startServices({
      port,
      urlOf: (role) => databaseUrl(cluster.port, role, secrets.passwords[role], DATABASE),
      jwtSecret: secrets.jwtSecret,
      publishableKey: secrets.publishableKey,
      secretKey: secrets.secretKey,
      functions: true,
      worker: true,
      consoleDir,
      storageFolder: join(folder, 'storage'),
      ...(options.onRequest ? { onRequest: options.onRequest } : {}),
      onLine(part, line) {
        // PostgREST tells of every connection; the screen is for trouble.
        if (part === 'rest') keep(join(folder, 'postgrest.log'), line);
        if (part !== 'rest' || /error|fail/i.test(line)) partLine(part, line);
      },
      onMail: (mail) => partLine('mail', `to ${mail.to}: ${mail.subject}\n${mail.text}`),
    }),
  );
  onStop(services.stop);
  if (!consoleDir) say('  (no console: it is built by Vite, which `npm ci` installs with the development packages)');
  if (services.withoutWorker) say('  (no worker: worker/main.ts does not exist)');
  return {
    url: services.url,
    secrets,
    // Without the parameter the Supabase CLI writes a warning about TLS into what `gen types` prints.
    databaseUrl: `${databaseUrl(cluster.port, 'postgres', secrets.passwords.postgres, DATABASE)}?sslmode=disable`,
    parts: [cluster.part, ...services.parts],
  };
}

/** Whoever deletes the folder while we run ends PostgreSQL by it, and that is what is told. */
function keep(log: string, line: string): void {
  try {
    appendFileSync(log, `${line}\n`, { mode: 0o600 });
  } catch {
    // The line is lost with its folder.
  }
}

async function startPostgres(folder: string, dataDir: string, port: number, secrets: Secrets): Promise<Cluster> {
  const log = join(folder, 'postgres.log');
  const lastLines: string[] = [];
  try {
    return await startCluster({
      dataDir,
      port,
      superuserPassword: secrets.passwords.supabase_admin,
      onLine(line) {
        // Refused statements are everyday life and fill a file; what ends the server belongs on the screen.
        keep(log, line);
        lastLines.push(line);
        lastLines.splice(0, lastLines.length - 8);
        if (/\b(FATAL|PANIC):/.test(line) && !line.includes('starting up')) partLine('postgres', line);
      },
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Refusal(
      `PostgreSQL could not start on ${dataDir}: ${why}.\n${lastLines.join('\n')}\n` +
        `The whole log is ${log}. If the folder is damaged, \`npm start -- --reset\` deletes it and begins anew.`,
    );
  }
}

async function migrate(cluster: Cluster, secrets: Secrets): Promise<void> {
  const { passwords } = secrets;
  const adminUrl = databaseUrl(cluster.port, superuser, passwords.supabase_admin, DATABASE);
  const platform = await applyPlatform(adminUrl);
  if (platform.isNew)
    say("  (a new Supabase project's roles, schemas, Auth, Storage and Realtime tables are in place)");
  const { supabase_admin: _, ...others } = passwords;
  // Before the push, which logs in as postgres; after it again, for the roles that migrations make.
  await setPasswords(adminUrl, others);
  const url = databaseUrl(cluster.port, 'postgres', passwords.postgres, DATABASE);
  const { pending, foreign } = await migrationState(url);
  if (foreign.length > 0) {
    throw new Refusal(
      `The local database holds migrations that supabase/migrations has not: ${foreign.join(', ')}.\n` +
        'Go back to the branch they came from, or run `npm start -- --reset` to begin anew.',
    );
  }
  if (pending.length === 0) {
    if (platform.added.length > 0) await installPlatform(url);
    return allowLocalWebhooks(adminUrl);
  }
  await step(`applying ${pending.length} migrations`, () => pushMigrations(url)).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new Refusal(`${why}\n\nIf an applied migration was edited, \`npm start -- --reset\` begins anew.`);
  });
  await setPasswords(adminUrl, others);
  await allowLocalWebhooks(adminUrl);
}

/** A database from before the stand-in had Storage and Realtime gets their bucket, policies and trigger, as an operator would. */
async function installPlatform(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql`select private.install_platform()`;
  } finally {
    await sql.end();
  }
}

/** Who develops against this stack receives webhooks on the same machine. */
async function allowLocalWebhooks(adminUrl: string): Promise<void> {
  const sql = postgres(adminUrl, { max: 1, onnotice: () => {} });
  try {
    await sql`update private.webhook_settings set allow_localhost = true where id and not allow_localhost`;
  } finally {
    await sql.end();
  }
}

async function refuseBusyPorts(port: number): Promise<void> {
  const uses = { [port]: 'the gateway', [port + 1]: 'PostgreSQL', [port + 2]: 'the worker' };
  for (const [number, use] of Object.entries(uses)) {
    if (await portIsFree(Number(number))) continue;
    const who = existsSync('/usr/bin/ss') ? ` (\`ss -ltnp 'sport = :${number}'\` shows which)` : '';
    throw new Refusal(
      `Port ${number}, which ${use} needs, is used by another program${who}.\n` +
        'Stop that program, or choose other ports: `npm start -- --port 55321`.',
    );
  }
}

// npm run status: one screen for people, from a running stack's own answers (system_health and queue_stats as service_role).
// SUPABASE_URL and SUPABASE_SECRET_KEY name the stack; without them it is the one that `npm start` runs from this folder.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, styleText } from 'node:util';
import { z } from 'zod';
import { localDir } from '../supabase/local/paths.ts';

const queueStats = z.array(
  z.object({
    queue: z.string(),
    waiting: z.number(),
    active: z.number(),
    failed: z.number(),
    oldest_waiting_s: z.number(),
  }),
);

const systemHealth = z.object({
  status: z.enum(['ok', 'degraded']),
  problems: z.array(z.string()),
  generated_at: z.string(),
  migration: z.string().nullable(),
  sessions: z.object({ open: z.number(), forgotten: z.number() }),
  distances: z.object({ pending: z.number(), failed: z.number() }),
  webhooks: z.object({ endpoints: z.number(), disabled: z.number(), circuits_open: z.number() }),
  deliveries: z.object({ pending: z.number(), late: z.number() }),
  retry_intents: z.object({ pending: z.number() }),
  erasures: z.object({ unfinished: z.number() }),
  location_partitions_missing: z.number(),
  consumers: z.array(z.object({ consumer: z.string(), lag_rows: z.number(), lag_s: z.number() })),
  horizon: z.array(
    z.object({ kind: z.string(), holder: z.string(), age_s: z.number().nullable(), age_transactions: z.number() }),
  ),
  schedule_report: z.array(
    z.object({
      name: z.string(),
      cron: z.string(),
      runs_succeeded: z.number(),
      runs_failed: z.number(),
      last_started_at: z.string().nullable(),
      last_duration_s: z.number().nullable(),
      last_error: z.string().nullable(),
      is_overdue: z.boolean(),
    }),
  ),
});

type Stack = { url: string; secretKey: string };

function stackOf(env: NodeJS.ProcessEnv): Stack {
  const { SUPABASE_URL: url, SUPABASE_SECRET_KEY: secretKey } = env;
  if (url && secretKey) return { url: url.replace(/\/+$/, ''), secretKey };
  // Who names a stack is not shown another one.
  if (url || secretKey) throw new Error('SUPABASE_URL and SUPABASE_SECRET_KEY belong together: set both, or neither.');
  try {
    const read = (file: string): unknown => JSON.parse(readFileSync(join(localDir(env), file), 'utf8'));
    return {
      url: z.object({ url: z.string() }).parse(read('stack.lock')).url,
      secretKey: z.object({ secretKey: z.string() }).parse(read('secrets.json')).secretKey,
    };
  } catch {
    throw new Error('No running stack found: set SUPABASE_URL and SUPABASE_SECRET_KEY, or start one with `npm start`.');
  }
}

async function ask<T>(stack: Stack, name: string, shape: z.ZodType<T>): Promise<T> {
  const response = await fetch(`${stack.url}/rest/v1/rpc/${name}`, {
    method: 'POST',
    headers: {
      apikey: stack.secretKey,
      authorization: `Bearer ${stack.secretKey}`,
      'content-type': 'application/json',
    },
    body: '{}',
    signal: AbortSignal.timeout(10_000),
  }).catch(() => {
    throw new Error(`${stack.url} does not answer.`);
  });
  if (!response.ok) {
    const hint = response.status === 401 || response.status === 403 ? ' Is SUPABASE_SECRET_KEY its secret key?' : '';
    throw new Error(`${name} answered ${response.status}.${hint}`);
  }
  return shape.parse(await response.json());
}

function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd();
  return [styleText('dim', line(head)), ...rows.map(line)].join('\n');
}

const ago = (time: string | null, now: Date): string =>
  time === null ? 'never' : `${duration((now.getTime() - new Date(time).getTime()) / 1000)} ago`;

function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function screen(url: string, health: z.infer<typeof systemHealth>, queues: z.infer<typeof queueStats>): string {
  const now = new Date(health.generated_at);
  const { sessions, distances, webhooks, deliveries, retry_intents, erasures } = health;
  const parts = [
    `${styleText('bold', 'FieldTrack')} ${url}, migration ${health.migration ?? 'unknown'}: ${styleText(health.status === 'ok' ? 'green' : 'red', health.status)}`,
    ...health.problems.map((problem) => styleText('red', `  ! ${problem}`)),
    '',
    `  sessions   ${sessions.open} open, ${sessions.forgotten} forgotten; distances: ${distances.pending} pending, ${distances.failed} failed`,
    `  webhooks   ${webhooks.endpoints} endpoints, ${webhooks.disabled} disabled, ${webhooks.circuits_open} circuits open; ${deliveries.pending} deliveries pending, ${deliveries.late} late`,
    `  dead jobs  ${retry_intents.pending} to run again; erasures unfinished: ${erasures.unfinished}; partitions missing: ${health.location_partitions_missing}`,
    '',
    table(
      ['queue', 'waiting', 'active', 'failed', 'oldest'],
      queues.map((q) => [
        q.queue,
        `${q.waiting}`,
        `${q.active}`,
        `${q.failed}`,
        q.waiting > 0 ? duration(q.oldest_waiting_s) : '',
      ]),
    ),
    '',
    table(
      ['schedule', 'cron', 'last run', 'took', 'ok', 'failed', ''],
      health.schedule_report.map((s) => [
        s.name,
        s.cron,
        ago(s.last_started_at, now),
        s.last_duration_s === null ? '' : duration(s.last_duration_s),
        `${s.runs_succeeded}`,
        `${s.runs_failed}`,
        [s.is_overdue ? 'OVERDUE' : '', s.last_error ?? ''].filter(Boolean).join(' '),
      ]),
    ),
    '',
    table(
      ['event reader', 'behind', 'for'],
      health.consumers.map((c) => [c.consumer, `${c.lag_rows} events`, duration(c.lag_s)]),
    ),
    '',
    table(
      ['horizon', 'age', 'held by'],
      health.horizon.map((h) => [
        h.kind,
        h.age_s === null ? `${h.age_transactions} transactions` : duration(h.age_s),
        h.holder,
      ]),
    ),
  ];
  return `${parts.join('\n')}\n`;
}

const help = `npm run status   queues, lag, schedules, snapshots and circuits of a running stack on one screen

  SUPABASE_URL, SUPABASE_SECRET_KEY   the stack; without them the one that npm start runs from this folder

Exit code 0 when all is well, 1 when something is wrong, 2 when nobody could be asked.`;

if (import.meta.main) {
  try {
    const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } });
    if (values.help) console.log(help);
    else await show();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  }
}

async function show(): Promise<void> {
  const stack = stackOf(process.env);
  const [health, queues] = await Promise.all([
    ask(stack, 'system_health', systemHealth),
    ask(stack, 'queue_stats', queueStats),
  ]);
  process.stdout.write(screen(stack.url, health, queues));
  // For scripts: 1 says that something is wrong.
  process.exitCode = health.status === 'ok' ? 0 : 1;
}

import { AuthClient, type Session } from '@supabase/auth-js';
import { PostgrestClient } from '@supabase/postgrest-js';
import type { Database } from '../../types/database.ts';
import type { Config } from './config.ts';
import { t } from './i18n/index.ts';

export type Tables = { [Name in keyof Database['public']['Tables']]: Database['public']['Tables'][Name]['Row'] };
export type Rest = PostgrestClient<Database>;

/** A refusal as the API words it, or that nobody answered (code `offline`). */
export class Refusal extends Error {
  readonly code: string;
  readonly hint: string | null;
  readonly details: string | null;

  constructor(from: { code: string; message: string; hint?: string | null | undefined; details?: string | null }) {
    super(from.message);
    this.code = from.code;
    this.hint = from.hint ?? null;
    this.details = typeof from.details === 'string' ? from.details : null;
  }
}

export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new Refusal({ code: error instanceof TypeError ? 'offline' : 'failed', message });
}

let config: Config;
export let auth: InstanceType<typeof AuthClient>;
export let rest: Rest;

export const settings = () => config;

export function connect(to: Config): void {
  config = to;
  auth = new AuthClient({
    url: `${to.url}/auth/v1`,
    headers: { apikey: to.publishableKey },
    storageKey: 'fieldtrack.session',
    persistSession: true,
    autoRefreshToken: true,
    detectSessionInUrl: false,
  });
  rest = new PostgrestClient<Database>(`${to.url}/rest/v1`, { fetch: asTheUser });
}

/** The current access token, fresh: auth-js renews one that is about to end. */
export async function accessToken(): Promise<string | undefined> {
  const { data } = await auth.getSession();
  return data.session?.access_token;
}

/** A call with the person's token. One that is refused as expired (a clock that is off) is made again with a new token. */
export async function asTheUser(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
  const send = async (token: string | undefined) => {
    const headers = new Headers(init.headers);
    headers.set('apikey', config.publishableKey);
    if (token) headers.set('authorization', `Bearer ${token}`);
    return fetch(input, { ...init, headers });
  };
  const token = await accessToken();
  const answer = await send(token);
  if (answer.status !== 401 || !token) return answer;
  const { data } = await auth.refreshSession();
  return data.session ? send(data.session.access_token) : answer;
}

type Answer<T> = PromiseLike<
  | { data: T; error: null }
  | { data: null; error: { code: string; message: string; details: unknown; hint: string | null }; status?: number }
>;

/** The data of a call, or its refusal thrown. */
export async function ask<T>(call: Answer<T>): Promise<T> {
  let answer: Awaited<Answer<T>>;
  try {
    answer = await call;
  } catch (error) {
    throw refusalOf(error);
  }
  if (answer.error === null) return answer.data;
  const { code, message, details, hint } = answer.error;
  // postgrest-js words a broken network as an error without a status.
  if (/Failed to fetch|NetworkError|Load failed/.test(message)) throw new Refusal({ code: 'offline', message });
  throw new Refusal({ code, message, hint, details: typeof details === 'string' ? details : null });
}

/** The only row of an answer; that there is none is a refusal like any other. */
export function only<T>(rows: T[]): T {
  const [row] = rows;
  if (row === undefined) throw new Refusal({ code: 'not_found', message: t().notFound, hint: t().notFoundHint });
  return row;
}

/** Storage of receipts, loaded when a receipt is first looked at. */
export async function receipts() {
  const { StorageClient } = await import('@supabase/storage-js');
  return new StorageClient(`${config.url}/storage/v1`, {}, asTheUser as typeof fetch).from('receipts');
}

/** A file that the API makes (GPX, CSV), saved under a name. */
export async function download(path: string, accept: string, fileName: string): Promise<void> {
  saveAs(fileName, await read(path, accept), accept);
}

export async function read(path: string, accept: string): Promise<string> {
  const answer = await asTheUser(`${config.url}/rest/v1/${path}`, { headers: { accept } }).catch((error: unknown) => {
    throw refusalOf(error);
  });
  if (answer.ok) return answer.text();
  const refused = (await answer.json().catch(() => ({}))) as { code?: string; message?: string; hint?: string };
  throw new Refusal({
    code: refused.code ?? String(answer.status),
    message: refused.message ?? '',
    hint: refused.hint,
  });
}

export function saveAs(fileName: string, content: string, type: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export type { Session };

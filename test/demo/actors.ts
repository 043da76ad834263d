// People as the public API knows them: they sign up, found, invite and accept.

import { randomUUID } from 'node:crypto';
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import type { Database } from '../../types/database.ts';

export type Client = SupabaseClient<Database>;

export interface Stack {
  url: string;
  publishableKey: string;
}

type Organization = Database['public']['Tables']['organizations']['Row'];

export async function signUp(stack: Stack, email: string, fullName: string, password?: string): Promise<Client> {
  const client = createClient<Database>(stack.url, stack.publishableKey, {
    auth: { persistSession: false, autoRefreshToken: false },
  });
  const { error } = await client.auth.signUp({
    email,
    password: password ?? randomUUID(),
    options: { data: { full_name: fullName } },
  });
  if (error !== null) throw new Error(`Sign-up of ${email} failed: ${error.message}`);
  return client;
}

/** Signs somebody up who founds an organization of a fresh name, or of the one that is given. */
export async function found(
  stack: Stack,
  fullName: string,
  timeZone = 'Europe/Ljubljana',
  as?: { email: string; password: string; name: string; slug: string },
): Promise<{ admin: Client; organization: Organization }> {
  const run = randomUUID().slice(0, 8);
  const admin = await signUp(stack, as?.email ?? `${run}@example.test`, fullName, as?.password);
  const { name, slug } = as ?? { name: `Demo ${run}`, slug: `demo-${run}` };
  const organization = await answer(admin.rpc('create_organization', { name, slug, time_zone: timeZone }));
  return { admin, organization };
}

/** Invites somebody, signs them up and accepts. */
export async function addMember(
  stack: Stack,
  admin: Client,
  name: string,
): Promise<{ client: Client; employeeId: string }> {
  const email = `${randomUUID().slice(0, 8)}@example.test`;
  const invitation = await answer(admin.rpc('invite_employee', { email, name }));
  const client = await signUp(stack, email, name);
  const employee = await answer(client.rpc('accept_invitation', { token: textOf(invitation, 'token') }));
  return { client, employeeId: employee.id };
}

export async function answer<T>(
  call: PromiseLike<{ data: T; error: null } | { data: null; error: { code: string; message: string } }>,
): Promise<T> {
  const { data, error } = await call;
  if (error !== null) throw new Error(`${error.code}: ${error.message}`);
  return data;
}

function textOf(json: unknown, key: string): string {
  const value =
    json !== null && typeof json === 'object' ? Object.entries(json).find(([name]) => name === key)?.[1] : null;
  if (typeof value !== 'string') throw new Error(`The answer has no ${key}.`);
  return value;
}

import type postgres from 'postgres';

/**
 * @supabase/lite hands the driver metadata that is JSON text already; the driver would stringify it again, and
 * auth.users.raw_user_meta_data would hold a jsonb string in which `->>'full_name'` finds nothing.
 */
export function writeJsonOnce(): { [name in 'json' | 'jsonb']: postgres.PostgresType } {
  const serialize = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  const parse = (text: string): unknown => JSON.parse(text);
  return {
    json: { to: 114, from: [114], serialize, parse },
    jsonb: { to: 3802, from: [3802], serialize, parse },
  };
}

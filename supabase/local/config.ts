import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parse, TomlDate, TomlError } from 'smol-toml';
import { z } from 'zod';
import { supabaseDir } from './paths.ts';
import { Refusal } from './refusal.ts';

const hookUri = /^pg-functions:\/\/[^/]+\/(\w+)\/(\w+)$/;

/** What the CLI writes with `supabase init`: sections and settings that are left out are as the CLI takes them. */
const configSchema = z.object({
  db: z.object({ major_version: z.int().default(17) }).prefault({}),
  api: z
    .object({
      schemas: z.array(z.string()).default(['public', 'graphql_public']),
      extra_search_path: z.array(z.string()).default(['public', 'extensions']),
      max_rows: z.int().default(1000),
    })
    .prefault({}),
  auth: z
    .object({
      site_url: z.string().default('http://127.0.0.1:3000'),
      additional_redirect_urls: z.array(z.string()).default([]),
      jwt_expiry: z.int().default(3600),
      enable_refresh_token_rotation: z.boolean().default(true),
      refresh_token_reuse_interval: z.int().default(10),
      enable_signup: z.boolean().default(true),
      minimum_password_length: z.int().default(6),
      email: z
        .object({
          // The name until CLI 3; from 4 on only the other one counts.
          enable_signup: z.boolean().default(true),
          enabled: z
            .literal(true, { error: 'the stack without Docker signs in by e-mail only, so this must be true' })
            .default(true),
          enable_confirmations: z.boolean().default(false),
          double_confirm_changes: z.boolean().default(true),
          otp_length: z.int().default(6),
          otp_expiry: z.int().default(3600),
        })
        .prefault({})
        // @supabase/lite takes the whole section and knows the older name alone.
        .transform(({ enabled: _enabled, ...email }) => email),
      hook: z
        .object({
          custom_access_token: z
            .object({
              enabled: z.boolean().default(false),
              uri: z
                .string()
                .regex(hookUri, 'a hook must be written pg-functions://postgres/<schema>/<function>')
                .default('pg-functions://postgres/private/custom_access_token_hook'),
            })
            .optional(),
        })
        .optional(),
    })
    .prefault({}),
  functions: z
    .record(
      z.string(),
      z.object({
        enabled: z.boolean().default(true),
        verify_jwt: z.boolean().default(true),
        entrypoint: z.string().optional(),
        import_map: z.string().optional(),
      }),
    )
    .default({}),
});

export type Config = z.infer<typeof configSchema>;
export type FunctionConfig = { name: string; entrypoint: string; importMap: string | undefined; verifyJwt: boolean };

/** supabase/config.toml, as far as the stack without Docker obeys it. What it cannot obey is refused with its line. */
export function readConfig(file = join(supabaseDir, 'config.toml'), env: NodeJS.ProcessEnv = process.env): Config {
  const name = relative(process.cwd(), file);
  if (!existsSync(file)) throw new Refusal(`${name} is missing: "npx supabase init" writes one, git has ours.`);
  const text = readFileSync(file, 'utf8');
  let values: unknown;
  try {
    values = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [, reason] = /^Invalid TOML document: ([^\n]+)/.exec(error.message) ?? [];
    throw new Refusal(`${name}:${error.line}: ${reason ?? error.message}.`);
  }
  const config = configSchema.safeParse(withEnvironment(values, env));
  if (config.success) return config.data;
  const [issue] = config.error.issues;
  const path = (issue?.path ?? []).map(String);
  const message = (issue?.message ?? 'not understood').replace(/^Invalid input: /, '');
  throw new Refusal(`${name}:${lineOf(text, path)}: ${path.join('.')}: ${message}.`);
}

/** As the CLI does: "env(NAME)" is the variable's value, and stays as it is where the variable is not set. */
function withEnvironment(value: unknown, env: NodeJS.ProcessEnv): unknown {
  if (Array.isArray(value)) return value.map((item) => withEnvironment(item, env));
  if (typeof value === 'string') {
    const [, name] = /^env\((\w+)\)$/.exec(value) ?? [];
    const given = name === undefined ? undefined : env[name];
    if (given === undefined) return value;
    if (given === 'true' || given === 'false') return given === 'true';
    return /^\d+$/.test(given) ? Number(given) : given;
  }
  if (value === null || typeof value !== 'object' || value instanceof TomlDate) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withEnvironment(item, env)]));
}

/** The line that sets `path`, else that of the section which lacks it, else the first. */
function lineOf(text: string, path: readonly string[]): number {
  let section: string[] = [];
  let best = { line: 1, depth: 0 };
  const found = (keys: string[], line: number) => {
    const isOnTheWay = keys.every((key, index) => key === path[index]);
    if (isOnTheWay && keys.length > best.depth) best = { line, depth: keys.length };
  };
  text.split('\n').forEach((row, index) => {
    const [, header] = /^\s*\[{1,2}([^\]]+)\]/.exec(row) ?? [];
    const [, key] = /^\s*([\w.\-"']+)\s*=/.exec(row) ?? [];
    if (header !== undefined) {
      section = keysOf(header);
      found(section, index + 1);
    } else if (key !== undefined) found([...section, ...keysOf(key)], index + 1);
  });
  return best.line;
}

function keysOf(dotted: string): string[] {
  return dotted.split('.').map((key) => key.trim().replace(/^["']|["']$/g, ''));
}

export function declaredFunctions(config: Config, folder = supabaseDir): FunctionConfig[] {
  return Object.entries(config.functions)
    .filter(([, declared]) => declared.enabled)
    .map(([name, declared]) => ({
      name,
      entrypoint: resolve(folder, declared.entrypoint ?? join('functions', name, 'index.ts')),
      importMap: declared.import_map ? resolve(folder, declared.import_map) : undefined,
      verifyJwt: declared.verify_jwt,
    }));
}

export type HookFunction = { schema: string; name: string };

/** The function behind `pg-functions://postgres/<schema>/<function>`. */
export function accessTokenHook(config: Config): HookFunction | undefined {
  const hook = config.auth.hook?.custom_access_token;
  if (!hook?.enabled) return undefined;
  const [, schema, name] = hookUri.exec(hook.uri) ?? [];
  if (!schema || !name) throw new Refusal(`auth.hook.custom_access_token.uri is not a pg-functions URI: ${hook.uri}`);
  return { schema, name };
}

/** Deno reads its settings from the nearest deno.json; named so that functions in any folder share one. */
export function denoConfig(entry: FunctionConfig): string {
  return entry.importMap ?? join(dirname(entry.entrypoint), '..', 'deno.json');
}

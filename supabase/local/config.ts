import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { supabaseDir } from './paths.ts';

const configSchema = z.object({
  db: z.object({ major_version: z.int() }),
  api: z.object({ schemas: z.array(z.string()), extra_search_path: z.array(z.string()), max_rows: z.int() }),
  auth: z.object({
    site_url: z.string(),
    additional_redirect_urls: z.array(z.string()),
    jwt_expiry: z.int(),
    enable_refresh_token_rotation: z.boolean(),
    refresh_token_reuse_interval: z.int(),
    enable_signup: z.boolean(),
    minimum_password_length: z.int(),
    email: z.object({
      enable_signup: z.boolean(),
      enable_confirmations: z.boolean(),
      double_confirm_changes: z.boolean(),
      otp_length: z.int(),
      otp_expiry: z.int(),
    }),
    hook: z.object({ custom_access_token: z.object({ enabled: z.boolean(), uri: z.string() }).optional() }).optional(),
  }),
  functions: z.record(
    z.string(),
    z.object({
      enabled: z.boolean().default(true),
      verify_jwt: z.boolean().default(true),
      entrypoint: z.string(),
      import_map: z.string().optional(),
    }),
  ),
});

export type Config = z.infer<typeof configSchema>;
export type FunctionConfig = { name: string; entrypoint: string; importMap: string | undefined; verifyJwt: boolean };

/** supabase/config.toml, as far as the stack without Docker obeys it. */
export function readConfig(file = join(supabaseDir, 'config.toml')): Config {
  return configSchema.parse(parse(readFileSync(file, 'utf8')));
}

export function declaredFunctions(config: Config, folder = supabaseDir): FunctionConfig[] {
  return Object.entries(config.functions)
    .filter(([, declared]) => declared.enabled)
    .map(([name, declared]) => ({
      name,
      entrypoint: resolve(folder, declared.entrypoint),
      importMap: declared.import_map ? resolve(folder, declared.import_map) : undefined,
      verifyJwt: declared.verify_jwt,
    }));
}

export type HookFunction = { schema: string; name: string };

/** The function behind `pg-functions://postgres/<schema>/<function>`. */
export function accessTokenHook(config: Config): HookFunction | undefined {
  const hook = config.auth.hook?.custom_access_token;
  if (!hook?.enabled) return undefined;
  const [, schema, name] = /^pg-functions:\/\/[^/]+\/(\w+)\/(\w+)$/.exec(hook.uri) ?? [];
  if (!schema || !name) throw new Error(`auth.hook.custom_access_token.uri is not a pg-functions URI: ${hook.uri}`);
  return { schema, name };
}

/** Deno reads its settings from the nearest deno.json; named so that functions in any folder share one. */
export function denoConfig(entry: FunctionConfig): string {
  return entry.importMap ?? join(dirname(entry.entrypoint), '..', 'deno.json');
}

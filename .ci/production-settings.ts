// Refuses a deployment whose Auth settings are those of a laptop: `npm run production-settings PROJECT_REF`, before config push.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { supabaseDir } from '../supabase/local/paths.ts';

const remote = z.object({
  project_id: z.string(),
  auth: z.object({
    site_url: z.string().refine((url) => /^https:\/\/[^/]+\.[^/]+/.test(url) && !/example\.(com|org|net)/.test(url), {
      error: 'site_url is the https address of your app',
    }),
    additional_redirect_urls: z.array(
      z.string().regex(/^https:\/\/|^[a-z][a-z0-9.+-]+:\/\//, { error: 'additional_redirect_urls are addresses' }),
    ),
    minimum_password_length: z.number().min(10),
    email: z.object({
      enable_confirmations: z.literal(true, { error: 'enable_confirmations must be true' }),
      secure_password_change: z.literal(true, { error: 'secure_password_change must be true' }),
      otp_expiry: z.number().max(900),
    }),
  }),
});

/** What is wrong with the block [remotes.production] for a project; nothing means that it may be pushed. */
export function productionProblems(toml: string, projectRef: string): string[] {
  const config = z.object({ remotes: z.object({ production: z.unknown() }).optional() }).parse(parse(toml));
  const judged = remote.safeParse(config.remotes?.production);
  if (!judged.success)
    return judged.error.issues.map(({ path, message }) => `remotes.production.${path.join('.')}: ${message}`);
  if (judged.data.project_id !== projectRef) {
    return [
      `remotes.production.project_id is ${judged.data.project_id}, and the project is ${projectRef || 'not named'}`,
    ];
  }
  return [];
}

if (import.meta.main) {
  const problems = productionProblems(
    readFileSync(join(supabaseDir, 'config.toml'), 'utf8'),
    process.argv[2] ?? process.env.PROJECT_REF ?? '',
  );
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exit(1);
}

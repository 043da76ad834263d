import { z } from 'zod';
import { kernelOf, serve } from '../_shared/boot.ts';
import { ask, openDatabase } from '../_shared/database.ts';
import { readEnv } from '../_shared/env.ts';
import { createMint, signingJwkSchema } from '../_shared/mint.ts';
import { createGatekeeper, type KeyVerdict } from './gatekeeper.ts';
import { createHandler } from './handler.ts';

const env = readEnv(Deno.env.toObject(), {
  /** Hosted projects set both; the new form is preferred. */
  SUPABASE_PUBLISHABLE_KEYS: z
    .string()
    .transform((text) => z.object({ default: z.string() }).parse(JSON.parse(text)).default)
    .optional(),
  SUPABASE_ANON_KEY: z.string().optional(),
  /** The private ES256 key that this project's Auth knows, where tokens are signed asymmetrically. */
  FIELDTRACK_SIGNING_JWK: z
    .string()
    .transform((text) => signingJwkSchema.parse(JSON.parse(text)))
    .optional(),
});
const { kernel, abuse, now } = kernelOf('api', env);
const database = openDatabase({
  url: env.FIELDTRACK_EDGE_DATABASE_URL,
  poolSize: env.FIELDTRACK_EDGE_POOL_SIZE,
  application: 'fieldtrack-api',
});

const admit = createGatekeeper({
  abuse,
  now,
  mint: createMint({ jwk: env.FIELDTRACK_SIGNING_JWK, secret: env.FIELDTRACK_JWT_SECRET }),
  async verifyKey({ log }, keyId, secretHash, calls) {
    const [row] = await ask(
      log,
      database<KeyVerdict[]>`
        select v.refusal, v.organization_id as "organizationId", v.api_key_id as "apiKeyId", to_json(v.scopes) as scopes,
          v.requests_per_minute as "requestsPerMinute", v.granted, v.remaining
        from private.verify_api_key(${keyId}, ${secretHash}, ${calls}) as v`,
    );
    return row ?? { refusal: 'unknown' };
  },
});

serve(
  createHandler({
    kernel,
    admit,
    restUrl: `${env.SUPABASE_URL}/rest/v1`,
    publishableKey: env.SUPABASE_PUBLISHABLE_KEYS ?? env.SUPABASE_ANON_KEY ?? '',
    fetch,
  }),
);

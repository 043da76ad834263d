import { z } from 'zod';
import description from '../../docs/openapi.json' with { type: 'json' };
import { createKeyVerifier } from '../_shared/api-key.ts';
import { kernelOf, serve } from '../_shared/boot.ts';
import { openDatabase } from '../_shared/database.ts';
import { readEnv } from '../_shared/env.ts';
import { createMint, signingJwkSchema } from '../_shared/mint.ts';
import { createGatekeeper } from './gatekeeper.ts';
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
  verifyKey: createKeyVerifier(database),
});

serve(
  createHandler({
    kernel,
    admit,
    restUrl: `${env.SUPABASE_URL}/rest/v1`,
    publishableKey: env.SUPABASE_PUBLISHABLE_KEYS ?? env.SUPABASE_ANON_KEY ?? '',
    description: JSON.stringify(description),
    fetch,
  }),
);

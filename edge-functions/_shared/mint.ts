import { importJWK, type JWTPayload, SignJWT } from 'jose';
import { z } from 'zod';

/** Signs a token that PostgREST of this project accepts. */
export type Mint = (claims: JWTPayload, lifetimeS: number) => Promise<string>;

/** A private key that the project's Auth was given too ("import a signing key"), as JWK. */
export const signingJwkSchema = z.looseObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  kid: z.string(),
  x: z.string(),
  y: z.string(),
  d: z.string(),
});

export type SigningJwk = z.infer<typeof signingJwkSchema>;

/** The imported ES256 key where there is one, else the shared secret. */
export function createMint(keys: { jwk: SigningJwk | undefined; secret: string | undefined }): Mint {
  const { jwk, secret } = keys;
  const header = jwk ? { alg: 'ES256', typ: 'JWT', kid: jwk.kid } : { alg: 'HS256', typ: 'JWT' };
  const key = jwk ? importJWK(jwk, 'ES256') : Promise.resolve(new TextEncoder().encode(secret));
  if (!jwk && !secret) throw new Error('A token can be signed by FIELDTRACK_SIGNING_JWK or FIELDTRACK_JWT_SECRET');
  return async (claims, lifetimeS) =>
    new SignJWT(claims)
      .setProtectedHeader(header)
      .setIssuedAt()
      .setExpirationTime(`${lifetimeS} s`)
      .sign(await key);
}

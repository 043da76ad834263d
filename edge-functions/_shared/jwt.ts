import { createRemoteJWKSet, type JWTPayload, type JWTVerifyOptions, errors as joseErrors, jwtVerify } from 'jose';
import { Refusal, refusal } from './refusal.ts';

export type AccessToken = JWTPayload & { sub: string };

/** What jose says when the answer to its question for keys was none: no 200, no key set, no answer in time. */
const KEYS_NOT_FETCHED = new Set(['ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWKS_TIMEOUT']);

export type TokenVerifier = (token: string) => Promise<AccessToken>;

/**
 * Says who a person's access token names, or refuses it with 401. One algorithm family a deployment: a shared secret allows
 * HS256 and nothing else, a JWKS allows asymmetric algorithms and nothing else, so no token chooses how it is checked.
 */
export function createTokenVerifier(options: {
  issuer: string;
  secret: string | undefined;
  jwksUrl: string;
}): TokenVerifier {
  const rules: JWTVerifyOptions = {
    issuer: options.issuer,
    audience: 'authenticated',
    requiredClaims: ['sub', 'exp'],
    clockTolerance: 5,
  };
  const sharedKey = options.secret === undefined ? undefined : new TextEncoder().encode(options.secret);
  // Fetched when the first token comes and when one names a new key; jose waits 30 s between two fetches.
  const jwks = createRemoteJWKSet(new URL(options.jwksUrl), { timeoutDuration: 5000 });

  return async (token) => {
    try {
      const { payload } = sharedKey
        ? await jwtVerify(token, sharedKey, { ...rules, algorithms: ['HS256'] })
        : await jwtVerify(token, jwks, { ...rules, algorithms: ['ES256', 'RS256', 'EdDSA'] });
      if (payload.role !== 'authenticated' || payload.sub === undefined) throw invalidToken('It names no person.');
      return { ...payload, sub: payload.sub };
    } catch (error) {
      if (error instanceof Refusal) throw error;
      if (error instanceof joseErrors.JWTExpired) throw invalidToken('It has expired.');
      if (error instanceof joseErrors.JOSEError && !KEYS_NOT_FETCHED.has(error.code)) {
        throw invalidToken('It is not signed by this project or not for it.');
      }
      throw refusal('upstream_unavailable', 'The signing keys could not be fetched.', { hint: 'Try again.' });
    }
  };
}

function invalidToken(details: string) {
  return refusal('token_invalid', 'The access token is not valid.', {
    details,
    hint: 'Sign in again and send the access token as Bearer token.',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}

/** The Bearer token of a request; a publishable key that supabase-js sends there while nobody is signed in is none. */
export function bearerToken(request: Request): string | undefined {
  const [, token] = /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '') ?? [];
  return token?.startsWith('sb_') ? undefined : token;
}

import { randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';

export type ApiRole = 'anon' | 'service_role';

export function newKey(kind: 'publishable' | 'secret'): string {
  return `sb_${kind}_${randomBytes(24).toString('base64url')}`;
}

export function newSecret(bytes = 32): string {
  return randomBytes(bytes).toString('hex');
}

export type Signer = {
  sign: (claims: Record<string, unknown>, lifetime?: string) => Promise<string>;
  /** The claims of a token that is ours and has not expired; throws otherwise. */
  verify: (token: string) => Promise<Record<string, unknown>>;
};

export function createSigner(jwtSecret: string): Signer {
  const key = new TextEncoder().encode(jwtSecret);
  return {
    sign(claims, lifetime) {
      const token = new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT' });
      return (lifetime ? token.setIssuedAt().setExpirationTime(lifetime) : token).sign(key);
    },
    async verify(token) {
      return (await jwtVerify(token, key, { algorithms: ['HS256'] })).payload;
    },
  };
}

export type KeyRing = { tokenFor: (apiKey: string | undefined) => string | undefined };

/** The sb_ keys and the token of the role each stands for: what PostgREST understands. */
export async function createKeyRing(
  signer: Signer,
  keys: { publishableKey: string; secretKey: string },
): Promise<KeyRing> {
  const roleToken = (role: ApiRole) => signer.sign({ iss: 'supabase', role }, '10y');
  const tokens = new Map([
    [keys.publishableKey, await roleToken('anon')],
    [keys.secretKey, await roleToken('service_role')],
  ]);
  return { tokenFor: (apiKey) => (apiKey === undefined ? undefined : tokens.get(apiKey)) };
}

import { z } from 'zod';

export const userSchema = z.looseObject({
  id: z.string(),
  email: z.string().nullish(),
  phone: z.string().nullish(),
  app_metadata: z.record(z.string(), z.unknown()).nullish(),
  user_metadata: z.record(z.string(), z.unknown()).nullish(),
  is_anonymous: z.boolean().nullish(),
});

export type AuthUser = z.infer<typeof userSchema>;

/** @supabase/lite signs seven claims; Supabase Auth signs these, and hooks and clients read them. */
export function supabaseClaims(
  signed: Record<string, unknown>,
  user: AuthUser,
  issuer: string,
  method: string,
): Record<string, unknown> {
  return {
    ...signed,
    iss: issuer,
    email: user.email ?? '',
    phone: user.phone ?? '',
    app_metadata: user.app_metadata ?? {},
    user_metadata: user.user_metadata ?? {},
    aal: 'aal1',
    amr: [{ method, timestamp: signed.iat }],
    is_anonymous: user.is_anonymous ?? false,
  };
}

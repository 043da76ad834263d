import type { App } from '@supabase/lite';
import postgres from 'postgres';
import { z } from 'zod';
import { endSessionIfBanned } from './auth-ban.ts';
import { supabaseClaims, userSchema } from './auth-claims.ts';
import { createGuessLimit } from './auth-guesses.ts';
import { callAccessTokenHook } from './auth-hook.ts';
import { writeJsonOnce } from './auth-json.ts';
import { importLite } from './auth-warnings.ts';
import { accessTokenHook, type Config } from './config.ts';
import { createSigner } from './keys.ts';

export type Mail = { to: string; subject: string; text: string };

export type AuthOptions = {
  /** As supabase_auth_admin. */
  databaseUrl: string;
  config: Config;
  jwtSecret: string;
  publishableKey: string;
  secretKey: string;
  /** The public address, `http://127.0.0.1:54321/auth/v1`: the tokens' issuer. */
  issuer: string;
  onMail: (mail: Mail) => void;
};

export type Auth = { fetch: (request: Request) => Promise<Response>; stop: () => Promise<void> };

const sessionSchema = z.looseObject({ access_token: z.string(), user: userSchema });

/** The paths whose answers carry a session that we issue again in Supabase's shape. */
const ISSUES_SESSIONS = /\/auth\/v1\/(token|signup|verify)$/;

/** Supabase Auth's stand-in: @supabase/lite for accounts and sessions, mended where it differs (auth-*.ts). */
export async function startAuth(options: AuthOptions): Promise<Auth> {
  const lite = await createLite(options);
  const sql = postgres(options.databaseUrl, { max: 2, onnotice: () => {}, idle_timeout: 30 });
  const signer = createSigner(options.jwtSecret);
  const hook = accessTokenHook(options.config);
  const guesses = createGuessLimit();

  async function reissue(request: Request, answer: Response): Promise<Response> {
    const session = sessionSchema.safeParse(
      await answer
        .clone()
        .json()
        .catch(() => null),
    );
    if (!session.success) return answer;
    const { user, access_token } = session.data;
    const signed = await signer.verify(access_token);
    if (await endSessionIfBanned(sql, user.id, signed.session_id)) {
      return refuse(400, 'user_banned', 'User is banned');
    }
    const method = authenticationMethod(new URL(request.url));
    const claims = supabaseClaims(signed, user, options.issuer, method === 'token_refresh' ? 'password' : method);
    let result: Awaited<ReturnType<typeof callAccessTokenHook>>;
    try {
      result = await callAccessTokenHook(sql, hook, { user_id: user.id, claims, authentication_method: method });
    } catch {
      // Supabase Auth does not tell a client what went wrong inside the hook either; PostgreSQL's log does.
      return refuse(500, 'unexpected_failure', 'Error running the custom access token hook');
    }
    if ('error' in result) return refuse(result.error.status, 'hook_payload_invalid', result.error.message);
    return answerAgain(answer, { ...session.data, access_token: await signer.sign(result.claims) });
  }

  return {
    async fetch(request) {
      const url = new URL(request.url);
      const refusal = guesses.refuse(url);
      if (refusal) return refusal;
      // Without a peer address @supabase/lite trusts nobody as local.
      const answer = await lite.app.fetch(request, { peerAddress: null });
      guesses.note(url, answer.status);
      const issues = answer.ok && ISSUES_SESSIONS.test(url.pathname);
      return issues ? reissue(request, answer) : answer;
    },
    async stop() {
      await sql.end({ timeout: 1 });
      await lite.close();
    },
  };
}

async function createLite(options: AuthOptions): Promise<{ app: Pick<App, 'fetch'>; close: () => Promise<void> }> {
  const { App, PostgresConnection } = await importLite();
  const connection = new PostgresConnection({
    url: options.databaseUrl,
    postgresOptions: { max: 3, idle_timeout: 30, onnotice: () => {}, types: writeJsonOnce() },
  });
  const { hook: _hook, ...auth } = options.config.auth;
  const app = new App({
    connection,
    api: { enabled: false },
    auth: {
      ...auth,
      enabled: true,
      // Its default is a published word, and it would use it without a warning.
      jwt_secret: options.jwtSecret,
      publishable_key: options.publishableKey,
      secret_key: options.secretKey,
    },
    db: { driver: 'postgres', url: options.databaseUrl, migrations: { enabled: false } },
    studio: { enabled: false },
    storage: { enabled: false },
    options: {
      server: { admin: false, disableStudio: true },
      drivers: {
        email: {
          async send(mail: { to: string; subject: string; text?: string }) {
            // Its links lead to the app's pages; they are answered here.
            const siteUrl = options.config.auth.site_url.replace(/\/$/, '');
            const text = (mail.text ?? '').replaceAll(`${siteUrl}/auth/v1`, options.issuer);
            options.onMail({ to: mail.to, subject: mail.subject, text });
          },
        },
      },
    },
  });
  await app.init();
  return { app, close: () => connection.close() };
}

function authenticationMethod(url: URL): string {
  if (url.pathname.endsWith('/verify')) return 'otp';
  return url.searchParams.get('grant_type') === 'refresh_token' ? 'token_refresh' : 'password';
}

function refuse(status: number, errorCode: string, message: string): Response {
  return Response.json({ code: status, error_code: errorCode, msg: message }, { status });
}

function answerAgain(answer: Response, body: unknown): Response {
  const headers = new Headers(answer.headers);
  headers.delete('content-length');
  return new Response(JSON.stringify(body), { status: answer.status, headers });
}

/**
 * Hosted Auth counts sign-ins by address and stops at 30 in five minutes (config.toml, auth.rate_limit). Here everybody comes from
 * one address, so only what failed is counted: guessing passwords and codes stops, and a test suite that signs in does not.
 */
const MAX_FAILURES = 30;
const WINDOW_MS = 300_000;

const GUESSED = /\/auth\/v1\/(token|verify)$/;

export function createGuessLimit(now: () => number = Date.now) {
  let failures: number[] = [];
  const isGuess = (url: URL) => GUESSED.test(url.pathname) && url.searchParams.get('grant_type') !== 'refresh_token';
  return {
    /** An answer instead of another try, or undefined. */
    refuse(url: URL): Response | undefined {
      if (!isGuess(url)) return undefined;
      failures = failures.filter((at) => now() - at < WINDOW_MS);
      const [oldest] = failures;
      if (oldest === undefined || failures.length < MAX_FAILURES) return undefined;
      const message = { code: 429, error_code: 'over_request_rate_limit', msg: 'Request rate limit reached' };
      const seconds = Math.ceil((oldest + WINDOW_MS - now()) / 1000);
      return Response.json(message, { status: 429, headers: { 'retry-after': String(seconds) } });
    },
    note(url: URL, status: number): void {
      if (isGuess(url) && status >= 400 && status < 500) failures.push(now());
    },
  };
}

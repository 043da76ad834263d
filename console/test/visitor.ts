import type { Browser, BrowserContext, BrowserContextOptions, Page, Request } from 'playwright-core';
import type { SignedIn, TestStack } from '../../test/fixtures/stack.ts';

export type Visitor = {
  page: Page;
  context: BrowserContext;
  /** Every request that left the page. */
  requests: Request[];
  /** Errors of scripts, and what the content security policy refused. */
  complaints: string[];
  /** Opens a screen by its address. */
  open: (hash: string) => Promise<void>;
  signIn: (who: Pick<SignedIn, 'email' | 'password'>) => Promise<void>;
};

/** Somebody with a browser of their own in front of the stack's console. */
export async function visit(
  browser: Browser,
  stack: Pick<TestStack, 'url'>,
  options: BrowserContextOptions = {},
): Promise<Visitor> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
  const visitor = await openTab(context, stack.url);
  return visitor;
}

export async function openTab(context: BrowserContext, url: string): Promise<Visitor> {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const requests: Request[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => requests.push(request));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy|Refused/.test(message.text())) {
      complaints.push(message.text());
    }
  });
  await page.goto(`${url}/console/`);
  return {
    page,
    context,
    requests,
    complaints,
    async open(hash) {
      await page.evaluate((wanted) => {
        location.hash = wanted;
      }, hash);
    },
    async signIn({ email, password }) {
      await page.getByLabel('E-mail address').fill(email);
      await page.getByLabel('Password').fill(password);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.locator('.shell').waitFor();
    },
  };
}

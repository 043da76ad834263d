import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildAdminConsole } from '../../supabase/local/admin-console.ts';
import { startTestStack, type TestStack } from '../../test/fixtures/stack.ts';
import { chromiumPath, launchChromium } from './browser.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ worker: true, functions: true, consoleDir: await buildAdminConsole() });
});
afterAll(() => stack?.stop());

describe('the gateway', () => {
  test('serves the page at /console/, under a policy of nothing but itself', async () => {
    const page = await fetch(`${stack.url}/console/`);
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; /);
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    expect(await (await fetch(`${stack.url}/console/config.json`)).json()).toEqual({
      publishableKey: stack.publishableKey,
    });
  });

  test.each(['/', '/console'])('leads %s to the page', async (path) => {
    const answer = await fetch(`${stack.url}${path}`, { redirect: 'manual' });
    expect([answer.status, answer.headers.get('location')]).toEqual([302, '/console/']);
  });

  test.each(['..%2fpackage.json', '.made-from', 'assets/', 'nothing.js', '%2e%2e/package.json'])(
    'does not serve %s',
    async (path) => {
      expect((await fetch(`${stack.url}/console/${path}`)).status).toBe(404);
    },
  );
});

describe.runIf(chromiumPath)('in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchChromium(chromium);
  });
  afterAll(() => browser?.close());

  test('an administrator signs in and sees who is at work', async () => {
    const page = await browser.newPage();
    await page.goto(`${stack.url}/console/`);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  });
});

// The administrator's console in a real browser against the real stack: each screen's main act, and its manners.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { AxeBuilder } from '@axe-core/playwright';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildAdminConsole } from '../../supabase/local/admin-console.ts';
import { eventually } from '../../test/fixtures/organization.ts';
import { startTestStack, type TestStack } from '../../test/fixtures/stack.ts';
import { chromiumPath, launchChromium } from './browser.ts';
import { type Company, checkIn, foundCompany, hire, must, sendPoint } from './company.ts';
import { openTab, type Visitor, visit } from './visitor.ts';

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

test.skipIf(chromiumPath)(
  'no Chromium was found (apt install chromium, or name it in CHROMIUM): the console was not tried',
  () => {},
);

const screens = [
  'now',
  'day',
  'approvals',
  'people',
  'reports',
  'reports/people',
  'reports/expenses',
  'integrations',
  'integrations/webhooks',
  'integrations/jobs',
  'integrations/health',
  'mine',
];

/** The screen is there and nothing of it is still being read. */
async function settled(page: Page): Promise<void> {
  await page.locator('main h1').first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll('.skeleton').length === 0);
}

describe.runIf(chromiumPath)('in a browser', () => {
  let browser: Browser;
  let company: Company;
  let ada: Visitor;
  beforeAll(async () => {
    [browser, company] = await Promise.all([launchChromium(chromium), foundCompany(stack)]);
    ada = await visit(browser, stack, { acceptDownloads: true });
    await ada.signIn(company.admin);
  });
  afterAll(() => browser?.close());

  const dialog = () => ada.page.getByRole('dialog');
  const notice = (text: string | RegExp) => ada.page.locator('.notice', { hasText: text }).waitFor();

  test('is live within three seconds of being opened, from its own host alone, and small', async () => {
    const visitor = await openTab(ada.context, stack.url);
    const { page } = visitor;
    await page.reload();
    const opened = performance.now();
    await page.locator('.live.is-live').waitFor();
    // The goal is three seconds. In CI the tests that run beside this one may hold a core.
    expect(performance.now() - opened).toBeLessThan(process.env.CI ? 6000 : 3000);
    await page.locator('.maplibregl-canvas').waitFor();
    const map = await page.locator('.now-map .map').boundingBox();
    expect([map?.width, map?.height].every((length) => (length ?? 0) > 500)).toBe(true);
    await page.waitForLoadState('load');
    await new Promise((resolve) => setTimeout(resolve, 2500));
    const foreign = visitor.requests
      .map((request) => request.url())
      .filter((url) => !/^(blob|data):/.test(url) && !url.startsWith(stack.url));
    expect(foreign).toEqual([]);
    expect(visitor.complaints).toEqual([]);
    // What the page itself is made of, each file once.
    const files = [...new Set(visitor.requests.map((request) => request.url()))].filter((url) =>
      url.startsWith(`${stack.url}/console/`),
    );
    let [withoutMap, all] = [0, 0];
    for (const url of files) {
      const body = Buffer.from(await (await fetch(url)).arrayBuffer());
      // Fonts are compressed already.
      const size = url.endsWith('.woff2') ? body.length : gzipSync(body, { level: 9 }).length;
      all += size;
      if (!/maplibre|map-|basemap|people-map/.test(url)) withoutMap += size;
    }
    console.log(
      `first load: ${Math.round(withoutMap / 1000)} kB without the map, ${Math.round(all / 1000)} kB with it (gzip)`,
    );
    expect(files.some((url) => url.includes('maplibre'))).toBe(true);
    expect(withoutMap).toBeLessThan(150_000);
    expect(all).toBeLessThan(600_000);
    await page.close();
  });

  test('Now shows who checks in and where, and checks somebody out', async () => {
    const { page } = ada;
    await ada.open('#/now');
    await checkIn(company.otto);
    await sendPoint(company.otto, { latitude: 46.06, longitude: 14.51 });
    const row = page.locator('.person-row', { hasText: 'Otto Other' });
    await row.getByText('29 km/h').waitFor();
    await row.click();
    const card = page.getByRole('complementary', { name: 'Otto Other' });
    await card.getByText('80 %').waitFor();
    await card.getByRole('button', { name: 'Check out' }).click();
    await dialog().getByLabel('Reason').fill('Forgot it.');
    await dialog().getByRole('button', { name: 'Check out' }).click();
    await notice('Otto Other is checked out.');
    await row.waitFor({ state: 'detached' });
    const [session] = await must(
      company.admin.client.from('attendance_sessions').select('closed_by').eq('employee_id', company.otto.employeeId),
    );
    expect(session?.closed_by).toBe('ADMIN');
  });

  test('Day corrects a session, and takes the correction back', async () => {
    const { page } = ada;
    await ada.open('#/day');
    const row = page.getByRole('row', { name: /Eva Employee/ });
    await row.getByRole('button', { name: /Acts for/ }).click();
    await page.getByRole('button', { name: 'Correct the times' }).click();
    const before = await must(
      company.admin.client
        .from('attendance_sessions')
        .select('checked_in_at, checked_out_at')
        .eq('id', company.sessionId),
    );
    const field = dialog().getByLabel(/^Check out/);
    const value = await field.inputValue();
    await field.fill(
      value.replace(
        /:(\d\d)$/,
        (_, minute) => `:${minute === '59' ? '58' : String(Number(minute) + 1).padStart(2, '0')}`,
      ),
    );
    await dialog().getByLabel('Reason').fill('The watch was slow.');
    await dialog().getByRole('button', { name: 'Correct' }).click();
    await notice('The session is corrected.');
    await row.getByText('Corrected').waitFor();
    await page.getByRole('button', { name: 'Undo' }).click();
    await notice('Undone.');
    expect(
      await must(
        company.admin.client
          .from('attendance_sessions')
          .select('checked_in_at, checked_out_at')
          .eq('id', company.sessionId),
      ),
    ).toEqual(before);
  });

  test('Route plays the day, tells why it has a gap, and gives the GPX', async () => {
    const { page } = ada;
    await ada.open(`#/route/${company.sessionId}`);
    await page.getByText('The battery was at 3 %', { exact: false }).waitFor();
    await page
      .getByText(/Stop of/)
      .first()
      .waitFor();
    const clock = page.locator('.player-time');
    const start = await clock.textContent();
    await page.getByLabel('Playback speed').selectOption('60');
    await page.getByRole('button', { name: 'Play' }).click();
    await eventually('the playback moved', async () => (await clock.textContent()) !== start);
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('button', { name: /Acts for/ }).click();
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Save as GPX' }).click(),
    ]);
    expect(file.suggestedFilename()).toMatch(/^Eva Employee .*\.gpx$/);
    expect(readFileSync(await file.path(), 'utf8')).toMatch(/<gpx[\s\S]*<trkpt/);
    await page.locator('.maplibregl-canvas').waitFor();
  });

  test('Approvals shows the receipt and approves by keyboard alone', async () => {
    const { page } = ada;
    await ada.open('#/approvals');
    const picture = page.getByRole('img', { name: 'Receipt' });
    await picture.waitFor();
    await eventually('the receipt is drawn', () =>
      picture.evaluate((image: HTMLImageElement) => image.naturalWidth > 0),
    );
    await page.locator('main').focus();
    await page.keyboard.press('a');
    await dialog().getByText('Eva Employee gets the whole amount.').waitFor();
    await page.keyboard.press('Enter');
    await notice('Approved for Eva Employee.');
    const [expense] = await must(company.admin.client.from('expenses').select('status').eq('id', company.expenseId));
    expect(expense?.status).toBe('APPROVED');

    // And pays it, and takes the payment back.
    await ada.open('#/approvals?view=approved');
    await page.getByRole('button', { name: 'Mark as paid' }).click();
    await dialog().getByLabel('Reference of the payment').fill('December');
    await dialog().getByRole('button', { name: 'Mark as paid' }).click();
    await notice('Marked as paid.');
    const paid = () => must(company.admin.client.from('expenses').select('paid_at').eq('id', company.expenseId));
    expect((await paid())[0]?.paid_at).not.toBeNull();
    await page.locator('.notice', { hasText: 'Marked as paid.' }).getByRole('button', { name: 'Undo' }).click();
    await eventually('the payment is taken back', async () => (await paid())[0]?.paid_at === null);
  });

  test('a refusal is shown with its hint, and the dialog stays', async () => {
    const { page } = ada;
    const id = await must(
      company.eva.client.rpc('submit_expense', {
        amount: 5,
        description: 'Parking',
        category: 'OTHER',
        client_request_id: randomUUID(),
      }),
    );
    await ada.open('#/day');
    await ada.open('#/approvals');
    await page.getByRole('button', { name: 'Reject' }).waitFor();
    // Somebody else is quicker.
    await page.getByRole('button', { name: 'Reject' }).click();
    await must(company.admin.client.rpc('review_expense', { expense_id: id.id, status: 'APPROVED' }));
    await dialog().getByLabel('Comment').fill('Too late.');
    await dialog().getByRole('button', { name: 'Reject' }).click();
    const refusal = dialog().getByRole('alert');
    await refusal.getByText('expense_already_reviewed').waitFor();
    await page.keyboard.press('Escape');
  });

  test('People invites by a link that works, connects a phone, deactivates and takes back', async () => {
    const { page } = ada;
    await ada.open('#/people');
    await page.getByRole('button', { name: 'Invite' }).click();
    const email = `nina-${randomUUID().slice(0, 8)}@example.test`;
    await dialog().getByLabel('Name').fill('Nina New');
    await dialog().getByLabel('E-mail address').fill(email);
    await dialog().getByRole('button', { name: 'Invite' }).click();
    const link = await dialog().getByLabel('Link').inputValue();
    await dialog().getByRole('button', { name: 'Done' }).click();

    const nina = await visit(browser, stack);
    await nina.page.goto(link);
    await nina.page.getByLabel('E-mail address').fill(email);
    await nina.page.getByLabel('Password').fill('a long password');
    await nina.page.getByRole('button', { name: 'Create an account' }).click();
    await nina.page.getByRole('button', { name: 'Join' }).click();
    await nina.page.getByRole('heading', { name: 'My work' }).waitFor();
    await nina.context.close();

    // The list follows who joins.
    const row = page.getByRole('row', { name: /Nina New/ });
    await row.getByRole('button').click();
    await page.getByRole('button', { name: 'Connect a phone' }).click();
    await dialog().getByRole('button', { name: 'Make a token' }).click();
    await dialog()
      .getByRole('img', { name: /QR code/ })
      .waitFor();
    expect(await dialog().getByLabel('Token').inputValue()).toMatch(/^ft_device_/);
    await dialog().getByRole('button', { name: 'Done' }).click();

    await row.getByRole('button').click();
    await page.getByRole('button', { name: 'Deactivate' }).click();
    await dialog().getByRole('button', { name: 'Deactivate' }).click();
    await row.waitFor({ state: 'detached' });
    // Whoever has an account comes back by an invitation, which is theirs to accept.
    await ada.open('#/people?view=inactive');
    await row.getByRole('button').click();
    await page.getByRole('button', { name: 'Take back' }).click();
    await dialog().getByLabel('E-mail address').fill(email);
    await dialog().getByRole('button', { name: 'Invite' }).click();
    expect(await dialog().getByLabel('Link').inputValue()).toContain('fti_');
    await dialog().getByRole('button', { name: 'Done' }).click();
  });

  test('Integrations disconnects a stolen key by keyboard alone, and retries a delivery', async () => {
    const { page } = ada;
    const key = await must(
      company.admin.client.rpc('create_api_key', { name: 'Stolen laptop', scopes: ['sessions:read'] }),
    );
    const call = () =>
      fetch(`${stack.url}/functions/v1/api/attendance_sessions?limit=1`, { headers: { 'x-api-key': key.key } });
    expect((await call()).status).toBe(200);
    await ada.open('#/integrations');
    const row = page.getByRole('listitem').filter({ hasText: 'Stolen laptop' });
    await row.waitFor();
    await page.locator('main').focus();
    const isThere = () => page.evaluate(() => document.activeElement?.textContent === 'Disconnect');
    for (let presses = 0; presses < 40 && !(await isThere()); presses += 1) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await dialog().getByText('The key is refused from its next call on.', { exact: false }).waitFor();
    // A destructive act begins at "Cancel".
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await row.getByText('Disconnected').waitFor();
    await eventually('the key is refused', async () => (await call()).status === 401);

    const hook = await must(
      company.admin.client.rpc('create_webhook', {
        url: 'https://hooks.example.com/x',
        events: ['*'],
        description: 'Board',
      }),
    );
    await must(company.admin.client.rpc('test_webhook', { webhook_id: hook.id }));
    await ada.open(`#/integrations/webhooks/${hook.id}`);
    const delivery = page.getByRole('listitem').filter({ hasText: 'webhook.test' }).first();
    await delivery.getByRole('button', { name: 'Retry' }).click();
    await notice('It is sent again.');
    await ada.open('#/integrations/health');
    await page.getByText(/All is well|Something needs a look/).waitFor();
  });

  test('Reports shows the day and saves it as CSV', async () => {
    const { page } = ada;
    await ada.open('#/reports');
    await page.getByRole('heading', { name: 'Hours a day' }).waitFor();
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'CSV' }).click(),
    ]);
    const csv = readFileSync(await file.path(), 'utf8');
    expect(csv).toMatch(/^\uFEFFsession_id,/);
    expect(csv).toContain('Eva Employee');
  });

  test('somebody who is no administrator sees the own work and nothing else', async () => {
    const eva = await visit(browser, stack);
    await eva.signIn(company.eva);
    await eva.page.getByRole('heading', { name: 'My work' }).waitFor();
    for (const forbidden of ['now', 'people', 'integrations', 'approvals']) {
      await eva.open(`#/${forbidden}`);
      await eva.page.getByRole('heading', { name: 'My work' }).waitFor();
    }
    await settled(eva.page);
    await eva.page.getByText('Lunch with a customer').waitFor();
    expect(await eva.page.locator('body').textContent()).not.toMatch(/Otto|Ada Admin/);
    await eva.open(`#/route/${company.sessionId}`);
    await eva.page.locator('.player').waitFor();
    expect(eva.requests.filter((request) => request.url().includes('admin-events'))).toEqual([]);
    await eva.context.close();
  });

  test('a text of HTML in every name is shown as text', async () => {
    const evil = '<img src=x onerror="window.pwned=1">';
    const { admin } = company;
    const mallory = await hire(stack, admin, evil);
    await checkIn(mallory);
    await sendPoint(mallory, { latitude: 46.07, longitude: 14.52 });
    await must(
      mallory.client.rpc('submit_expense', {
        amount: 1,
        description: evil,
        category: 'OTHER',
        client_request_id: randomUUID(),
      }),
    );
    await must(admin.client.rpc('create_api_key', { name: evil, scopes: ['sessions:read'] }));
    await must(
      admin.client.rpc('create_webhook', { url: 'https://hooks.example.com/y', events: ['*'], description: evil }),
    );
    await must(admin.client.rpc('create_device_token', { employee_id: mallory.employeeId, name: evil }));
    const { page } = ada;
    for (const screen of [...screens, `people/${mallory.employeeId}`]) {
      await ada.open(`#/${screen}`);
      await settled(page);
      expect(await page.evaluate(() => [document.querySelectorAll('img[src="x"]').length, 'pwned' in window])).toEqual([
        0,
        false,
      ]);
    }
    await ada.open('#/approvals');
    await page.locator('.expense').getByText(evil).first().waitFor();
    expect(ada.complaints).toEqual([]);
  });

  test('axe finds nothing serious on any screen, nor in the dark', async () => {
    const { page } = ada;
    const found: string[] = [];
    const look = async (screen: string, colorScheme: 'light' | 'dark') => {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await ada.open(`#/${screen}`);
      await settled(page);
      const { violations } = await new AxeBuilder({ page }).exclude('.map').analyze();
      for (const { id, impact, nodes } of violations) {
        if (impact === 'serious' || impact === 'critical') {
          found.push(`${screen} (${colorScheme}): ${id} ${nodes.map(({ html }) => html).slice(0, 2)}`);
        }
      }
    };
    for (const screen of [...screens, `route/${company.sessionId}`]) await look(screen, 'light');
    for (const screen of ['now', 'day', 'approvals', 'integrations']) await look(screen, 'dark');
    expect(found).toEqual([]);
  }, 120_000);

  test('fits 360 pixels, with nothing cut off at the side', async () => {
    const { page } = ada;
    await page.setViewportSize({ width: 360, height: 720 });
    const wide: string[] = [];
    for (const screen of [...screens, `route/${company.sessionId}`, `people/${company.eva.employeeId}`]) {
      await ada.open(`#/${screen}`);
      await settled(page);
      const [body, main, clientWidth] = await page.evaluate(() => {
        const element = document.querySelector('main');
        return [document.documentElement.scrollWidth, element?.scrollWidth ?? 0, element?.clientWidth ?? 0];
      });
      if ((body ?? 0) > 360 || (main ?? 0) > (clientWidth ?? 0))
        wide.push(`${screen}: ${body}, ${main} in ${clientWidth}`);
    }
    expect(wide).toEqual([]);
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  test('speaks German, and writes the organization’s zone beside its times', async () => {
    const { page } = ada;
    await ada.open('#/day');
    await page.getByRole('button', { name: 'Account and settings' }).click();
    await page.getByRole('button', { name: 'Deutsch' }).click();
    await page.getByRole('heading', { name: 'Tag' }).waitFor();
    expect(await page.evaluate(() => document.documentElement.lang)).toBe('de');
    const zone = (await must(company.admin.client.from('organizations').select('time_zone')))[0]?.time_zone ?? '';
    const name =
      new Intl.DateTimeFormat('en-GB', { timeZone: zone, timeZoneName: 'short' })
        .formatToParts(new Date())
        .find(({ type }) => type === 'timeZoneName')?.value ?? '';
    expect(await page.locator('.page-head').textContent()).toContain(name);
    await page.getByRole('button', { name: 'English' }).click();
    await page.keyboard.press('Escape');
    await page.getByRole('heading', { name: 'Day' }).waitFor();
  });

  test('goes on with a token that expired, in each tab, and both leave together', async () => {
    const visitor = await visit(browser, stack);
    await visitor.signIn(company.admin);
    await visitor.page.locator('.live.is-live').waitFor();
    const expired = await stack.signer.sign(
      { sub: company.admin.userId, role: 'authenticated', aud: 'authenticated', iss: `${stack.url}/auth/v1` },
      '-1m',
    );
    await visitor.page.evaluate((token) => {
      const kept = JSON.parse(localStorage.getItem('fieldtrack.session') ?? '{}') as Record<string, unknown>;
      localStorage.setItem(
        'fieldtrack.session',
        JSON.stringify({ ...kept, access_token: token, expires_at: Math.round(Date.now() / 1000) - 60 }),
      );
    }, expired);
    await visitor.page.reload();
    await visitor.page.locator('.live.is-live').waitFor();
    const other = await openTab(visitor.context, stack.url);
    await other.page.locator('.live.is-live').waitFor();
    await visitor.page.getByRole('button', { name: 'Account and settings' }).click();
    await visitor.page.getByRole('button', { name: 'Sign out' }).click();
    await other.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await visitor.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await visitor.context.close();
  });

  test('without a network it says so, keeps what it shows, and comes back by itself', async () => {
    const { page, context } = ada;
    await ada.open('#/now');
    await page.locator('.person-row').first().waitFor();
    await context.setOffline(true);
    await page.getByText('No connection').first().waitFor();
    expect(await page.locator('.person-row').count()).toBeGreaterThan(0);
    await ada.open('#/reports');
    await page.getByRole('alert').first().waitFor();
    await context.setOffline(false);
    await page.getByRole('heading', { name: 'Hours a day' }).waitFor();
  });
});

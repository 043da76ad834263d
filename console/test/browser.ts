import { existsSync } from 'node:fs';
import type { Browser, BrowserType } from 'playwright-core';

/** A Chromium of the system (Debian: `apt install chromium`), or the one that CHROMIUM names. */
export const chromiumPath = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== undefined && existsSync(path));

/** Root may not use Chromium's sandbox, and what it would ask the network for by itself is switched off. */
export function launchChromium(chromium: BrowserType): Promise<Browser> {
  if (!chromiumPath) throw new Error('There is no Chromium: install one, or name it in CHROMIUM.');
  return chromium.launch({
    executablePath: chromiumPath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
    ],
  });
}

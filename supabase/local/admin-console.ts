import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  globSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { repositoryDir } from './paths.ts';

const sourceDir = join(repositoryDir, 'console');
const distDir = join(sourceDir, 'dist');
const stampFile = join(distDir, '.made-from');

/**
 * The administrator's page, built from console/ when its sources are not those of the last build; undefined where it cannot
 * be built, because development packages are not installed.
 */
export async function buildAdminConsole(): Promise<string | undefined> {
  const vite = join(repositoryDir, 'node_modules', 'vite', 'bin', 'vite.js');
  const isMade = (stamp: string) => existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  const stamp = stampOfSources();
  if (isMade(stamp)) return distDir;
  if (!existsSync(vite)) return undefined;
  // Built aside and moved, so that a stack which serves the last build, or builds at the same moment, sees a whole one.
  const aside = join(sourceDir, `dist-${process.pid}`);
  try {
    const build = [vite, 'build', '--outDir', aside, '--emptyOutDir', '--logLevel', 'warn'];
    await promisify(execFile)(process.execPath, build, { cwd: sourceDir });
    writeFileSync(join(aside, '.made-from'), stamp);
    if (isMade(stamp)) return distDir;
    rmSync(distDir, { recursive: true, force: true });
    renameSync(aside, distDir);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return distDir;
}

function stampOfSources(): string {
  const digest = createHash('sha256');
  const sources = ['console/{src,public}/**/*', 'console/*.{ts,html,json}', 'types/*.ts', 'package-lock.json'];
  for (const file of globSync(sources, { cwd: repositoryDir }).sort()) {
    const path = join(repositoryDir, file);
    if (!statSync(path).isFile() || file === 'console/public/config.json') continue;
    digest.update(`${file}\0`).update(readFileSync(path));
  }
  return digest.digest('hex');
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** The page talks to this gateway and shows receipts from it; nothing else is let in. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Serves `/console/…`: files of the build, and as config.json what the page must know of this stack. */
export function serveAdminConsole(
  outgoing: ServerResponse,
  path: string,
  from: { folder: string; publishableKey: string },
): boolean {
  const name = path.slice('/console/'.length) || 'index.html';
  const headers = {
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
  };
  if (name === 'config.json') {
    outgoing.writeHead(200, { ...headers, 'content-type': TYPES['.json'], 'cache-control': 'no-store' });
    outgoing.end(JSON.stringify({ publishableKey: from.publishableKey }));
    return true;
  }
  // Names as the build makes them: no way up, nothing hidden.
  if (!/^(?:[\w-][\w.-]*\/)*[\w-][\w.-]*$/.test(name)) return false;
  const file = join(from.folder, name);
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats?.isFile()) return false;
  outgoing.writeHead(200, {
    ...headers,
    'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
    'content-length': stats.size,
    // The build names its assets by their content.
    'cache-control': name.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  });
  createReadStream(file)
    .on('error', () => outgoing.destroy())
    .pipe(outgoing);
  return true;
}

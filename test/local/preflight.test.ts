import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { postgrestBinary } from '../../supabase/local/binaries.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ft-preflight-'));
  mkdirSync(join(folder, '.ci'));
  copyFileSync(join(repositoryDir, '.ci', 'preflight.cjs'), join(folder, '.ci', 'preflight.cjs'));
  write('package.json', { devDependencies: { node: '24.1.0', old: 'npm:pg-boss@12.35.0' } });
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(file: string, content: unknown): void {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), JSON.stringify(content));
}

function install(nodeVersion: string): void {
  write('node_modules/node/package.json', { version: nodeVersion });
  write('node_modules/old/package.json', { version: '12.35.0' });
}

/** What it prints, and the code it ends with. */
function preflight(): { code: number; text: string } {
  try {
    execFileSync(process.execPath, [join(folder, '.ci', 'preflight.cjs')], { stdio: 'pipe' });
    return { code: 0, text: '' };
  } catch (error) {
    const { status, stderr } = error as { status: number; stderr: Buffer };
    return { code: status, text: stderr.toString().trim() };
  }
}

test('before npm ci one sentence says what to run', () => {
  expect(preflight()).toEqual({ code: 1, text: 'Nothing is installed yet: run `npm ci` first.' });
});

test('what another commit wants and nobody installed is named', () => {
  install('24.1.0');
  rmSync(join(folder, 'node_modules', 'old'), { recursive: true });
  expect(preflight().text).toBe('old is missing, and package.json asks for 12.35.0: run `npm ci`.');
});

test('a Node older than the installed one is named, with what to do', () => {
  write('package.json', { devDependencies: { node: '99.0.0', old: 'npm:pg-boss@12.35.0' } });
  install('99.0.0');
  expect(preflight().text).toMatch(
    /^This is Node 24\..*, and the scripts need the Node 99\.0\.0 that npm installs: run/,
  );
});

test('all is well: nothing is said', () => {
  install('24.1.0');
  expect(preflight()).toEqual({ code: 0, text: '' });
});

test('every script that a person starts asks it first', () => {
  const { scripts } = JSON.parse(readFileSync(join(repositoryDir, 'package.json'), 'utf8'));
  for (const name of ['start', 'test', 'check', 'demo', 'status', 'bench']) {
    expect(scripts[`pre${name}`], name).toBe('node .ci/preflight.cjs');
  }
});

test('a machine for which npm has no PostgREST is told what to install', () => {
  const { platform, arch } = process;
  try {
    Object.defineProperty(process, 'platform', { value: 'darwin' });
    Object.defineProperty(process, 'arch', { value: 'arm64' });
    expect(() => postgrestBinary({ PATH: '' })).toThrow(
      /no PostgREST for darwin-arm64: install one \(macOS: `brew install postgrest`/,
    );
  } finally {
    Object.defineProperty(process, 'platform', { value: platform });
    Object.defineProperty(process, 'arch', { value: arch });
  }
});

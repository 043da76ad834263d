import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { npmBinary } from '../../supabase/local/binaries.ts';
import { readConfig } from '../../supabase/local/config.ts';
import { Refusal } from '../../supabase/local/refusal.ts';

let folder: string;
let initial: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldtrack-config-'));
  const env = { ...process.env, HOME: folder, DO_NOT_TRACK: '1', SUPABASE_TELEMETRY_DISABLED: '1' };
  execFileSync(npmBinary('supabase'), ['init', '--yes', '--workdir', folder], { env, cwd: folder, stdio: 'ignore' });
  initial = join(folder, 'supabase', 'config.toml');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function read(text: string, env: NodeJS.ProcessEnv = {}) {
  const file = join(folder, 'config.toml');
  writeFileSync(file, text);
  return readConfig(file, env);
}

function refusalOf(text: string): string {
  try {
    read(text);
  } catch (error) {
    if (error instanceof Refusal) return error.message.replace(/^.*config\.toml/, 'config.toml');
    throw error;
  }
  return 'none';
}

test('a file that supabase init wrote is read', () => {
  expect(readConfig(initial)).toMatchObject({
    api: { max_rows: 1000 },
    auth: { enable_signup: true, email: { otp_length: 6 } },
    functions: {},
  });
});

test('what is left out is as the CLI takes it', () => {
  expect(read('project_id = "x"\n').auth).toMatchObject({ jwt_expiry: 3600, enable_refresh_token_rotation: true });
  expect(read('[functions.hello]\n').functions).toMatchObject({ hello: { enabled: true, verify_jwt: true } });
});

test('an email section of an older CLI is still read', () => {
  expect(read('[auth.email]\nenable_signup = false\n').auth.email.enable_signup).toBe(false);
});

test('env(NAME) is the value of the variable', () => {
  const text = '[auth]\nsite_url = "env(SITE)"\njwt_expiry = "env(EXPIRY)"\n';
  expect(read(text, { SITE: 'https://app.example', EXPIRY: '600' }).auth).toMatchObject({
    site_url: 'https://app.example',
    jwt_expiry: 600,
  });
});

test.each([
  ['[auth]\njwt_expiry = "soon"\n', 'config.toml:2: auth.jwt_expiry: expected number, received string.'],
  ['[auth]\n\n[auth.email]\nenabled = false\n', /^config\.toml:4: auth\.email\.enabled: .* must be true\.$/],
  ['[auth]\nemail.otp_length = "6"\n', 'config.toml:2: auth.email.otp_length: expected number, received string.'],
  ['[auth.hook.custom_access_token]\nenabled = true\nuri = "https://x.example"\n', /^config\.toml:3: .*pg-functions:/],
  ['[functions."a.b"]\nverify_jwt = 1\n', /^config\.toml:/],
  ['[api]\nmax_rows = many\n', /^config\.toml:2: .*\.$/],
  ['[api\n', /^config\.toml:1: .*\.$/],
])('what it cannot read is refused in a sentence that names the line: %j', (text, message) => {
  const said = refusalOf(text);
  if (typeof message === 'string') expect(said).toBe(message);
  else expect(said).toMatch(message);
  expect(said.split('\n')).toHaveLength(1);
});

test('a missing file is said so', () => {
  expect(() => readConfig(join(folder, 'nowhere.toml'))).toThrow(/nowhere\.toml is missing/);
});

test('the CLI has nothing to say against our file', () => {
  const ours = readFileSync('supabase/config.toml', 'utf8');
  expect(ours.split('\n')[0]).toBe('#:schema https://supabase.com/schemas/config/v1.json');
  writeFileSync(initial, ours);
  // Any command reads the file first; this one then finds no container to ask.
  const env = { ...process.env, HOME: folder, DO_NOT_TRACK: '1', SUPABASE_TELEMETRY_DISABLED: '1', NO_COLOR: '1' };
  let said = '';
  try {
    execFileSync(npmBinary('supabase'), ['migration', 'list', '--workdir', folder], {
      env,
      cwd: folder,
      stdio: 'pipe',
    });
  } catch (error) {
    said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
  }
  expect(said).not.toMatch(/deprecated|unknown|invalid/i);
});

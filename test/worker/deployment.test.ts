import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { productionProblems } from '../../.ci/production-settings.ts';
import { postgresAccount } from '../../supabase/local/account.ts';
import { npmBinary } from '../../supabase/local/binaries.ts';
import { freePort } from '../../supabase/local/free-port.ts';
import { waitForExit } from '../../supabase/local/launch.ts';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { readEnv, schema } from '../../worker/env.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { pagesOf } from '../fixtures/worker.ts';

// What stands in files that only a container engine or GitHub would run, held to what is here.

const read = (path: string): string => readFileSync(join(repositoryDir, path), 'utf8');

describe('workflows', () => {
  const workflow = z.object({
    jobs: z.record(
      z.string(),
      z.looseObject({
        needs: z.string().optional(),
        steps: z.array(z.looseObject({ run: z.string().optional(), uses: z.string().optional() })),
      }),
    ),
  });
  const scripts = Object.keys(JSON.parse(read('package.json')).scripts as object);

  test.each(['ci.yml', 'deploy.yml'])('%s: each step is a command that is there', (file) => {
    const { jobs } = workflow.parse(parse(read(`.github/workflows/${file}`)));
    for (const { needs, steps } of Object.values(jobs)) {
      if (needs) expect(Object.keys(jobs)).toContain(needs);
      for (const { run, uses } of steps) {
        if (uses) expect(uses, 'by hash: a tag can be moved').toMatch(/^actions\/(checkout|setup-node)@[0-9a-f]{40}$/);
        const [command = '', ...args] = run?.split(' ') ?? [];
        if (command.startsWith('.ci/')) accessSync(join(repositoryDir, command), constants.X_OK);
        else if (command === 'npm') expect(['ci', ...scripts]).toContain(args[0] === 'run' ? args[1] : args[0]);
        else if (command === 'npx') expectItToParse(args);
        else expect(['', 'apt-get']).toContain(command);
      }
    }
  });

  /** Without an account the CLI gets as far as asking for one, but not past a word or a flag that it does not know. */
  function expectItToParse([program, ...args]: string[]): void {
    expect(program).toBe('supabase');
    const home = mkdtempSync(join(tmpdir(), 'ft-no-account-'));
    const { status, stderr } = spawnSync(npmBinary('supabase'), args, {
      cwd: home,
      env: { PATH: process.env.PATH ?? '', HOME: home, SUPABASE_TELEMETRY_DISABLED: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
    });
    rmSync(home, { recursive: true, force: true });
    expect(status, args.join(' ')).not.toBe(0);
    expect(stderr, args.join(' ')).toMatch(/Access token not provided|Cannot find project ref/);
  }
});

describe('a deployment', () => {
  test('gives its secrets to steps of the job with approval only, and to no step that installs', () => {
    const steps = z.array(
      z.looseObject({ run: z.string().optional(), env: z.record(z.string(), z.string()).optional() }),
    );
    const deploy = z
      .object({
        env: z.record(z.string(), z.string()),
        jobs: z.record(
          z.string(),
          z.looseObject({ environment: z.string().optional(), env: z.unknown().optional(), steps }),
        ),
      })
      .parse(parse(read('.github/workflows/deploy.yml')));
    expect(JSON.stringify(deploy.env)).not.toContain('secrets.');
    for (const [name, job] of Object.entries(deploy.jobs)) {
      expect(JSON.stringify(job.env ?? {}), name).not.toContain('secrets.');
      for (const { run = '', env = {} } of job.steps) {
        if (!JSON.stringify(env).includes('secrets.')) continue;
        expect(job.environment, name).toBe('production');
        expect(run).toMatch(/^npx supabase /);
      }
    }
    const last = deploy.jobs.apply?.steps.findIndex(({ run }) => run?.startsWith('npx supabase config push')) ?? -1;
    expect(last).toBeGreaterThan(0);
    expect(deploy.jobs.settings?.steps.some(({ run }) => run === 'npm run production-settings')).toBe(true);
  });

  test('is refused with the settings of a laptop', () => {
    const shipped = read('supabase/config.toml');
    const ref = 'abcdefghijklmnopqrst';
    const filled = shipped
      .replace('yourprojectrefishere', ref)
      .replace('https://app.example.com', 'https://app.acme.eu');
    expect(productionProblems(shipped, ref)).not.toEqual([]);
    expect(productionProblems(filled, ref)).toEqual([]);
    expect(productionProblems(filled, 'tsrqponmlkjihgfedcba')).not.toEqual([]);
    const [laptop = ''] = shipped.split('[remotes.production]');
    expect(productionProblems(laptop, ref)).not.toEqual([]);
    for (const [good, bad] of [
      ['https://app.acme.eu', 'http://127.0.0.1:3000'],
      ['enable_confirmations = true', 'enable_confirmations = false'],
      ['secure_password_change = true', 'secure_password_change = false'],
      ['otp_expiry = 600', 'otp_expiry = 3600'],
    ] as const) {
      expect(productionProblems(filled.replace(good, bad), ref), bad).not.toEqual([]);
    }
  });
});

describe('the image', () => {
  /** Instructions with their words, a continued line as one, those after the second FROM apart. */
  const stages = read('worker/Dockerfile')
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n/g, ' ')
    .split(/^(?=FROM )/m)
    .filter(Boolean)
    .map((stage) =>
      stage
        .split('\n')
        .filter(Boolean)
        .map((line) => {
          const [, name = '', rest = ''] = /^(\w+) +(.*)$/.exec(line) ?? [];
          return { name, rest, words: rest.trim().split(/ +/) };
        }),
    );
  const [dependencies = [], image = []] = stages;
  const instruction = (name: string) => image.find((one) => one.name === name);
  const imageEnv = Object.fromEntries(
    (instruction('ENV')?.words ?? []).map((word) => word.split('=') as [string, string]),
  );

  test('its base is the Node that everything is tested with', () => {
    const [version = ''] = /\d+/.exec(execFileSync(npmBinary('node'), ['--version'], { encoding: 'utf8' })) ?? [];
    for (const stage of stages) expect(stage[0]?.words[0]).toBe(`node:${version}-bookworm-slim`);
  });

  test('with compose.yaml it has every variable of the worker, and only those', () => {
    const { services } = parse(read('worker/compose.yaml')) as {
      services: { worker: { environment: Record<string, string>; build: { context: string; dockerfile: string } } };
    };
    const { environment, build } = services.worker;
    expect(existsSync(join(repositoryDir, 'worker', build.context, build.dockerfile))).toBe(true);
    const { NODE_ENV: _, ...ofImage } = imageEnv;
    expect([...Object.keys(environment), ...Object.keys(ofImage)].sort()).toEqual(Object.keys(schema.shape).sort());
    // Each may be set from outside by its own name, and the worker accepts what compose makes of what is needed.
    const needed: Record<string, string> = {
      DATABASE_URL: 'postgresql://fieldtrack_worker@db/postgres',
      METRICS_TOKEN: 'a-scraper-of-metrics',
      OPERATOR_TOKEN: 'an-operator-of-this',
    };
    const made = Object.entries(environment).map(([name, value]) => {
      const [, variable, isNeeded] = /^\$\{(\w+):(?:-|(\?).*)\}$/.exec(value) ?? [];
      expect(variable, value).toBe(name);
      expect(isNeeded !== undefined, name).toBe(name in needed);
      return [name, needed[name] ?? ''];
    });
    const started = readEnv({ ...ofImage, REVISION: 'x', ...Object.fromEntries(made) });
    expect(started).toMatchObject({ HTTP_HOST: '0.0.0.0', LOG_LEVEL: 'info', DATABASE_POOL_SIZE: 14 });
    expect(started).not.toHaveProperty('OTEL_EXPORTER_OTLP_ENDPOINT');
  });

  describe('built by hand in a folder of its own', () => {
    let database: TestDatabase;
    let home: string;
    beforeAll(async () => {
      database = await createTestDatabase();
      home = mkdtempSync(join(tmpdir(), 'ft-image-'));
      chmodSync(home, 0o755);
      for (const stage of [dependencies, image]) copyInto(home, stage);
      for (const { rest } of dependencies.filter(({ name }) => name === 'RUN')) {
        // What the registry's packages are is the lock file's word; a cache spares the network.
        execFileSync('sh', ['-c', `${rest} --prefer-offline`], { cwd: home, stdio: 'pipe' });
      }
    });
    afterAll(async () => {
      rmSync(home, { recursive: true, force: true });
      await database?.drop();
    });

    test('the worker runs as somebody who may change nothing there, is healthy and stops in order', async () => {
      const port = await freePort();
      const env = {
        ...imageEnv,
        // Docker's own; node is that of the repository, which has the version of the image.
        PATH: `${dirname(execFileSync(npmBinary('node'), ['-p', 'process.execPath'], { encoding: 'utf8' }).trim())}:${process.env.PATH ?? ''}`,
        REVISION: 'by-hand',
        HTTP_HOST: '127.0.0.1',
        HTTP_PORT: String(port),
        DATABASE_URL: database.url('fieldtrack_worker'),
      };
      const [command = '', ...args] = JSON.parse(instruction('CMD')?.rest ?? '[]') as string[];
      expect(instruction('USER')?.rest).toBe('node');
      const child = spawn(command, args, { cwd: home, env, ...postgresAccount(), stdio: ['ignore', 'pipe', 'pipe'] });
      const lines: string[] = [];
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => lines.push(String(data)));
      try {
        const url = await pagesOf(() => lines.join(''));
        const ready = await fetch(`${url}/ready`);
        expect(ready.status, await ready.text()).toBe(200);
        const [, probe = '[]'] = /CMD (\[.*\])$/.exec(instruction('HEALTHCHECK')?.rest ?? '') ?? [];
        const [program = '', ...probeArgs] = JSON.parse(probe) as string[];
        expect(spawnSync(program, probeArgs, { cwd: home, env }).status).toBe(0);
        child.kill(instruction('STOPSIGNAL')?.rest as NodeJS.Signals);
        expect(await waitForExit(child)).toEqual({ code: 0, signal: null });
        // Nobody is there now.
        expect(spawnSync(program, probeArgs, { cwd: home, env }).status).toBe(1);
      } catch (error) {
        child.kill('SIGKILL');
        throw new Error(lines.join('').slice(-2000), { cause: error });
      }
    });
  });

  /** COPY as Docker would: each source exists and is not kept out by .dockerignore; `--from` takes what is there already. */
  function copyInto(target: string, stage: typeof image): void {
    const [ignored, ...allowed] = read('.dockerignore').trim().split('\n');
    expect(ignored).toBe('*');
    for (const { words } of stage.filter(({ name }) => name === 'COPY')) {
      if (words[0]?.startsWith('--from')) continue;
      const destination = words.at(-1) ?? '';
      for (const source of words.slice(0, -1)) {
        expect(allowed).toContain(`!${source}`);
        const to = destination.endsWith('/') ? join(target, destination, source) : join(target, destination);
        mkdirSync(dirname(to), { recursive: true });
        cpSync(join(repositoryDir, source), to, { recursive: true });
      }
    }
  }
});

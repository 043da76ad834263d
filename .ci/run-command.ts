import { spawn } from 'node:child_process';

export type Outcome = { ok: boolean; stdout: string; stderr: string };

/** Runs a tool (of node_modules/.bin inside npm scripts) to its end: no shell, no keyboard, `input` on its stdin. */
export function runCommand(
  command: string,
  args: string[],
  options: { input?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    // Colours would end up in messages and in CI's log.
    const env = { ...process.env, NO_COLOR: '1', ...options.env };
    const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ ok: code === 0, stdout, stderr }));
    child.stdin.end(options.input ?? '');
  });
}

/** What the tool printed on stdout; a failure is an error that carries what it said. */
export async function outputOf(command: string, args: string[], options: { input?: string } = {}): Promise<string> {
  const { ok, stdout, stderr } = await runCommand(command, args, options);
  if (!ok) throw new Error(`${command} ${args.slice(0, 2).join(' ')} failed:\n${stderr || stdout}`);
  return stdout;
}

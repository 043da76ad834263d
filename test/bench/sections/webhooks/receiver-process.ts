import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export type ReceiverMessage = 'reset' | 'report';

export interface ReceiverReport {
  count: number;
  firstMs: number;
  lastMs: number;
  /** For each request its path and how long after its event it came. */
  waits: { path: string; ms: number }[];
}

export interface ReceiverProcess {
  url: string;
  reset: () => void;
  report: () => Promise<ReceiverReport>;
  stop: () => Promise<void>;
}

export async function startReceiverProcess(): Promise<ReceiverProcess> {
  const child = fork(join(import.meta.dirname, 'receiver.ts'));
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  return {
    url,
    reset: () => child.send('reset' satisfies ReceiverMessage),
    async report() {
      const answer = once(child, 'message');
      child.send('report' satisfies ReceiverMessage);
      const [report] = (await answer) as [ReceiverReport];
      return report;
    },
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

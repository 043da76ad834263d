import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export type ReceiverMessage = 'reset' | 'count' | 'report';

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
  /** How many requests came; the report costs the receiver more the longer it is. */
  count: () => Promise<number>;
  report: () => Promise<ReceiverReport>;
  stop: () => Promise<void>;
}

export async function startReceiverProcess(): Promise<ReceiverProcess> {
  const child = fork(join(import.meta.dirname, 'receiver.ts'));
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  async function ask<T>(question: ReceiverMessage): Promise<T> {
    const answer = once(child, 'message');
    child.send(question);
    const [value] = (await answer) as [T];
    return value;
  }

  return {
    url,
    reset: () => child.send('reset' satisfies ReceiverMessage),
    count: async () => (await ask<Pick<ReceiverReport, 'count'>>('count')).count,
    report: () => ask<ReceiverReport>('report'),
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

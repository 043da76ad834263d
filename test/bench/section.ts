import type { TestDatabase } from '../fixtures/database.ts';
import type { TestStack, TestStackOptions } from '../fixtures/stack.ts';

/** What a figure should reach. Without one it is only reported. */
export type Goal = { atMost: number } | { atLeast: number };

export interface Figure {
  name: string;
  value: number;
  unit: string;
  goal?: Goal;
}

export interface Bench {
  /** Smaller inputs, for trying a section out; its figures are marked as quick. */
  quick: boolean;
  /** Where the run may write documents (--write-docs); absent otherwise. */
  docsDir: string | undefined;
  /** A migrated database of one's own; it goes when the section ends. */
  createDatabase: () => Promise<TestDatabase>;
  /** The whole stack (PostgREST, Auth, on request worker and functions); it stops when the section ends. */
  startStack: (options?: Omit<TestStackOptions, 'cluster'>) => Promise<TestStack>;
  /** One result: printed at the end of the section, written to test/bench/results.json. */
  report: (figure: Figure) => void;
  /** A table for people; numbers are lined up on the right. */
  table: (head: readonly string[], rows: readonly (readonly (string | number)[])[]) => void;
  note: (line: string) => void;
}

export interface Section {
  /** As in `npm run bench -- <name>`. */
  name: string;
  /** The question it answers, in a line. */
  question: string;
  run: (bench: Bench) => Promise<void>;
}

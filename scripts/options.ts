import { type ParseArgsConfig, parseArgs } from 'node:util';

/** The options of a command, or the end of it: what was wrong in one sentence, and the help. */
export function readOptions<const T extends ParseArgsConfig>(config: T, help: string): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${help}`);
    process.exit(2);
  }
}

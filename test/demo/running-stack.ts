import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { localDir } from '../../supabase/local/paths.ts';
import type { Stack } from './actors.ts';

/** The stack that `npm start` runs from this folder, or the one that FIELDTRACK_URL and FIELDTRACK_PUBLISHABLE_KEY name. */
export function runningStack(env: NodeJS.ProcessEnv = process.env): Stack {
  const { FIELDTRACK_URL: url, FIELDTRACK_PUBLISHABLE_KEY: publishableKey } = env;
  if (url !== undefined && publishableKey !== undefined) return { url, publishableKey };
  try {
    const read = (file: string): unknown => JSON.parse(readFileSync(join(localDir(env), file), 'utf8'));
    return {
      url: z.object({ url: z.string() }).parse(read('stack.lock')).url,
      publishableKey: z.object({ publishableKey: z.string() }).parse(read('secrets.json')).publishableKey,
    };
  } catch {
    throw new Error('No running stack found. Start it with `npm start` in another terminal, then try again.');
  }
}

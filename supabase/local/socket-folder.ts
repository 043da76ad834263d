import { chmodSync, existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refusal } from './refusal.ts';

/** The kernel's limit for the path of a socket is 107 characters; ours have names of up to 30 in a folder of ten. */
const MAX_CHARACTERS = 60;

/** A new folder for sockets, which nobody else may open. A TMPDIR too deep for a socket is left for /tmp. */
export function makeSocketFolder(temporary = tmpdir()): string {
  const parent = temporary.length > MAX_CHARACTERS && existsSync('/tmp') ? '/tmp' : temporary;
  try {
    const folder = mkdtempSync(join(parent, 'ft-'));
    chmodSync(folder, 0o700);
    return folder;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Refusal(`A temporary folder cannot be made: ${why}.\nTMPDIR names another place for it.`);
  }
}

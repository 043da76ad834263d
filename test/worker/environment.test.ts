import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repositoryDir } from '../../supabase/local/paths.ts';
import { schema } from '../../worker/env.ts';

test('docs/operations.md lists every variable of the worker with its default', () => {
  const page = readFileSync(join(repositoryDir, 'docs', 'operations.md'), 'utf8');
  const section = /^## The worker's environment\n([\s\S]*?)^## /m.exec(page)?.[1] ?? '';
  const listed = [...section.matchAll(/^\| `(\w+)` \| (?:`([^`]*)`|(needed|none)) \| .+ \|$/gm)].map(
    ([, name, value, word]) => [name, value ?? word],
  );
  const declared = Object.entries(schema.shape).map(([name, type]) => {
    // What the schema makes of a variable that is not set.
    const unset = type.safeParse(undefined);
    return [name, unset.success ? String(unset.data ?? 'none') : 'needed'];
  });
  expect(listed.sort()).toEqual(declared.sort());
});

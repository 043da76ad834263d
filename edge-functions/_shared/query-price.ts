/** Related rows within related rows: each level multiplies what the level above reads. */
const MAX_EMBED_DEPTH = 3;

export type QueryProblem = { message: string; hint: string };

/** What PostgREST would take and must not get: bytes that are no text (it answers 500), and rows embedded too deeply. */
export function queryProblem(query: string): QueryProblem | undefined {
  if (!isUtf8(query)) {
    return { message: 'The query is not UTF-8.', hint: 'Encode it with percent signs, as UTF-8.' };
  }
  const selects = new URLSearchParams(query).getAll('select');
  if (selects.some((select) => depthOf(select) > MAX_EMBED_DEPTH)) {
    return {
      message: `Rows are embedded more than ${MAX_EMBED_DEPTH} levels deep.`,
      hint: 'Read the inner ones with a request of their own.',
    };
  }
  return undefined;
}

function isUtf8(query: string): boolean {
  try {
    // A percent sign without two digits stands for itself in PostgREST and is an error here.
    decodeURIComponent(query.replace(/%(?![0-9A-Fa-f]{2})/g, '%25'));
    return true;
  } catch {
    return false;
  }
}

function depthOf(select: string): number {
  let depth = 0;
  let deepest = 0;
  // A parenthesis within quotes is part of a name; we have none with one.
  for (const character of select) {
    if (character === '(') deepest = Math.max(deepest, ++depth);
    else if (character === ')') depth--;
  }
  return deepest;
}

const NOT_FILTERS = new Set(['select', 'order', 'limit', 'offset', 'columns', 'on_conflict', 'apikey']);

/**
 * Hosted projects load safeupdate for API roles: an UPDATE or DELETE without WHERE is an error. The library does not
 * exist for npm's PostgreSQL, so the gateway refuses the requests that would become such statements, with its words.
 */
export function missingWhere(method: string, path: string, query: URLSearchParams): 'UPDATE' | 'DELETE' | undefined {
  if (method !== 'PATCH' && method !== 'DELETE') return undefined;
  if (path.startsWith('/rpc/')) return undefined;
  for (const name of query.keys()) if (isFilter(name)) return undefined;
  return method === 'PATCH' ? 'UPDATE' : 'DELETE';
}

/** `employee.name=eq.x` filters what is embedded, and a statement that has nothing else changes every row. */
function isFilter(name: string): boolean {
  if (NOT_FILTERS.has(name)) return false;
  return !name.includes('.') || name === 'not.and' || name === 'not.or';
}

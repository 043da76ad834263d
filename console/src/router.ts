import { computed, signal } from '@preact/signals';

// The address is in the hash, so that any static host serves every page: #/day?on=2026-12-01

export type Route = { path: string[]; query: URLSearchParams };

const hash = signal(location.hash);
addEventListener('hashchange', () => {
  hash.value = location.hash;
});

export const route = computed((): Route => {
  const [path = '', query = ''] = hash.value.replace(/^#\/?/, '').split('?');
  return { path: path.split('/').filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
});

export function href(path: string, query: Record<string, string | undefined> = {}): string {
  const said = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const text = new URLSearchParams(said).toString();
  return `#/${path}${text ? `?${text}` : ''}`;
}

export function go(path: string, query: Record<string, string | undefined> = {}): void {
  location.hash = href(path, query);
}

/** Changes the query without a step in the history. */
export function tune(query: Record<string, string | undefined>): void {
  const { path, query: before } = route.peek();
  const merged = { ...Object.fromEntries(before), ...query };
  history.replaceState(null, '', href(path.map(encodeURIComponent).join('/'), merged));
  hash.value = location.hash;
}

/** What config.json beside index.html says; docs/console.md tells each. */
export type Config = {
  /** The project's URL; the page's own origin unless said. */
  url: string;
  publishableKey: string;
  /** A .pmtiles file or the URL of a MapLibre style, instead of the vendored map. */
  basemap?: string;
};

export async function readConfig(): Promise<Config> {
  const answer = await fetch('./config.json', { cache: 'no-store' });
  const read: unknown = answer.ok ? await answer.json().catch(() => undefined) : undefined;
  const { url, publishableKey, basemap } = (read ?? {}) as Partial<Config>;
  if (!publishableKey) throw new Error('config.json beside this page must name url and publishableKey.');
  return { url: (url ?? location.origin).replace(/\/$/, ''), publishableKey, ...(basemap ? { basemap } : {}) };
}

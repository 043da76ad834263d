import type { Feature, FeatureCollection, Position } from 'geojson';
import type { GeoJSONSource, Map as MapLibreMap, StyleSpecification } from 'maplibre-gl';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';

// The map without a tile server: outlines of countries and cities (console/basemap.ts makes the files), and close up a grid
// whose width is written on it, so that distances can be told where there is nothing else to see.

const colours = (dark: boolean) =>
  dark
    ? {
        sea: '#0b1311',
        land: '#161f1c',
        border: '#33423d',
        grid: '#7f9a90',
        city: '#8da59c',
        halo: '#161f1c',
        coast: '#2a3934',
      }
    : {
        sea: '#dbe7ea',
        land: '#f7f6f1',
        border: '#c3c9c1',
        grid: '#5d7a70',
        city: '#5f6f69',
        halo: '#f7f6f1',
        coast: '#b9cbcd',
      };

const FONT = ['Geist Variable'];
const empty: FeatureCollection = { type: 'FeatureCollection', features: [] };

export function vendoredStyle(dark: boolean): StyleSpecification {
  const { sea, land, border, grid, city, halo, coast } = colours(dark);
  const source = { type: 'geojson' as const, data: empty };
  return {
    version: 8,
    sources: {
      world: { ...source, attribution: 'Natural Earth', tolerance: 0.3 },
      countries: source,
      grid: source,
      cities: source,
    },
    layers: [
      { id: 'sea', type: 'background', paint: { 'background-color': sea } },
      { id: 'world-land', type: 'fill', source: 'world', maxzoom: 4, paint: { 'fill-color': land } },
      {
        id: 'world-borders',
        type: 'line',
        source: 'world',
        maxzoom: 4,
        paint: { 'line-color': border, 'line-width': 0.7 },
      },
      { id: 'land', type: 'fill', source: 'countries', minzoom: 4, paint: { 'fill-color': land } },
      {
        id: 'coast',
        type: 'line',
        source: 'countries',
        minzoom: 4,
        paint: { 'line-color': coast, 'line-width': 3, 'line-opacity': 0.35 },
      },
      {
        id: 'borders',
        type: 'line',
        source: 'countries',
        minzoom: 4,
        paint: { 'line-color': border, 'line-width': 1.2 },
      },
      {
        id: 'grid',
        type: 'line',
        source: 'grid',
        minzoom: 8,
        filter: ['==', '$type', 'LineString'],
        paint: { 'line-color': grid, 'line-width': 1, 'line-opacity': ['case', ['get', 'isMain'], 0.22, 0.1] },
      },
      {
        id: 'grid-label',
        type: 'symbol',
        source: 'grid',
        minzoom: 8,
        filter: ['==', '$type', 'Point'],
        layout: {
          'text-field': ['get', 'name'],
          'text-font': FONT,
          'text-size': 10,
          'text-anchor': 'bottom-left',
          'text-offset': [0.3, -0.2],
        },
        paint: { 'text-color': grid, 'text-opacity': 0.8, 'text-halo-color': halo, 'text-halo-width': 1 },
      },
      {
        id: 'city-dots',
        type: 'circle',
        source: 'cities',
        minzoom: 5,
        maxzoom: 11,
        paint: { 'circle-radius': 2, 'circle-color': city, 'circle-opacity': 0.6 },
      },
      {
        id: 'city-names',
        type: 'symbol',
        source: 'cities',
        layout: {
          'text-field': ['get', 'name'],
          'text-font': FONT,
          'text-size': [
            'interpolate',
            ['linear'],
            ['zoom'],
            5,
            ['case', ['>', ['get', 'people'], 500], 12, 10.5],
            12,
            ['case', ['>', ['get', 'people'], 100], 17, 13],
          ],
          'text-anchor': 'bottom',
          'text-offset': ['interpolate', ['linear'], ['zoom'], 6, ['literal', [0, -0.35]], 8, ['literal', [0, -1.4]]],
          'symbol-sort-key': ['-', ['get', 'people']],
          'text-letter-spacing': 0.02,
        },
        paint: { 'text-color': city, 'text-halo-color': halo, 'text-halo-width': 1.4 },
      },
    ],
  };
}

type Box = [west: number, south: number, east: number, north: number];
type Country = { outline: Position[][][]; places: [string, number, number, number][] };

/** Fetches what is in view, as it comes into view; answers how to stop. */
export function drawVendoredBasemap(map: MapLibreMap): () => void {
  const stop = new AbortController();
  const read = async <T>(name: string): Promise<T> =>
    (await (await fetch(`./basemap/${name}.json`, { signal: stop.signal })).json()) as T;
  const known = new Map<number, Country>();
  const asked = new Set<number>();
  let boxes: Promise<Box[]> | undefined;
  let _world: Promise<unknown> | undefined;
  let gridOf = '';

  const set = (source: string, features: Feature[]) =>
    map.getSource<GeoJSONSource>(source)?.setData({ type: 'FeatureCollection', features });

  async function drawWorld(): Promise<void> {
    type World = Topology<{ countries: GeometryCollection }>;
    const atlas = await read<World>('world');
    set('world', feature(atlas, atlas.objects.countries).features);
  }

  async function drawCountries(): Promise<void> {
    boxes ??= read<Box[]>('index');
    const view = map.getBounds();
    const [west, south, east, north] = [view.getWest(), view.getSouth(), view.getEast(), view.getNorth()];
    const wanted = (await boxes).flatMap(([w, s, e, n], index) =>
      !asked.has(index) && w < east && e > west && s < north && n > south ? [index] : [],
    );
    if (wanted.length === 0) return;
    for (const index of wanted) asked.add(index);
    await Promise.all(
      wanted.map(async (index) => {
        known.set(index, await read<Country>(String(index)));
      }),
    );
    if (stop.signal.aborted) return;
    set(
      'countries',
      [...known.values()].map(({ outline }) => ({
        type: 'Feature',
        properties: {},
        geometry: { type: 'MultiPolygon', coordinates: outline },
      })),
    );
    set(
      'cities',
      [...known.values()].flatMap(({ places }) =>
        places.map(([name, longitude, latitude, people]) => ({
          type: 'Feature',
          properties: { name, people },
          geometry: { type: 'Point', coordinates: [longitude, latitude] },
        })),
      ),
    );
  }

  function drawGrid(): void {
    const zoom = map.getZoom();
    if (zoom < 8) return;
    const view = map.getBounds();
    const middle = Math.round(view.getCenter().lat * 4) / 4;
    const metresPerPixel = (40_075_017 * Math.cos((middle * Math.PI) / 180)) / (512 * 2 ** zoom);
    const widths = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];
    const km = widths.find((width) => (width * 1000) / metresPerPixel > 55) ?? 50;
    const dy = km / 111.32;
    const dx = dy / Math.cos((middle * Math.PI) / 180);
    const [west, east] = [Math.floor(view.getWest() / dx) - 2, Math.ceil(view.getEast() / dx) + 2];
    const [south, north] = [Math.floor(view.getSouth() / dy) - 2, Math.ceil(view.getNorth() / dy) + 2];
    const key = [km, middle, west, east, south, north].join();
    if (key === gridOf || east - west > 300 || north - south > 300) return;
    gridOf = key;
    const line = (from: Position, to: Position, index: number): Feature => ({
      type: 'Feature',
      properties: { isMain: index % 5 === 0 },
      geometry: { type: 'LineString', coordinates: [from, to] },
    });
    const features: Feature[] = [];
    for (let x = west; x <= east; x += 1) features.push(line([x * dx, south * dy], [x * dx, north * dy], x));
    for (let y = south; y <= north; y += 1) features.push(line([west * dx, y * dy], [east * dx, y * dy], y));
    set('grid', features);
  }

  const draw = () => {
    drawGrid();
    const failed = () => {
      // A basemap that does not come leaves a plain map; the people on it matter more. The next move tries again.
      _world = undefined;
    };
    if (map.getZoom() < 4.1) _world ??= drawWorld().catch(failed);
    if (map.getZoom() >= 4) void drawCountries().catch(() => asked.clear());
  };
  map.on('moveend', draw);
  // The first move goes to where people are; until then nothing is fetched that nobody may look at.
  const first = setTimeout(draw, 1500);
  map.once('moveend', () => clearTimeout(first));
  return () => {
    clearTimeout(first);
    stop.abort();
  };
}

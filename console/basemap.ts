import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Geometry, MultiPolygon, Polygon, Position } from 'geojson';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';

const require = createRequire(import.meta.url);

type City = { city: string; lat: number; lng: number; pop: number; iso2: string };
type Countries = Topology<{ countries: GeometryCollection<{ name: string }> }>;

/** Thousandths of a degree are 111 m at the most: finer than Natural Earth at 1:50 million. */
const PER_DEGREE = 1000;

/**
 * The basemap of a console without a tile server, from Natural Earth (world-atlas) and a list of cities: an overview of the
 * world, and a file for each country with its outline and its cities. The page fetches the countries that it shows, so the
 * first load pays for what is seen and not for the world.
 */
export function basemapFiles(): Map<string, string> {
  const files = new Map<string, string>();
  const read = (name: string): unknown => JSON.parse(readFileSync(require.resolve(name), 'utf8'));
  files.set('basemap/world.json', JSON.stringify(read('world-atlas/countries-110m.json')));

  const atlas = read('world-atlas/countries-50m.json') as Countries;
  const outlines = feature(atlas, atlas.objects.countries).features.flatMap(({ geometry }) => {
    if (geometry?.type !== 'Polygon' && geometry?.type !== 'MultiPolygon') return [];
    return [rounded(geometry)];
  });
  const boxes = outlines.map(boxOf);
  const cities = outlines.map((): [string, number, number, number][] => []);
  const homes = homesOf(outlines, boxes);
  for (const { city, lng, lat, pop } of read('city-timezones/data/cityMap.json') as City[]) {
    const home = homes([lng, lat]);
    if (home !== undefined) cities[home]?.push([city, round(lng), round(lat), Math.round(pop / 1000)]);
  }
  for (const [index, outline] of outlines.entries()) {
    const places = (cities[index] ?? []).sort((a, b) => b[3] - a[3]);
    files.set(`basemap/${index}.json`, JSON.stringify({ outline: outline.coordinates, places }));
  }
  files.set('basemap/index.json', JSON.stringify(boxes));
  return files;
}

/** Which country a place lies in; a coastal city that the coarse outline leaves in the sea goes to the nearest box. */
function homesOf(outlines: MultiPolygon[], boxes: number[][]): (place: Position) => number | undefined {
  return ([x = 0, y = 0]) => {
    const near = boxes.flatMap(([west = 0, south = 0, east = 0, north = 0], index) =>
      x >= west - 1 && x <= east + 1 && y >= south - 1 && y <= north + 1 ? [index] : [],
    );
    return (
      near.find((index) => outlines[index]?.coordinates.some(([ring]) => ring && contains(ring, x, y))) ?? near.at(0)
    );
  };
}

function contains(ring: Position[], x: number, y: number): boolean {
  let inside = false;
  let [px = 0, py = 0] = ring.at(-1) ?? [];
  for (const [qx = 0, qy = 0] of ring) {
    if (qy > y !== py > y && x < ((px - qx) * (y - qy)) / (py - qy) + qx) inside = !inside;
    [px, py] = [qx, qy];
  }
  return inside;
}

const round = (degrees: number) => Math.round(degrees * PER_DEGREE) / PER_DEGREE;

function rounded(geometry: Polygon | MultiPolygon): MultiPolygon {
  const polygons = geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates;
  return {
    type: 'MultiPolygon',
    coordinates: polygons.map((rings) => rings.map((ring) => ring.map(([x = 0, y = 0]) => [round(x), round(y)]))),
  };
}

function boxOf(geometry: Geometry): number[] {
  let [west, south, east, north] = [180, 90, -180, -90];
  for (const [x = 0, y = 0] of geometry.type === 'MultiPolygon' ? geometry.coordinates.flat(2) : []) {
    [west, south, east, north] = [Math.min(west, x), Math.min(south, y), Math.max(east, x), Math.max(north, y)];
  }
  return [west, south, east, north];
}

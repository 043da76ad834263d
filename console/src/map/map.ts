import {
  AttributionControl,
  type GeoJSONSource,
  type LayerSpecification,
  type LngLatBoundsLike,
  Map as MapLibreMap,
  ScaleControl,
  type StyleSpecification,
  setWorkerUrl,
} from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import 'maplibre-gl/dist/maplibre-gl.css';
import { effect } from '@preact/signals';
import type { Feature, FeatureCollection } from 'geojson';
import { settings } from '../api.ts';
import { isDark } from '../theme.ts';
import { drawVendoredBasemap, vendoredStyle } from './vendored.ts';

setWorkerUrl(workerUrl);

export type { LayerSpecification, MapLibreMap };

/** Names on the map are drawn with the page's own font: there is no glyph server. */
export const FONT = ['Geist Variable'];

export type MapView = {
  map: MapLibreMap;
  /** Replaces what a source shows. */
  show: (source: string, features: Feature[]) => void;
  fitPlaces: (places: Place[], options?: { maxZoom?: number; animate?: boolean }) => void;
  remove: () => void;
};

export const collection = (features: Feature[]): FeatureCollection => ({ type: 'FeatureCollection', features });

/** Opens the one kind of map that all screens show: the basemap of the configuration with the screen's layers over it. */
export async function openMap(
  container: HTMLElement,
  layers: { sources: string[]; layers: (dark: boolean) => LayerSpecification[] },
): Promise<MapView> {
  const { basemap } = settings();
  const style = basemap ? await configuredStyle(basemap) : vendoredStyle(isDark.peek());
  const map = new MapLibreMap({
    container,
    style,
    center: [14.8, 46.4],
    // Of the whole continent, until it goes to where people are.
    zoom: 3,
    maxZoom: 18,
    attributionControl: false,
    // Turning a map of people helps nobody and disorients many.
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    fadeDuration: 0,
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new ScaleControl({ maxWidth: 90 }), 'bottom-left');
  map.addControl(new AttributionControl({ compact: true }), 'bottom-left');
  if (import.meta.env.DEV) Object.assign(globalThis, { map });

  await new Promise<void>((resolve) => map.once('style.load', () => resolve()));
  const stopDrawing = basemap ? () => {} : drawVendoredBasemap(map);
  for (const source of layers.sources) {
    map.addSource(source, { type: 'geojson', data: collection([]) });
  }
  for (const layer of layers.layers(isDark.peek())) map.addLayer(layer);

  const stopTheme = effect(() => {
    const dark = isDark.value;
    const themed = [...(basemap ? [] : vendoredStyle(dark).layers), ...layers.layers(dark)];
    for (const layer of themed) {
      for (const [name, value] of Object.entries(layer.paint ?? {})) {
        map.setPaintProperty(layer.id, name as Parameters<MapLibreMap['setPaintProperty']>[1], value);
      }
    }
  });

  const view: MapView = {
    map,
    show(source, features) {
      map.getSource<GeoJSONSource>(source)?.setData(collection(features));
    },
    fitPlaces(places, { maxZoom = 14, animate = false } = {}) {
      const bounds = boundsOf(places);
      if (!bounds) return;
      const padding = Math.min(64, container.clientWidth / 8, container.clientHeight / 8);
      // What lies over the map's upper edge hides nobody.
      const around = { top: padding + 34, bottom: padding, left: padding, right: padding };
      map.fitBounds(bounds as LngLatBoundsLike, { padding: around, maxZoom, animate, duration: 500 });
    },
    remove() {
      stopTheme();
      stopDrawing();
      map.remove();
    },
  };
  return view;
}

/** A .pmtiles file is drawn with the style of Protomaps; any other address is a MapLibre style of its own. */
async function configuredStyle(basemap: string): Promise<string | StyleSpecification> {
  const url = new URL(basemap, location.href).href;
  if (!/\.pmtiles(\?|$)/.test(url)) return url;
  const [{ addProtocol }, { Protocol }, { layers, namedFlavor }] = await Promise.all([
    import('maplibre-gl'),
    import('pmtiles'),
    import('@protomaps/basemaps'),
  ]);
  addProtocol('pmtiles', new Protocol().tile);
  const flavor = namedFlavor(isDark.peek() ? 'dark' : 'light');
  const drawn = (layers('protomaps', flavor, { lang: 'en' }) as LayerSpecification[])
    // Icons come from a sprite, which would be one more file to host.
    .filter((layer) => !(layer.type === 'symbol' && layer.layout?.['icon-image']));
  for (const layer of drawn) if (layer.type === 'symbol') layer.layout = { ...layer.layout, 'text-font': FONT };
  return {
    version: 8,
    sources: {
      protomaps: { type: 'vector', url: `pmtiles://${url}`, attribution: '© OpenStreetMap' },
    },
    layers: drawn,
  };
}

export type Place = { longitude: number; latitude: number };

function boundsOf(places: Place[]): [number, number, number, number] | undefined {
  if (places.length === 0) return undefined;
  let [west, south, east, north] = [180, 90, -180, -90];
  for (const { longitude: x, latitude: y } of places) {
    [west, south, east, north] = [Math.min(west, x), Math.min(south, y), Math.max(east, x), Math.max(north, y)];
  }
  return [west, south, east, north];
}

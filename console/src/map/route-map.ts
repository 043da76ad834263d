import { FONT, type LayerSpecification, type MapView, openMap } from './map.ts';

const layers = (dark: boolean): LayerSpecification[] => {
  const accent = dark ? '#3ecf9b' : '#0a8f68';
  const rim = dark ? '#0e1412' : '#ffffff';
  const ink = dark ? '#e6eeea' : '#17211d';
  return [
    {
      id: 'way-rim',
      type: 'line',
      source: 'way',
      filter: ['==', ['get', 'isGap'], false],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': rim, 'line-width': 7, 'line-opacity': 0.9 },
    },
    {
      id: 'way',
      type: 'line',
      source: 'way',
      filter: ['==', ['get', 'isGap'], false],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': accent, 'line-width': 4 },
    },
    {
      id: 'gaps',
      type: 'line',
      source: 'way',
      filter: ['==', ['get', 'isGap'], true],
      paint: { 'line-color': dark ? '#f0b35f' : '#c96a00', 'line-width': 3, 'line-dasharray': [1.5, 1.5] },
    },
    {
      id: 'flagged',
      type: 'circle',
      source: 'way',
      filter: ['has', 'flag'],
      paint: {
        'circle-radius': 3.5,
        'circle-color': ['match', ['get', 'flag'], 'mock', dark ? '#ff7b72' : '#cf3527', dark ? '#93a59d' : '#8b9993'],
        'circle-stroke-color': rim,
        'circle-stroke-width': 1,
      },
    },
    {
      id: 'stops',
      type: 'circle',
      source: 'marks',
      filter: ['==', ['get', 'kind'], 'stop'],
      paint: {
        'circle-radius': 7,
        'circle-color': dark ? '#86b7f5' : '#1f5fae',
        'circle-stroke-color': rim,
        'circle-stroke-width': 2.5,
      },
    },
    {
      id: 'ends',
      type: 'circle',
      source: 'marks',
      filter: ['in', ['get', 'kind'], ['literal', ['start', 'end']]],
      paint: {
        'circle-radius': 6,
        'circle-color': ['match', ['get', 'kind'], 'start', rim, ink],
        'circle-stroke-color': ink,
        'circle-stroke-width': 3,
      },
    },
    {
      id: 'stop-names',
      type: 'symbol',
      source: 'marks',
      filter: ['==', ['get', 'kind'], 'stop'],
      layout: {
        'text-field': ['get', 'label'],
        'text-font': FONT,
        'text-size': 11.5,
        'text-anchor': 'top',
        'text-offset': [0, 0.8],
      },
      paint: { 'text-color': ink, 'text-halo-color': rim, 'text-halo-width': 1.6 },
    },
    {
      id: 'person-halo',
      type: 'circle',
      source: 'person',
      paint: { 'circle-radius': 18, 'circle-color': accent, 'circle-opacity': 0.25 },
    },
    {
      id: 'person',
      type: 'circle',
      source: 'person',
      paint: { 'circle-radius': 8, 'circle-color': accent, 'circle-stroke-color': rim, 'circle-stroke-width': 3 },
    },
  ];
};

export const openRouteMap = (container: HTMLElement): Promise<MapView> =>
  openMap(container, { sources: ['way', 'marks', 'person'], layers });

import { FONT, type LayerSpecification, type MapView, openMap } from './map.ts';

const layers = (dark: boolean): LayerSpecification[] => {
  const colour = [
    'match',
    ['get', 'tone'],
    'good',
    dark ? '#3ecf9b' : '#0a8f68',
    'warn',
    dark ? '#f0a94b' : '#c96a00',
    'bad',
    dark ? '#ff7b72' : '#cf3527',
    dark ? '#93a59d' : '#66766f',
  ] as unknown as string;
  const rim = dark ? '#0e1412' : '#ffffff';
  return [
    {
      id: 'trails',
      type: 'line',
      source: 'trails',
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: {
        'line-color': dark ? '#3ecf9b' : '#0a8f68',
        'line-width': ['case', ['get', 'isChosen'], 4, 2.4],
        'line-opacity': ['case', ['get', 'isChosen'], 0.8, 0.34],
      },
    },
    {
      id: 'chosen',
      type: 'circle',
      source: 'people',
      filter: ['get', 'isChosen'],
      paint: { 'circle-radius': 19, 'circle-color': colour, 'circle-opacity': 0.22 },
    },
    {
      id: 'people',
      type: 'circle',
      source: 'people',
      paint: {
        'circle-radius': ['interpolate', ['linear'], ['zoom'], 4, 3.5, 8, 5.5, 13, 8.5],
        'circle-color': colour,
        'circle-stroke-color': rim,
        'circle-stroke-width': ['interpolate', ['linear'], ['zoom'], 5, 1, 10, 2.4],
      },
    },
    {
      id: 'people-names',
      type: 'symbol',
      source: 'people',
      minzoom: 9,
      layout: {
        'text-field': ['get', 'name'],
        'text-font': FONT,
        'text-size': 12,
        'text-anchor': 'top',
        'text-offset': [0, 0.85],
        'text-optional': true,
      },
      paint: {
        'text-color': dark ? '#e6eeea' : '#17211d',
        'text-halo-color': dark ? '#161f1c' : '#ffffff',
        'text-halo-width': 1.6,
      },
    },
  ];
};

export async function openPeopleMap(container: HTMLElement, select: (id: string) => void): Promise<MapView> {
  const view = await openMap(container, { sources: ['trails', 'people'], layers });
  const { map } = view;
  map.on('click', 'people', ({ features }) => {
    const id: unknown = features?.[0]?.properties.id;
    if (typeof id === 'string') select(id);
  });
  map.on('mouseenter', 'people', () => {
    map.getCanvas().style.cursor = 'pointer';
  });
  map.on('mouseleave', 'people', () => {
    map.getCanvas().style.cursor = '';
  });
  return view;
}

import { readFileSync } from 'node:fs';
import { XMLParser } from 'fast-xml-parser';
import { z } from 'zod';
import type { Fix } from '../fixtures/tracks.ts';

const trackPoint = z.object({
  '@_lat': z.coerce.number(),
  '@_lon': z.coerce.number(),
  time: z.iso.datetime({ offset: true }),
});
/** A segment without points is read as empty text. */
const segment = z.object({ trkpt: z.array(trackPoint).default([]) }).or(z.literal('').transform(() => ({ trkpt: [] })));
const document = z.object({ gpx: z.object({ trk: z.array(z.object({ trkseg: z.array(segment) })) }) });

/** The track points of a GPX 1.0 or 1.1 file in order of time, their times as seconds since the first. */
export function readGpx(file: string): Fix[] {
  const parser = new XMLParser({
    ignoreAttributes: false,
    isArray: (name) => ['trk', 'trkseg', 'trkpt'].includes(name),
  });
  const read = document.safeParse(parser.parse(readFileSync(file, 'utf8')));
  if (!read.success) throw new Error(`${file} is no GPX file with a track whose points have times.`);
  const points = read.data.gpx.trk
    .flatMap((track) => track.trkseg.flatMap((segment) => segment.trkpt))
    .map((point) => ({ at: Date.parse(point.time), latitude: point['@_lat'], longitude: point['@_lon'] }))
    .sort((a, b) => a.at - b.at);
  const first = points[0];
  if (first === undefined) throw new Error(`${file} holds no track points with a time.`);
  return points.map(({ at, latitude, longitude }) => ({
    seconds: (at - first.at) / 1000,
    latitude,
    longitude,
    // A GPX file does not say how sure the receiver was.
    accuracy_m: null,
    speed_mps: null,
    heading_deg: null,
  }));
}

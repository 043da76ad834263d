import { useComputed, useSignal, useSignalEffect } from '@preact/signals';
import type { Feature, Position } from 'geojson';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type uPlot from 'uplot';
import type { SessionRoute } from '../../../types/answers.ts';
import { ask, only, refusalOf, rest, type Tables } from '../api.ts';
import { count, km, kmh, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import type { MapView } from '../map/map.ts';
import { everyRow } from '../people.ts';
import { href, route } from '../router.ts';
import { isAdmin } from '../session.ts';
import { clock, clockSeconds, dayName, dayOf, zoneName } from '../time.ts';
import { axis, Chart } from '../ui/chart.tsx';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Empty, Loaded, Menu, Pill, RefusalNote, type Tone, useLoad } from '../ui/kit.tsx';
import { Zoom } from '../ui/zoom.tsx';
import { remarksOf, SESSION, type Session, saveGpx, sessionActs } from './day.tsx';

type Fix = Pick<
  Tables['gps_locations'],
  'recorded_at' | 'received_at' | 'speed_mps' | 'battery_pct' | 'is_mock' | 'accuracy_m' | 'latitude' | 'longitude'
>;
type Trip = { session: Session; route: SessionRoute; fixes: Fix[] };
type Gap = SessionRoute['gaps'][number];

/** A session as it was travelled: the way with its stops and gaps, played back over time. */
export function RouteScreen() {
  const id = useComputed(() => route.value.path[1] ?? '');
  const load = useLoad<Trip>(async () => {
    const [session, travelled, fixes] = await Promise.all([
      ask(rest.from('attendance_sessions').select(SESSION).eq('id', id.value)).then(only),
      ask(rest.rpc('get_session_route', { session_id: id.value })),
      everyRow<Fix>((after) => {
        const query = rest
          .from('gps_locations')
          .select('recorded_at, received_at, speed_mps, battery_pct, is_mock, accuracy_m, latitude, longitude')
          .eq('session_id', id.value)
          .order('recorded_at')
          .limit(1000);
        return ask(after ? query.gt('recorded_at', after.recorded_at) : query);
      }),
    ]);
    return { session, route: travelled as SessionRoute, fixes };
  }, [id.value]);
  return (
    <Loaded load={load} rows={10}>
      {(trip) => <TripView key={trip.session.id} trip={trip} reload={load.reload} />}
    </Loaded>
  );
}

const SPEEDS = [1, 5, 10, 30, 60];

function TripView({ trip, reload }: { trip: Trip; reload: () => Promise<void> }) {
  const { session, route: travelled, fixes } = trip;
  const name = session.employee?.name ?? t().erasedPerson;
  const track = useMemo(() => trackOf(travelled), [travelled]);
  const [first, last] = [track.at(0)?.at ?? 0, track.at(-1)?.at ?? 0];
  const at = useSignal(first);
  const isPlaying = useSignal(false);
  const rate = useSignal(10);
  const follows = useSignal(false);
  const focus = useSignal<Position | undefined>(undefined);

  useSignalEffect(() => {
    if (!isPlaying.value) return;
    let before = performance.now();
    let frame = requestAnimationFrame(function step(time) {
      const next = at.peek() + (time - before) * rate.peek();
      before = time;
      at.value = Math.min(next, last);
      if (next >= last) isPlaying.value = false;
      else frame = requestAnimationFrame(step);
    });
    return () => cancelAnimationFrame(frame);
  });
  const toggle = () => {
    if (!isPlaying.peek() && at.peek() >= last) at.value = first;
    isPlaying.value = !isPlaying.peek();
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (target.closest('input, textarea, select, button, a, dialog, [popover]')) return;
      if (event.key === ' ') toggle();
      else if (event.key === 'ArrowRight') at.value = Math.min(last, at.peek() + 60_000);
      else if (event.key === 'ArrowLeft') at.value = Math.max(first, at.peek() - 60_000);
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [trip]);

  const jump = (time: string, place?: Position) => {
    at.value = Math.min(last, Math.max(first, Date.parse(time)));
    focus.value = place;
  };
  const day = dayOf(session.checked_in_at);

  return (
    <div class="route">
      <section class="route-side">
        <header>
          <a class="back" href={isAdmin.value ? href('day', { on: day }) : href('mine')}>
            <Icon name="left" size={16} /> {dayName(day)}
          </a>
          <div class="title-row">
            <h1>{name}</h1>
            <Menu
              label={t().actsFor(name)}
              items={
                isAdmin.value
                  ? sessionActs(session, name, reload).slice(1)
                  : [{ label: t().saveGpx, act: () => void saveGpx(session.id, name, session.checked_in_at) }]
              }
            />
          </div>
          <p class="muted">
            {clock(session.checked_in_at)} – {session.checked_out_at ? clock(session.checked_out_at) : t().open}{' '}
            {zoneName(session.checked_in_at)}
          </p>
          <span class="pills">
            {remarksOf(session).map(({ text, tone }) => (
              <Pill key={text} tone={tone}>
                {text}
              </Pill>
            ))}
          </span>
          <dl class="facts">
            <div>
              <dt>{t().distance}</dt>
              <dd>{km(session.distance_m ?? travelled.totals.distance_m)}</dd>
            </div>
            <div>
              <dt>{t().duration}</dt>
              <dd>{span(session.duration_s ?? (Date.now() - Date.parse(session.checked_in_at)) / 1000)}</dd>
            </div>
            <div>
              <dt>{t().stops}</dt>
              <dd>{count(travelled.stops.length)}</dd>
            </div>
            <div>
              <dt>{t().gaps}</dt>
              <dd class={travelled.gaps.length > 0 ? 'tone-warn' : ''}>{count(travelled.gaps.length)}</dd>
            </div>
          </dl>
        </header>
        <Story trip={trip} at={at} jump={jump} />
      </section>
      <section class="route-main">
        {track.length === 0 ? (
          <Empty icon="route" title={session.points_purged_at ? t().pointsPurged : t().noPoints}>
            {session.points_purged_at ? t().pointsPurgedText : t().noPointsText}
          </Empty>
        ) : (
          <>
            <TripMap trip={trip} track={track} at={at} follows={follows} focus={focus} />
            <div class="player">
              <button type="button" class="play" aria-label={isPlaying.value ? t().pause : t().play} onClick={toggle}>
                <Icon name={isPlaying.value ? 'pause' : 'play'} />
              </button>
              <Clock at={at} />
              <Slider at={at} first={first} last={last} />
              <label class="rate">
                <span class="visually-hidden">{t().playbackSpeed}</span>
                <select
                  value={String(rate.value)}
                  onChange={(event) => {
                    rate.value = Number(event.currentTarget.value);
                  }}
                >
                  {SPEEDS.map((speed) => (
                    <option key={speed} value={speed}>
                      {speed}×
                    </option>
                  ))}
                </select>
              </label>
              <button
                type="button"
                class="button small"
                aria-pressed={follows.value}
                onClick={() => {
                  follows.value = !follows.value;
                }}
              >
                <Icon name="target" size={16} /> {t().follow}
              </button>
            </div>
            <SpeedChart fixes={fixes} route={travelled} at={at} />
          </>
        )}
      </section>
    </div>
  );
}

type Signal<T> = { value: T; peek: () => T };
type TrackPoint = { at: number; place: Position; leg: number; isGap: boolean };

/** The points that count as places, in time. */
function trackOf(travelled: SessionRoute): TrackPoint[] {
  const places = travelled.points.filter(({ flag }) => flag === 'ok' || flag === 'jitter');
  return places.map((point) => ({
    at: Date.parse(point.recorded_at),
    place: [point.longitude, point.latitude],
    leg: point.leg_m,
    isGap: point.is_gap,
  }));
}

/** Where the person was at a time: between two points in proportion. */
function placeAt(track: TrackPoint[], at: number): Position {
  let [low, high] = [0, track.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((track[middle]?.at ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  const [from, to] = [track[low], track[low + 1]];
  if (!from) return [0, 0];
  if (!to || to.at === from.at || at <= from.at) return from.place;
  const share = Math.min(1, (at - from.at) / (to.at - from.at));
  const [[x = 0, y = 0], [u = 0, v = 0]] = [from.place, to.place];
  return [x + (u - x) * share, y + (v - y) * share];
}

function Clock({ at }: { at: Signal<number> }) {
  return <time class="player-time">{clockSeconds(at.value)}</time>;
}

function Slider({ at, first, last }: { at: Signal<number>; first: number; last: number }) {
  return (
    <input
      type="range"
      aria-label={t().timeline}
      aria-valuetext={clockSeconds(at.value)}
      min={first}
      max={last}
      step={1000}
      value={at.value}
      onInput={(event) => {
        at.value = Number(event.currentTarget.value);
      }}
    />
  );
}

type Chapter = {
  icon: IconName;
  tone: Tone;
  title: string;
  text?: string | undefined;
  from: string;
  to?: string | undefined;
  place?: Position | undefined;
};

/** The day as a story: check-in, stops, gaps with their likely reason, what is odd, check-out. */
function Story({ trip, at, jump }: { trip: Trip; at: Signal<number>; jump: (time: string, place?: Position) => void }) {
  const chapters = useMemo(() => storyOf(trip), [trip, t()]);
  const current = chapters.findLastIndex(({ from }) => Date.parse(from) <= at.value + 1000);
  return (
    <ol class="story" aria-label={t().courseOfTheDay}>
      {chapters.map((chapter, index) => (
        <li key={`${chapter.from} ${chapter.title}`} aria-current={index === current ? 'step' : undefined}>
          <button type="button" onClick={() => jump(chapter.from, chapter.place)}>
            <span class={`dot ${chapter.tone}`}>
              <Icon name={chapter.icon} size={15} />
            </span>
            <span class="grow">
              <strong>{chapter.title}</strong>
              {chapter.text && <small>{chapter.text}</small>}
            </span>
            <time>
              {clock(chapter.from)}
              {chapter.to && <small>{clock(chapter.to)}</small>}
            </time>
          </button>
        </li>
      ))}
    </ol>
  );
}

function storyOf({ session, route: travelled, fixes }: Trip): Chapter[] {
  const chapters: Chapter[] = [
    {
      icon: 'play',
      tone: 'good',
      title: t().checkedIn,
      text: lateUpload(session.checked_in_at, session.checked_in_received_at),
      from: session.checked_in_at,
    },
  ];
  for (const stop of travelled.stops) {
    const seconds = (Date.parse(stop.to) - Date.parse(stop.from)) / 1000;
    chapters.push({
      icon: 'pause',
      tone: 'info',
      title: t().stopOf(span(seconds)),
      from: stop.from,
      to: stop.to,
      place: [stop.longitude, stop.latitude],
    });
  }
  for (const gap of travelled.gaps) {
    const seconds = (Date.parse(gap.to) - Date.parse(gap.from)) / 1000;
    chapters.push({
      icon: 'offline',
      tone: 'warn',
      title: t().gapOf(span(seconds)),
      text: whyGap(gap, fixes),
      from: gap.from,
      to: gap.to,
      place: placeOf(gap, fixes),
    });
  }
  for (const [from, to] of runsOf(fixes, ({ is_mock }) => is_mock)) {
    chapters.push({
      icon: 'warn',
      tone: 'bad',
      title: t().mockedRun,
      text: t().mockedRunText,
      from: from.recorded_at,
      to: to.recorded_at,
      place: [from.longitude, from.latitude],
    });
  }
  const flagged = travelled.points.filter(({ flag }) => flag === 'impossible_speed' || flag === 'low_accuracy');
  for (const [from, to, points] of runsOf(flagged, () => true, 10 * 60_000)) {
    const isJump = points.some(({ flag }) => flag === 'impossible_speed');
    if (!isJump && points.length < 5) continue;
    chapters.push({
      icon: 'target',
      tone: 'calm',
      title: isJump ? t().jumpedPoints(points.length) : t().poorPoints(points.length),
      text: t().notCounted,
      from: from.recorded_at,
      to: to === from ? undefined : to.recorded_at,
      place: [from.longitude, from.latitude],
    });
  }
  if (session.checked_out_at) {
    const text =
      session.closed_by === 'AUTO'
        ? t().closedAutomatically
        : session.closed_by === 'ADMIN'
          ? t().closedByAdmin
          : lateUpload(session.checked_out_at, session.checked_out_received_at);
    chapters.push({ icon: 'check', tone: 'good', title: t().checkedOut, text, from: session.checked_out_at });
  }
  return chapters.sort((a, b) => Date.parse(a.from) - Date.parse(b.from));
}

const lateUpload = (at: string, received: string | null): string | undefined => {
  const seconds = received ? (Date.parse(received) - Date.parse(at)) / 1000 : 0;
  return seconds > 300 ? t().sentLater(span(seconds)) : undefined;
};

/** What the points around a gap say of its reason. */
function whyGap(gap: Gap, fixes: Fix[]): string {
  const [from, to] = [Date.parse(gap.from), Date.parse(gap.to)];
  const before = fixes.findLast(({ recorded_at }) => Date.parse(recorded_at) <= from);
  const after = fixes.find(({ recorded_at }) => Date.parse(recorded_at) >= to);
  const way = t().gapWay(km(gap.straight_m));
  if (before?.battery_pct != null && before.battery_pct <= 5) return `${t().gapBattery(before.battery_pct)} ${way}`;
  if (before?.battery_pct != null && after?.battery_pct != null && after.battery_pct - before.battery_pct >= 15) {
    return `${t().gapCharged(before.battery_pct, after.battery_pct)} ${way}`;
  }
  if ((before?.accuracy_m ?? 0) > 60 || (after?.accuracy_m ?? 0) > 60) return `${t().gapReception} ${way}`;
  if (gap.straight_m < 60) return t().gapAsleep;
  return `${t().gapUnknown} ${way}`;
}

const placeOf = (gap: Gap, fixes: Fix[]): Position | undefined => {
  const before = fixes.findLast(({ recorded_at }) => recorded_at <= gap.from);
  return before ? [before.longitude, before.latitude] : undefined;
};

/** Neighbouring rows for which something is true, as first, last and all. */
function runsOf<T extends { recorded_at: string }>(
  rows: T[],
  is: (row: T) => boolean,
  apartMs = 5 * 60_000,
): [T, T, T[]][] {
  const runs: T[][] = [];
  for (const row of rows) {
    if (!is(row)) continue;
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run && last && Date.parse(row.recorded_at) - Date.parse(last.recorded_at) < apartMs) run.push(row);
    else runs.push([row]);
  }
  return runs.flatMap((run): [T, T, T[]][] => {
    const [from, to] = [run[0], run.at(-1)];
    return from && to ? [[from, to, run]] : [];
  });
}

function TripMap(props: {
  trip: Trip;
  track: TrackPoint[];
  at: Signal<number>;
  follows: Signal<boolean>;
  focus: Signal<Position | undefined>;
}) {
  const { trip, track, at, follows, focus } = props;
  const container = useRef<HTMLDivElement>(null);
  const view = useSignal<MapView | undefined>(undefined);
  const failure = useSignal<unknown>(undefined);
  useEffect(() => {
    let opened: MapView | undefined;
    let isGone = false;
    void (async () => {
      try {
        const { openRouteMap } = await import('../map/route-map.ts');
        if (isGone || !container.current) return;
        opened = await openRouteMap(container.current);
        if (isGone) return opened.remove();
        opened.show('way', wayOf(trip, track));
        opened.show('marks', marksOf(trip));
        const placed = track.map(({ place: [longitude = 0, latitude = 0] }) => ({ longitude, latitude }));
        opened.fitPlaces(placed, { maxZoom: 16 });
        view.value = opened;
      } catch (error) {
        failure.value = error;
      }
    })();
    return () => {
      isGone = true;
      opened?.remove();
    };
  }, [trip]);
  useSignalEffect(() => {
    const place = placeAt(track, at.value);
    const [x = 0, y = 0] = place;
    view.value?.show('person', [{ type: 'Feature', properties: {}, geometry: { type: 'Point', coordinates: place } }]);
    if (follows.value) view.value?.map.jumpTo({ center: [x, y], zoom: Math.max(view.value.map.getZoom(), 14) });
  });
  useSignalEffect(() => {
    const [x, y] = focus.value ?? [];
    if (x !== undefined && y !== undefined)
      view.value?.map.easeTo({ center: [x, y], zoom: Math.max(view.value.map.getZoom(), 14), duration: 500 });
  });
  return (
    <div class="route-map">
      <div ref={container} class="map" />
      <Zoom view={view.value} />
      {Boolean(failure.value) && <RefusalNote refusal={refusalOf(failure.value)} />}
    </div>
  );
}

/** The way in pieces of one kind: travelled, and straight over a gap. */
function wayOf(trip: Trip, track: TrackPoint[]): Feature[] {
  const features: Feature[] = [];
  let piece: Position[] = [];
  const end = () => {
    if (piece.length > 1) features.push(line(piece, false));
    piece = [];
  };
  for (const [index, point] of track.entries()) {
    const before = track[index - 1];
    if (point.isGap && before) {
      end();
      features.push(line([before.place, point.place], true));
    }
    piece.push(point.place);
  }
  end();
  for (const { flag, longitude, latitude } of trip.route.points) {
    if (flag === 'ok' || flag === 'jitter') continue;
    features.push({
      type: 'Feature',
      properties: { flag },
      geometry: { type: 'Point', coordinates: [longitude, latitude] },
    });
  }
  for (const { is_mock, longitude, latitude } of trip.fixes) {
    if (is_mock)
      features.push({
        type: 'Feature',
        properties: { flag: 'mock' },
        geometry: { type: 'Point', coordinates: [longitude, latitude] },
      });
  }
  return features;
}

const line = (coordinates: Position[], isGap: boolean): Feature => ({
  type: 'Feature',
  properties: { isGap },
  geometry: { type: 'LineString', coordinates },
});

function marksOf({ route: travelled }: Trip): Feature[] {
  const stops = travelled.stops.map((stop): Feature => {
    const minutes = Math.round((Date.parse(stop.to) - Date.parse(stop.from)) / 60_000);
    return {
      type: 'Feature',
      properties: { kind: 'stop', label: t().minutes(minutes) },
      geometry: { type: 'Point', coordinates: [stop.longitude, stop.latitude] },
    };
  });
  const ends = [travelled.points.at(0), travelled.points.at(-1)].flatMap((point, index): Feature[] =>
    point
      ? [
          {
            type: 'Feature',
            properties: { kind: index === 0 ? 'start' : 'end' },
            geometry: { type: 'Point', coordinates: [point.longitude, point.latitude] },
          },
        ]
      : [],
  );
  return [...stops, ...ends];
}

/** Speed over the day as the phone said it, or from the way between points; below it the battery. */
function SpeedChart({ fixes, route: travelled, at }: { fixes: Fix[]; route: SessionRoute; at: Signal<number> }) {
  const plot = useRef<uPlot | undefined>(undefined);
  const data = useMemo((): uPlot.AlignedData => {
    const legs = new Map(
      travelled.points.map((point, index) => [point.recorded_at, { point, before: travelled.points[index - 1] }]),
    );
    const [times, speeds, batteries]: [number[], (number | null)[], (number | null)[]] = [[], [], []];
    let last: number | undefined;
    for (const fix of fixes) {
      const time = Date.parse(fix.recorded_at) / 1000;
      if (last !== undefined && time - last > 300) {
        times.push(last + 1);
        speeds.push(null);
        batteries.push(null);
      }
      const leg = legs.get(fix.recorded_at);
      const seconds = leg?.before ? time - Date.parse(leg.before.recorded_at) / 1000 : 0;
      const speed = fix.speed_mps ?? (leg && seconds > 0 ? leg.point.leg_m / seconds : null);
      times.push(time);
      speeds.push(speed === null ? null : Math.min(speed * 3.6, 250));
      batteries.push(fix.battery_pct);
      last = time;
    }
    return [times, speeds, batteries];
  }, [fixes, travelled]);
  useSignalEffect(() => {
    const time = at.value / 1000;
    const chart = plot.current;
    if (!chart) return;
    const left = chart.valToPos(time, 'x');
    chart.setCursor({ left, top: 10 }, false);
  });
  return (
    <Chart
      label={t().speedChart}
      data={data}
      height={innerHeight < 720 ? 104 : 138}
      onReady={(chart) => {
        plot.current = chart;
        chart.over.addEventListener('click', () => {
          const time = chart.posToVal(chart.cursor.left ?? 0, 'x');
          if (Number.isFinite(time)) at.value = time * 1000;
        });
      }}
      options={(colour) => ({
        padding: [10, 14, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: true },
          y: { range: (_, __, max) => [0, Math.max(20, max * 1.1)] },
          battery: { range: [0, 100] },
        },
        axes: [
          { ...axis(colour), size: 26, values: (_, ticks) => ticks.map((tick) => clock(tick * 1000)) },
          { ...axis(colour), size: 62, values: (_, ticks) => ticks.map((tick) => kmh(tick / 3.6)), space: 30 },
        ],
        series: [
          {},
          { stroke: colour('accent'), width: 1.6, fill: colour('accent-soft'), points: { show: false } },
          { stroke: colour('warn'), width: 1, scale: 'battery', dash: [3, 3], points: { show: false } },
        ],
      })}
    />
  );
}

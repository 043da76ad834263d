import { useComputed, useSignal, useSignalEffect } from '@preact/signals';
import type { Feature } from 'geojson';
import { useEffect, useRef } from 'preact/hooks';
import { ask, refusalOf, rest } from '../api.ts';
import { count, km, kmh, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import type { LiveEvent } from '../live.ts';
import type { MapView } from '../map/map.ts';
import {
  everybody,
  happenings,
  isLoaded,
  isMoving,
  loadFailure,
  loadPeople,
  nameOf,
  now,
  type Person,
  person,
  type Trouble,
  troublesOf,
} from '../people.ts';
import { href, route, tune } from '../router.ts';
import { clock, clockSeconds, fullDateTime, zoneName } from '../time.ts';
import { askFor, notify } from '../ui/dialog.tsx';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Avatar, Empty, hueOf, Pill, RefusalNote, Skeleton, type Tone } from '../ui/kit.tsx';
import { Zoom } from '../ui/zoom.tsx';

type Filter = 'all' | 'moving' | 'still' | 'trouble';
type Seen = Person & { troubles: Trouble[]; moving: boolean };

const LIST_PAGE = 40;
/** With more people their trails are a tangle, and drawing it costs more than the people. */
const TRAILS_UP_TO = 200;

/** Who is where: the map and the list, each kept up to date by the stream. */
export function Now() {
  const filter = useSignal<Filter>('all');
  const search = useSignal('');
  const shown = useSignal(LIST_PAGE);
  const selected = useComputed(() => route.value.query.get('who') ?? undefined);
  const inside = useComputed((): Seen[] =>
    everybody.value
      .filter(({ isIn }) => isIn)
      .map((who) => ({ ...who, troubles: troublesOf(who, now.value), moving: isMoving(who, now.value) }))
      .sort((a, b) => Number(b.troubles.length > 0) - Number(a.troubles.length > 0) || a.rank - b.rank),
  );
  const listed = useComputed(() => {
    const wanted = search.value.trim().toLocaleLowerCase();
    return inside.value.filter(
      (who) =>
        (filter.value === 'all' ||
          (filter.value === 'moving' && who.moving) ||
          (filter.value === 'still' && !who.moving && who.troubles.length === 0) ||
          (filter.value === 'trouble' && who.troubles.length > 0)) &&
        (!wanted || who.name.toLocaleLowerCase().includes(wanted) || who.code.toLocaleLowerCase().includes(wanted)),
    );
  });
  const select = (id: string | undefined) => tune({ who: id });

  const all = inside.value;
  const counts: Record<Filter, number> = {
    all: all.length,
    moving: all.filter(({ moving }) => moving).length,
    still: all.filter(({ moving, troubles }) => !moving && troubles.length === 0).length,
    trouble: all.filter(({ troubles }) => troubles.length > 0).length,
  };
  const isSelected = selected.value !== undefined && person(selected.value) !== undefined;

  return (
    <div class={`now ${isSelected ? 'has-selection' : ''}`}>
      <section class="now-list" aria-label={t().peopleAtWork}>
        <header>
          <h1>{t().screens.now}</h1>
          <p class="muted">
            {t().atWork(counts.all)} · {clock(now.value)} {zoneName()}
          </p>
          <fieldset class="segments" aria-label={t().filter}>
            {(['all', 'moving', 'still', 'trouble'] as const).map((choice) => (
              <button
                key={choice}
                type="button"
                aria-pressed={filter.value === choice}
                class={choice === 'trouble' && counts.trouble > 0 ? 'attention' : ''}
                onClick={() => {
                  filter.value = choice;
                  shown.value = LIST_PAGE;
                }}
              >
                <b>{count(counts[choice])}</b>
                {t().nowFilters[choice]}
              </button>
            ))}
          </fieldset>
          <label class="search">
            <Icon name="search" size={16} />
            <input
              type="search"
              aria-label={t().search}
              placeholder={t().search}
              onInput={(event) => {
                search.value = event.currentTarget.value;
                shown.value = LIST_PAGE;
              }}
            />
          </label>
        </header>
        {Boolean(loadFailure.value) && (
          <RefusalNote refusal={refusalOf(loadFailure.value)} retry={() => void loadPeople()} />
        )}
        {!isLoaded.value ? (
          !loadFailure.value && <Skeleton rows={9} />
        ) : listed.value.length === 0 ? (
          <Empty icon="now" title={all.length === 0 ? t().nobodyAtWork : t().nobodyFound}>
            {all.length === 0 ? t().nobodyAtWorkText : t().nobodyFoundText}
          </Empty>
        ) : (
          <ul class="people-list">
            {listed.value.slice(0, shown.value).map((who) => (
              <PersonRow key={who.id} who={who} isSelected={who.id === selected.value} select={select} />
            ))}
            {listed.value.length > shown.value && (
              <li class="more">
                <button
                  type="button"
                  class="button"
                  onClick={() => {
                    shown.value += LIST_PAGE;
                  }}
                >
                  {t().showMoreOf(listed.value.length - shown.value)}
                </button>
              </li>
            )}
          </ul>
        )}
      </section>
      <section class="now-map" aria-label={t().map}>
        <PeopleMap people={inside} selected={selected} select={select} />
        {isSelected && selected.value && <PersonCard id={selected.value} close={() => select(undefined)} />}
        {!isSelected && <Happenings />}
      </section>
    </div>
  );
}

export const troubleTone = (trouble: Trouble): Tone => (trouble === 'silent' || trouble === 'mock' ? 'bad' : 'warn');
const troubleIcon: Record<Trouble, IconName> = {
  silent: 'offline',
  nowhere: 'target',
  battery: 'battery',
  mock: 'warn',
  forgotten: 'clock',
};

export function troubleText(who: Person, trouble: Trouble, at: number): string {
  const heard = who.recordedAt ? span((at - Date.parse(who.recordedAt)) / 1000) : '';
  return t().troubles[trouble]({ heard, battery: who.battery ?? 0 });
}

function PersonRow(props: { who: Seen; isSelected: boolean; select: (id: string | undefined) => void }) {
  const { who, isSelected, select } = props;
  const [trouble] = who.troubles;
  return (
    <li>
      <button
        type="button"
        class="person-row"
        aria-pressed={isSelected}
        onClick={() => select(isSelected ? undefined : who.id)}
      >
        <Avatar name={who.name} tone={trouble ? troubleTone(trouble) : who.moving ? 'good' : 'calm'} />
        <span class="grow">
          <strong>{who.name}</strong>
          {trouble ? (
            <small class={`tone-${troubleTone(trouble)}`}>
              <Icon name={troubleIcon[trouble]} size={13} /> {troubleText(who, trouble, now.value)}
            </small>
          ) : (
            <small>
              {t().since} {who.since ? clock(who.since) : '–'} · {who.moving ? kmh(who.speed ?? 0) : t().standing}
            </small>
          )}
        </span>
        <span class="figures">
          <b>{km(who.distance)}</b>
          <Battery percent={who.battery} />
        </span>
      </button>
    </li>
  );
}

export function Battery({ percent }: { percent: number | null }) {
  if (percent === null) return <small class="muted">–</small>;
  return (
    <small class={`battery ${percent <= 15 ? 'low' : ''}`}>
      <svg viewBox="0 0 22 11" width="20" height="10" aria-hidden="true">
        <rect x=".6" y=".6" width="18" height="9.800" rx="2.600" />
        <rect class="fill" x="2.200" y="2.200" width={Math.max(1, (14.8 * percent) / 100)} height="6.600" rx="1.300" />
        <path d="M20.500 3.800v3.400" />
      </svg>
      {percent} %
    </small>
  );
}

function PersonCard({ id, close }: { id: string; close: () => void }) {
  // Reads the list again on every change of it.
  everybody.value;
  const who = person(id);
  if (!who) return null;
  const troubles = troublesOf(who, now.value);
  const checkOut = () =>
    askFor({
      title: t().forceTitle(who.name),
      body: <p>{t().forceBody}</p>,
      fields: [{ name: 'reason', label: t().reason, required: true, note: t().reasonNote }],
      confirm: t().forceConfirm,
      isBad: true,
      submit: async (values) => {
        await ask(rest.rpc('force_check_out', { employee_id: id, reason: String(values.get('reason')) }));
        notify(t().forceDone(who.name));
      },
    });
  return (
    <aside class="person-card" aria-label={who.name}>
      <header>
        <Avatar name={who.name} tone={who.isIn ? 'good' : 'calm'} />
        <div class="grow">
          <h2>{who.name}</h2>
          <span class="muted">
            {who.isIn ? t().inSince(who.since ? fullDateTime(who.since) : '–', zoneName()) : t().notIn}
          </span>
        </div>
        <button type="button" class="icon-button" aria-label={t().close} onClick={close}>
          <Icon name="close" />
        </button>
      </header>
      {troubles.map((trouble) => (
        <p key={trouble} class={`note slim ${troubleTone(trouble)}`}>
          <Icon name={troubleIcon[trouble]} size={16} />
          {troubleText(who, trouble, now.value)}
        </p>
      ))}
      <dl class="facts">
        <div>
          <dt>{t().distance}</dt>
          <dd>{km(who.distance)}</dd>
        </div>
        <div>
          <dt>{t().speed}</dt>
          <dd>{who.speed === null ? '–' : kmh(who.speed)}</dd>
        </div>
        <div>
          <dt>{t().battery}</dt>
          <dd>{who.battery === null ? '–' : `${who.battery} %`}</dd>
        </div>
        <div>
          <dt>{t().lastNews}</dt>
          <dd>{who.recordedAt ? clockSeconds(who.recordedAt) : '–'}</dd>
        </div>
        <div>
          <dt>{t().accuracy}</dt>
          <dd>{who.accuracy === null ? '–' : `±${Math.round(who.accuracy)} m`}</dd>
        </div>
      </dl>
      <footer>
        {who.sessionId && (
          <a class="button primary" href={href(`route/${who.sessionId}`)}>
            <Icon name="route" size={16} /> {t().showRoute}
          </a>
        )}
        <a class="button" href={href(`people/${id}`)}>
          {t().profile}
        </a>
        {who.isIn && (
          <button type="button" class="button quiet-danger" onClick={checkOut}>
            {t().checkOut}
          </button>
        )}
      </footer>
    </aside>
  );
}

function Happenings() {
  const events = happenings.value.filter(({ type }) => type in t().happened).slice(0, 4);
  if (events.length === 0) return null;
  return (
    <aside class="happenings" aria-label={t().happenings}>
      <ol>
        {events.map((event) => (
          <li key={event.id}>
            <time>{clock(event.timestamp)}</time>
            <span>{describe(event)}</span>
          </li>
        ))}
      </ol>
    </aside>
  );
}

function describe({ type, data }: LiveEvent): string {
  const word = t().happened[type as keyof ReturnType<typeof t>['happened']];
  return word(typeof data.name === 'string' ? data.name : nameOf(data.employee_id));
}

type Signal<T> = { readonly value: T };

function PeopleMap(props: {
  people: Signal<Seen[]>;
  selected: Signal<string | undefined>;
  select: (id: string | undefined) => void;
}) {
  const container = useRef<HTMLDivElement>(null);
  const view = useSignal<MapView | undefined>(undefined);
  const failure = useSignal<unknown>(undefined);
  const hasFitted = useRef(false);
  const select = useRef(props.select);
  select.current = props.select;

  useEffect(() => {
    let opened: MapView | undefined;
    let isGone = false;
    void (async () => {
      try {
        const { openPeopleMap } = await import('../map/people-map.ts');
        if (isGone || !container.current) return;
        opened = await openPeopleMap(container.current, (id) => select.current(id));
        if (isGone) opened.remove();
        else view.value = opened;
      } catch (error) {
        failure.value = error;
      }
    })();
    return () => {
      isGone = true;
      opened?.remove();
    };
  }, []);

  useSignalEffect(() => {
    const map = view.value;
    if (!map) return;
    const chosen = props.selected.value;
    const features: Feature[] = [];
    const trails: Feature[] = [];
    for (const who of props.people.value) {
      if (who.longitude === null || who.latitude === null) continue;
      const tone = who.troubles[0] ? troubleTone(who.troubles[0]) : who.moving ? 'good' : 'calm';
      features.push({
        type: 'Feature',
        properties: { id: who.id, name: who.name, tone, isChosen: who.id === chosen, hue: hueOf(who.name) },
        geometry: { type: 'Point', coordinates: [who.longitude, who.latitude] },
      });
      if (who.trail.length > 1 && (props.people.value.length <= TRAILS_UP_TO || who.id === chosen)) {
        trails.push({
          type: 'Feature',
          properties: { isChosen: who.id === chosen },
          geometry: { type: 'LineString', coordinates: who.trail },
        });
      }
    }
    map.show('people', features);
    map.show('trails', trails);
    if (!hasFitted.current && features.length > 0) {
      hasFitted.current = true;
      fitAll(map, props.people.value);
    }
  });

  useSignalEffect(() => {
    const chosen = props.selected.value;
    const map = view.value;
    const who = chosen ? person(chosen) : undefined;
    if (!map || who?.longitude == null || who.latitude === null) return;
    map.map.easeTo({
      center: [who.longitude, who.latitude],
      zoom: Math.max(map.map.getZoom(), 12.5),
      offset: [0, -90],
      duration: 600,
    });
  });

  return (
    <>
      <div ref={container} class="map" />
      {Boolean(failure.value) && <RefusalNote refusal={refusalOf(failure.value)} />}
      <div class="map-tools">
        <button
          type="button"
          class="button"
          onClick={() => {
            if (view.value) fitAll(view.value, props.people.value);
          }}
        >
          <Icon name="target" size={16} /> {t().showAll}
        </button>
      </div>
      <Zoom view={view.value} />
      <div class="legend" aria-hidden="true">
        <Pill tone="good">{t().nowFilters.moving}</Pill>
        <Pill tone="calm">{t().nowFilters.still}</Pill>
        <Pill tone="bad">{t().nowFilters.trouble}</Pill>
      </div>
    </>
  );
}

function fitAll(view: MapView, people: Person[]): void {
  const places = people.flatMap(({ longitude, latitude }) =>
    longitude === null || latitude === null ? [] : [{ longitude, latitude }],
  );
  view.fitPlaces(places);
}

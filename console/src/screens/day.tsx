import { useComputed, useSignal } from '@preact/signals';
import { ask, download, rest, type Tables } from '../api.ts';
import { count, km, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { changes, everybody, everyRow, isLoaded, now, person } from '../people.ts';
import { href, route, tune } from '../router.ts';
import { addDays, clock, dateTime, dayName, fromLocalText, localText, startOfDay, today, zoneName } from '../time.ts';
import { act, askFor, notify } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import { Avatar, Card, Empty, Loaded, Menu, More, Page, Pill, Stat, type Tone, useLoad, usePages } from '../ui/kit.tsx';

export type Session = Tables['attendance_sessions'] & { employee: { name: string } | null };
export const SESSION = '*, employee:employees!employee(name)';

type Brief = Pick<Session, 'id' | 'employee_id' | 'checked_in_at' | 'duration_s' | 'distance_m'>;

/** Of an open session as far as it has come: its time until now, and the distance that the live stream tells. */
const durationOf = (session: Omit<Brief, 'distance_m'>): number =>
  session.duration_s ?? (now.value - Date.parse(session.checked_in_at)) / 1000;
function distanceOf(session: Omit<Brief, 'checked_in_at'>): number | null {
  const who = session.duration_s === null ? person(session.employee_id) : undefined;
  return who?.sessionId === session.id ? who.distance : session.distance_m;
}

const PAGE = 60;
/** A session may last this long at the most (an organization's setting has this bound), so no older one reaches into a day. */
const LONGEST_MS = 48 * 3_600_000;
const LATE_MINUTES = 15;

/** The board of a day: who, from, to, how far, and what is unusual. */
export function Day() {
  const day = useComputed(() => route.value.query.get('on') ?? today());
  const on = day.value;
  const isToday = on === today();
  const [from, to] = [startOfDay(on), startOfDay(addDays(on, 1))];

  const sessionsOf = () =>
    rest
      .from('attendance_sessions')
      .select(SESSION)
      .lt('checked_in_at', to)
      .gte('checked_in_at', new Date(Date.parse(from) - LONGEST_MS).toISOString())
      .or(`checked_out_at.gt.${from},checked_out_at.is.null`);
  const pages = usePages<Session>(
    (after) => {
      const query = sessionsOf().order('checked_in_at', { ascending: false }).order('id').limit(PAGE);
      if (!after) return ask(query);
      const last = `"${after.checked_in_at}"`;
      return ask(
        query
          .lte('checked_in_at', after.checked_in_at)
          .or(`checked_in_at.lt.${last},and(checked_in_at.eq.${last},id.gt.${after.id})`),
      );
    },
    [on],
    PAGE,
  );
  const present = useLoad(
    () =>
      everyRow<Brief>((after) => {
        const query = sessionsOf()
          .select('id, employee_id, checked_in_at, duration_s, distance_m')
          .order('id')
          .limit(1000);
        return ask(after ? query.gt('id', after.id) : query);
      }),
    [on],
  );
  const reload = async () => {
    await Promise.all([pages.load.reload(), present.reload()]);
  };
  const usual = useUsualStarts(
    pages.rows.map(({ employee_id }) => employee_id),
    on,
  );
  // Distances of open sessions come by the stream.
  changes.value;
  const figures = present.data ?? [];
  const sum = (values: (number | null)[]) => values.reduce<number>((total, value) => total + (value ?? 0), 0);

  return (
    <Page
      title={t().screens.day}
      lead={
        <>
          {dayName(on, 'long')} · {t().timesIn} {zoneName(from)}
        </>
      }
      actions={
        <>
          <div class="joined">
            <button
              type="button"
              class="button"
              aria-label={t().dayBefore}
              onClick={() => tune({ on: addDays(on, -1) })}
            >
              <Icon name="left" size={18} />
            </button>
            <input
              type="date"
              aria-label={t().day}
              value={on}
              max={today()}
              onChange={(event) => tune({ on: event.currentTarget.value || undefined })}
            />
            <button
              type="button"
              class="button"
              aria-label={t().dayAfter}
              disabled={isToday}
              onClick={() => tune({ on: addDays(on, 1) })}
            >
              <Icon name="right" size={18} />
            </button>
          </div>
          {!isToday && (
            <button type="button" class="button" onClick={() => tune({ on: undefined })}>
              {t().today}
            </button>
          )}
        </>
      }
    >
      <div class="stats">
        <Stat
          label={t().peoplePresent}
          value={present.data ? count(new Set(figures.map((row) => row.employee_id)).size) : '–'}
        />
        <Stat label={t().sessions} value={present.data ? count(figures.length) : '–'} />
        <Stat
          label={t().hoursWorked}
          value={present.data ? span(sum(figures.map(durationOf))) : '–'}
          note={isToday ? t().soFar : undefined}
        />
        <Stat
          label={t().distance}
          value={present.data ? km(sum(figures.map(distanceOf))) : '–'}
          note={isToday ? t().soFar : undefined}
        />
      </div>
      <div class="stack">
        <Absent on={on} isToday={isToday} present={present.data?.map((row) => row.employee_id)} />
        <Card title={t().sessions} note={`${zoneName(from)}`}>
          <Loaded
            load={pages.load}
            isEmpty={() => pages.rows.length === 0}
            empty={
              <Empty icon="day" title={t().nobodyThatDay}>
                {t().nobodyThatDayText}
              </Empty>
            }
          >
            {() => (
              <>
                <div class="table-wrap">
                  <table class="board">
                    <thead>
                      <tr>
                        <th>{t().person}</th>
                        <th class="hide-small">
                          <Hours />
                        </th>
                        <th class="number">{t().fromTo}</th>
                        <th class="number hide-small">{t().duration}</th>
                        <th class="number">{t().distance}</th>
                        <th>{t().remarks}</th>
                        <th>
                          <span class="visually-hidden">{t().acts}</span>
                        </th>
                      </tr>
                    </thead>
                    <tbody>
                      {pages.rows.map((session) => (
                        <SessionRow
                          key={session.id}
                          session={session}
                          from={from}
                          to={to}
                          usual={usual.get(session.employee_id)}
                          reload={reload}
                        />
                      ))}
                    </tbody>
                  </table>
                </div>
                <More pages={pages} />
              </>
            )}
          </Loaded>
        </Card>
      </div>
    </Page>
  );
}

function Hours() {
  return (
    <span class="hours" aria-hidden="true">
      {[0, 6, 12, 18, 24].map((hour) => (
        <i key={hour}>{hour}</i>
      ))}
    </span>
  );
}

function SessionRow(props: {
  session: Session;
  from: string;
  to: string;
  usual: number | undefined;
  reload: () => Promise<void>;
}) {
  const { session, from, to, usual, reload } = props;
  const name = session.employee?.name ?? t().erasedPerson;
  const [begin, end] = [Date.parse(from), Date.parse(to)];
  const at = (time: number) => Math.min(100, Math.max(0, (100 * (time - begin)) / (end - begin)));
  const left = at(Date.parse(session.checked_in_at));
  const right = at(session.checked_out_at ? Date.parse(session.checked_out_at) : now.value);
  const isOpen = session.checked_out_at === null;
  return (
    <tr>
      <td>
        <a class="name-cell" href={href(`route/${session.id}`)}>
          <Avatar name={name} tone={isOpen ? 'good' : 'calm'} />
          <strong>{name}</strong>
        </a>
      </td>
      <td class="hide-small bar-cell">
        <span class="bar">
          <i class={isOpen ? 'open' : ''} style={{ left: `${left}%`, width: `${Math.max(0.6, right - left)}%` }} />
        </span>
      </td>
      <td class="number">
        {Date.parse(session.checked_in_at) < begin ? dateTime(session.checked_in_at) : clock(session.checked_in_at)}
        {' – '}
        {session.checked_out_at
          ? Date.parse(session.checked_out_at) > end
            ? dateTime(session.checked_out_at)
            : clock(session.checked_out_at)
          : t().open}
      </td>
      <td class="number hide-small">{span(durationOf(session))}</td>
      <td class="number">{km(distanceOf(session))}</td>
      <td>
        <span class="pills">
          {remarksOf(session, usual).map(({ text, tone }) => (
            <Pill key={text} tone={tone}>
              {text}
            </Pill>
          ))}
        </span>
      </td>
      <td class="number">
        <Menu label={t().actsFor(name)} items={sessionActs(session, name, reload)} />
      </td>
    </tr>
  );
}

export function remarksOf(session: Session, usualMinutes?: number): { text: string; tone: Tone }[] {
  const remarks: { text: string; tone: Tone }[] = [];
  const late = usualMinutes === undefined ? 0 : minutesOfDay(session.checked_in_at) - usualMinutes;
  if (late > LATE_MINUTES) remarks.push({ text: t().laterThanUsual(span(late * 60)), tone: 'warn' });
  if (session.checked_out_at === null && now.value - Date.parse(session.checked_in_at) > 13 * 3_600_000) {
    remarks.push({ text: t().troubles.forgotten({ heard: '', battery: 0 }), tone: 'warn' });
  }
  if (session.closed_by === 'AUTO') remarks.push({ text: t().closedAutomatically, tone: 'warn' });
  if (session.closed_by === 'ADMIN') remarks.push({ text: t().closedByAdmin, tone: 'info' });
  if (session.corrected_at) remarks.push({ text: t().corrected, tone: 'info' });
  if (session.checked_out_at !== null) {
    if (session.distance_status === 'PENDING') remarks.push({ text: t().distancePending, tone: 'calm' });
    if (session.distance_status === 'FAILED') remarks.push({ text: t().distanceFailed, tone: 'bad' });
    const rejected = session.points_rejected ?? 0;
    if (rejected > 0 && rejected > 0.2 * ((session.points_used ?? 0) + rejected)) {
      remarks.push({ text: t().manyBadPoints(rejected), tone: 'warn' });
    }
    if (session.distance_status === 'DONE' && (session.points_used ?? 0) + rejected === 0) {
      remarks.push({ text: t().noPoints, tone: 'calm' });
    }
  }
  return remarks;
}

export function sessionActs(session: Session, name: string, reload: () => Promise<void>) {
  const { id, employee_id, checked_in_at, checked_out_at } = session;
  const correct = () =>
    askFor({
      title: t().correctTitle(name),
      body: <p>{t().correctBody(zoneName(checked_in_at))}</p>,
      fields: [
        {
          name: 'in',
          label: `${t().checkIn} (${zoneName(checked_in_at)})`,
          type: 'datetime-local',
          required: true,
          value: localText(checked_in_at),
        },
        {
          name: 'out',
          label: `${t().checkOut} (${zoneName(checked_out_at ?? Date.now())})`,
          type: 'datetime-local',
          required: true,
          value: localText(checked_out_at ?? Date.now()),
        },
        { name: 'reason', label: t().reason, required: true, note: t().reasonNote },
      ],
      confirm: t().correctConfirm,
      submit: async (values) => {
        // A time that was not touched keeps its seconds.
        const exact = (name_: string, before: string | null) => {
          const text = String(values.get(name_));
          return before && localText(before) === text ? before : fromLocalText(text);
        };
        await ask(
          rest.rpc('correct_session', {
            session_id: id,
            checked_in_at: exact('in', checked_in_at),
            checked_out_at: exact('out', checked_out_at),
            reason: String(values.get('reason')),
          }),
        );
        await reload();
        notify(
          t().correctDone,
          checked_out_at === null
            ? undefined
            : async () => {
                await ask(
                  rest.rpc('correct_session', {
                    session_id: id,
                    checked_in_at,
                    checked_out_at,
                    reason: t().undoReason,
                  }),
                );
                await reload();
              },
        );
      },
    });
  const force = () =>
    askFor({
      title: t().forceTitle(name),
      body: <p>{t().forceBody}</p>,
      fields: [
        {
          name: 'at',
          label: `${t().checkOut} (${zoneName()})`,
          type: 'datetime-local',
          value: localText(Date.now()),
          required: true,
        },
        { name: 'reason', label: t().reason, required: true, note: t().reasonNote },
      ],
      confirm: t().forceConfirm,
      isBad: true,
      submit: async (values) => {
        const text = String(values.get('at'));
        const isNow = text === localText(Date.now());
        await ask(
          rest.rpc('force_check_out', {
            employee_id,
            reason: String(values.get('reason')),
            ...(isNow ? {} : { checked_out_at: fromLocalText(text) }),
          }),
        );
        await reload();
        notify(t().forceDone(name));
      },
    });
  return [
    { label: t().showRoute, act: () => void location.assign(href(`route/${id}`)) },
    { label: t().correctTimes, act: correct },
    checked_out_at === null && { label: t().forceOut, act: force, isBad: true },
    checked_out_at !== null && {
      label: t().recalculate,
      act: () =>
        void act(t().recalculateDone, () => ask(rest.rpc('recalculate_session', { session_id: id }))).then(reload),
    },
    {
      label: t().saveGpx,
      act: () => void saveGpx(id, name, checked_in_at),
    },
  ];
}

export const saveGpx = (id: string, name: string, checkedInAt: string) =>
  act(t().saved, () =>
    download(
      `rpc/export_session_gpx?session_id=${id}`,
      'application/gpx+xml',
      `${name} ${localText(checkedInAt).replace(/[T:]/g, '-')}.gpx`,
    ),
  );

/** Active people without a session that day; today with how late they are against their usual beginning. */
function Absent({ on, isToday, present }: { on: string; isToday: boolean; present: string[] | undefined }) {
  const isOpen = useSignal(true);
  const shown = useSignal(8);
  const there = new Set(present);
  const absent = everybody.value
    .filter(({ id, isActive }) => isActive && !there.has(id))
    .sort((a, b) => a.rank - b.rank);
  const usual = useUsualStarts(isToday && present ? absent.slice(0, 60).map(({ id }) => id) : [], on);
  if (!present || !isLoaded.value || absent.length === 0 || absent.length === everybody.value.length) return null;
  const minutesNow = minutesOfDay(now.value);
  const rows = absent
    .map((who) => {
      const start = usual.get(who.id);
      return { ...who, start, late: start === undefined ? 0 : minutesNow - start };
    })
    .sort((a, b) => b.late - a.late || a.rank - b.rank);
  const late = isToday ? rows.filter((row) => row.late > LATE_MINUTES).length : 0;
  return (
    <Card
      title={isToday ? t().notInYet : t().wereNotIn}
      note={isToday && late > 0 ? <Pill tone="warn">{t().late(late)}</Pill> : count(absent.length)}
      actions={
        <button
          type="button"
          class="icon-button"
          aria-expanded={isOpen.value}
          aria-label={t().showOrHide}
          onClick={() => {
            isOpen.value = !isOpen.value;
          }}
        >
          <Icon name="down" />
        </button>
      }
    >
      {isOpen.value && (
        <ul class="absent">
          {rows.slice(0, shown.value).map(({ id, name, start, late: minutes }) => (
            <li key={id}>
              <a class="name-cell" href={href(`people/${id}`)}>
                <Avatar name={name} {...(isToday && minutes > LATE_MINUTES ? { tone: 'warn' } : {})} />
                <span>
                  <strong>{name}</strong>
                  <small class={isToday && minutes > LATE_MINUTES ? 'tone-warn' : 'muted'}>
                    {start === undefined
                      ? t().noHabit
                      : isToday && minutes > LATE_MINUTES
                        ? t().lateBy(span(minutes * 60), clockOf(start))
                        : t().usuallyAt(clockOf(start))}
                  </small>
                </span>
              </a>
            </li>
          ))}
          {rows.length > shown.value && (
            <li>
              <button
                type="button"
                class="button small"
                onClick={() => {
                  shown.value += 40;
                }}
              >
                {t().showMoreOf(rows.length - shown.value)}
              </button>
            </li>
          )}
        </ul>
      )}
    </Card>
  );
}

const clockOf = (minutes: number) =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;

function minutesOfDay(time: string | number): number {
  const text = localText(time);
  return Number(text.slice(11, 13)) * 60 + Number(text.slice(14, 16));
}

/** The median time at which each of these people began on the days of the two weeks before, where there are three at least. */
function useUsualStarts(people: string[], on: string): Map<string, number> {
  const ids = [...new Set(people)].sort();
  const load = useLoad(async () => {
    if (ids.length === 0) return new Map<string, number>();
    const starts = new Map<string, Map<string, number>>();
    const read = await ask(
      rest
        .from('attendance_sessions')
        .select('employee_id, checked_in_at')
        .in('employee_id', ids)
        .gte('checked_in_at', startOfDay(addDays(on, -14)))
        .lt('checked_in_at', startOfDay(on))
        .order('checked_in_at', { ascending: false })
        .limit(1000),
    );
    for (const { employee_id, checked_in_at } of read) {
      const days = starts.get(employee_id) ?? new Map<string, number>();
      // Newest first, so the first session of a day is what stays.
      days.set(localText(checked_in_at).slice(0, 10), minutesOfDay(checked_in_at));
      starts.set(employee_id, days);
    }
    const usual = new Map<string, number>();
    for (const [id, days] of starts) {
      const sorted = [...days.values()].sort((a, b) => a - b);
      const median = sorted[Math.floor((sorted.length - 1) / 2)];
      if (sorted.length >= 3 && median !== undefined) usual.set(id, median);
    }
    return usual;
  }, [ids.join(), on]);
  return load.data ?? new Map();
}

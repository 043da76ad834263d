import { useComputed } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import type uPlot from 'uplot';
import { ask, read, rest, saveAs } from '../api.ts';
import { count, hoursShort, km, kmShort, money, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { href, route, tune } from '../router.ts';
import { addDays, dayName, startOfDay, today } from '../time.ts';
import { axis, Chart } from '../ui/chart.tsx';
import { act } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import { Avatar, Card, Empty, Loaded, Page, Stat, Tabs, useLoad } from '../ui/kit.tsx';
import { categoryName } from './approvals.tsx';

type View = 'days' | 'people' | 'expenses';
type Range = { from_day: string; to_day: string };

const ranges = {
  week: () => ({ from_day: addDays(today(), -6), to_day: today() }),
  month: () => ({ from_day: addDays(today(), -29), to_day: today() }),
  thisMonth: () => ({ from_day: `${today().slice(0, 7)}-01`, to_day: today() }),
  lastMonth: () => {
    const last = addDays(`${today().slice(0, 7)}-01`, -1);
    return { from_day: `${last.slice(0, 7)}-01`, to_day: last };
  },
  quarter: () => ({ from_day: addDays(today(), -89), to_day: today() }),
};
type RangeName = keyof typeof ranges;

/** Days, people and expenses over a range, as charts, tables and files. */
export function Reports() {
  const view = (route.value.path[1] ?? 'days') as View;
  const range = useComputed((): Range => {
    const { query } = route.value;
    const [from, to] = [query.get('from'), query.get('to')];
    if (from && to) return { from_day: from, to_day: to };
    return ranges[(query.get('range') as RangeName | null) ?? 'month']?.() ?? ranges.month();
  });
  const chosen = route.value.query.get('from') ? 'own' : (route.value.query.get('range') ?? 'month');
  const query = Object.fromEntries(route.value.query);
  return (
    <Page
      title={t().screens.reports}
      lead={`${dayName(range.value.from_day, 'date')} – ${dayName(range.value.to_day, 'date')}`}
      actions={
        <>
          <select
            aria-label={t().range}
            value={chosen}
            onChange={(event) => {
              const name = event.currentTarget.value;
              if (name === 'own') tune({ from: range.value.from_day, to: range.value.to_day, range: undefined });
              else tune({ range: name, from: undefined, to: undefined });
            }}
          >
            {(Object.keys(ranges) as RangeName[]).map((name) => (
              <option key={name} value={name}>
                {t().ranges[name]}
              </option>
            ))}
            <option value="own">{t().ownRange}</option>
          </select>
          {chosen === 'own' && (
            <div class="joined">
              <input
                type="date"
                aria-label={t().from}
                value={range.value.from_day}
                onChange={(event) => tune({ from: event.currentTarget.value })}
              />
              <input
                type="date"
                aria-label={t().to}
                value={range.value.to_day}
                onChange={(event) => tune({ to: event.currentTarget.value })}
              />
            </div>
          )}
          <button type="button" class="button" onClick={() => void exportCsv(view, range.value)}>
            <Icon name="download" size={16} /> CSV
          </button>
        </>
      }
    >
      <Tabs
        current={view}
        items={(['days', 'people', 'expenses'] as const).map((name) => ({
          id: name,
          href: href(`reports/${name}`, query),
          label: t().reportViews[name],
        }))}
      />
      {view === 'people' ? (
        <PeopleReport range={range.value} />
      ) : view === 'expenses' ? (
        <ExpenseReport range={range.value} />
      ) : (
        <DaysReport range={range.value} />
      )}
    </Page>
  );
}

function DaysReport({ range }: { range: Range }) {
  const load = useLoad(async () => {
    const [summary, trend] = await Promise.all([
      ask(rest.rpc('get_org_summary', range)),
      ask(rest.rpc('get_session_trend', range)),
    ]);
    return {
      summary,
      trend: trend as { day: string; employees: number; sessions: number; duration_s: number; distance_m: number }[],
    };
  }, [range.from_day, range.to_day]);
  return (
    <Loaded load={load}>
      {({ summary, trend }) => (
        <div class="stack">
          <div class="stats">
            <Stat label={t().hoursWorked} value={span(summary.duration_s)} />
            <Stat label={t().distance} value={km(summary.distance_m)} />
            <Stat label={t().sessions} value={count(summary.sessions)} />
            <Stat label={t().personDays} value={count(summary.person_days)} />
            <Stat label={t().approvedExpenses} value={money(summary.approved_amount, summary.currency)} />
          </div>
          {summary.sessions === 0 ? (
            <Card>
              <Empty icon="reports" title={t().nothingInRange}>
                {t().nothingInRangeText}
              </Empty>
            </Card>
          ) : (
            <>
              <div class="columns">
                <Bars
                  title={t().hoursADay}
                  trend={trend.map(({ day, duration_s }) => ({ day, value: duration_s / 3600 }))}
                  show={hoursShort}
                />
                <Bars
                  title={t().kmADay}
                  trend={trend.map(({ day, distance_m }) => ({ day, value: distance_m / 1000 }))}
                  show={kmShort}
                />
              </div>
              <Card title={t().reportViews.days}>
                <div class="table-wrap">
                  <table>
                    <thead>
                      <tr>
                        <th>{t().day}</th>
                        <th class="number">{t().screens.people}</th>
                        <th class="number">{t().sessions}</th>
                        <th class="number">{t().hoursWorked}</th>
                        <th class="number">{t().distance}</th>
                      </tr>
                    </thead>
                    <tbody>
                      {trend.toReversed().map((row) => (
                        <tr key={row.day} class={row.sessions === 0 ? 'quiet' : ''}>
                          <td>
                            <a href={href('day', { on: row.day })}>{dayName(row.day)}</a>
                          </td>
                          <td class="number">{count(row.employees)}</td>
                          <td class="number">{count(row.sessions)}</td>
                          <td class="number">{row.sessions > 0 ? span(row.duration_s) : '–'}</td>
                          <td class="number">{row.sessions > 0 ? km(row.distance_m) : '–'}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </Card>
            </>
          )}
        </div>
      )}
    </Loaded>
  );
}

/** A bar a day. */
function Bars({
  title,
  trend,
  show,
}: {
  title: string;
  trend: { day: string; value: number }[];
  show: (value: number) => string;
}) {
  const data = useMemo(
    (): uPlot.AlignedData => [trend.map((_, index) => index), trend.map(({ value }) => value)],
    [trend],
  );
  return (
    <Card title={title}>
      <Chart
        label={`${title}: ${trend.map(({ day, value }) => `${dayName(day)} ${show(value)}`).join(', ')}`}
        data={data}
        height={190}
        options={(colour) => ({
          padding: [12, 6, 0, 0],
          legend: { show: false },
          cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
          scales: {
            x: { time: false, range: [-0.6, trend.length - 0.4] },
            y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] },
          },
          axes: [
            {
              ...axis(colour),
              size: 28,
              grid: { show: false },
              splits: () => trend.flatMap((_, index) => (index % Math.ceil(trend.length / 7) === 0 ? [index] : [])),
              values: (_, splits) => splits.map((index) => dayName(trend[index]?.day ?? today())),
            },
            {
              ...axis(colour),
              size: 62,
              values: (_, splits) => splits.map((value) => (value === 0 ? '0' : show(value))),
              space: 44,
            },
          ],
          series: [
            {},
            {
              stroke: colour('accent'),
              fill: colour('accent'),
              width: 0,
              points: { show: false },
              paths: barPaths,
            },
          ],
        })}
      />
    </Card>
  );
}

/** Bars with round heads. uPlot's own builder sits on its constructor, which the chart's module loads. */
const barPaths: uPlot.Series.PathBuilder = (plot, series, first, last) => {
  const fill = new Path2D();
  const [xs, ys] = [plot.data[0], plot.data[series] as number[]];
  const step = plot.valToPos(1, 'x', true) - plot.valToPos(0, 'x', true);
  const width = Math.max(2, Math.min(step * 0.66, 34 * devicePixelRatio));
  const base = plot.valToPos(0, 'y', true);
  for (let index = first; index <= last; index += 1) {
    const value = ys[index] ?? 0;
    if (value <= 0) continue;
    const [x, y] = [plot.valToPos(xs[index] ?? 0, 'x', true) - width / 2, plot.valToPos(value, 'y', true)];
    const radius = Math.min(width / 3, 5 * devicePixelRatio, base - y);
    fill.roundRect(x, y, width, base - y, [radius, radius, 0, 0]);
  }
  return { stroke: null, fill, clip: null, flags: 1 } as unknown as uPlot.Series.Paths;
};

function PeopleReport({ range }: { range: Range }) {
  const load = useLoad(async () => {
    const board = (metric: string) => ask(rest.rpc('get_leaderboard', { ...range, metric, top: 100 }));
    const [hours, way, sessions] = await Promise.all([board('duration'), board('distance'), board('sessions')]);
    const of = ({ entries }: typeof hours) =>
      new Map(entries.map(({ employee_id, value }) => [employee_id, value ?? 0]));
    const [byWay, bySessions] = [of(way), of(sessions)];
    return hours.entries.map(({ employee_id, name, value, rank }) => ({
      id: employee_id,
      name,
      rank,
      duration: value ?? 0,
      distance: byWay.get(employee_id),
      sessions: bySessions.get(employee_id),
    }));
  }, [range.from_day, range.to_day]);
  return (
    <Card title={t().reportViews.people} note={t().firstHundred}>
      <Loaded
        load={load}
        isEmpty={(rows) => rows.length === 0}
        empty={
          <Empty icon="people" title={t().nothingInRange}>
            {t().nothingInRangeText}
          </Empty>
        }
      >
        {(rows) => {
          const most = Math.max(...rows.map(({ duration }) => duration), 1);
          return (
            <div class="table-wrap">
              <table>
                <thead>
                  <tr>
                    <th>{t().person}</th>
                    <th class="hide-small wide-cell">
                      <span class="visually-hidden">{t().share}</span>
                    </th>
                    <th class="number">{t().hoursWorked}</th>
                    <th class="number">{t().distance}</th>
                    <th class="number hide-small">{t().sessions}</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row) => (
                    <tr key={row.id}>
                      <td>
                        <a class="name-cell" href={href(`people/${row.id}`)}>
                          <Avatar name={row.name} />
                          <strong>{row.name}</strong>
                        </a>
                      </td>
                      <td class="hide-small">
                        <span class="bar share">
                          <i style={{ width: `${(100 * row.duration) / most}%` }} />
                        </span>
                      </td>
                      <td class="number">{span(row.duration)}</td>
                      <td class="number">{row.distance === undefined ? '–' : km(row.distance)}</td>
                      <td class="number hide-small">{row.sessions === undefined ? '–' : count(row.sessions)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          );
        }}
      </Loaded>
    </Card>
  );
}

function ExpenseReport({ range }: { range: Range }) {
  const load = useLoad(() => ask(rest.rpc('get_expense_summary', range)), [range.from_day, range.to_day]);
  return (
    <Loaded
      load={load}
      isEmpty={(summary) => summary.categories.length === 0}
      empty={
        <Card>
          <Empty icon="approvals" title={t().nothingInRange}>
            {t().nothingInRangeText}
          </Empty>
        </Card>
      }
    >
      {(summary) => (
        <div class="stack">
          <div class="stats">
            {summary.currencies.flatMap((sums) => [
              <Stat
                key={`${sums.currency} approved`}
                label={t().approvedExpenses}
                value={money(sums.approved_amount, sums.currency)}
                note={t().expenseCount(sums.approved)}
                tone="good"
              />,
              <Stat
                key={`${sums.currency} pending`}
                label={t().pending}
                value={money(sums.pending_amount, sums.currency)}
                note={t().expenseCount(sums.pending)}
                tone="warn"
              />,
              <Stat
                key={`${sums.currency} rejected`}
                label={t().rejected}
                value={money(sums.rejected_amount, sums.currency)}
                note={t().expenseCount(sums.rejected)}
              />,
            ])}
          </div>
          <Card title={t().byCategory}>
            <div class="table-wrap">
              <table>
                <thead>
                  <tr>
                    <th>{t().category}</th>
                    <th class="hide-small wide-cell">
                      <span class="visually-hidden">{t().share}</span>
                    </th>
                    <th class="number">{t().approvedExpenses}</th>
                    <th class="number">{t().pending}</th>
                    <th class="number hide-small">{t().rejected}</th>
                  </tr>
                </thead>
                <tbody>
                  {summary.categories.map((sums) => {
                    const most = Math.max(
                      ...summary.categories
                        .filter(({ currency }) => currency === sums.currency)
                        .map((other) => other.approved_amount + other.pending_amount),
                      1,
                    );
                    return (
                      <tr key={`${sums.category} ${sums.currency}`}>
                        <td>{categoryName(sums.category)}</td>
                        <td class="hide-small">
                          <span class="bar share">
                            <i style={{ width: `${(100 * sums.approved_amount) / most}%` }} />
                            <i class="second" style={{ width: `${(100 * sums.pending_amount) / most}%` }} />
                          </span>
                        </td>
                        <td class="number">{money(sums.approved_amount, sums.currency)}</td>
                        <td class="number">{money(sums.pending_amount, sums.currency)}</td>
                        <td class="number hide-small">{money(sums.rejected_amount, sums.currency)}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
          </Card>
        </div>
      )}
    </Loaded>
  );
}

const CSV_PAGE = 1000;

/** All rows of a report as one file, read in pages as docs/api.md says, so nothing is missed or doubled meanwhile. */
async function exportCsv(view: View, { from_day, to_day }: Range): Promise<void> {
  const begin = startOfDay(from_day);
  const end = startOfDay(addDays(to_day, 1));
  const plans = {
    days: {
      table: 'export_sessions',
      order: 'checked_in_at.desc,session_id',
      filter: `checked_in_at=gte.${begin}&checked_in_at=lt.${end}`,
      keys: ['checked_in_at', 'session_id'] as const,
      isForward: false,
    },
    people: {
      table: 'export_daily_metrics',
      order: 'day,employee_id',
      filter: `day=gte.${from_day}&day=lte.${to_day}`,
      keys: ['day', 'employee_id'] as const,
      isForward: true,
    },
    expenses: {
      table: 'export_expenses',
      order: 'submitted_at.desc,expense_id',
      filter: `submitted_at=gte.${begin}&submitted_at=lt.${end}`,
      keys: ['submitted_at', 'expense_id'] as const,
      isForward: false,
    },
  };
  const { table, order, filter, keys, isForward } = plans[view];
  await act(t().saved, async () => {
    let after = '';
    let text = '';
    for (;;) {
      const path = `${table}?order=${order}&limit=${CSV_PAGE}&${filter}${after}`;
      // The same page twice: as a file, and of its last row the keys.
      const [page, rows] = await Promise.all([
        read(path, 'text/csv'),
        read(`${path}&select=${keys.join()}`, 'application/json').then(
          (body) => JSON.parse(body) as Record<string, string>[],
        ),
      ]);
      text += text ? page.slice(page.indexOf('\n') + 1) : page;
      if (text && !text.endsWith('\n')) text += '\n';
      const last = rows.at(-1);
      if (!last || rows.length < CSV_PAGE) break;
      const [first, second] = keys;
      const [a, b] = [encodeURIComponent(`"${last[first]}"`), last[second]];
      after = `&${first}=${isForward ? 'gte' : 'lte'}.${encodeURIComponent(String(last[first]))}&or=(${first}.${isForward ? 'gt' : 'lt'}.${a},${second}.gt.${b})`;
    }
    // Spreadsheets read UTF-8 only with this mark.
    saveAs(`${table.replace('export_', '')} ${from_day} ${to_day}.csv`, `\uFEFF${text}`, 'text/csv');
  });
}

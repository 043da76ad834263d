import { km, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { href } from '../router.ts';
import { isAdmin } from '../session.ts';
import { clock, dayName, dayOf, zoneName } from '../time.ts';
import { Menu, Pill } from '../ui/kit.tsx';
import { remarksOf, type Session, saveGpx, sessionActs } from './day.tsx';

/** Sessions of one person, newest first. */
export function SessionTable({ rows, reload }: { rows: Session[]; reload: () => Promise<void> }) {
  return (
    <div class="table-wrap">
      <table>
        <thead>
          <tr>
            <th>{t().day}</th>
            <th class="number">
              {t().fromTo} ({zoneName()})
            </th>
            <th class="number hide-small">{t().duration}</th>
            <th class="number">{t().distance}</th>
            <th class="hide-small">{t().remarks}</th>
            <th>
              <span class="visually-hidden">{t().acts}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((session) => {
            const name = session.employee?.name ?? '';
            return (
              <tr key={session.id}>
                <td>
                  <a href={href(`route/${session.id}`)}>{dayName(dayOf(session.checked_in_at))}</a>
                </td>
                <td class="number">
                  {clock(session.checked_in_at)} – {session.checked_out_at ? clock(session.checked_out_at) : t().open}
                </td>
                <td class="number hide-small">{span(session.duration_s)}</td>
                <td class="number">{km(session.distance_m)}</td>
                <td class="hide-small">
                  <span class="pills">
                    {remarksOf(session).map(({ text, tone }) => (
                      <Pill key={text} tone={tone}>
                        {text}
                      </Pill>
                    ))}
                  </span>
                </td>
                <td class="number">
                  <Menu
                    label={t().actsFor(name)}
                    items={
                      isAdmin.value
                        ? sessionActs(session, name, reload)
                        : [{ label: t().saveGpx, act: () => void saveGpx(session.id, name, session.checked_in_at) }]
                    }
                  />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

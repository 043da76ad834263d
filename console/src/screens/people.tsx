import { useComputed, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ask, only, receipts, rest, saveAs, settings, type Tables } from '../api.ts';
import { count, km, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { onHappening, quoted } from '../people.ts';
import { go, href, route } from '../router.ts';
import { profile } from '../session.ts';
import { dateTime, fullDateTime, zoneName } from '../time.ts';
import { act, askFor, type Field, notify, showSecret } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import {
  Avatar,
  Card,
  Empty,
  Loaded,
  Menu,
  type MenuItem,
  More,
  Page,
  Pill,
  Stat,
  Tabs,
  useLoad,
  usePages,
} from '../ui/kit.tsx';
import { SESSION, type Session } from './day.tsx';
import { SessionTable } from './sessions.tsx';

export type Employee = Tables['employees'];
type Invitation = Pick<Tables['invitations'], 'status' | 'expires_at' | 'email'>;
type Row = Employee & { invitations: Invitation[] };
type View = 'active' | 'invited' | 'inactive';

const PAGE = 50;
const EMPLOYEE = '*, invitations!employee(status, expires_at, email)';

/** Who belongs to the organization: invited, active, gone. */
export function People() {
  const id = route.value.path[1];
  return id ? <PersonPage key={id} id={id} /> : <PeopleList />;
}

function PeopleList() {
  const view = useComputed((): View => (route.value.query.get('view') as View | null) ?? 'active');
  const search = useSignal('');
  const pages = usePages<Row>(
    (after) => {
      let query = rest.from('employees').select(EMPLOYEE).is('erased_at', null);
      query = view.value === 'inactive' ? query.eq('is_active', false) : query.eq('is_active', true);
      query =
        view.value === 'invited'
          ? query.is('user_id', null)
          : view.value === 'active'
            ? query.not('user_id', 'is', null)
            : query;
      const wanted = search.value.trim();
      if (wanted) query = query.ilike('name', `%${wanted.replace(/[%_\\*]/g, '')}%`);
      query = query.order('name').order('id').limit(PAGE);
      if (!after) return ask(query) as Promise<Row[]>;
      const name = quoted(after.name);
      return ask(query.or(`name.gt.${name},and(name.eq.${name},id.gt.${after.id})`)) as Promise<Row[]>;
    },
    [view.value, search.value],
    PAGE,
  );
  const reload = () => pages.load.reload();
  useEffect(
    () =>
      onHappening(({ type }) => {
        if (type.startsWith('employee.')) void reload();
      }),
    [view.value, search.value],
  );
  return (
    <Page
      title={t().screens.people}
      actions={
        <button type="button" class="button primary" onClick={() => invite(reload)}>
          <Icon name="plus" size={16} /> {t().invite}
        </button>
      }
    >
      <Tabs
        current={view.value}
        items={(['active', 'invited', 'inactive'] as const).map((name) => ({
          id: name,
          href: href('people', { view: name === 'active' ? undefined : name }),
          label: t().peopleViews[name],
        }))}
      />
      <Card>
        <label class="search">
          <Icon name="search" size={16} />
          <input
            type="search"
            placeholder={t().searchName}
            aria-label={t().searchName}
            onChange={(event) => {
              search.value = event.currentTarget.value;
            }}
          />
        </label>
        <Loaded
          load={pages.load}
          isEmpty={() => pages.rows.length === 0}
          empty={
            <Empty icon="people" title={t().nobodyFound}>
              {view.value === 'invited' ? t().nobodyInvited : t().nobodyFoundText}
            </Empty>
          }
        >
          {() => (
            <>
              <div class="table-wrap spaced">
                <table>
                  <thead>
                    <tr>
                      <th>{t().person}</th>
                      <th class="hide-small">{t().code}</th>
                      <th>{t().role}</th>
                      <th class="hide-small">{t().phone}</th>
                      <th>
                        <span class="visually-hidden">{t().acts}</span>
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {pages.rows.map((who) => (
                      <tr key={who.id}>
                        <td>
                          <a class="name-cell" href={href(`people/${who.id}`)}>
                            <Avatar name={who.name} />
                            <span>
                              <strong>{who.name}</strong>
                              {who.user_id === null && who.invitations[0] && <small>{who.invitations[0].email}</small>}
                            </span>
                          </a>
                        </td>
                        <td class="hide-small muted">{who.employee_code}</td>
                        <td>
                          {who.user_id === null && who.is_active ? (
                            <InvitationPill invitation={who.invitations[0]} />
                          ) : who.app_role === 'ADMIN' ? (
                            <Pill tone="info">{t().roles.ADMIN}</Pill>
                          ) : (
                            <span class="muted">{t().roles.EMPLOYEE}</span>
                          )}
                        </td>
                        <td class="hide-small">{who.phone ?? <span class="muted">–</span>}</td>
                        <td class="number">
                          <Menu label={t().actsFor(who.name)} items={personActs(who, reload)} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
              <More pages={pages} />
            </>
          )}
        </Loaded>
      </Card>
    </Page>
  );
}

function InvitationPill({ invitation }: { invitation: Invitation | undefined }) {
  const isOver = invitation && Date.parse(invitation.expires_at) < Date.now();
  return <Pill tone={isOver ? 'bad' : 'warn'}>{isOver ? t().invitationOver : t().invited}</Pill>;
}

const inviteFields = (values: { name?: string; email?: string } = {}): Field[] => [
  { name: 'name', label: t().name, required: true, value: values.name ?? '', maxLength: 100 },
  { name: 'email', label: t().email, type: 'email', required: true, value: values.email ?? '' },
  {
    name: 'role',
    label: t().role,
    type: 'select',
    value: 'EMPLOYEE',
    options: [
      { value: 'EMPLOYEE', label: t().roles.EMPLOYEE ?? '' },
      { value: 'ADMIN', label: t().roles.ADMIN ?? '' },
    ],
  },
];

function invite(
  reload: () => Promise<void>,
  values: { name?: string; email?: string; employeeId?: string } = {},
): void {
  askFor({
    title: t().inviteTitle,
    body: <p>{t().inviteBody}</p>,
    fields: inviteFields(values),
    confirm: t().invite,
    submit: async (form) => {
      const name = String(form.get('name'));
      const { token, expires_at } = await ask(
        rest.rpc('invite_employee', {
          name,
          email: String(form.get('email')),
          app_role: String(form.get('role')),
          ...(values.employeeId ? { employee_id: values.employeeId } : {}),
        }),
      );
      await reload();
      showSecret({
        title: t().invitationFor(name),
        body: <p>{t().invitationBody(fullDateTime(expires_at), zoneName(expires_at))}</p>,
        label: t().link,
        secret: `${location.origin}${location.pathname}#/join/${token}`,
      });
    },
  });
}

function personActs(who: Row | Employee, reload: () => Promise<void>): (MenuItem | false)[] {
  const isMe = who.id === profile.value?.employee_id;
  const invitation = 'invitations' in who ? who.invitations[0] : undefined;
  const rename = () =>
    askFor({
      title: t().editTitle(who.name),
      fields: [
        { name: 'name', label: t().name, required: true, value: who.name, maxLength: 100 },
        { name: 'phone', label: t().phone, value: who.phone ?? '' },
        { name: 'employee_code', label: t().code, required: true, value: who.employee_code },
      ],
      confirm: t().save,
      submit: async (form) => {
        const changes = {
          name: String(form.get('name')),
          phone: String(form.get('phone')) || null,
          employee_code: String(form.get('employee_code')),
        };
        const { name, phone, employee_code } = who;
        await ask(rest.rpc('update_employee', { employee_id: who.id, changes }));
        await reload();
        notify(t().saved, async () => {
          await ask(rest.rpc('update_employee', { employee_id: who.id, changes: { name, phone, employee_code } }));
          await reload();
        });
      },
    });
  const changeRole = () => {
    const role = who.app_role === 'ADMIN' ? 'EMPLOYEE' : 'ADMIN';
    const set = async (app_role: string) => {
      await ask(rest.rpc('update_employee', { employee_id: who.id, changes: { app_role } }));
      await reload();
    };
    askFor({
      title: role === 'ADMIN' ? t().makeAdminTitle(who.name) : t().takeAdminTitle(who.name),
      body: <p>{role === 'ADMIN' ? t().makeAdminBody : t().takeAdminBody}</p>,
      confirm: role === 'ADMIN' ? t().makeAdmin : t().takeAdmin,
      isBad: role === 'EMPLOYEE',
      submit: async () => {
        await set(role);
        notify(t().saved, () => set(who.app_role));
      },
    });
  };
  const setActive = (is_active: boolean) => async () => {
    await ask(rest.rpc('set_employee_active', { employee_id: who.id, is_active }));
    await reload();
  };
  const deactivate = () =>
    askFor({
      title: t().deactivateTitle(who.name),
      body: <p>{t().deactivateBody}</p>,
      confirm: t().deactivate,
      isBad: true,
      submit: async () => {
        await setActive(false)();
        // Without an account it is taken back at once; others come back by an invitation, which is theirs to accept.
        notify(t().deactivated(who.name), who.user_id === null ? setActive(true) : undefined);
      },
    });
  return [
    { label: t().edit, act: rename },
    who.is_active &&
      who.user_id === null &&
      Boolean(invitation) && {
        label: t().inviteAgain,
        act: () => invite(reload, { name: who.name, email: invitation?.email ?? '' }),
      },
    who.is_active && !isMe && { label: who.app_role === 'ADMIN' ? t().takeAdmin : t().makeAdmin, act: changeRole },
    who.is_active && { label: t().connectPhone, act: () => connectPhone(who.id, who.name, reload) },
    { label: t().exportData, act: () => void exportPerson(who.id, who.name) },
    who.is_active && !isMe
      ? { label: t().deactivate, act: deactivate, isBad: true }
      : !who.is_active && {
          label: t().takeBack,
          act: () =>
            who.user_id === null
              ? void act(t().takenBack(who.name), setActive(true))
              : invite(reload, { name: who.name, employeeId: who.id }),
        },
    !isMe && { label: t().erase, act: () => erase(who, reload), isBad: true },
  ];
}

/** A token for the phone of a person, as a code that phone apps read and as text. */
export function connectPhone(employeeId: string | undefined, name: string, reload: () => Promise<void>): void {
  askFor({
    title: t().connectTitle(name),
    body: <p>{t().connectBody}</p>,
    fields: [
      { name: 'name', label: t().phoneName, required: true, value: t().phoneOf(name), maxLength: 100 },
      {
        name: 'app',
        label: t().app,
        type: 'select',
        value: 'traccar',
        options: [
          { value: 'traccar', label: 'Traccar Client' },
          { value: 'owntracks', label: 'OwnTracks' },
          { value: 'overland', label: 'Overland' },
        ],
      },
    ],
    confirm: t().makeToken,
    submit: async (form) => {
      const label = String(form.get('name'));
      const { token } = await ask(
        employeeId
          ? rest.rpc('create_device_token', { employee_id: employeeId, name: label })
          : rest.rpc('my_device_token', { name: label }),
      );
      await reload();
      const app = String(form.get('app'));
      const { renderSVG } = await import('uqr');
      const code = setupAddress(app, token);
      showSecret({
        title: t().connectTitle(name),
        body: <p>{t().scan[app as 'traccar']}</p>,
        label: t().token,
        secret: token,
        extra: (
          <>
            <img
              class="qr"
              alt={t().qrCode}
              src={`data:image/svg+xml,${encodeURIComponent(renderSVG(code, { border: 2 }))}`}
            />
            <dl class="lines">
              <div>
                <dt>{t().server}</dt>
                <dd>
                  <code>{`${settings().url}/functions/v1/ingest/${app === 'traccar' ? 'osmand' : app}`}</code>
                </dd>
              </div>
            </dl>
          </>
        ),
      });
    },
  });
}

/** What an app takes as its set-up from a code or a link. */
function setupAddress(app: string, token: string): string {
  const server = `${settings().url}/functions/v1/ingest`;
  if (app === 'owntracks') {
    const setup = {
      _type: 'configuration',
      mode: 3,
      url: `${server}/owntracks`,
      auth: true,
      username: 'phone',
      password: token,
    };
    return `owntracks:///config?inline=${btoa(JSON.stringify(setup))}`;
  }
  if (app === 'overland') return `overland://setup?url=${encodeURIComponent(`${server}/overland`)}&token=${token}`;
  return `${server}/osmand?id=${token}&interval=30`;
}

/** All data about a person, page by page, as one file. */
export async function exportPerson(employeeId: string | undefined, name: string): Promise<void> {
  await act(t().saved, async () => {
    type Page = { points: unknown[]; next: unknown } & Record<string, unknown>;
    let file: Page | undefined;
    let after: unknown;
    do {
      const request = { ...(employeeId ? { employee_id: employeeId } : {}), ...(after ? { after } : {}) };
      const page = (await ask(rest.rpc('export_employee_data', request as never))) as Page;
      file = file ? { ...file, points: [...file.points, ...page.points] } : page;
      after = page.next;
    } while (after);
    const { next: _, ...data } = file;
    saveAs(`${name}.json`, JSON.stringify(data, null, 2), 'application/json');
  });
}

function erase(who: Employee, reload: () => Promise<void>): void {
  askFor({
    title: t().eraseTitle(who.name),
    body: <p>{t().eraseBody}</p>,
    fields: [
      { name: 'reason', label: t().reason, required: true, note: t().eraseReasonNote },
      { name: 'typed', label: t().typeName(who.name), required: true },
    ],
    confirm: t().erase,
    isBad: true,
    submit: async (form) => {
      if (String(form.get('typed')).trim() !== who.name.trim()) throw new Error(t().nameDiffers);
      const { receipts: paths } = await ask(
        rest.rpc('erase_employee', { employee_id: who.id, reason: String(form.get('reason')) }),
      );
      if (paths.length > 0) {
        const { error } = await (await receipts()).remove(paths);
        if (error) throw error;
      }
      notify(t().erased);
      go('people');
      await reload();
    },
  });
}

type Device = Tables['device_tokens'];

function PersonPage({ id }: { id: string }) {
  const load = useLoad(() => ask(rest.from('employees').select(EMPLOYEE).eq('id', id)).then(only), [id]);
  const reload = async () => {
    await Promise.all([load.reload(), devices.reload()]);
  };
  const devices = useLoad(
    () =>
      ask(
        rest
          .from('device_tokens')
          .select('*')
          .eq('employee_id', id)
          .order('created_at', { ascending: false })
          .limit(50),
      ),
    [id],
  );
  const summary = useLoad(() => ask(rest.rpc('get_user_summary', { employee_id: id })), [id]);
  const audit = useLoad(
    () => ask(rest.from('audit_log').select('*').eq('subject_id', id).order('id', { ascending: false }).limit(20)),
    [id],
  );
  const sessions = usePages<Session>(
    (after) => {
      const query = rest
        .from('attendance_sessions')
        .select(SESSION)
        .eq('employee_id', id)
        .order('checked_in_at', { ascending: false })
        .order('id')
        .limit(20);
      return ask(after ? query.lt('checked_in_at', after.checked_in_at) : query);
    },
    [id],
    20,
  );
  return (
    <Loaded load={load} rows={8}>
      {(who) => (
        <Page
          title={who.name}
          lead={
            <>
              <a class="back" href={href('people')}>
                <Icon name="left" size={15} /> {t().screens.people}
              </a>{' '}
              · {who.employee_code} · {t().roles[who.app_role] ?? who.app_role}
              {!who.is_active && (
                <>
                  {' '}
                  <Pill tone="bad">{t().inactive}</Pill>
                </>
              )}
            </>
          }
          actions={
            <>
              <button type="button" class="button" onClick={() => connectPhone(who.id, who.name, reload)}>
                <Icon name="phone" size={16} /> {t().connectPhone}
              </button>
              <Menu label={t().actsFor(who.name)} items={personActs(who, reload)} />
            </>
          }
        >
          <div class="stats">
            <Stat label={t().days30} value={summary.data ? count(summary.data.days) : '–'} />
            <Stat label={t().hoursWorked} value={summary.data ? span(summary.data.duration_s) : '–'} />
            <Stat label={t().distance} value={summary.data ? km(summary.data.distance_m) : '–'} />
            <Stat
              label={t().expensesPending}
              value={summary.data ? count(summary.data.expenses_pending) : '–'}
              {...(summary.data?.expenses_pending ? { tone: 'warn' as const } : {})}
            />
          </div>
          <div class="stack">
            <Card title={t().sessions}>
              <Loaded
                load={sessions.load}
                isEmpty={() => sessions.rows.length === 0}
                empty={<Empty icon="day" title={t().noSessions} />}
              >
                {() => (
                  <>
                    <SessionTable rows={sessions.rows} reload={sessions.load.reload} />
                    <More pages={sessions} />
                  </>
                )}
              </Loaded>
            </Card>
            <div class="columns">
              <Devices load={devices} />
              <Card title={t().audit}>
                <Loaded
                  load={audit}
                  isEmpty={(rows) => rows.length === 0}
                  empty={<p class="muted">{t().nothingYet}</p>}
                  rows={3}
                >
                  {(rows) => (
                    <ol class="log">
                      {rows.map(({ id: key, action, created_at, reason }) => (
                        <li key={key}>
                          <time>{dateTime(created_at)}</time>
                          <span>
                            {t().actions[action] ?? action}
                            {reason && <small>{reason}</small>}
                          </span>
                        </li>
                      ))}
                    </ol>
                  )}
                </Loaded>
              </Card>
            </div>
          </div>
        </Page>
      )}
    </Loaded>
  );
}

export function Devices({
  load,
}: {
  load: { data: Device[] | undefined } & Parameters<typeof Loaded<Device[]>>[0]['load'];
}) {
  const revoke = (device: Device) =>
    askFor({
      title: t().revokeTitle(device.name),
      body: <p>{t().revokeDeviceBody}</p>,
      confirm: t().revoke,
      isBad: true,
      submit: async () => {
        await ask(rest.rpc('revoke_device_token', { device_token_id: device.id }));
        await load.reload();
        notify(t().revoked(device.name));
      },
    });
  return (
    <Card title={t().phones}>
      <Loaded load={load} isEmpty={(rows) => rows.length === 0} empty={<p class="muted">{t().noPhones}</p>} rows={2}>
        {(rows) => (
          <ul class="rows">
            {rows.map((device) => (
              <li key={device.id}>
                <Icon name="phone" />
                <span class="grow">
                  <strong>{device.name}</strong>
                  <small>
                    …{device.last_four} ·{' '}
                    {device.last_seen_at
                      ? `${t().lastSeen} ${dateTime(device.last_seen_at)} ${zoneName()}`
                      : t().neverSeen}{' '}
                    · {t().pointsStored(device.points_stored)}
                  </small>
                </span>
                {device.revoked_at ? (
                  <Pill tone="bad">{t().revokedPill}</Pill>
                ) : (
                  <button type="button" class="button small" onClick={() => revoke(device)}>
                    {t().revoke}
                  </button>
                )}
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

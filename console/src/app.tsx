import { useSignal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { refusalOf } from './api.ts';
import { language, speak, t } from './i18n/index.ts';
import { liveState } from './live.ts';
import { followPeople, forgetPeople } from './people.ts';
import { href, route } from './router.ts';
import { SignIn } from './screens/sign-in.tsx';
import { Stranger } from './screens/stranger.tsx';
import { isAdmin, online, profile, session, signOut } from './session.ts';
import { theme } from './theme.ts';
import { zoneName } from './time.ts';
import { DialogHost, NoticeHost } from './ui/dialog.tsx';
import { Icon, type IconName } from './ui/icons.tsx';
import { Avatar, RefusalNote, Skeleton } from './ui/kit.tsx';

type Screen = { path: string; icon: IconName; load: () => Promise<ComponentType>; inMenu: boolean };

// Each screen is a file of its own, fetched when it is first opened.
const adminScreens: Screen[] = [
  { path: 'now', icon: 'now', load: async () => (await import('./screens/now.tsx')).Now, inMenu: true },
  { path: 'day', icon: 'day', load: async () => (await import('./screens/day.tsx')).Day, inMenu: true },
  {
    path: 'approvals',
    icon: 'approvals',
    load: async () => (await import('./screens/approvals.tsx')).Approvals,
    inMenu: true,
  },
  { path: 'people', icon: 'people', load: async () => (await import('./screens/people.tsx')).People, inMenu: true },
  { path: 'reports', icon: 'reports', load: async () => (await import('./screens/reports.tsx')).Reports, inMenu: true },
  {
    path: 'integrations',
    icon: 'integrations',
    load: async () => (await import('./screens/integrations.tsx')).Integrations,
    inMenu: true,
  },
];
const ownScreens: Screen[] = [
  { path: 'mine', icon: 'mine', load: async () => (await import('./screens/mine.tsx')).Mine, inMenu: true },
  { path: 'route', icon: 'route', load: async () => (await import('./screens/route.tsx')).RouteScreen, inMenu: false },
];

export function App() {
  const state = session.value;
  return (
    <>
      {!online.value && (
        <div class="banner" role="status">
          <Icon name="offline" size={16} /> {t().offlineTitle}
        </div>
      )}
      {state.is === 'starting' && (
        <div class="gate">
          <Skeleton rows={4} />
        </div>
      )}
      {state.is === 'signed out' && <SignIn key={route.value.path[0]} ended={state.why === 'ended'} />}
      {state.is === 'stranger' && <Stranger email={state.email} />}
      {state.is === 'refused' && (
        <div class="gate">
          <RefusalNote refusal={state.refusal} retry={() => location.reload()} />
          <button type="button" class="button" onClick={() => void signOut()}>
            {t().signOut}
          </button>
        </div>
      )}
      {state.is === 'member' && <Shell />}
      <DialogHost />
      <NoticeHost />
    </>
  );
}

function Shell() {
  const admin = isAdmin.value;
  const screens = admin ? [...adminScreens, ...ownScreens] : ownScreens;
  const wanted = route.value.path[0] ?? '';
  // A screen that is not the person's to see, and the page for invitations once one is in, lead to the first one.
  const screen = screens.find(({ path }) => path === wanted) ?? screens[0];
  useEffect(() => {
    if (!admin) return;
    followPeople();
    return forgetPeople;
  }, [admin]);
  if (!screen) return null;
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={() => document.getElementById('main')?.focus()}>
        {t().skipToContent}
      </button>
      <Menu screens={screens} current={screen.path} />
      <main id="main" tabIndex={-1}>
        <LazyScreen key={screen.path} screen={screen} />
      </main>
    </div>
  );
}

function LazyScreen({ screen }: { screen: Screen }) {
  const loaded = useSignal<{ is: ComponentType } | undefined>(undefined);
  const failure = useSignal<unknown>(undefined);
  useEffect(() => {
    screen.load().then(
      (is) => {
        loaded.value = { is };
      },
      (error: unknown) => {
        failure.value = error;
      },
    );
  }, [screen]);
  if (failure.value) return <RefusalNote refusal={refusalOf(failure.value)} retry={() => location.reload()} />;
  const Loaded = loaded.value?.is;
  return Loaded ? <Loaded /> : <Skeleton rows={8} />;
}

function Menu({ screens, current }: { screens: Screen[]; current: string }) {
  const organization = profile.value?.organization;
  const name = profile.value?.name ?? '';
  return (
    <nav class="side" aria-label={t().menu}>
      <div class="brand">
        <img src="./icon.svg" alt="" width={30} height={30} />
        <div>
          <strong>{organization?.name}</strong>
          <span>
            {t().timesIn} {zoneName()}
          </span>
        </div>
      </div>
      <ul>
        {screens.map(
          ({ path, icon, inMenu }) =>
            inMenu && (
              <li key={path}>
                <a href={href(path)} aria-current={path === current ? 'page' : undefined}>
                  <Icon name={icon} />
                  <span>{t().screens[path as keyof ReturnType<typeof t>['screens']]}</span>
                </a>
              </li>
            ),
        )}
      </ul>
      <div class="me">
        {isAdmin.value && <LiveLight />}
        <button type="button" class="who" popovertarget="account">
          <Avatar name={name} />
          <span class="who-name">
            {name}
            <small>{t().roles[profile.value?.app_role ?? 'EMPLOYEE']}</small>
          </span>
          <span class="visually-hidden">{t().account}</span>
        </button>
        <Account />
      </div>
    </nav>
  );
}

function LiveLight() {
  const state = liveState.value;
  return (
    <span class={`live is-${state}`} role="status">
      <i />
      <span>{t().live[state]}</span>
    </span>
  );
}

function Account() {
  return (
    <div id="account" popover="auto" class="menu account">
      <fieldset>
        <legend>{t().language}</legend>
        {(['en', 'de'] as const).map((code) => (
          <button key={code} type="button" aria-pressed={language.value === code} onClick={() => void speak(code)}>
            {{ en: 'English', de: 'Deutsch' }[code]}
          </button>
        ))}
      </fieldset>
      <fieldset>
        <legend>{t().appearance}</legend>
        {(['auto', 'light', 'dark'] as const).map((choice) => (
          <button
            key={choice}
            type="button"
            aria-pressed={theme.value === choice}
            onClick={() => {
              theme.value = choice;
            }}
          >
            {t().themes[choice]}
          </button>
        ))}
      </fieldset>
      <button type="button" onClick={() => void signOut()}>
        <Icon name="leave" size={16} /> {t().signOut}
      </button>
    </div>
  );
}

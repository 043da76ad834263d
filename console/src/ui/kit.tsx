import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { type Refusal, refusalOf } from '../api.ts';
import { initials } from '../format.ts';
import { t } from '../i18n/index.ts';
import { Icon, type IconName } from './icons.tsx';

// Small parts that every screen is made of.

export type Load<T> = {
  data: T | undefined;
  refusal: Refusal | undefined;
  isLoading: boolean;
  reload: () => Promise<void>;
};

/** Reads something when `keys` change; what was shown stays until the new data is there. */
export function useLoad<T>(read: () => Promise<T>, keys: unknown[]): Load<T> {
  const state = useSignal<{ data: T | undefined; refusal: Refusal | undefined; isLoading: boolean }>({
    data: undefined,
    refusal: undefined,
    isLoading: true,
  });
  const turn = useRef(0);
  const reload = async () => {
    turn.current += 1;
    const mine = turn.current;
    state.value = { ...state.peek(), isLoading: true };
    try {
      const data = await read();
      if (mine === turn.current) state.value = { data, refusal: undefined, isLoading: false };
    } catch (error) {
      if (mine === turn.current) state.value = { ...state.peek(), refusal: refusalOf(error), isLoading: false };
    }
  };
  useEffect(() => {
    state.value = { data: undefined, refusal: undefined, isLoading: true };
    void reload();
    const retry = () => {
      if (state.peek().refusal) void reload();
    };
    addEventListener('online', retry);
    return () => {
      turn.current += 1;
      removeEventListener('online', retry);
    };
  }, keys);
  return { ...state.value, reload };
}

/** What a screen shows of something that is read: the refusal with its hint, a placeholder, nothing there, or the thing. */
export function Loaded<T>(props: {
  load: Load<T>;
  isEmpty?: (data: T) => boolean;
  empty?: ComponentChildren;
  rows?: number;
  children: (data: T) => ComponentChildren;
}) {
  const { load, isEmpty, empty, rows = 6, children } = props;
  if (load.refusal && load.data === undefined) {
    return <RefusalNote refusal={load.refusal} retry={() => void load.reload()} />;
  }
  if (load.data === undefined) return <Skeleton rows={rows} />;
  return (
    <>
      {load.refusal && <RefusalNote refusal={load.refusal} retry={() => void load.reload()} />}
      {isEmpty?.(load.data) ? empty : children(load.data)}
    </>
  );
}

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="skeleton" role="status" aria-label={t().loading}>
      {Array.from({ length: rows }, (_, index) => (
        <i key={index} />
      ))}
    </div>
  );
}

/** The refusal as the API words it, and its hint. */
export function RefusalNote({ refusal, retry }: { refusal: Refusal; retry?: () => void }) {
  const isOffline = refusal.code === 'offline';
  return (
    <div class="note bad" role="alert">
      <Icon name={isOffline ? 'offline' : 'warn'} />
      <div>
        <strong>{isOffline ? t().offlineTitle : refusal.message || t().failed}</strong>
        <p>{isOffline ? t().offlineText : refusal.hint}</p>
        {!isOffline && <code>{refusal.code}</code>}
      </div>
      {retry && (
        <button type="button" class="button" onClick={retry}>
          {t().tryAgain}
        </button>
      )}
    </div>
  );
}

export function Empty(props: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span>
        <Icon name={props.icon} size={26} />
      </span>
      <strong>{props.title}</strong>
      {props.children && <p>{props.children}</p>}
    </div>
  );
}

export function Avatar({ name, tone }: { name: string; tone?: Tone }) {
  return (
    <span class={`avatar hue${hueOf(name)} ${tone ?? ''}`} aria-hidden="true">
      {initials(name)}
    </span>
  );
}

/** One of eight calm colours, always the same for a name. */
export function hueOf(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 8191;
  return sum % 8;
}

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'calm';

export function Pill({ tone = 'calm', icon, children }: { tone?: Tone; icon?: IconName; children: ComponentChildren }) {
  return (
    <span class={`pill ${tone}`}>
      {icon && <Icon name={icon} size={13} />}
      {children}
    </span>
  );
}

export function Stat(props: { label: string; value: ComponentChildren; note?: ComponentChildren; tone?: Tone }) {
  return (
    <div class={`stat ${props.tone ?? ''}`}>
      <span>{props.label}</span>
      <strong>{props.value}</strong>
      {props.note && <small>{props.note}</small>}
    </div>
  );
}

export function Page(props: {
  title: string;
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  wide?: boolean;
  children: ComponentChildren;
}) {
  return (
    <div class={`page ${props.wide ? 'wide' : ''}`}>
      <header class="page-head">
        <div>
          <h1>{props.title}</h1>
          {props.lead && <p>{props.lead}</p>}
        </div>
        {props.actions && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </div>
  );
}

export function Card(props: {
  title?: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <section class="card">
      {props.title && (
        <header>
          <h2>{props.title}</h2>
          {props.note && <span class="muted">{props.note}</span>}
          {props.actions && <div class="actions">{props.actions}</div>}
        </header>
      )}
      {props.children}
    </section>
  );
}

/** A button with a menu of acts: native popover and buttons, so keyboards and readers know it. */
export function Menu({ label, items }: { label: string; items: (MenuItem | false | undefined)[] }) {
  const id = useRef(`menu-${Math.random().toString(36).slice(2)}`).current;
  const list = useRef<HTMLDivElement>(null);
  const open = (event: MouseEvent) => {
    const at = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const menu = list.current;
    if (!menu) return;
    menu.style.right = `${Math.max(8, innerWidth - at.right)}px`;
    menu.style.top = at.bottom > innerHeight - 260 ? 'auto' : `${at.bottom + 4}px`;
    menu.style.bottom = at.bottom > innerHeight - 260 ? `${innerHeight - at.top + 4}px` : 'auto';
  };
  return (
    <>
      <button type="button" class="icon-button" aria-label={label} popovertarget={id} onClick={open}>
        <Icon name="more" />
      </button>
      <div id={id} ref={list} popover="auto" class="menu">
        {items.map(
          (item) =>
            item && (
              <button
                key={item.label}
                type="button"
                class={item.isBad ? 'bad' : ''}
                onClick={() => {
                  list.current?.hidePopover();
                  item.act();
                }}
              >
                {item.label}
              </button>
            ),
        )}
      </div>
    </>
  );
}

export type MenuItem = { label: string; act: () => void; isBad?: boolean };

/** Links that look like tabs. */
export function Tabs({ items, current }: { items: { href: string; id: string; label: string }[]; current: string }) {
  return (
    <nav class="tabs" aria-label={t().views}>
      {items.map(({ href, id, label }) => (
        <a key={id} href={href} aria-current={id === current ? 'page' : undefined}>
          {label}
        </a>
      ))}
    </nav>
  );
}

/** A list that is read a page at a time, each page from after the last row of the one before. */
export function usePages<T>(read: (after: T | undefined) => Promise<T[]>, keys: unknown[], size: number) {
  const rows = useSignal<T[]>([]);
  const hasMore = useSignal(false);
  const load = useLoad(async () => {
    const page = await read(undefined);
    rows.value = page;
    hasMore.value = page.length === size;
    return page;
  }, keys);
  const isMore = useSignal(false);
  const more = async () => {
    isMore.value = true;
    try {
      const page = await read(rows.peek().at(-1));
      rows.value = [...rows.peek(), ...page];
      hasMore.value = page.length === size;
    } finally {
      isMore.value = false;
    }
  };
  return { load, rows: rows.value, hasMore: hasMore.value, isMore: isMore.value, more };
}

export function More({ pages }: { pages: { hasMore: boolean; isMore: boolean; more: () => Promise<void> } }) {
  if (!pages.hasMore) return null;
  return (
    <div class="more">
      <button type="button" class="button" disabled={pages.isMore} onClick={() => void pages.more().catch(() => {})}>
        {pages.isMore ? t().loading : t().showMore}
      </button>
    </div>
  );
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

import { useSignal } from '@preact/signals';
import { ask, only, rest, type Tables } from '../api.ts';
import { count, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { href, route } from '../router.ts';
import { clockSeconds, dateTime, fromLocalText, fullDateTime, localText, zoneName } from '../time.ts';
import { act, askFor, notify, showSecret } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import { Card, Empty, Loaded, Menu, More, Page, Pill, Stat, Tabs, type Tone, useLoad, usePages } from '../ui/kit.tsx';

type View = 'keys' | 'webhooks' | 'jobs' | 'health';

/** Other systems: their keys, what is sent to them, and how the machinery is. */
export function Integrations() {
  const [, second, third] = route.value.path;
  const view = (second ?? 'keys') as View;
  return (
    <Page title={t().screens.integrations} lead={t().integrationsLead}>
      <Tabs
        current={view}
        items={(['keys', 'webhooks', 'jobs', 'health'] as const).map((name) => ({
          id: name,
          href: href(`integrations/${name}`),
          label: t().integrationViews[name],
        }))}
      />
      {view === 'webhooks' ? (
        third ? (
          <WebhookPage key={third} id={third} />
        ) : (
          <Webhooks />
        )
      ) : view === 'jobs' ? (
        <Jobs />
      ) : view === 'health' ? (
        <Health />
      ) : (
        <Keys />
      )}
    </Page>
  );
}

type Key = Tables['api_keys'];

const SCOPES = [
  'sessions:read',
  'locations:read',
  'locations:write',
  'expenses:read',
  'expenses:review',
  'employees:read',
  'employees:write',
  'analytics:read',
  'webhooks:manage',
  'events:read',
];

function Keys() {
  const load = useLoad(
    () => ask(rest.from('api_keys').select('*').order('created_at', { ascending: false }).limit(200)),
    [],
  );
  const reveal = (name: string, key: string) =>
    showSecret({ title: t().keyMade(name), body: <p>{t().keyOnce}</p>, label: t().key, secret: key });
  const make = () =>
    askFor({
      title: t().newKey,
      body: <p>{t().newKeyBody}</p>,
      fields: [
        { name: 'name', label: t().name, required: true, maxLength: 100, note: t().keyNameNote },
        {
          name: 'scopes',
          label: t().scopes,
          type: 'checks',
          value: ['sessions:read'],
          options: SCOPES.map((scope) => ({ value: scope, label: scope, note: t().scopeNotes[scope] ?? '' })),
        },
        { name: 'expires', label: `${t().expires} (${zoneName()})`, type: 'datetime-local' },
      ],
      confirm: t().makeKey,
      submit: async (form) => {
        const expires = String(form.get('expires'));
        const name = String(form.get('name'));
        const { key } = await ask(
          rest.rpc('create_api_key', {
            name,
            scopes: form.getAll('scopes').map(String),
            ...(expires ? { expires_at: fromLocalText(expires) } : {}),
          }),
        );
        await load.reload();
        reveal(name, key);
      },
    });
  const rotate = (key: Key) =>
    askFor({
      title: t().rotateTitle(key.name),
      body: <p>{t().rotateBody}</p>,
      fields: [
        { name: 'hours', label: t().overlapHours, type: 'number', min: '0', max: '168', value: '24', required: true },
      ],
      confirm: t().rotate,
      submit: async (form) => {
        const made = await ask(
          rest.rpc('rotate_api_key', { api_key_id: key.id, overlap_hours: Number(form.get('hours')) }),
        );
        await load.reload();
        reveal(key.name, made.key);
      },
    });
  const revoke = (key: Key) =>
    askFor({
      title: t().disconnectTitle(key.name),
      body: <p>{t().disconnectBody}</p>,
      confirm: t().disconnect,
      isBad: true,
      submit: async () => {
        await ask(rest.rpc('revoke_api_key', { api_key_id: key.id }));
        await load.reload();
        notify(t().disconnected(key.name));
      },
    });
  return (
    <Card
      title={t().integrationViews.keys}
      actions={
        <button type="button" class="button primary small" onClick={make}>
          <Icon name="plus" size={15} /> {t().newKey}
        </button>
      }
    >
      <Loaded
        load={load}
        isEmpty={(keys) => keys.length === 0}
        empty={
          <Empty icon="key" title={t().noKeys}>
            {t().noKeysText}
          </Empty>
        }
      >
        {(keys) => (
          <ul class="rows">
            {keys.map((key) => {
              const state = stateOfKey(key);
              return (
                <li key={key.id} class={state.isOver ? 'over' : ''}>
                  <Icon name="key" />
                  <span class="grow">
                    <strong>{key.name}</strong>
                    <small>
                      …{key.last_four} ·{' '}
                      {key.last_used_at ? `${t().lastUsed} ${dateTime(key.last_used_at)} ${zoneName()}` : t().neverUsed}
                      {key.expires_at &&
                        !key.revoked_at &&
                        ` · ${t().expires} ${fullDateTime(key.expires_at)} ${zoneName(key.expires_at)}`}
                    </small>
                    <span class="pills">
                      {key.scopes.map((scope) => (
                        <Pill key={scope}>{scope}</Pill>
                      ))}
                    </span>
                  </span>
                  <Pill tone={state.tone}>{state.text}</Pill>
                  {!state.isOver && (
                    <>
                      <button type="button" class="button small hide-small" onClick={() => rotate(key)}>
                        {t().rotate}
                      </button>
                      <button type="button" class="button small quiet-danger" onClick={() => revoke(key)}>
                        {t().disconnect}
                      </button>
                    </>
                  )}
                </li>
              );
            })}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

function stateOfKey(key: Key): { text: string; tone: Tone; isOver: boolean } {
  if (key.revoked_at) return { text: t().keyStates.revoked, tone: 'bad', isOver: true };
  if (key.expires_at && Date.parse(key.expires_at) < Date.now())
    return { text: t().keyStates.expired, tone: 'calm', isOver: true };
  return { text: t().keyStates.valid, tone: 'good', isOver: false };
}

type Webhook = Tables['webhooks'];

function stateOfWebhook(webhook: Webhook, circuit?: { state: string } | null): { text: string; tone: Tone } {
  if (webhook.disabled_at) return { text: t().webhookStates.disabled, tone: 'bad' };
  if (!webhook.is_active) return { text: t().webhookStates.off, tone: 'calm' };
  if (circuit && circuit.state !== 'CLOSED') return { text: t().webhookStates.failing, tone: 'warn' };
  return { text: t().webhookStates.on, tone: 'good' };
}

const EVENTS = ['*', 'session.*', 'expense.*', 'employee.*', 'organization.updated'];

function Webhooks() {
  const load = useLoad(async () => {
    const [webhooks, circuits] = await Promise.all([
      ask(rest.from('webhooks').select('*').order('created_at').limit(100)),
      ask(rest.from('webhook_circuits').select('*').limit(100)),
    ]);
    return webhooks.map((webhook) => ({
      webhook,
      circuit: circuits.find(({ webhook_id }) => webhook_id === webhook.id),
    }));
  }, []);
  const make = () =>
    askFor({
      title: t().newWebhook,
      body: <p>{t().newWebhookBody}</p>,
      fields: [
        { name: 'url', label: 'URL', type: 'url', required: true },
        { name: 'description', label: t().description },
        {
          name: 'events',
          label: t().eventsLabel,
          type: 'checks',
          value: ['*'],
          options: EVENTS.map((value) => ({ value, label: value, note: t().eventNotes[value] ?? '' })),
        },
      ],
      confirm: t().makeWebhook,
      submit: async (form) => {
        const made = await ask(
          rest.rpc('create_webhook', {
            url: String(form.get('url')),
            events: form.getAll('events').map(String),
            description: String(form.get('description')) || null,
          }),
        );
        await load.reload();
        showSecret({
          title: t().webhookMade,
          body: <p>{t().secretOnce}</p>,
          label: t().signingSecret,
          secret: made.secret,
        });
      },
    });
  return (
    <Card
      title={t().integrationViews.webhooks}
      actions={
        <button type="button" class="button primary small" onClick={make}>
          <Icon name="plus" size={15} /> {t().newWebhook}
        </button>
      }
    >
      <Loaded
        load={load}
        isEmpty={(rows) => rows.length === 0}
        empty={
          <Empty icon="integrations" title={t().noWebhooks}>
            {t().noWebhooksText}
          </Empty>
        }
      >
        {(rows) => (
          <ul class="rows">
            {rows.map(({ webhook, circuit }) => {
              const state = stateOfWebhook(webhook, circuit);
              return (
                <li key={webhook.id}>
                  <Icon name="integrations" />
                  <span class="grow">
                    <a href={href(`integrations/webhooks/${webhook.id}`)}>
                      <strong>{webhook.description || webhook.url}</strong>
                    </a>
                    <small>
                      {webhook.description ? `${webhook.url} · ` : ''}
                      {webhook.events.join(', ')}
                    </small>
                    {circuit && circuit.state !== 'CLOSED' && circuit.failing_since && (
                      <small class="tone-warn">
                        {t().failingSince(
                          `${fullDateTime(circuit.failing_since)} ${zoneName(circuit.failing_since)}`,
                          circuit.consecutive_failures,
                        )}
                      </small>
                    )}
                  </span>
                  <Pill tone={state.tone}>{state.text}</Pill>
                  <a class="button small" href={href(`integrations/webhooks/${webhook.id}`)}>
                    {t().deliveries}
                  </a>
                </li>
              );
            })}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

type Delivery = Tables['webhook_deliveries'];
const deliveryTones: Record<string, Tone> = { DELIVERED: 'good', DEAD: 'bad', PENDING: 'warn' };

function WebhookPage({ id }: { id: string }) {
  const load = useLoad(() => ask(rest.from('webhooks').select('*').eq('id', id)).then(only), [id]);
  const state = useSignal('all');
  const pages = usePages<Delivery>(
    (after) => {
      let query = rest
        .from('webhook_deliveries')
        .select('*')
        .eq('webhook_id', id)
        .order('created_at', { ascending: false })
        .order('id')
        .limit(50);
      if (state.value !== 'all') query = query.eq('state', state.value);
      if (!after) return ask(query);
      const last = `"${after.created_at}"`;
      return ask(query.or(`created_at.lt.${last},and(created_at.eq.${last},id.gt.${after.id})`));
    },
    [id, state.value],
    50,
  );
  const reload = async () => {
    await Promise.all([load.reload(), pages.load.reload()]);
  };
  const retry = (delivery: Delivery) =>
    act(t().retried, () => ask(rest.rpc('retry_webhook_delivery', { delivery_id: delivery.id }))).then(reload);
  const setActive = (is_active: boolean) => async () => {
    await ask(rest.rpc('update_webhook', { webhook_id: id, changes: { is_active } }));
    await reload();
  };
  const replay = () =>
    askFor({
      title: t().replayTitle,
      body: <p>{t().replayBody}</p>,
      fields: [
        {
          name: 'from',
          label: `${t().from} (${zoneName()})`,
          type: 'datetime-local',
          required: true,
          value: localText(Date.now() - 86_400_000),
        },
        {
          name: 'to',
          label: `${t().to} (${zoneName()})`,
          type: 'datetime-local',
          required: true,
          value: localText(Date.now() + 60_000),
        },
        {
          name: 'again',
          label: t().replayWhat,
          type: 'checks',
          options: [{ value: 'yes', label: t().includeDelivered }],
        },
      ],
      confirm: t().replay,
      submit: async (form) => {
        let from: string | null = fromLocalText(String(form.get('from')));
        let queued = 0;
        while (from) {
          const answer: { queued: number; continue_from: string | null } = await ask(
            rest.rpc('replay_webhook_events', {
              webhook_id: id,
              occurred_from: from,
              occurred_to: fromLocalText(String(form.get('to'))),
              include_delivered: form.get('again') === 'yes',
            }),
          );
          queued += answer.queued;
          from = answer.continue_from;
        }
        await reload();
        notify(t().replayed(queued));
      },
    });
  const test = () => act(t().testSent, () => ask(rest.rpc('test_webhook', { webhook_id: id }))).then(reload);
  const rotate = () =>
    askFor({
      title: t().rotateSecretTitle,
      body: <p>{t().rotateSecretBody}</p>,
      fields: [
        { name: 'hours', label: t().overlapHours, type: 'number', min: '0', max: '168', value: '24', required: true },
      ],
      confirm: t().rotate,
      submit: async (form) => {
        const { secret } = await ask(
          rest.rpc('rotate_webhook_secret', { webhook_id: id, overlap_hours: Number(form.get('hours')) }),
        );
        showSecret({ title: t().rotateSecretTitle, body: <p>{t().secretOnce}</p>, label: t().signingSecret, secret });
      },
    });
  return (
    <Loaded load={load}>
      {(webhook) => {
        const { text, tone } = stateOfWebhook(webhook);
        return (
          <div class="stack">
            <a class="back" href={href('integrations/webhooks')}>
              <Icon name="left" size={15} /> {t().integrationViews.webhooks}
            </a>
            <Card
              title={webhook.description || webhook.url}
              note={<Pill tone={tone}>{text}</Pill>}
              actions={
                <>
                  <button type="button" class="button small" disabled={!webhook.is_active} onClick={() => void test()}>
                    {t().sendTest}
                  </button>
                  <button type="button" class="button small" disabled={!webhook.is_active} onClick={replay}>
                    {t().replay}
                  </button>
                  <Menu
                    label={t().actsFor(webhook.description || webhook.url)}
                    items={[
                      webhook.is_active
                        ? {
                            label: t().switchOff,
                            act: () => void act(t().switchedOff, setActive(false), setActive(true)),
                          }
                        : {
                            label: t().switchOn,
                            act: () => void act(t().switchedOn, setActive(true), setActive(false)),
                          },
                      { label: t().rotateSecret, act: rotate },
                    ]}
                  />
                </>
              }
            >
              <dl class="lines">
                <div>
                  <dt>URL</dt>
                  <dd>{webhook.url}</dd>
                </div>
                <div>
                  <dt>{t().eventsLabel}</dt>
                  <dd>{webhook.events.join(', ')}</dd>
                </div>
                {webhook.disabled_at && (
                  <div>
                    <dt>{t().webhookStates.disabled}</dt>
                    <dd>
                      {fullDateTime(webhook.disabled_at)} {zoneName(webhook.disabled_at)} · {webhook.disabled_reason}
                    </dd>
                  </div>
                )}
              </dl>
            </Card>
            <Card
              title={t().deliveries}
              actions={
                <>
                  <select
                    aria-label={t().filter}
                    value={state.value}
                    onChange={(event) => {
                      state.value = event.currentTarget.value;
                    }}
                  >
                    {(['all', 'DEAD', 'PENDING', 'DELIVERED'] as const).map((choice) => (
                      <option key={choice} value={choice}>
                        {t().deliveryStates[choice]}
                      </option>
                    ))}
                  </select>
                  <button
                    type="button"
                    class="icon-button"
                    aria-label={t().refresh}
                    onClick={() => void pages.load.reload()}
                  >
                    <Icon name="refresh" />
                  </button>
                </>
              }
            >
              <Loaded
                load={pages.load}
                isEmpty={() => pages.rows.length === 0}
                empty={<Empty icon="integrations" title={t().noDeliveries} />}
              >
                {() => (
                  <>
                    <ul class="rows">
                      {pages.rows.map((delivery) => (
                        <DeliveryRow key={delivery.id} delivery={delivery} retry={() => void retry(delivery)} />
                      ))}
                    </ul>
                    <More pages={pages} />
                  </>
                )}
              </Loaded>
            </Card>
          </div>
        );
      }}
    </Loaded>
  );
}

function DeliveryRow({ delivery, retry }: { delivery: Delivery; retry: () => void }) {
  const isOpen = useSignal(false);
  const attempts = useLoad(
    async () =>
      isOpen.value
        ? ask(
            rest
              .from('webhook_attempts')
              .select('*')
              .eq('delivery_id', delivery.id)
              .order('number', { ascending: false })
              .limit(20),
          )
        : [],
    [isOpen.value, delivery.attempts],
  );
  return (
    <li class="delivery">
      <button
        type="button"
        class="icon-button"
        aria-expanded={isOpen.value}
        aria-label={t().attempts}
        onClick={() => {
          isOpen.value = !isOpen.value;
        }}
      >
        <Icon name={isOpen.value ? 'down' : 'right'} size={16} />
      </button>
      <span class="grow">
        <strong>{delivery.event_type}</strong>
        <small>
          {dateTime(delivery.created_at)} {zoneName(delivery.created_at)} · {t().attemptsMade(delivery.attempts)}
          {delivery.last_status !== null && ` · HTTP ${delivery.last_status}`}
          {delivery.last_error && ` · ${delivery.last_error}`}
          {delivery.state === 'PENDING' &&
            delivery.next_attempt_at &&
            ` · ${t().nextAttempt} ${clockSeconds(delivery.next_attempt_at)}`}
        </small>
        {isOpen.value && (
          <ol class="log">
            {attempts.data?.map((attempt) => (
              <li key={attempt.number}>
                <time>{clockSeconds(attempt.attempted_at)}</time>
                <span>
                  {attempt.status ? `HTTP ${attempt.status}` : attempt.error} · {Math.round(attempt.duration_ms)} ms
                  {attempt.response && <code>{attempt.response.slice(0, 200)}</code>}
                </span>
              </li>
            ))}
          </ol>
        )}
      </span>
      <Pill tone={deliveryTones[delivery.state] ?? 'calm'}>
        {t().deliveryStates[delivery.state as 'DEAD'] ?? delivery.state}
      </Pill>
      <button type="button" class="button small" onClick={retry}>
        {t().retry}
      </button>
    </li>
  );
}

type Intent = Tables['retry_intents'];

function Jobs() {
  const pages = usePages<Intent>(
    (after) => {
      const query = rest
        .from('retry_intents')
        .select('*')
        .eq('state', 'PENDING')
        .order('created_at', { ascending: false })
        .order('id')
        .limit(50);
      if (!after) return ask(query);
      const last = `"${after.created_at}"`;
      return ask(query.or(`created_at.lt.${last},and(created_at.eq.${last},id.gt.${after.id})`));
    },
    [],
    50,
  );
  const queues = useLoad(() => ask(rest.rpc('queue_stats')), []);
  const reload = async () => {
    await Promise.all([pages.load.reload(), queues.reload()]);
  };
  const replay = (intent: Intent) =>
    act(t().jobReplayed, () => ask(rest.rpc('replay_retry_intent', { retry_intent_id: intent.id }))).then(reload);
  const discard = (intent: Intent) =>
    askFor({
      title: t().discardTitle,
      body: <p>{t().discardBody}</p>,
      confirm: t().discard,
      isBad: true,
      submit: async () => {
        await ask(rest.rpc('discard_retry_intent', { retry_intent_id: intent.id }));
        await reload();
        notify(t().discarded);
      },
    });
  const replayAll = () =>
    askFor({
      title: t().replayAllTitle,
      body: <p>{t().replayAllBody}</p>,
      confirm: t().replayAll,
      submit: async () => {
        const { replayed, left } = await ask(rest.rpc('replay_retry_intents', {}));
        await reload();
        notify(t().replayedJobs(replayed, left));
      },
    });
  return (
    <div class="stack">
      <Card
        title={t().deadJobs}
        actions={
          pages.rows.length > 0 && (
            <button type="button" class="button small" onClick={replayAll}>
              {t().replayAll}
            </button>
          )
        }
      >
        <Loaded
          load={pages.load}
          isEmpty={() => pages.rows.length === 0}
          empty={
            <Empty icon="check" title={t().noDeadJobs}>
              {t().noDeadJobsText}
            </Empty>
          }
        >
          {() => (
            <>
              <ul class="rows">
                {pages.rows.map((intent) => (
                  <li key={intent.id}>
                    <Icon name="warn" />
                    <span class="grow">
                      <strong>{t().queues[intent.queue] ?? intent.queue}</strong>
                      <small>
                        {dateTime(intent.created_at)} {zoneName(intent.created_at)} ·{' '}
                        {t().attemptsMade(intent.attempts)} · {intent.reason}
                      </small>
                    </span>
                    <button type="button" class="button small" onClick={() => void replay(intent)}>
                      {t().retry}
                    </button>
                    <button type="button" class="button small quiet-danger" onClick={() => discard(intent)}>
                      {t().discard}
                    </button>
                  </li>
                ))}
              </ul>
              <More pages={pages} />
            </>
          )}
        </Loaded>
      </Card>
      <Card title={t().queuesTitle}>
        <Loaded load={queues} rows={3}>
          {(rows) => (
            <div class="table-wrap">
              <table>
                <thead>
                  <tr>
                    <th>{t().queue}</th>
                    <th class="number">{t().waiting}</th>
                    <th class="number">{t().active}</th>
                    <th class="number">{t().failedJobs}</th>
                    <th class="number hide-small">{t().oldest}</th>
                  </tr>
                </thead>
                <tbody>
                  {rows
                    .filter(({ queue }) => !queue.endsWith('-dead'))
                    .map((row) => (
                      <tr key={row.queue}>
                        <td>{t().queues[row.queue] ?? row.queue}</td>
                        <td class="number">{count(row.waiting)}</td>
                        <td class="number">{count(row.active)}</td>
                        <td class="number">{count(row.failed)}</td>
                        <td class="number hide-small">{row.waiting > 0 ? span(row.oldest_waiting_s) : '–'}</td>
                      </tr>
                    ))}
                </tbody>
              </table>
            </div>
          )}
        </Loaded>
      </Card>
    </div>
  );
}

type HealthAnswer = {
  status: 'ok' | 'degraded';
  problems: string[];
  sessions: { open: number; forgotten: number };
  distances: { pending: number; failed: number };
  webhooks: { endpoints: number; disabled: number; circuits_open: number };
  deliveries: { pending: number; late: number };
  retry_intents: { pending: number };
  generated_at: string;
};

function Health() {
  const load = useLoad(async () => (await ask(rest.rpc('system_health'))) as HealthAnswer, []);
  return (
    <Loaded load={load} rows={4}>
      {(health) => (
        <div class="stack">
          <div class={`note ${health.status === 'ok' ? 'good' : 'bad'}`}>
            <Icon name={health.status === 'ok' ? 'check' : 'warn'} />
            <div>
              <strong>{health.status === 'ok' ? t().healthy : t().unhealthy}</strong>
              {health.problems.map((problem) => (
                <p key={problem}>{problem}</p>
              ))}
            </div>
            <span class="muted">
              {clockSeconds(health.generated_at)} {zoneName()}
            </span>
            <button type="button" class="icon-button" aria-label={t().refresh} onClick={() => void load.reload()}>
              <Icon name="refresh" />
            </button>
          </div>
          <div class="stats">
            <Stat
              label={t().openSessions}
              value={count(health.sessions.open)}
              note={health.sessions.forgotten > 0 ? t().forgottenOnes(health.sessions.forgotten) : undefined}
            />
            <Stat
              label={t().distancesPending}
              value={count(health.distances.pending)}
              note={health.distances.failed > 0 ? t().failedOnes(health.distances.failed) : undefined}
            />
            <Stat
              label={t().deliveriesPending}
              value={count(health.deliveries.pending)}
              note={health.deliveries.late > 0 ? t().lateOnes(health.deliveries.late) : undefined}
            />
            <Stat
              label={t().integrationViews.webhooks}
              value={count(health.webhooks.endpoints)}
              note={health.webhooks.disabled > 0 ? t().disabledOnes(health.webhooks.disabled) : undefined}
            />
            <Stat label={t().deadJobs} value={count(health.retry_intents.pending)} />
          </div>
        </div>
      )}
    </Loaded>
  );
}

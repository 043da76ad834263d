// The outbox of a phone app: what happened is written down first and sent when there is a network. Without dependencies, so
// that it can be carried over into Kotlin, Swift or Dart as it stands.

export type Point = {
  recorded_at: string; // the phone's time, ISO 8601 with an offset
  latitude: number;
  longitude: number;
  accuracy_m?: number;
  speed_mps?: number;
  heading_deg?: number;
  battery_pct?: number;
  is_mock?: boolean;
};

export type Act =
  | { kind: 'call'; name: 'check_in' | 'check_out' | 'submit_expense'; request: Record<string, unknown> }
  | { kind: 'point'; point: Point };

export type Entry = Act & { key: number };

/** A table on the phone's disk. `add` has written when it answers; `first` answers the oldest, in the order they were added. */
export type Store = {
  add: (act: Act) => Promise<void>;
  first: (count: number) => Promise<Entry[]>;
  /** Forgets what is sent; `sessionId` is the session that points go to from now on, where it is given. */
  remove: (keys: number[], sessionId?: string | null) => Promise<void>;
  sessionId: () => Promise<string | null>;
};

export type Refusal = { code: string; message: string };

/** What the server answers: a session has an id, a batch says what it refused, a refusal has a code. */
type Body = { id?: string; rejected?: []; code?: string; message?: string; details?: string | null };

/** Everything is sent; or wait so long; or the person must sign in. */
export type Flushed = { state: 'empty' } | { state: 'later'; afterMs: number } | { state: 'sign_in' };

type Answer =
  | { verdict: 'done'; body: Body; rejected: { index: number; code: string; message: string }[] }
  | { verdict: 'refused'; body: Body; refusal: Refusal }
  | { verdict: 'refresh' }
  | { verdict: 'later'; afterMs: number };

export type OutboxOptions = {
  url: string;
  publishableKey: string;
  store: Store;
  accessToken: () => Promise<string>;
  /** A new access token by the refresh token; false when the person must sign in. */
  refresh: () => Promise<boolean>;
  /** What will never be taken: show it to the person, and why. */
  onRefused: (entry: Entry, refusal: Refusal) => void;
};

const maxPoints = 100; // that a call takes
const timeoutMs = 20_000;

export function createOutbox(options: OutboxOptions) {
  const { store } = options;
  let failures = 0;
  let running: Promise<Flushed> | undefined;

  /** Sends in order, one call at a time. Called again while it runs, it answers the same. */
  function flush(): Promise<Flushed> {
    running ??= sendAll().finally(() => {
      running = undefined;
    });
    return running;
  }

  async function sendAll(): Promise<Flushed> {
    let mayRefresh = true;
    for (;;) {
      const [head, ...rest] = await store.first(maxPoints);
      if (head === undefined) return { state: 'empty' };
      const end = rest.findIndex(({ kind }) => kind !== 'point');
      // Points that stand together go together; a call goes by itself.
      const batch = head.kind === 'point' ? [head, ...(end === -1 ? rest : rest.slice(0, end))] : [head];
      const answer = await send(batch);
      if (answer.verdict === 'refresh') {
        if (!mayRefresh || !(await options.refresh())) return { state: 'sign_in' };
        mayRefresh = false;
        continue;
      }
      if (answer.verdict === 'later') return { state: 'later', afterMs: answer.afterMs };
      failures = 0;
      mayRefresh = true;
      if (answer.verdict === 'refused') for (const entry of batch) options.onRefused(entry, answer.refusal);
      else for (const { index, ...why } of answer.rejected) options.onRefused(batch[index] ?? head, why);
      // Only now: if the app dies before this line, the same is sent again, and the server knows it.
      await store.remove(
        batch.map(({ key }) => key),
        sessionAfter(head, answer.verdict, answer.body),
      );
    }
  }

  /** Points name their session, because an administrator, or the clock, may have closed it while the phone was away. */
  function sessionAfter(entry: Entry, verdict: 'done' | 'refused', body: Body): string | null | undefined {
    if (entry.kind !== 'call' || entry.name !== 'check_in') return undefined;
    if (verdict === 'done') return body.id ?? null;
    return body.code === 'session_already_open' ? (body.details ?? null) : null;
  }

  async function send(batch: Entry[]): Promise<Answer> {
    const [head] = batch;
    const points = batch.flatMap((entry) => (entry.kind === 'point' ? [entry.point] : []));
    try {
      const [name, request] =
        head?.kind === 'call'
          ? [head.name, head.request]
          : ['record_locations', { points, session_id: await store.sessionId() }];
      const response = await fetch(`${options.url}/rest/v1/rpc/${name}`, {
        method: 'POST',
        headers: {
          apikey: options.publishableKey,
          authorization: `Bearer ${await options.accessToken()}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify(request),
        signal: AbortSignal.timeout(timeoutMs),
      });
      return judge(response, (await response.json()) as Body);
    } catch {
      return later(); // no network, no whole answer, no JSON: nobody knows whether it arrived
    }
  }

  function judge(response: Response, body: Body): Answer {
    if (response.ok) return { verdict: 'done', body, rejected: body.rejected ?? [] };
    const { code = '', message = '' } = body;
    if (response.status === 401) return { verdict: 'refresh' };
    if (response.status === 429) return later(Number(response.headers.get('retry-after') ?? 1) * 1000);
    // An empty code is PostgREST's for a database connection that broke; it comes with status 400.
    if (response.status >= 500 || code === '' || code === 'conflict_retry') return later();
    return { verdict: 'refused', body, refusal: { code, message } };
  }

  /** 1, 2, 4 … 64 seconds, and by chance half of it, so that a thousand phones do not come back at once. */
  function later(afterMs?: number): Answer {
    failures += 1;
    return { verdict: 'later', afterMs: afterMs ?? 1000 * 2 ** Math.min(failures - 1, 6) * (0.5 + Math.random() / 2) };
  }

  const now = () => new Date().toISOString();
  const id = () => crypto.randomUUID(); // made once, written down, and so the same over all attempts
  const call = (name: 'check_in' | 'check_out' | 'submit_expense', request: Record<string, unknown>) =>
    store.add({ kind: 'call', name, request: { ...request, client_request_id: id() } });

  return {
    checkIn: (at = now()) => call('check_in', { checked_in_at: at }),
    checkOut: (at = now()) => call('check_out', { checked_out_at: at }),
    claim: (expense: { amount: number; description: string; category?: string }) => call('submit_expense', expense),
    point: (point: Point) => store.add({ kind: 'point', point }),
    flush,
  };
}

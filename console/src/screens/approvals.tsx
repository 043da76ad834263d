import { useComputed, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { ask, receipts, rest, type Tables } from '../api.ts';
import { km, money, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { onHappening } from '../people.ts';
import { href, route, tune } from '../router.ts';
import { profile } from '../session.ts';
import { dateTime, dayName, zoneName } from '../time.ts';
import { askFor, notify } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import {
  Avatar,
  Empty,
  Loaded,
  More,
  Pill,
  RefusalNote,
  Skeleton,
  Tabs,
  type Tone,
  useLoad,
  usePages,
} from '../ui/kit.tsx';

export type Expense = Tables['expenses'] & { employee: { name: string } | null; reviewer: { name: string } | null };
export const EXPENSE = '*, employee:employees!employee(name), reviewer:employees!reviewer(name)';
type View = 'pending' | 'approved' | 'decided';
const PAGE = 50;

/** What waits for a decision, and what was decided; by mouse or by keyboard alone. */
export function Approvals() {
  const view = useComputed((): View => (route.value.query.get('view') as View | null) ?? 'pending');
  const isPending = view.value === 'pending';
  const pages = usePages<Expense>(
    (after) => {
      let query = rest.from('expenses').select(EXPENSE);
      query =
        view.value === 'pending'
          ? query.eq('status', 'PENDING')
          : view.value === 'approved'
            ? query.eq('status', 'APPROVED').is('paid_at', null)
            : query.neq('status', 'PENDING');
      query = query.order('submitted_at', { ascending: false }).order('id').limit(PAGE);
      if (!after) return ask(query) as Promise<Expense[]>;
      const last = `"${after.submitted_at}"`;
      return ask(
        query
          .lte('submitted_at', after.submitted_at)
          .or(`submitted_at.lt.${last},and(submitted_at.eq.${last},id.gt.${after.id})`),
      ) as Promise<Expense[]>;
    },
    [view.value],
    PAGE,
  );
  const chosen = useComputed(() => route.value.query.get('id') ?? undefined);
  const { rows } = pages;
  const index = Math.max(
    0,
    rows.findIndex(({ id }) => id === chosen.value),
  );
  const expense = rows[index];
  const list = useRef<HTMLUListElement>(null);
  const choose = (to: number) => {
    const next = rows[Math.min(rows.length - 1, Math.max(0, to))];
    if (!next) return;
    tune({ id: next.id });
    list.current?.querySelector(`[data-id="${next.id}"]`)?.scrollIntoView({ block: 'nearest' });
  };
  const after = async () => {
    // The one below takes the place of what was decided.
    tune({ id: rows[index + 1]?.id ?? rows[index - 1]?.id });
    await pages.load.reload();
  };

  useEffect(
    () =>
      onHappening(({ type }) => {
        if (type === 'expense.submitted') void pages.load.reload();
      }),
    [view.value],
  );
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        target.closest('input, textarea, select, dialog, [popover]')
      )
        return;
      if (event.key === 'j' || event.key === 'ArrowDown') choose(index + 1);
      else if (event.key === 'k' || event.key === 'ArrowUp') choose(index - 1);
      else if (expense && canDecide(expense) && event.key === 'a') decide(expense, 'approve', after);
      else if (expense && canDecide(expense) && event.key === 'l') decide(expense, 'less', after);
      else if (expense && canDecide(expense) && event.key === 'r') decide(expense, 'reject', after);
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  });

  return (
    <div class={`approvals ${chosen.value ? 'has-selection' : ''}`}>
      <section class="approvals-list">
        <header>
          <h1>{t().screens.approvals}</h1>
          <Tabs
            current={view.value}
            items={[
              { id: 'pending', href: href('approvals'), label: t().pending },
              { id: 'approved', href: href('approvals', { view: 'approved' }), label: t().toPay },
              { id: 'decided', href: href('approvals', { view: 'decided' }), label: t().decided },
            ]}
          />
        </header>
        <Loaded
          load={pages.load}
          isEmpty={() => rows.length === 0}
          empty={
            <Empty icon="check" title={isPending ? t().allDecided : t().nothingDecided}>
              {isPending ? t().allDecidedText : undefined}
            </Empty>
          }
        >
          {() => (
            <>
              <ul ref={list} class="people-list">
                {rows.map((row, at) => (
                  <li key={row.id}>
                    <button
                      type="button"
                      class="person-row"
                      data-id={row.id}
                      aria-pressed={at === index}
                      onClick={() => choose(at)}
                    >
                      <Avatar name={row.employee?.name ?? '?'} />
                      <span class="grow">
                        <strong>{row.employee?.name ?? t().erasedPerson}</strong>
                        <small>
                          {categoryName(row.category)} · {dayName(row.spent_on)}
                        </small>
                      </span>
                      <span class="figures">
                        <b>{money(row.amount, row.currency)}</b>
                        {isPending ? (
                          row.receipt_path ? (
                            <small class="muted">{t().receipt}</small>
                          ) : null
                        ) : (
                          <StatusPill expense={row} />
                        )}
                      </span>
                    </button>
                  </li>
                ))}
              </ul>
              <More pages={pages} />
            </>
          )}
        </Loaded>
        {view.value === 'approved' && rows.length > 0 && (
          <footer class="keys">
            <button type="button" class="button small" onClick={() => pay(rows, pages.load.reload)}>
              {t().payAll(rows.length)}
            </button>
          </footer>
        )}
        {isPending && rows.length > 0 && (
          <footer class="keys muted">
            <span>
              <kbd>J</kbd> <kbd>K</kbd> {t().keyMove}
            </span>
            <span>
              <kbd>A</kbd> {t().approve}
            </span>
            <span>
              <kbd>L</kbd> {t().less}
            </span>
            <span>
              <kbd>R</kbd> {t().reject}
            </span>
          </footer>
        )}
      </section>
      <section class="approvals-detail" aria-label={t().details}>
        {expense ? (
          <ExpenseDetail key={expense.id} expense={expense} after={after} />
        ) : rows.length > 0 ? (
          <Skeleton rows={4} />
        ) : null}
      </section>
    </div>
  );
}

export const categoryName = (category: string): string => t().categories[category] ?? category;

const tones: Record<string, Tone> = { PENDING: 'warn', APPROVED: 'good', REJECTED: 'bad', WITHDRAWN: 'calm' };
export function StatusPill({ expense }: { expense: Pick<Expense, 'status' | 'paid_at'> }) {
  if (expense.paid_at) return <Pill tone="info">{t().paid}</Pill>;
  return <Pill tone={tones[expense.status] ?? 'calm'}>{t().statuses[expense.status] ?? expense.status}</Pill>;
}

const canDecide = (expense: Expense) =>
  expense.status === 'PENDING' && expense.employee_id !== profile.value?.employee_id;

function decide(expense: Expense, how: 'approve' | 'less' | 'reject', after: () => Promise<void>): void {
  const name = expense.employee?.name ?? t().erasedPerson;
  const amount = money(expense.amount, expense.currency);
  const review = async (more: { status: string; approved_amount?: number; comment?: string }) => {
    await ask(rest.rpc('review_expense', { expense_id: expense.id, ...more }));
    await after();
    notify(more.status === 'APPROVED' ? t().approvedDone(name) : t().rejectedDone(name), async () => {
      await ask(rest.rpc('reopen_expense', { expense_id: expense.id, reason: t().undoReason }));
      await after();
    });
  };
  if (how === 'approve') {
    askFor({
      title: t().approveTitle(amount),
      body: <p>{t().approveBody(name)}</p>,
      confirm: t().approve,
      submit: () => review({ status: 'APPROVED' }),
    });
  } else if (how === 'less') {
    askFor({
      title: t().lessTitle,
      body: <p>{t().lessBody(name, amount)}</p>,
      fields: [
        {
          name: 'amount',
          label: `${t().approvedAmount} (${expense.currency})`,
          type: 'number',
          step: '0.01',
          min: '0.01',
          max: String(expense.amount),
          required: true,
          value: String(expense.amount),
        },
        { name: 'comment', label: t().comment, type: 'textarea', required: true },
      ],
      confirm: t().approve,
      submit: (values) =>
        review({
          status: 'APPROVED',
          approved_amount: Number(values.get('amount')),
          comment: String(values.get('comment')),
        }),
    });
  } else {
    askFor({
      title: t().rejectTitle(amount),
      body: <p>{t().rejectBody(name)}</p>,
      fields: [{ name: 'comment', label: t().comment, type: 'textarea', required: true }],
      confirm: t().reject,
      isBad: true,
      submit: (values) => review({ status: 'REJECTED', comment: String(values.get('comment')) }),
    });
  }
}

/** Marks approved claims as paid, all or none. */
function pay(expenses: Expense[], after: () => Promise<void>): void {
  const ids = expenses.map(({ id }) => id);
  askFor({
    title: t().payTitle(ids.length),
    body: <p>{t().payBody}</p>,
    fields: [{ name: 'reference', label: t().paymentReference, maxLength: 200 }],
    confirm: t().markPaid,
    submit: async (values) => {
      const reference = String(values.get('reference')) || null;
      await ask(rest.rpc('mark_expenses_paid', { expense_ids: ids, reference }));
      await after();
      notify(t().paidDone(ids.length), async () => {
        await ask(rest.rpc('undo_expense_payment', { expense_ids: ids, reason: t().undoReason }));
        await after();
      });
    },
  });
}

function takeBack(expense: Expense, after: () => Promise<void>): void {
  const isPaid = expense.paid_at !== null;
  askFor({
    title: isPaid ? t().unpayTitle : t().reopenTitle,
    body: <p>{isPaid ? t().unpayBody : t().reopenBody}</p>,
    fields: [{ name: 'reason', label: t().reason, required: true, note: t().reasonNote }],
    confirm: isPaid ? t().unpay : t().reopen,
    submit: async (values) => {
      const reason = String(values.get('reason'));
      if (isPaid) await ask(rest.rpc('undo_expense_payment', { expense_ids: [expense.id], reason }));
      else await ask(rest.rpc('reopen_expense', { expense_id: expense.id, reason }));
      await after();
      notify(t().saved);
    },
  });
}

function ExpenseDetail({ expense, after }: { expense: Expense; after: () => Promise<void> }) {
  const name = expense.employee?.name ?? t().erasedPerson;
  const isOwn = expense.employee_id === profile.value?.employee_id;
  return (
    <article class="expense">
      <button type="button" class="link only-small" onClick={() => tune({ id: undefined })}>
        ‹ {t().backToList}
      </button>
      <header>
        <div>
          <span class="muted">{categoryName(expense.category)}</span>
          <h2 class="amount">{money(expense.amount, expense.currency)}</h2>
        </div>
        <StatusPill expense={expense} />
      </header>
      {expense.status === 'PENDING' &&
        (isOwn ? (
          <p class="note">
            <Icon name="people" size={18} /> {t().ownExpense}
          </p>
        ) : (
          <div class="actions">
            <button type="button" class="button primary" onClick={() => decide(expense, 'approve', after)}>
              <Icon name="check" size={16} /> {t().approve}
            </button>
            <button type="button" class="button" onClick={() => decide(expense, 'less', after)}>
              {t().approveLess}
            </button>
            <button type="button" class="button quiet-danger" onClick={() => decide(expense, 'reject', after)}>
              {t().reject}
            </button>
          </div>
        ))}
      {!isOwn && (expense.status === 'APPROVED' || expense.status === 'REJECTED') && (
        <div class="actions">
          {expense.status === 'APPROVED' && !expense.paid_at && (
            <button type="button" class="button primary" onClick={() => pay([expense], after)}>
              {t().markPaid}
            </button>
          )}
          <button type="button" class="button" onClick={() => takeBack(expense, after)}>
            {expense.paid_at ? t().unpay : t().reopen}
          </button>
        </div>
      )}
      {expense.same_receipt_as.length > 0 && (
        <p class="note warn">
          <Icon name="warn" size={18} /> {t().sameReceipt(expense.same_receipt_as.length)}
        </p>
      )}
      <dl class="lines">
        <div>
          <dt>{t().person}</dt>
          <dd>
            <a href={href(`people/${expense.employee_id}`)}>{name}</a>
          </dd>
        </div>
        <div>
          <dt>{t().spentOn}</dt>
          <dd>{dayName(expense.spent_on, 'long')}</dd>
        </div>
        <div>
          <dt>{t().description}</dt>
          <dd>{expense.description}</dd>
        </div>
        <div>
          <dt>{t().claimed}</dt>
          <dd>
            {dateTime(expense.submitted_at)} {zoneName(expense.submitted_at)}
          </dd>
        </div>
        {expense.reviewed_at && (
          <div>
            <dt>{t().decided}</dt>
            <dd>
              {dateTime(expense.reviewed_at)} {zoneName(expense.reviewed_at)}
              {expense.reviewer && ` · ${expense.reviewer.name}`}
              {expense.reviewer_api_key_id && ` · ${t().byKey}`}
            </dd>
          </div>
        )}
        {expense.approved_amount !== null && expense.approved_amount !== expense.amount && (
          <div>
            <dt>{t().approvedAmount}</dt>
            <dd>{money(expense.approved_amount, expense.currency)}</dd>
          </div>
        )}
        {expense.paid_at && (
          <div>
            <dt>{t().paid}</dt>
            <dd>
              {dateTime(expense.paid_at)} {zoneName(expense.paid_at)}
              {expense.payment_reference && ` · ${expense.payment_reference}`}
            </dd>
          </div>
        )}
        {expense.review_comment && (
          <div>
            <dt>{t().comment}</dt>
            <dd>{expense.review_comment}</dd>
          </div>
        )}
        <ThatDay employeeId={expense.employee_id} day={expense.spent_on} />
      </dl>
      {expense.receipt_paths.length === 0 && <p class="note calm">{t().noReceipt}</p>}
      {expense.receipt_paths.map((path) => (
        <Receipt key={path} path={path} />
      ))}
    </article>
  );
}

/** What the person did on the day of the expense: what a claim for the way is held against. */
function ThatDay({ employeeId, day }: { employeeId: string; day: string }) {
  const load = useLoad(
    () =>
      ask(
        rest
          .from('session_days')
          .select('session_id, distance_m, duration_s')
          .eq('employee_id', employeeId)
          .eq('day', day)
          .limit(20),
      ),
    [employeeId, day],
  );
  const days = load.data ?? [];
  if (days.length === 0) return null;
  return (
    <div>
      <dt>{t().thatDay}</dt>
      <dd>
        {days.map(({ session_id, distance_m, duration_s }) => (
          <a key={session_id} href={href(`route/${session_id}`)}>
            {span(duration_s)} · {km(distance_m)}
          </a>
        ))}
      </dd>
    </div>
  );
}

const SIGNED_SECONDS = 300;

/** A receipt by an address that is signed for a few minutes. */
export function Receipt({ path }: { path: string }) {
  const load = useLoad(async () => {
    const { data, error } = await (await receipts()).createSignedUrl(path, SIGNED_SECONDS);
    if (error) throw error;
    return data.signedUrl;
  }, [path]);
  const isBroken = useSignal(false);
  if (load.refusal) return <RefusalNote refusal={load.refusal} retry={() => void load.reload()} />;
  if (!load.data) return <Skeleton rows={3} />;
  return (
    <figure class="receipt">
      {path.endsWith('.pdf') || isBroken.value ? (
        <a class="button" href={load.data} target="_blank" rel="noreferrer">
          <Icon name="approvals" size={16} /> {t().openReceipt}
        </a>
      ) : (
        <a href={load.data} target="_blank" rel="noreferrer">
          <img
            src={load.data}
            alt={t().receipt}
            onError={() => {
              isBroken.value = true;
            }}
          />
        </a>
      )}
    </figure>
  );
}

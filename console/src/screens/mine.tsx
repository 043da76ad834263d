import { ask, only, receipts, rest } from '../api.ts';
import { count, km, money, span } from '../format.ts';
import { t } from '../i18n/index.ts';
import { profile } from '../session.ts';
import { dayName, today, zoneName } from '../time.ts';
import { askFor, notify } from '../ui/dialog.tsx';
import { Icon } from '../ui/icons.tsx';
import { Card, Empty, Loaded, Menu, More, Page, Stat, useLoad, usePages } from '../ui/kit.tsx';
import { categoryName, EXPENSE, type Expense, StatusPill } from './approvals.tsx';
import { SESSION, type Session } from './day.tsx';
import { connectPhone, Devices, exportPerson } from './people.tsx';
import { SessionTable } from './sessions.tsx';

/** What a person sees of the own work: days, routes, expenses, phones, data. */
export function Mine() {
  const me = profile.value;
  const id = me?.employee_id ?? '';
  const name = me?.name ?? '';
  const categories = useLoad(
    async () => only(await ask(rest.from('organizations').select('expense_categories'))).expense_categories,
    [id],
  );
  const summary = useLoad(() => ask(rest.rpc('get_my_summary', {})), []);
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
  const expenses = usePages<Expense>(
    (after) => {
      const query = rest
        .from('expenses')
        .select(EXPENSE)
        .eq('employee_id', id)
        .order('submitted_at', { ascending: false })
        .order('id')
        .limit(20);
      return ask(after ? query.lt('submitted_at', after.submitted_at) : query) as Promise<Expense[]>;
    },
    [id],
    20,
  );
  const devices = useLoad(
    () =>
      ask(
        rest
          .from('device_tokens')
          .select('*')
          .eq('employee_id', id)
          .order('created_at', { ascending: false })
          .limit(20),
      ),
    [id],
  );
  return (
    <Page
      title={t().screens.mine}
      lead={`${name} · ${t().timesIn} ${zoneName()}`}
      actions={
        <>
          <button
            type="button"
            class="button primary"
            onClick={() => claim(categories.data ?? ['OTHER'], expenses.load.reload)}
          >
            <Icon name="plus" size={16} /> {t().claim}
          </button>
          <Menu
            label={t().acts}
            items={[
              { label: t().connectPhone, act: () => connectPhone(undefined, name, devices.reload) },
              { label: t().exportMyData, act: () => void exportPerson(undefined, name) },
            ]}
          />
        </>
      }
    >
      <div class="stats">
        <Stat label={t().hoursThisWeek} value={summary.data ? span(summary.data.duration_s) : '–'} />
        <Stat label={t().kmThisWeek} value={summary.data ? km(summary.data.distance_m) : '–'} />
        <Stat label={t().sessions} value={summary.data ? count(summary.data.sessions) : '–'} />
        <Stat label={t().expensesPending} value={summary.data ? count(summary.data.expenses_pending) : '–'} />
      </div>
      <div class="stack">
        <Card title={t().myDays}>
          <Loaded
            load={sessions.load}
            isEmpty={() => sessions.rows.length === 0}
            empty={
              <Empty icon="day" title={t().noSessions}>
                {t().noSessionsText}
              </Empty>
            }
          >
            {() => (
              <>
                <SessionTable rows={sessions.rows} reload={sessions.load.reload} />
                <More pages={sessions} />
              </>
            )}
          </Loaded>
        </Card>
        <Card title={t().myExpenses}>
          <Loaded
            load={expenses.load}
            isEmpty={() => expenses.rows.length === 0}
            empty={
              <Empty icon="approvals" title={t().noExpenses}>
                {t().noExpensesText}
              </Empty>
            }
          >
            {() => (
              <>
                <ul class="rows">
                  {expenses.rows.map((expense) => (
                    <li key={expense.id}>
                      <Icon name="approvals" />
                      <span class="grow">
                        <strong>{expense.description}</strong>
                        <small>
                          {categoryName(expense.category)} · {dayName(expense.spent_on)}
                          {expense.review_comment && ` · ${expense.review_comment}`}
                        </small>
                      </span>
                      <b>{money(expense.amount, expense.currency)}</b>
                      <StatusPill expense={expense} />
                      {expense.status === 'PENDING' && (
                        <button
                          type="button"
                          class="button small"
                          onClick={() => withdraw(expense, expenses.load.reload)}
                        >
                          {t().withdraw}
                        </button>
                      )}
                    </li>
                  ))}
                </ul>
                <More pages={expenses} />
              </>
            )}
          </Loaded>
        </Card>
        <Devices load={devices} />
      </div>
    </Page>
  );
}

function withdraw(expense: Expense, reload: () => Promise<void>): void {
  askFor({
    title: t().withdrawTitle(money(expense.amount, expense.currency)),
    body: <p>{t().withdrawBody}</p>,
    confirm: t().withdraw,
    isBad: true,
    submit: async () => {
      await ask(rest.rpc('withdraw_expense', { expense_id: expense.id }));
      await reload();
      notify(t().withdrawn);
    },
  });
}

function claim(categories: string[], reload: () => Promise<void>): void {
  // One id for all tries of this claim, so that a retry never claims twice.
  const client_request_id = crypto.randomUUID();
  const currency = profile.value?.organization.currency ?? 'EUR';
  askFor({
    title: t().claim,
    fields: [
      {
        name: 'amount',
        label: `${t().amount} (${currency})`,
        type: 'number',
        step: '0.01',
        min: '0.01',
        required: true,
      },
      {
        name: 'category',
        label: t().category,
        type: 'select',
        value: 'OTHER',
        options: categories.map((value) => ({ value, label: categoryName(value) })),
      },
      { name: 'spent_on', label: t().spentOn, type: 'date', value: today(), max: today(), required: true },
      { name: 'description', label: t().description, required: true, maxLength: 500 },
      {
        name: 'receipt',
        label: t().receipt,
        type: 'file',
        accept: 'image/jpeg,image/png,image/webp,application/pdf',
        note: t().receiptNote,
      },
    ],
    confirm: t().claim,
    submit: async (form) => {
      const file = form.get('receipt');
      let receipt_path: string | null = null;
      if (file instanceof File && file.size > 0) {
        const extension =
          { 'image/jpeg': 'jpg', 'image/png': 'png', 'image/webp': 'webp', 'application/pdf': 'pdf' }[file.type] ?? '';
        const { path } = await ask(rest.rpc('create_receipt_path', { extension }));
        const { error } = await (await receipts()).upload(path, file, { contentType: file.type });
        if (error) throw error;
        receipt_path = path;
      }
      await ask(
        rest.rpc('submit_expense', {
          amount: Number(form.get('amount')),
          category: String(form.get('category')),
          spent_on: String(form.get('spent_on')),
          description: String(form.get('description')),
          client_request_id,
          receipt_path,
        }),
      );
      await reload();
      notify(t().claimDone);
    },
  });
}

-- The life of a claim after it was made. Each step is one guarded statement, audited, and an event:
--
--   PENDING ──update_expense──► PENDING                by the claimant
--   PENDING ──withdraw_expense──► WITHDRAWN            by the claimant; the end
--   PENDING ──review_expense──► APPROVED, REJECTED
--   APPROVED, REJECTED ──reopen_expense──► PENDING     with a reason; not when paid, not on locked days
--   APPROVED ──mark_expenses_paid──► paid              one or many, also of locked days: months are closed before they are paid
--   paid ──undo_expense_payment──► APPROVED            with a reason, not on locked days
--
-- The rule about persons (private.judge_own_expense) holds for deciding and for reopening; to pay is no decision.

-- The row, held for the change that follows. Locks are taken in the order of chapter 000700.
create function private.hold_expense(in_organization_id uuid, in_expense_id uuid) returns public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_expense public.expenses;
begin
  perform private.hold_employee(in_organization_id, (
    select x.employee_id from public.expenses as x
    where x.organization_id = in_organization_id and x.id = in_expense_id
  ));
  select x.* into v_expense
  from public.expenses as x
  where x.organization_id = in_organization_id and x.id = in_expense_id
  for no key update;
  return v_expense;
end;
$$;

comment on function private.hold_expense(uuid, uuid) is
  'A claim of the organization with its person, held until the transaction ends; null if there is none. The lock date comes before.';

create function private.audit_expense(in_action text, in_before public.expenses, in_after public.expenses, in_reason text)
returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform private.audit(in_after.organization_id, in_action, 'expense', in_after.id, c.old_values, c.new_values, in_reason)
  from private.changed(to_jsonb(in_before), to_jsonb(in_after)) as c
  where c.new_values is not null;
end;
$$;

comment on function private.audit_expense(text, public.expenses, public.expenses, text) is
  'Writes what changed of a claim to the audit log. For definers.';

create function private.refuse_expense_state(in_expense public.expenses) returns void
language plpgsql stable
set search_path = ''
as $$
declare
  v_state text := case when in_expense.paid_at is not null then 'PAID' else in_expense.status end;
begin
  perform private.fail('expense_state', format('This expense is %s.', v_state), v_state,
    'docs/api.md, reopen_expense: which state leads to which.');
end;
$$;

comment on function private.refuse_expense_state(public.expenses) is 'Refuses with expense_state; details names the state, PAID too.';

-- What a claim says after the changes, judged.
create function private.changed_claim(in_before public.expenses, in_changes jsonb) returns public.expenses
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_organization public.organizations;
  v_after public.expenses;
begin
  if jsonb_typeof(in_changes) is distinct from 'object'
    or in_changes - array['amount', 'description', 'category', 'currency', 'spent_on', 'receipt_paths'] <> '{}'
  then
    perform private.fail('invalid_argument', 'changes is an object of what a claim says.', 'changes',
      'amount, description, category, currency, spent_on and receipt_paths; only those to change.');
  end if;
  if in_changes ? 'spent_on' and (in_changes ->> 'spent_on' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') is not true then
    perform private.fail('invalid_argument', 'spent_on is a day such as 2026-11-05.', 'spent_on');
  end if;
  v_after := jsonb_populate_record(in_before, in_changes);
  v_after.receipt_paths := coalesce(v_after.receipt_paths, '{}');
  select o.* into strict v_organization from public.organizations as o where o.id = in_before.organization_id;
  perform private.judge_claim(v_organization, in_before.employee_id, v_after.amount, v_after.currency, v_after.category,
    v_after.spent_on, v_after.receipt_paths);
  v_after.amount := round(v_after.amount, private.currency_digits(v_after.currency));
  v_after.receipt_path := v_after.receipt_paths[1];
  v_after.receipt_digests := private.receipt_digests(v_after.receipt_paths);
  v_after.same_receipt_as := private.claims_with_receipt(
    in_before.organization_id, in_before.id, v_after.receipt_paths, v_after.receipt_digests);
  return v_after;
end;
$$;

comment on function private.changed_claim(public.expenses, jsonb) is
  'A claim as the changes make it, judged as in submit_expense. For definers that hold it.';

create function private.change_own_expense(in_expense_id uuid, in_changes jsonb, in_withdraw boolean) returns public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_locked_until date := private.hold_locked_until(v_employee.organization_id);
  v_before public.expenses := private.hold_expense(v_employee.organization_id, in_expense_id);
  v_after public.expenses := v_before;
  v_constraint text;
  v_column text;
begin
  if v_before.employee_id is distinct from v_employee.id then
    perform private.fail('expense_not_found', 'There is no such expense of yours.', in_expense_id::text);
  end if;
  if in_withdraw and v_before.status = 'WITHDRAWN' then
    return v_before;
  end if;
  if v_before.status <> 'PENDING' then
    perform private.refuse_expense_state(v_before);
  end if;
  if not in_withdraw then
    v_after := private.changed_claim(v_before, in_changes);
  end if;
  if least(v_before.spent_on, v_after.spent_on) < v_locked_until then
    perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until), v_before.id::text);
  end if;
  update public.expenses as x
  set status = case when in_withdraw then 'WITHDRAWN' else 'PENDING' end,
    amount = v_after.amount,
    description = v_after.description,
    category = v_after.category,
    currency = v_after.currency,
    spent_on = v_after.spent_on,
    receipt_path = v_after.receipt_path,
    receipt_paths = v_after.receipt_paths,
    receipt_digests = v_after.receipt_digests,
    same_receipt_as = v_after.same_receipt_as,
    edited_at = now()
  where x.organization_id = v_before.organization_id and x.id = v_before.id and x.status = 'PENDING'
  returning x.* into v_after;
  perform private.audit_expense(
    case when in_withdraw then 'expense.withdrawn' else 'expense.updated' end, v_before, v_after, null);
  return v_after;
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The expense cannot have these values.', v_constraint);
  when invalid_text_representation or datetime_field_overflow or invalid_datetime_format then
    perform private.fail('invalid_argument', 'A value has the wrong type.', 'changes');
end;
$$;

comment on function private.change_own_expense(uuid, jsonb, boolean) is
  'Body of public.update_expense and public.withdraw_expense.';

grant execute on function private.change_own_expense(uuid, jsonb, boolean) to authenticated;

create function public.update_expense(expense_id uuid, changes jsonb) returns public.expenses
language sql volatile
set search_path = ''
as $$
  select private.change_own_expense(expense_id, changes, false);
$$;

comment on function public.update_expense(uuid, jsonb) is
  'Changes the caller''s own claim while it is PENDING: {amount?, description?, category?, currency?, spent_on?, receipt_paths?}, judged
as in submit_expense. Audited. Errors: expense_not_found 404, expense_state 409 (details: its state), period_locked 409,
invalid_argument 400, not_a_member 403.';

grant execute on function public.update_expense(uuid, jsonb) to authenticated;

create function public.withdraw_expense(expense_id uuid) returns public.expenses
language sql volatile
set search_path = ''
as $$
  select private.change_own_expense(expense_id, null, true);
$$;

comment on function public.withdraw_expense(uuid) is
  'Takes the caller''s own claim back while it is PENDING; it stays in the list as WITHDRAWN and counts for nothing. Audited. Calling it
again is safe. Errors: expense_not_found 404, expense_state 409 (details: its state), period_locked 409, not_a_member 403.';

grant execute on function public.withdraw_expense(uuid) to authenticated;

create function private.reopen_expense(in_expense_id uuid, in_reason text) returns public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_locked_until date := private.hold_locked_until(v_admin.organization_id);
  v_before public.expenses := private.hold_expense(v_admin.organization_id, in_expense_id);
  v_after public.expenses;
begin
  if coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'Reopening needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  if v_before.id is null then
    perform private.fail('expense_not_found', 'There is no such expense.', in_expense_id::text);
  end if;
  perform private.judge_own_expense(v_admin, v_before);
  if v_before.spent_on < v_locked_until then
    perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until), v_before.id::text);
  end if;
  update public.expenses as x
  set status = 'PENDING',
    approved_amount = null, reviewer_id = null, reviewer_api_key_id = null, reviewed_at = null, review_comment = null,
    is_self_reviewed = false
  where x.organization_id = v_admin.organization_id and x.id = v_before.id
    and x.status in ('APPROVED', 'REJECTED') and x.paid_at is null
  returning x.* into v_after;
  if not found then
    perform private.refuse_expense_state(v_before);
  end if;
  perform private.audit_expense('expense.reopened', v_before, v_after, btrim(in_reason));
  return v_after;
end;
$$;

comment on function private.reopen_expense(uuid, text) is 'Body of public.reopen_expense.';

grant execute on function private.reopen_expense(uuid, text) to authenticated;

create function public.reopen_expense(expense_id uuid, reason text) returns public.expenses
language sql volatile
set search_path = ''
as $$
  select private.reopen_expense(expense_id, reason);
$$;

comment on function public.reopen_expense(uuid, text) is
  'Takes a decision back: an APPROVED or REJECTED claim of another person is PENDING again. States: PENDING leads to PENDING
(update_expense), WITHDRAWN (withdraw_expense), APPROVED or REJECTED (review_expense); those two lead back to PENDING
(reopen_expense); APPROVED leads to paid (mark_expenses_paid: paid_at is set) and paid to APPROVED (undo_expense_payment).
Administrators; audited with the reason. Errors: admin_required 403, own_expense 403, expense_not_found 404, expense_state 409
(details: its state, PAID if it is paid), period_locked 409, invalid_argument 400.';

grant execute on function public.reopen_expense(uuid, text) to authenticated;

-- All or none: a batch is one payment.
create function private.pay_expenses(in_expense_ids uuid[], in_reference text, in_reason text, in_undo boolean)
returns setof public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_reference text := nullif(btrim(in_reference), '');
  v_locked_until date;
  v_before public.expenses;
  v_after public.expenses;
  v_id uuid;
begin
  if (cardinality(in_expense_ids) between 1 and 500) is not true or array_position(in_expense_ids, null) is not null then
    perform private.fail('invalid_argument', 'expense_ids are 1 to 500.', 'expense_ids');
  end if;
  if in_undo and coalesce(char_length(btrim(in_reason)), 0) not between 3 and 1000 then
    perform private.fail('invalid_argument', 'Taking a payment back needs a reason of 3 to 1000 characters.', 'reason');
  end if;
  if char_length(v_reference) > 200 then
    perform private.fail('invalid_argument', 'A reference has at most 200 characters.', 'reference');
  end if;
  v_locked_until := private.hold_locked_until(v_admin.organization_id);
  for v_id in select distinct i.id from unnest(in_expense_ids) as i (id) order by i.id loop
    v_before := private.hold_expense(v_admin.organization_id, v_id);
    if v_before.id is null then
      perform private.fail('expense_not_found', 'There is no such expense.', v_id::text);
    end if;
    if in_undo then
      if v_before.spent_on < v_locked_until then
        perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until), v_id::text);
      end if;
    elsif v_before.paid_at is not null and v_before.payment_reference is not distinct from v_reference then
      -- The same batch again.
      return next v_before;
      continue;
    end if;
    update public.expenses as x
    set paid_at = case when not in_undo then now() end,
      payer_id = case when not in_undo then v_admin.employee_id end,
      payment_reference = case when not in_undo then v_reference end
    where x.organization_id = v_admin.organization_id and x.id = v_id and x.status = 'APPROVED'
      and (x.paid_at is not null) = in_undo
    returning x.* into v_after;
    if not found then
      perform private.refuse_expense_state(v_before);
    end if;
    perform private.audit_expense(case when in_undo then 'expense.payment_undone' else 'expense.paid' end, v_before, v_after,
      nullif(btrim(in_reason), ''));
    return next v_after;
  end loop;
end;
$$;

comment on function private.pay_expenses(uuid[], text, text, boolean) is
  'Body of public.mark_expenses_paid and public.undo_expense_payment.';

grant execute on function private.pay_expenses(uuid[], text, text, boolean) to authenticated;

create function public.mark_expenses_paid(expense_ids uuid[], reference text default null) returns setof public.expenses
language sql volatile
set search_path = ''
as $$
  select * from private.pay_expenses(expense_ids, reference, null, false);
$$;

comment on function public.mark_expenses_paid(uuid[], text) is
  'Marks approved claims as paid, all or none: 1 to 500, with a reference of at most 200 characters; also on locked days. The same
batch again is answered as before. Answers the claims. Administrators; audited. Errors: admin_required 403, expense_not_found 404,
expense_state 409 (details: the state of one that is not approved, or paid under another reference), invalid_argument 400.';

grant execute on function public.mark_expenses_paid(uuid[], text) to authenticated;

create function public.undo_expense_payment(expense_ids uuid[], reason text) returns setof public.expenses
language sql volatile
set search_path = ''
as $$
  select * from private.pay_expenses(expense_ids, null, reason, true);
$$;

comment on function public.undo_expense_payment(uuid[], text) is
  'Takes payments back, all or none, with a reason; not on locked days. Answers the claims. Administrators; audited.
Errors: admin_required 403, expense_not_found 404, expense_state 409, period_locked 409, invalid_argument 400.';

grant execute on function public.undo_expense_payment(uuid[], text) to authenticated;

-- Expenses: what people spent, and what an administrator made of it.
--
-- A claim is PENDING until one administrator approves (all of it or a part) or rejects it; that is one guarded statement,
-- so of two administrators one wins and the other learns the state. Nobody reviews the own claim, by whatever credential; an
-- organization with one administrator may allow it (allows_self_review), and such a claim is marked. A retry with the same
-- client_request_id gets the first row. Receipts lie in the private bucket `receipts` under organization/employee/; the
-- bucket's policies are set up by private.install_platform().

create table public.expenses (
  organization_id uuid not null,
  id uuid not null default gen_random_uuid(),
  employee_id uuid not null,
  spent_on date not null,
  amount numeric not null,
  currency text not null,
  category text not null default 'OTHER',
  description text not null,
  receipt_path text,
  receipt_paths text[] not null default '{}',
  receipt_digests text[] not null default '{}',
  same_receipt_as uuid[] not null default '{}',
  status text not null default 'PENDING',
  approved_amount numeric,
  reviewer_id uuid,
  reviewer_api_key_id uuid,
  reviewed_at timestamptz,
  review_comment text,
  is_self_reviewed boolean not null default false,
  edited_at timestamptz,
  paid_at timestamptz,
  payer_id uuid,
  payment_reference text,
  client_request_id uuid not null,
  submitted_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  -- What a retry is recognised by.
  unique (organization_id, employee_id, client_request_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint reviewer foreign key (organization_id, reviewer_id)
    references public.employees (organization_id, id) on delete set null (reviewer_id),
  constraint payer foreign key (organization_id, payer_id)
    references public.employees (organization_id, id) on delete set null (payer_id),
  constraint reviewer_api_key foreign key (organization_id, reviewer_api_key_id)
    references public.api_keys (organization_id, id) on delete set null (reviewer_api_key_id),
  -- NaN is larger than any number, so the upper bound refuses it too.
  constraint amount_is_positive check (amount > 0 and amount < 10000000000),
  constraint currency_is_iso_4217 check (private.currency_digits(currency) is not null),
  constraint amount_has_the_currencys_digits check (scale(trim_scale(amount)) <= private.currency_digits(currency)),
  constraint approved_amount_has_the_currencys_digits check (
    scale(trim_scale(approved_amount)) <= private.currency_digits(currency)
  ),
  constraint category_is_a_code check (category ~ '^[A-Z][A-Z0-9_]{0,39}$'),
  constraint at_most_10_receipts check (cardinality(receipt_paths) <= 10),
  constraint description_has_3_to_500_characters check (char_length(description) between 3 and 500),
  -- Lines may be broken; what shows nothing describes nothing.
  constraint description_is_readable check (private.is_readable(translate(description, E'\n\r\t', '   '))),
  constraint status_is_valid check (status in ('PENDING', 'APPROVED', 'REJECTED', 'WITHDRAWN')),
  constraint approved_amount_is_at_most_the_amount check (approved_amount > 0 and approved_amount <= amount),
  constraint approved_has_its_amount check ((status = 'APPROVED') = (approved_amount is not null)),
  constraint reviewed_has_its_time check ((status in ('PENDING', 'WITHDRAWN')) = (reviewed_at is null)),
  constraint reviewed_by_a_person_or_a_key check (
    num_nonnulls(reviewer_id, reviewer_api_key_id) <= (status in ('APPROVED', 'REJECTED'))::integer
  ),
  constraint rejected_has_a_comment check (status <> 'REJECTED' or char_length(review_comment) >= 1),
  constraint review_comment_has_at_most_1000_characters check (char_length(review_comment) <= 1000),
  constraint paid_is_approved check (paid_at is null or status = 'APPROVED'),
  constraint payment_has_its_time check (paid_at is not null or num_nonnulls(payer_id, payment_reference) = 0),
  constraint payment_reference_has_1_to_200_characters check (char_length(payment_reference) between 1 and 200),
  constraint nobody_reviews_the_own_expense check (is_self_reviewed or reviewer_id <> employee_id)
);

alter table public.expenses enable row level security;

-- The administrator's lists, newest first: all, and by status.
create index expenses_newest on public.expenses (organization_id, submitted_at desc, id);
create index expenses_newest_by_status on public.expenses (organization_id, status, submitted_at desc, id);

-- A person's list, newest first; also the employee reference.
create index expenses_newest_of_employee on public.expenses (organization_id, employee_id, submitted_at desc);

-- The figures of a day.
create index expenses_day on public.expenses (organization_id, spent_on, employee_id);

-- The references to who reviewed.
create index expenses_reviewer on public.expenses (organization_id, reviewer_id);
create index expenses_reviewer_api_key on public.expenses (organization_id, reviewer_api_key_id);

-- The reference to who paid.
create index expenses_payer on public.expenses (organization_id, payer_id);

-- Is this receipt in another claim? By path, and by what Storage says of the content.
create index expenses_receipt_paths on public.expenses using gin (receipt_paths);
create index expenses_receipt_digests on public.expenses using gin (receipt_digests);

create trigger _100_set_updated_at before update on public.expenses
  for each row execute function private.tg_any__set_updated_at();

comment on table public.expenses is
  'Expense claims. Administrators read all of their organization''s, an employee reads the own ones.';
comment on column public.expenses.spent_on is 'Local date on which it was spent; its figures count on this day.';
comment on column public.expenses.amount is 'Claimed amount, with at most the digits of the currency (JPY 0, EUR 2, KWD 3).';
comment on column public.expenses.currency is 'ISO 4217 code.';
comment on column public.expenses.category is 'One of the organization''s expense_categories when it was claimed.';
comment on column public.expenses.description is '3 to 500 characters.';
comment on column public.expenses.receipt_path is
  'Path of the first receipt in the bucket receipts; read it by a signed URL. The field receipt_is_uploaded says whether the file came.';
comment on column public.expenses.receipt_paths is 'Paths of all receipts, ten at most.';
comment on column public.expenses.receipt_digests is 'What Storage calls their contents (eTag), where Storage is present.';
comment on column public.expenses.same_receipt_as is
  'Other claims (expenses.id) that named one of these receipts before, by path or by content: for the reviewer to look at.';
comment on column public.expenses.edited_at is 'When the claimant changed it last; null: never.';
comment on column public.expenses.paid_at is 'When it was marked as paid; null: not paid.';
comment on column public.expenses.payer_id is 'The administrator (employees.id) who marked it as paid.';
comment on column public.expenses.payment_reference is 'What the payment is called in the books.';
comment on column public.expenses.status is 'PENDING, APPROVED, REJECTED or WITHDRAWN; what is APPROVED and has paid_at is paid.';
comment on column public.expenses.approved_amount is 'What was approved, at most the amount; null unless APPROVED.';
comment on column public.expenses.submitted_at is 'When the claim reached the database.';
comment on column public.expenses.reviewer_id is 'The administrator (employees.id) who approved or rejected.';
comment on column public.expenses.reviewer_api_key_id is
  'The API key (api_keys.id) that approved or rejected; one of the two is null.';
comment on column public.expenses.reviewed_at is 'When that was; null while PENDING.';
comment on column public.expenses.review_comment is 'The reviewer''s words; always there when REJECTED.';
comment on column public.expenses.is_self_reviewed is
  'The claimant decided over the own claim, as the only administrator of an organization that allows it.';
comment on column public.expenses.client_request_id is 'Recognises a retry of the same submission.';

create policy select_member on public.expenses for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.expenses for select to api_key using (
  organization_id = (select private.key_organization_id('expenses:read'))
);

grant select on public.expenses to authenticated, api_key, service_role;

-- NOTE: no insert, update or delete for clients: status, reviewer and amounts move by RPC only.

create function private.create_receipt_path(in_extension text, in_mime_type text) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_extension text := lower(in_extension);
  v_mime_type text;
begin
  v_mime_type := case v_extension
    when 'jpg' then 'image/jpeg'
    when 'jpeg' then 'image/jpeg'
    when 'png' then 'image/png'
    when 'webp' then 'image/webp'
    when 'heic' then 'image/heic'
    when 'heif' then 'image/heif'
    when 'pdf' then 'application/pdf'
  end;
  if v_mime_type is null or in_mime_type <> v_mime_type then
    perform private.fail('invalid_argument', 'A receipt is a jpg, jpeg, png, webp, heic, heif or pdf of the fitting type.',
      'extension', 'Send extension, and mime_type only if it fits it.');
  end if;
  return jsonb_build_object(
    'bucket', 'receipts',
    'path', format('%s/%s/%s.%s', v_employee.organization_id, v_employee.id, gen_random_uuid(),
      v_extension),
    'mime_type', v_mime_type
  );
end;
$$;

comment on function private.create_receipt_path(text, text) is 'Body of public.create_receipt_path.';

grant execute on function private.create_receipt_path(text, text) to authenticated;

create function public.create_receipt_path(extension text, mime_type text default null) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.create_receipt_path(extension, mime_type);
$$;

comment on function public.create_receipt_path(text, text) is
  'A new path for the caller''s receipt: {bucket, path, mime_type}. Upload the file there with storage, then name the path in
submit_expense. Errors: invalid_argument 400, not_a_member 403.';

grant execute on function public.create_receipt_path(text, text) to authenticated;

-- A path may be named in a claim before its file is stored, and the file may never come: a phone is lost, an upload fails.
-- Whoever
-- reviews sees it. Definer, because a key reads claims and may not read Storage; the path is that of a claim that the caller
-- may read.
create function private.is_receipt_uploaded(in_organization_id uuid, in_path text) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_objects regclass := to_regclass('storage.objects');
  v_is_there boolean;
begin
  if in_path is null or v_objects is null then
    return null;
  end if;
  -- Put together, because the table is not there everywhere and plpgsql_check reads this function too.
  execute format('select exists (select from %s as o where o.bucket_id = ''receipts'' and o.name = $1 and o.name like $2)',
    v_objects)
    into v_is_there using in_path, in_organization_id || '/%';
  return v_is_there;
end;
$$;

comment on function private.is_receipt_uploaded(uuid,
  text) is 'Whether the file of a receipt is in Storage; null where there is none.';

grant execute on function private.is_receipt_uploaded(uuid, text) to authenticated, api_key, service_role;

-- A computed field, for PostgREST: `expenses?select=*,receipt_is_uploaded`. It reads the claim again, under the caller's
-- rights: a row
-- that a caller makes up says nothing.
create function public.receipt_is_uploaded(expense public.expenses) returns boolean
language sql stable
set search_path = ''
as $$
  select private.is_receipt_uploaded(x.organization_id, x.receipt_path)
  from public.expenses as x
  where x.organization_id = expense.organization_id and x.id = expense.id;
$$;

comment on function public.receipt_is_uploaded(public.expenses) is
  'A field of expenses, read as expenses?select=*,receipt_is_uploaded or pending_expenses?select=*,expense(receipt_path,receipt_is_uploaded):
false when the file under receipt_path was never uploaded, null when the claim names none.';

grant execute on function public.receipt_is_uploaded(public.expenses) to authenticated, api_key, service_role;

-- What a claim must be, whether it is made or changed. Days are the organization's; where the claimant is, it may be tomorrow
-- already.
create function private.judge_claim(
  in_organization public.organizations, in_employee_id uuid, in_amount numeric, in_currency text, in_category text,
  in_spent_on date, in_receipt_paths text[]
) returns void
language plpgsql stable
set search_path = ''
as $$
declare
  v_today date := private.local_day(in_organization.id, now());
  v_digits integer := private.currency_digits(in_currency);
begin
  if v_digits is null then
    perform private.fail('invalid_argument', format('%s is no currency of ISO 4217.', coalesce(in_currency, 'null')), 'currency',
      'Use a code such as EUR.');
  end if;
  if (in_amount > 0 and in_amount < 10000000000) is not true or scale(trim_scale(in_amount)) > v_digits then
    perform private.fail('invalid_argument',
      format('The amount is above 0, below 10000000000, and has at most %s decimals in %s.', v_digits, in_currency), 'amount');
  end if;
  if (in_category = any (in_organization.expense_categories)) is not true then
    perform private.fail('invalid_argument', 'This is none of the organization''s categories.', 'category',
      array_to_string(in_organization.expense_categories, ', '));
  end if;
  if (in_spent_on between v_today - 366 and v_today + 1) is not true then
    perform private.fail('invalid_argument', 'The day of an expense is at most tomorrow, and at most a year ago.', 'spent_on');
  end if;
  if cardinality(in_receipt_paths) > 10 or exists (
    select from unnest(in_receipt_paths) as r (path)
    where (r.path ~ format(
      '^%s/%s/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.(jpg|jpeg|png|webp|heic|heif|pdf)$',
      in_organization.id, in_employee_id)) is not true
  ) then
    perform private.fail('invalid_argument', 'Receipts are up to ten paths of your own.', 'receipt_path',
      'Get one from create_receipt_path.');
  end if;
end;
$$;

comment on function private.judge_claim(public.organizations, uuid, numeric, text, text, date, text[]) is
  'Refuses (invalid_argument) a claim whose amount, currency, category, day or receipts cannot be. For definers.';

-- What Storage calls the contents of files, where it is present: the same picture under two names has one digest.
create function private.receipt_digests(in_paths text[]) returns text[]
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_objects regclass := to_regclass('storage.objects');
  v_digests text[];
begin
  if v_objects is null or cardinality(in_paths) = 0 then
    return array[]::text[];
  end if;
  execute format($sql$
    select coalesce(array_agg(distinct o.metadata ->> 'eTag'), '{}') from %s as o
    where o.bucket_id = 'receipts' and o.name = any ($1) and o.metadata ->> 'eTag' is not null
  $sql$, v_objects) into v_digests using in_paths;
  return v_digests;
end;
$$;

comment on function private.receipt_digests(text[]) is 'The eTags of uploaded receipts; empty where Storage is not present.';

create function private.claims_with_receipt(
  in_organization_id uuid, in_expense_id uuid, in_paths text[], in_digests text[]
) returns uuid[]
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return array(
    select x.id from public.expenses as x
    where x.organization_id = in_organization_id and x.id is distinct from in_expense_id and x.status <> 'WITHDRAWN'
      and (x.receipt_paths && in_paths or x.receipt_digests && in_digests)
    order by x.submitted_at desc
    limit 20
  );
end;
$$;

comment on function private.claims_with_receipt(uuid, uuid, text[], text[]) is
  'Other claims of the organization that name one of the receipts, newest first, 20 at most. For definers.';

create function private.submit_expense(
  in_amount numeric,
  in_description text,
  in_client_request_id uuid,
  in_category text,
  in_currency text,
  in_spent_on date,
  in_receipt_path text,
  in_receipt_paths text[]
) returns public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_organization public.organizations;
  v_spent_on date;
  v_currency text;
  v_paths text[] := coalesce(in_receipt_paths, array_remove(array[in_receipt_path], null));
  v_digests text[];
  v_locked_until date;
  v_expense public.expenses;
  v_constraint text;
  v_column text;
begin
  if in_client_request_id is null then
    perform private.fail('invalid_argument', 'client_request_id is missing.', 'client_request_id',
      'Make a uuid for each expense and send the same one when you retry.');
  end if;
  if in_receipt_path is not null and in_receipt_paths is not null then
    perform private.fail('invalid_argument', 'Name receipt_path or receipt_paths, not both.', 'receipt_paths');
  end if;
  select o.* into strict v_organization from public.organizations as o where o.id = v_employee.organization_id;
  v_spent_on := coalesce(in_spent_on, private.local_day(v_organization.id, now()));
  v_currency := coalesce(in_currency, v_organization.currency);

  select e.* into v_expense
  from public.expenses as e
  where e.organization_id = v_employee.organization_id and e.employee_id = v_employee.id
    and e.client_request_id = in_client_request_id;
  if not found then
    perform private.judge_claim(v_organization, v_employee.id, in_amount, v_currency, in_category, v_spent_on, v_paths);
    v_locked_until := private.hold_locked_until(v_organization.id);
    if v_spent_on < v_locked_until then
      perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until),
        in_spent_on::text);
    end if;
    v_digests := private.receipt_digests(v_paths);
    insert into public.expenses (
      organization_id, employee_id, spent_on, amount, currency, category, description, receipt_path, receipt_paths,
      receipt_digests, same_receipt_as, client_request_id
    ) values (
      v_employee.organization_id, v_employee.id, v_spent_on, round(in_amount, private.currency_digits(v_currency)), v_currency,
      in_category, in_description, v_paths[1], v_paths, v_digests,
      private.claims_with_receipt(v_organization.id, null, v_paths, v_digests), in_client_request_id
    )
    on conflict do nothing
    returning * into v_expense;
    if found then
      perform private.take_token(v_employee.organization_id, 'expenses', v_employee.id);
      return v_expense;
    end if;
    -- Sent twice at once: the other one won.
    select e.* into strict v_expense
    from public.expenses as e
    where e.organization_id = v_employee.organization_id and e.employee_id = v_employee.id
      and e.client_request_id = in_client_request_id;
  end if;

  -- A claim that was changed since is still the one that this request made.
  if v_expense.edited_at is null and (
    (v_expense.amount, v_expense.description, v_expense.category, v_expense.receipt_paths)
      is distinct from (in_amount, in_description, in_category, v_paths)
    or v_expense.currency <> coalesce(in_currency, v_expense.currency)
    or v_expense.spent_on <> coalesce(in_spent_on, v_expense.spent_on)
  ) then
    perform private.fail('idempotency_mismatch', 'This client_request_id was used for another expense.',
      v_expense.id::text, 'Use a new uuid for a new expense.');
  end if;
  return v_expense;
exception
  when check_violation or not_null_violation then
    get stacked diagnostics v_constraint = constraint_name, v_column = column_name;
    v_constraint := coalesce(nullif(v_constraint, ''), v_column);
    perform private.fail('invalid_argument', 'The expense cannot be submitted with these values.', v_constraint,
      'description has 3 to 500 characters, currency is an ISO 4217 code, category one of the organization''s.');
end;
$$;

comment on function private.submit_expense(numeric, text, uuid, text, text, date, text,
  text[]) is 'Body of public.submit_expense.';

grant execute on function private.submit_expense(numeric, text, uuid, text, text, date, text, text[]) to authenticated;

create function public.submit_expense(
  amount numeric,
  description text,
  client_request_id uuid,
  category text default 'OTHER',
  currency text default null,
  spent_on date default null,
  receipt_path text default null,
  receipt_paths text[] default null
) returns public.expenses
language sql volatile
set search_path = ''
as $$
  select private.submit_expense(
    amount, description, client_request_id, category, currency, spent_on, receipt_path, receipt_paths);
$$;

comment on function public.submit_expense(numeric, text, uuid, text, text, date, text, text[]) is
  'Claims an expense for the caller; currency (ISO 4217, with its digits) defaults to the organization''s, spent_on to today and may be
the organization''s tomorrow. category is one of the organization''s expense_categories. One receipt_path, or up to ten
receipt_paths; same_receipt_as names claims that have one of them already. A retry with the same client_request_id answers the
first row. At most 10 a minute.
Errors: invalid_argument 400, idempotency_mismatch 422, period_locked 409, rate_limited 429, not_a_member 403.';

grant execute on function public.submit_expense(numeric, text, uuid, text, text, date, text, text[]) to authenticated;

-- The rule about persons, for every act of an administrator on a claim. Answers whether the claim is the caller's own and the
-- organization's only administrator decides over it.
create function private.judge_own_expense(in_caller private.caller, in_expense public.expenses) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  if not private.is_same_person(in_caller, in_expense.employee_id) then
    return false;
  end if;
  if (in_caller).employee_id is not null
    and (select o.allows_self_review from public.organizations as o where o.id = in_expense.organization_id)
    and not exists (
      select from public.employees as e
      where e.organization_id = in_expense.organization_id and e.id <> (in_caller).employee_id
        and e.app_role = 'ADMIN' and e.is_active and e.user_id is not null
    )
    and private.is_admin()
  then
    return true;
  end if;
  perform private.fail('own_expense', 'Nobody decides over the own expense.', in_expense.id::text,
    'Another administrator has to do it. Where there is no other one, update_organization can set allows_self_review.');
end;
$$;

comment on function private.judge_own_expense(private.caller, public.expenses) is
  'False: the claim is somebody else''s. True: it is the own one of the only administrator, and the organization allows that. '
  'Errors: own_expense.';

create function private.review_expense(in_expense_id uuid, in_status text, in_approved_amount numeric, in_comment text)
returns public.expenses
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_leader('expenses:review');
  v_before public.expenses;
  v_after public.expenses;
  v_comment text := nullif(btrim(in_comment), '');
  v_locked_until date;
  v_is_own boolean;
begin
  if in_status is null or in_status not in ('APPROVED', 'REJECTED') then
    perform private.fail('invalid_argument', 'status is APPROVED or REJECTED.', 'status');
  end if;
  if in_status = 'REJECTED' and (v_comment is null or in_approved_amount is not null) then
    perform private.fail('invalid_argument', 'A rejection needs a comment and has no approved_amount.', 'comment');
  end if;
  if char_length(v_comment) > 1000 then
    perform private.fail('invalid_argument', 'A comment has at most 1000 characters.', 'comment');
  end if;
  v_locked_until := private.hold_locked_until(v_admin.organization_id);
  -- The person before the expense, which an erasure would hold while it waits for us; and before it is read, or the audit log
  -- would tell again what an erasure took out meanwhile.
  perform private.hold_employee(v_admin.organization_id, (
    select e.employee_id from public.expenses as e
    where e.organization_id = v_admin.organization_id and e.id = in_expense_id
  ));
  select e.* into v_before
  from public.expenses as e
  where e.organization_id = v_admin.organization_id and e.id = in_expense_id
    and (e.employee_id = v_admin.employee_id or private.leads(v_admin, e.employee_id));
  if not found then
    perform private.fail('expense_not_found', 'There is no such expense.', in_expense_id::text);
  end if;
  v_is_own := private.judge_own_expense(v_admin, v_before);
  if in_approved_amount <= 0 or in_approved_amount > v_before.amount
    or scale(trim_scale(in_approved_amount)) > private.currency_digits(v_before.currency)
  then
    perform private.fail('invalid_argument', format('approved_amount is above 0, at most %s, with at most %s decimals (%s).',
      v_before.amount, private.currency_digits(v_before.currency), v_before.currency), 'approved_amount');
  end if;
  if v_before.spent_on < v_locked_until then
    perform private.fail('period_locked', format('Days before %s are locked.', v_locked_until), v_before.id::text);
  end if;

  update public.expenses as e
  set status = in_status,
    approved_amount = case in_status
      when 'APPROVED' then round(coalesce(in_approved_amount, e.amount), private.currency_digits(e.currency)) end,
    review_comment = v_comment,
    reviewer_id = v_admin.employee_id,
    reviewer_api_key_id = v_admin.api_key_id,
    is_self_reviewed = v_is_own,
    reviewed_at = now()
  where e.organization_id = v_admin.organization_id and e.id = v_before.id and e.status = 'PENDING'
  returning e.* into v_after;
  if not found then
    select e.* into v_before
    from public.expenses as e
    where e.organization_id = v_admin.organization_id and e.id = in_expense_id;
    perform private.fail('expense_already_reviewed', format('This expense is already %s.', v_before.status),
      v_before.status);
  end if;
  perform private.audit(
    v_admin.organization_id, format('expense.%s', lower(v_after.status)), 'expense', v_after.id,
    c.old_values, c.new_values, v_comment)
  from private.changed(to_jsonb(v_before), to_jsonb(v_after)) as c;
  return v_after;
end;
$$;

comment on function private.review_expense(uuid, text, numeric, text) is 'Body of public.review_expense.';

grant execute on function private.review_expense(uuid, text, numeric, text) to authenticated, api_key;

create function public.review_expense(
  expense_id uuid, status text, approved_amount numeric default null, comment text default null
) returns public.expenses
language sql volatile
set search_path = ''
as $$
  select private.review_expense(expense_id, status, approved_amount, comment);
$$;

comment on function public.review_expense(uuid, text, numeric, text) is
  'Approves (all, or approved_amount of it) or rejects (with a comment) a pending expense of another person: not one of another
employment of the caller, nor by a key that the claimant made. The only administrator may where the organization allows it
(allows_self_review). Administrators, managers for their teams, and keys with expenses:review.
Errors: admin_required 403, own_expense 403, expense_not_found 404, expense_already_reviewed 409
(details: its state), period_locked 409, invalid_argument 400.';

grant execute on function public.review_expense(uuid, text, numeric, text) to authenticated, api_key;

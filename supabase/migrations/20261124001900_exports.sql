-- Exports: sessions, daily figures and expenses as flat rows that a spreadsheet opens, through PostgREST's own text/csv.
--
-- GET /rest/v1/export_sessions with Accept: text/csv. The views are security_invoker: row level security of the tables beneath
-- decides, so an employee exports the own rows and an administrator the organization's. A page has 1,000 rows at the most;
-- each view has an order that is unique and indexed, and the next page begins after the last row of the one before (docs/api.md).
-- Text that people typed is neutralised: a spreadsheet runs a cell that begins with =, +, - or @ (and their full-width
-- forms), with a tab or a line break. Such a cell gets an apostrophe in front. Where the list separator is a semicolon, a
-- spreadsheet splits a cell there, so what follows one directly is treated alike. Numbers stay numbers.
-- Amounts have the digits of their currency, however they were written: 0.50 in EUR, 50 in JPY.
-- org_daily_metrics and org_daily_expenses hold no such text and are exported as they are.

create function private.csv_text(in_value text) returns text
language sql immutable
set search_path = ''
as $$
  select case
    when in_value ~ '[-=+@＝＋－＠\t\r\n]' then
      case when in_value ~ '^(\s*[-=+@＝＋－＠]|[\t\r\n])' then '''' else '' end
      || regexp_replace(in_value, '([;|\t\r\n]\s*)([-=+@＝＋－＠])', '\1''\2', 'g')
    else in_value
  end;
$$;

comment on function private.csv_text(text) is
  'Text for a cell of a spreadsheet: what it would run as a formula gets an apostrophe in front.';

grant execute on function private.csv_text(text) to authenticated, api_key, service_role;

-- The views ask as the caller.
grant execute on function private.currency_digits(text) to authenticated, api_key, service_role;

-- PostgreSQL judges whether a view of a join can be written before it asks who may, and PostgREST makes a 500 of that. With a
-- trigger that could write it comes to the grants: nobody has one, so a write is refused as everywhere (42501).
create function private.tg_exports__refuse_write() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'Exports are read, not written.' using errcode = 'insufficient_privilege';
end;
$$;

comment on function private.tg_exports__refuse_write() is 'Instead of a write: refuses it.';

-- The zone in force at a moment. A function and not a join: a planner that sees so small a table reads it whole and sorts it for
-- each row. Row level security of the caller decides, as in the views.
create function private.time_zone_at(in_organization_id uuid, in_at timestamptz) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select z.time_zone
    from public.organization_time_zones as z
    where z.organization_id = in_organization_id and z.valid_from <= in_at
    order by z.valid_from desc
    limit 1
  );
end;
$$;

comment on function private.time_zone_at(uuid, timestamptz) is
  'IANA name of the zone that was in force in the organization at this moment; null if the caller may not see it.';

grant execute on function private.time_zone_at(uuid, timestamptz) to authenticated, api_key, service_role;

create view public.export_sessions with (security_invoker = true) as
select
  s.id as session_id,
  s.employee_id,
  private.csv_text(e.employee_code) as employee_code,
  private.csv_text(e.name) as employee_name,
  s.status,
  s.checked_in_at,
  s.checked_out_at,
  s.closed_by,
  s.duration_s,
  s.distance_m,
  s.distance_status,
  s.original_checked_in_at,
  s.original_checked_out_at,
  s.corrected_at,
  z.time_zone,
  (s.checked_in_at at time zone z.time_zone)::date as local_day,
  to_char(s.checked_in_at at time zone z.time_zone, 'YYYY-MM-DD HH24:MI:SS') as local_checked_in_at,
  to_char(s.checked_out_at at time zone z.time_zone, 'YYYY-MM-DD HH24:MI:SS') as local_checked_out_at,
  s.opened_by,
  s.counts,
  s.needs_review,
  array_to_string(s.review_reasons, ' ') as review_reasons,
  s.provisional_until,
  s.voided_at
from public.attendance_sessions as s
-- Asked once a row, whatever number of columns is in it.
cross join lateral private.time_zone_at(s.organization_id, s.checked_in_at) as z (time_zone)
left join public.employees as e on e.organization_id = s.organization_id and e.id = s.employee_id;

create trigger _100_refuse_write instead of insert or update or delete on public.export_sessions
  for each row execute function private.tg_exports__refuse_write();

comment on view public.export_sessions is
  'Sessions for spreadsheets: order=checked_in_at.desc,session_id; the next page asks for what comes after its last row.';
comment on column public.export_sessions.time_zone is 'The organization''s zone when it began, which the local columns are in.';
comment on column public.export_sessions.local_day is 'The organization''s day on which it began.';
comment on column public.export_sessions.local_checked_in_at is 'When it began, by the clock on the organization''s wall.';
comment on column public.export_sessions.local_checked_out_at is 'When it ended, by the same clock; empty while open.';
comment on column public.export_sessions.opened_by is 'EMPLOYEE, DEVICE, ADMIN or API_KEY.';
comment on column public.export_sessions.counts is 'Whether its hours are in the figures.';
comment on column public.export_sessions.needs_review is 'Whether an administrator has to look at it.';
comment on column public.export_sessions.review_reasons is 'Why, separated by blanks.';
comment on column public.export_sessions.provisional_until is 'Until when an automatic end may still move; else empty.';
comment on column public.export_sessions.voided_at is 'When it was taken back; else empty.';
comment on column public.export_sessions.employee_code is 'The person''s code.';
comment on column public.export_sessions.employee_name is 'The person''s name.';
comment on column public.export_sessions.status is 'ACTIVE (open) or CLOSED.';
comment on column public.export_sessions.checked_in_at is 'When it began.';
comment on column public.export_sessions.checked_out_at is 'When it ended; empty while open.';
comment on column public.export_sessions.closed_by is 'EMPLOYEE, ADMIN or AUTO; empty while open.';
comment on column public.export_sessions.duration_s is 'Whole seconds; empty while open.';
comment on column public.export_sessions.distance_m is 'Metres; empty until computed.';
comment on column public.export_sessions.distance_status is 'PENDING, DONE or FAILED.';
comment on column public.export_sessions.original_checked_in_at is 'Before the first correction; empty if never corrected.';
comment on column public.export_sessions.original_checked_out_at is
  'Before the first correction; empty if never corrected, or if it was open then.';
comment on column public.export_sessions.corrected_at is 'When an administrator last corrected the times.';

grant select on public.export_sessions to authenticated, api_key, service_role;

create view public.export_daily_metrics with (security_invoker = true) as
select
  m.day,
  m.time_zone,
  m.employee_id,
  private.csv_text(e.employee_code) as employee_code,
  private.csv_text(e.name) as employee_name,
  m.sessions,
  m.duration_s,
  m.distance_m,
  m.expenses_pending,
  m.expenses_approved,
  m.expenses_rejected,
  m.currency,
  round(m.claimed_amount, private.currency_digits(m.currency)) as claimed_amount,
  round(m.approved_amount, private.currency_digits(m.currency)) as approved_amount
from public.employee_daily_metrics as m
left join public.employees as e on e.organization_id = m.organization_id and e.id = m.employee_id;

create trigger _100_refuse_write instead of insert or update or delete on public.export_daily_metrics
  for each row execute function private.tg_exports__refuse_write();

comment on view public.export_daily_metrics is
  'Daily figures of people for spreadsheets: order=day,employee_id; the next page asks for what comes after its last row.';
comment on column public.export_daily_metrics.day is 'Local date.';
comment on column public.export_daily_metrics.time_zone is 'IANA name of the zone that names the date.';
comment on column public.export_daily_metrics.employee_code is 'The person''s code.';
comment on column public.export_daily_metrics.employee_name is 'The person''s name.';
comment on column public.export_daily_metrics.sessions is 'Closed sessions that began on this day.';
comment on column public.export_daily_metrics.duration_s is 'Seconds of closed sessions that fell on this day.';
comment on column public.export_daily_metrics.distance_m is 'Metres travelled on this day in closed sessions.';
comment on column public.export_daily_metrics.expenses_pending is 'Expenses spent on this day that nobody reviewed yet.';
comment on column public.export_daily_metrics.expenses_approved is 'Expenses spent on this day that were approved.';
comment on column public.export_daily_metrics.expenses_rejected is 'Expenses spent on this day that were rejected.';
comment on column public.export_daily_metrics.currency is 'The organization''s currency, in which the amounts are.';
comment on column public.export_daily_metrics.claimed_amount is 'What was claimed in it, whatever became of it.';
comment on column public.export_daily_metrics.approved_amount is 'What was approved of it.';

grant select on public.export_daily_metrics to authenticated, api_key, service_role;

create view public.export_expenses with (security_invoker = true) as
select
  x.id as expense_id,
  x.employee_id,
  private.csv_text(e.employee_code) as employee_code,
  private.csv_text(e.name) as employee_name,
  x.spent_on,
  round(x.amount, private.currency_digits(x.currency)) as amount,
  x.currency,
  x.category,
  private.csv_text(x.description) as description,
  x.receipt_path,
  x.status,
  round(x.approved_amount, private.currency_digits(x.currency)) as approved_amount,
  x.reviewed_at,
  private.csv_text(x.review_comment) as review_comment,
  x.submitted_at
from public.expenses as x
left join public.employees as e on e.organization_id = x.organization_id and e.id = x.employee_id;

create trigger _100_refuse_write instead of insert or update or delete on public.export_expenses
  for each row execute function private.tg_exports__refuse_write();

comment on view public.export_expenses is
  'Expenses for spreadsheets: order=submitted_at.desc,expense_id; the next page asks for what comes after its last row.';
comment on column public.export_expenses.expense_id is 'Its id.';
comment on column public.export_expenses.employee_code is 'The person''s code.';
comment on column public.export_expenses.employee_name is 'The person''s name.';
comment on column public.export_expenses.spent_on is 'Local date on which it was spent.';
comment on column public.export_expenses.amount is 'Claimed amount.';
comment on column public.export_expenses.currency is 'ISO 4217 code.';
comment on column public.export_expenses.category is 'As in expenses.';
comment on column public.export_expenses.description is 'What the person wrote.';
comment on column public.export_expenses.receipt_path is 'Path in the bucket receipts.';
comment on column public.export_expenses.status is 'PENDING, APPROVED or REJECTED.';
comment on column public.export_expenses.approved_amount is 'What was approved; empty unless APPROVED.';
comment on column public.export_expenses.reviewed_at is 'When it was reviewed; empty while PENDING.';
comment on column public.export_expenses.review_comment is 'What the reviewer wrote.';
comment on column public.export_expenses.submitted_at is 'When the claim reached the database.';

grant select on public.export_expenses to authenticated, api_key, service_role;

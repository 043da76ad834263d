-- Daily figures: what each person and the organization did on each local day, ready to be read at any history.
--
-- session_days and expenses are the truth; the rows here are sums of them, always recomputed absolutely and never
-- incremented, so that running twice, late or out of order changes nothing. The way of a change:
--
--   session_days or expenses change ► trigger: lock the employee-day, job `analytics` {employee, day}, in the same transaction
--   the job: lock the employee-day, read, write; lock the employee-month, read, write; lock the organization-day, job {day}
--   that job, a second later: lock the organization-day, read all employee-days of that day, write
--
-- Locks are taken in one order everywhere: the row that changes, employee-days by date, then the person's snapshots (hence the
-- numbers of the triggers, 350 before 400).
-- Lock, then read: each writer holds the row that the next job locks until it commits, so no job reads past it. A client's
-- transaction locks and enqueues for one person and day only; what is shared by the organization is locked by the worker
-- alone, for milliseconds. The second's wait lets one organization-day follow many employee-days.
--
-- Closed sessions count (an open one has no session_days yet; who works now is the dashboard's answer). A session counts as
-- one on the day it began, its time and distance on the days they fell on, an expense on the day it was spent on: all of them
-- add up over any range. A day that a correction took everything from stays as a row of zeros.
-- Not covered: reading across days (the next chapter), exports (the one after).

select pgboss.create_queue('analytics-dead', '{"policy": "standard"}');

-- Milliseconds each. The retries ride out a restart of the database, as those of the distance do.
select pgboss.create_queue('analytics', '{
  "policy": "short",
  "retryLimit": 5,
  "retryDelay": 1,
  "retryBackoff": true,
  "retryDelayMax": 60,
  "expireInSeconds": 120,
  "heartbeatSeconds": 60,
  "deadLetter": "analytics-dead"
}');

create table public.employee_daily_metrics (
  organization_id uuid not null,
  employee_id uuid not null,
  day date not null,
  time_zone text not null,
  sessions integer not null default 0,
  duration_s integer not null default 0,
  distance_m numeric(12, 2) not null default 0,
  expenses_pending integer not null default 0,
  expenses_approved integer not null default 0,
  expenses_rejected integer not null default 0,
  currency text not null,
  claimed_amount numeric not null default 0,
  approved_amount numeric not null default 0,
  updated_at timestamptz not null default now(),
  primary key (organization_id, employee_id, day),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
);

alter table public.employee_daily_metrics enable row level security;

-- Everybody's day: the organization's sums and the leaderboard, answered from the index alone.
create index employee_daily_metrics_day on public.employee_daily_metrics (organization_id, day, employee_id)
  include (sessions, duration_s, distance_m, currency, approved_amount);

create trigger _100_set_updated_at before update on public.employee_daily_metrics
  for each row execute function private.tg_any__set_updated_at();

comment on table public.employee_daily_metrics is
  'What each person did on each local day. Administrators read all of their organization''s, an employee reads the own ones.';
comment on column public.employee_daily_metrics.day is 'Local date of the organization.';
comment on column public.employee_daily_metrics.time_zone is 'IANA name of the zone that names the date.';
comment on column public.employee_daily_metrics.sessions is 'Closed sessions that began on this day.';
comment on column public.employee_daily_metrics.duration_s is 'Seconds of closed sessions that fell on this day.';
comment on column public.employee_daily_metrics.distance_m is 'Metres travelled on this day in closed sessions.';
comment on column public.employee_daily_metrics.expenses_pending is 'Expenses spent on this day that nobody reviewed yet.';
comment on column public.employee_daily_metrics.expenses_approved is 'Expenses spent on this day that were approved.';
comment on column public.employee_daily_metrics.expenses_rejected is 'Expenses spent on this day that were rejected.';
comment on column public.employee_daily_metrics.currency is
  'The organization''s currency; amounts count expenses in it, those in others are in get_expense_summary.';
comment on column public.employee_daily_metrics.claimed_amount is 'What was claimed, whatever became of it.';
comment on column public.employee_daily_metrics.approved_amount is 'What was approved of it.';

create policy select_member on public.employee_daily_metrics for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.employee_daily_metrics for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

create policy select_worker on public.employee_daily_metrics for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.employee_daily_metrics for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on public.employee_daily_metrics for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

grant select on public.employee_daily_metrics to authenticated, api_key, service_role, fieldtrack_worker;
grant insert (organization_id, employee_id, day, time_zone, currency) on public.employee_daily_metrics to fieldtrack_worker;
grant update (
  time_zone, sessions, duration_s, distance_m, expenses_pending, expenses_approved, expenses_rejected, currency,
  claimed_amount, approved_amount, updated_at
) on public.employee_daily_metrics to fieldtrack_worker;

create table public.employee_monthly_metrics (
  organization_id uuid not null,
  employee_id uuid not null,
  month date not null,
  sessions integer not null default 0,
  duration_s integer not null default 0,
  distance_m numeric(14, 2) not null default 0,
  currency text not null,
  approved_amount numeric not null default 0,
  updated_at timestamptz not null default now(),
  primary key (organization_id, employee_id, month),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint month_is_its_first_day check (extract(day from month) = 1)
);

alter table public.employee_monthly_metrics enable row level security;

-- Who leads this month? The dashboard's five, from the index. Also everybody's month, for the leaderboard.
create index employee_monthly_metrics_leaders
  on public.employee_monthly_metrics (organization_id, month, distance_m desc, employee_id);

create trigger _100_set_updated_at before update on public.employee_monthly_metrics
  for each row execute function private.tg_any__set_updated_at();

comment on table public.employee_monthly_metrics is
  'Sums of employee_daily_metrics over each calendar month, so that a year''s leaderboard reads months and not days.';
comment on column public.employee_monthly_metrics.month is 'First day of the month.';
comment on column public.employee_monthly_metrics.sessions is 'Closed sessions that began in this month.';
comment on column public.employee_monthly_metrics.duration_s is 'Seconds of closed sessions in this month.';
comment on column public.employee_monthly_metrics.distance_m is 'Metres travelled in this month.';
comment on column public.employee_monthly_metrics.currency is 'The organization''s currency, in which the amount is.';
comment on column public.employee_monthly_metrics.approved_amount is 'What was approved of this month''s expenses.';

create policy select_member on public.employee_monthly_metrics for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.employee_monthly_metrics for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

create policy select_worker on public.employee_monthly_metrics for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.employee_monthly_metrics for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on public.employee_monthly_metrics for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

grant select on public.employee_monthly_metrics to authenticated, api_key, service_role, fieldtrack_worker;
grant insert (organization_id, employee_id, month, currency) on public.employee_monthly_metrics to fieldtrack_worker;
grant update (sessions, duration_s, distance_m, currency, approved_amount, updated_at)
  on public.employee_monthly_metrics to fieldtrack_worker;

create table public.org_daily_metrics (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  day date not null,
  time_zone text not null,
  employees integer not null default 0,
  sessions integer not null default 0,
  duration_s bigint not null default 0,
  distance_m numeric(14, 2) not null default 0,
  expenses_pending integer not null default 0,
  expenses_approved integer not null default 0,
  expenses_rejected integer not null default 0,
  currency text not null,
  claimed_amount numeric not null default 0,
  approved_amount numeric not null default 0,
  updated_at timestamptz not null default now(),
  primary key (organization_id, day)
);

alter table public.org_daily_metrics enable row level security;

create trigger _100_set_updated_at before update on public.org_daily_metrics
  for each row execute function private.tg_any__set_updated_at();

comment on table public.org_daily_metrics is
  'What the organization''s people did on each local day: the sums of employee_daily_metrics. For administrators.';
comment on column public.org_daily_metrics.day is 'Local date of the organization.';
comment on column public.org_daily_metrics.time_zone is 'IANA name of the zone that names the date.';
comment on column public.org_daily_metrics.employees is
  'People with a closed session on this day; unlike the other figures it does not add up over days.';
comment on column public.org_daily_metrics.sessions is 'Closed sessions that began on this day.';
comment on column public.org_daily_metrics.duration_s is 'Seconds of closed sessions that fell on this day.';
comment on column public.org_daily_metrics.distance_m is 'Metres travelled on this day in closed sessions.';
comment on column public.org_daily_metrics.expenses_pending is 'Expenses spent on this day that nobody reviewed yet.';
comment on column public.org_daily_metrics.expenses_approved is 'Expenses spent on this day that were approved.';
comment on column public.org_daily_metrics.expenses_rejected is 'Expenses spent on this day that were rejected.';
comment on column public.org_daily_metrics.currency is
  'The organization''s currency; amounts count expenses in it, org_daily_expenses has those in others too.';
comment on column public.org_daily_metrics.claimed_amount is 'What was claimed, whatever became of it.';
comment on column public.org_daily_metrics.approved_amount is 'What was approved of it.';

create policy select_admin on public.org_daily_metrics for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.org_daily_metrics for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

create policy select_worker on public.org_daily_metrics for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.org_daily_metrics for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy update_worker on public.org_daily_metrics for update to fieldtrack_worker
  using (organization_id = (select private.worker_organization_id()))
  with check (organization_id = (select private.worker_organization_id()));

grant select on public.org_daily_metrics to authenticated, api_key, service_role, fieldtrack_worker;
grant insert (organization_id, day, time_zone, currency) on public.org_daily_metrics to fieldtrack_worker;
grant update (
  time_zone, employees, sessions, duration_s, distance_m, expenses_pending, expenses_approved, expenses_rejected,
  currency, claimed_amount, approved_amount, updated_at
) on public.org_daily_metrics to fieldtrack_worker;

create table public.org_daily_expenses (
  organization_id uuid not null,
  day date not null,
  currency text not null,
  category text not null,
  expenses_pending integer not null,
  expenses_approved integer not null,
  expenses_rejected integer not null,
  pending_amount numeric not null,
  approved_amount numeric not null,
  rejected_amount numeric not null,
  primary key (organization_id, day, currency, category),
  constraint organization_day foreign key (organization_id, day)
    references public.org_daily_metrics (organization_id, day) on delete cascade
);

alter table public.org_daily_expenses enable row level security;

comment on table public.org_daily_expenses is
  'The organization''s expenses of each local day by currency and category. For administrators.';
comment on column public.org_daily_expenses.day is 'Local date on which they were spent.';
comment on column public.org_daily_expenses.currency is 'ISO 4217 code: amounts of different currencies are never added.';
comment on column public.org_daily_expenses.category is 'As in expenses.';
comment on column public.org_daily_expenses.expenses_pending is 'How many nobody reviewed yet.';
comment on column public.org_daily_expenses.expenses_approved is 'How many were approved.';
comment on column public.org_daily_expenses.expenses_rejected is 'How many were rejected.';
comment on column public.org_daily_expenses.pending_amount is 'What is claimed by those that nobody reviewed yet.';
comment on column public.org_daily_expenses.approved_amount is 'What was approved, which may be less than was claimed.';
comment on column public.org_daily_expenses.rejected_amount is 'What was claimed by those that were rejected.';

create policy select_admin on public.org_daily_expenses for select to authenticated using (
  organization_id = (select private.admin_organization_id())
);

create policy select_key on public.org_daily_expenses for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

create policy select_worker on public.org_daily_expenses for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

create policy insert_worker on public.org_daily_expenses for insert to fieldtrack_worker with check (
  organization_id = (select private.worker_organization_id())
);

create policy delete_worker on public.org_daily_expenses for delete to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select on public.org_daily_expenses to authenticated, api_key, service_role, fieldtrack_worker;
grant insert (
  organization_id, day, currency, category, expenses_pending, expenses_approved, expenses_rejected, pending_amount,
  approved_amount, rejected_amount
) on public.org_daily_expenses to fieldtrack_worker;
grant delete on public.org_daily_expenses to fieldtrack_worker;

-- NOTE: nothing of this chapter is written by a client; the worker writes figures and deletes none but the expenses' split.

-- The worker reads what it sums.
create policy select_worker on public.expenses for select to fieldtrack_worker using (
  organization_id = (select private.worker_organization_id())
);

grant select on public.expenses to fieldtrack_worker;

-- The zone that names a date: of those in force on it, the latest, as in local_days.
create function private.time_zone_of_day(in_organization_id uuid, in_day date) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select z.time_zone
    from public.organization_time_zones as z
    where z.organization_id = in_organization_id
      and z.valid_from < private.day_starts_at(in_day + 1, z.time_zone)
    order by z.valid_from desc
    limit 1
  );
end;
$$;

comment on function private.time_zone_of_day(uuid, date) is 'IANA name of the zone that names this date in the organization.';

grant execute on function private.time_zone_of_day(uuid, date) to fieldtrack_worker;

-- The lock of an employee-day is its row, made when it is first needed.
create function private.lock_employee_day(in_organization_id uuid, in_employee_id uuid, in_day date) returns boolean
language plpgsql volatile
set search_path = ''
as $$
begin
  perform from public.employee_daily_metrics as m
  where m.organization_id = in_organization_id and m.employee_id = in_employee_id
    and m.day = in_day
  for no key update;
  -- A new one refers to the person, who comes first. Nobody there: a cascade is deleting the person, or did.
  if found or not private.hold_employee(in_organization_id, in_employee_id) then
    return found;
  end if;
  insert into public.employee_daily_metrics (organization_id, employee_id, day, time_zone, currency)
  select e.organization_id, e.id, in_day,
    private.time_zone_of_day(in_organization_id, in_day), o.currency
  from public.employees as e
  join public.organizations as o on o.id = e.organization_id
  where e.organization_id = in_organization_id and e.id = in_employee_id
  on conflict do nothing;
  perform from public.employee_daily_metrics as m
  where m.organization_id = in_organization_id and m.employee_id = in_employee_id
    and m.day = in_day
  for no key update;
  return found;
end;
$$;

comment on function private.lock_employee_day(uuid, uuid, date) is
  'Holds the figures of a person''s day until the transaction ends; false when there is no such person.';

grant execute on function private.lock_employee_day(uuid, uuid, date) to fieldtrack_worker;

create function private.lock_organization_day(in_organization_id uuid, in_day date) returns boolean
language plpgsql volatile
set search_path = ''
as $$
begin
  -- Mostly it is there, and to try an insert would cost more than the lock.
  perform from public.org_daily_metrics as m
  where m.organization_id = in_organization_id and m.day = in_day
  for no key update;
  if found then
    return true;
  end if;
  insert into public.org_daily_metrics (organization_id, day, time_zone, currency)
  select o.id, in_day,
    private.time_zone_of_day(in_organization_id, in_day), o.currency
  from public.organizations as o
  where o.id = in_organization_id
  on conflict do nothing;
  perform from public.org_daily_metrics as m
  where m.organization_id = in_organization_id and m.day = in_day
  for no key update;
  return found;
end;
$$;

comment on function private.lock_organization_day(uuid, date) is
  'Holds the figures of the organization''s day until the transaction ends; false when there is no such organization.';

grant execute on function private.lock_organization_day(uuid, date) to fieldtrack_worker;

create function private.request_employee_day(in_organization_id uuid, in_employee_id uuid, in_day date) returns void
language plpgsql volatile
set search_path = ''
as $$
begin
  -- A whole organization is being deleted, piece by piece: its figures go too.
  if current_setting('fieldtrack.erasure', true) = 'on' then
    return;
  end if;
  if private.lock_employee_day(in_organization_id, in_employee_id,
    in_day)
  then
    perform private.enqueue(
      'analytics',
      jsonb_build_object('organization_id', in_organization_id,
        'employee_id', in_employee_id, 'day', in_day),
      concat_ws(' ', in_employee_id, in_day)
    );
  end if;
end;
$$;

comment on function private.request_employee_day(uuid, uuid, date) is
  'Asks for the figures of a person''s day, after locking them: the job that follows sees what this transaction writes.';

-- The worker may name no queue; this is the one way on from an employee-day.
create function private.request_organization_day(in_organization_id uuid, in_day date) returns void
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  if private.lock_organization_day(in_organization_id, in_day) then
    perform private.enqueue(
      'analytics',
      jsonb_build_object('organization_id', in_organization_id,
        'employee_id', null, 'day', in_day),
      concat_ws(' ', in_organization_id, in_day),
      now() + interval '1 second'
    );
  end if;
end;
$$;

comment on function private.request_organization_day(uuid, date) is
  'Asks for the figures of the organization''s day a second from now, after locking them. Never in a client''s transaction, but '
  'for a change of the currency.';

grant execute on function private.request_organization_day(uuid, date) to fieldtrack_worker;

-- A session that moves from one day to another changes both: the rows that go name the one, those that come the other.
create function private.tg_session_days__request_figures() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- In the order of days, as everybody locks them.
  perform private.request_employee_day(c.organization_id, c.employee_id, c.day)
  from (
    select distinct d.organization_id, d.employee_id, d.day from changed as d order by 1, 2, 3
  ) as c;
  return null;
end;
$$;

comment on function private.tg_session_days__request_figures() is
  'After insert or delete of session_days: asks for the figures of the employee-days that changed.';

create trigger _350_request_figures_on_insert after insert on public.session_days
  referencing new table as changed
  for each statement execute function private.tg_session_days__request_figures();

create trigger _350_request_figures_on_delete after delete on public.session_days
  referencing old table as changed
  for each statement execute function private.tg_session_days__request_figures();

create function private.tg_expenses__request_figures() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if tg_op <> 'INSERT' then
    perform private.request_employee_day(old.organization_id, old.employee_id, old.spent_on);
  end if;
  if tg_op = 'INSERT' or (tg_op = 'UPDATE' and new.spent_on <> old.spent_on) then
    perform private.request_employee_day(new.organization_id, new.employee_id, new.spent_on);
  end if;
  return null;
end;
$$;

comment on function private.tg_expenses__request_figures() is
  'After an expense came, was reviewed or went: asks for the figures of the employee-day it counts for.';

create trigger _350_request_figures after insert or delete or update of status, amount, approved_amount, currency, spent_on
  on public.expenses for each row execute function private.tg_expenses__request_figures();

create function private.compute_employee_day(in_organization_id uuid, in_employee_id uuid, in_day date) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_organization_id uuid := in_organization_id;
  v_employee_id uuid := in_employee_id;
  v_day date := in_day;
  v_month date := date_trunc('month', v_day::timestamp)::date;
  v_currency text;
  v_time_zone text;
begin
  if not private.lock_employee_day(v_organization_id, v_employee_id, v_day) then
    return 'gone';
  end if;
  -- A locked day stays in the currency and the zone that it was locked in, whatever the organization changed to since.
  select case when v_day < o.locked_until then m.currency else o.currency end,
    case when v_day < o.locked_until then m.time_zone else private.time_zone_of_day(v_organization_id, v_day) end
  into v_currency, v_time_zone
  from public.organizations as o
  join public.employee_daily_metrics as m on m.organization_id = o.id and m.employee_id = v_employee_id and m.day = v_day
  where o.id = v_organization_id;

  update public.employee_daily_metrics as m
  set time_zone = v_time_zone,
    currency = v_currency,
    (sessions, duration_s, distance_m) = (
      select
        count(*) filter (where not exists (
          select from public.session_days as earlier
          where earlier.organization_id = d.organization_id and earlier.session_id = d.session_id and earlier.day < d.day
        )),
        coalesce(sum(d.duration_s), 0),
        coalesce(sum(d.distance_m), 0)
      from public.session_days as d
      where d.organization_id = v_organization_id and d.employee_id = v_employee_id and d.day = v_day
    ),
    (expenses_pending, expenses_approved, expenses_rejected, claimed_amount, approved_amount) = (
      select
        count(*) filter (where x.status = 'PENDING'),
        count(*) filter (where x.status = 'APPROVED'),
        count(*) filter (where x.status = 'REJECTED'),
        coalesce(sum(x.amount) filter (where x.currency = v_currency and x.status <> 'WITHDRAWN'), 0),
        coalesce(sum(x.approved_amount) filter (where x.currency = v_currency), 0)
      from public.expenses as x
      where x.organization_id = v_organization_id and x.employee_id = v_employee_id and x.spent_on = v_day
    )
  where m.organization_id = v_organization_id and m.employee_id = v_employee_id and m.day = v_day;

  -- The month is the sum of its days: locked before they are read, like every sum.
  insert into public.employee_monthly_metrics (organization_id, employee_id, month, currency)
  values (v_organization_id, v_employee_id, v_month, v_currency)
  on conflict do nothing;
  perform from public.employee_monthly_metrics as m
  where m.organization_id = v_organization_id and m.employee_id = v_employee_id and m.month = v_month
  for no key update;
  update public.employee_monthly_metrics as m
  set currency = v_currency,
    (sessions, duration_s, distance_m, approved_amount) = (
      select
        sum(d.sessions),
        sum(d.duration_s),
        sum(d.distance_m),
        coalesce(sum(d.approved_amount) filter (where d.currency = v_currency), 0)
      from public.employee_daily_metrics as d
      where d.organization_id = v_organization_id and d.employee_id = v_employee_id
        and d.day >= v_month and d.day < v_month + interval '1 month'
    )
  where m.organization_id = v_organization_id and m.employee_id = v_employee_id and m.month = v_month;

  perform private.request_organization_day(v_organization_id, v_day);
  return 'done';
end;
$$;

comment on function private.compute_employee_day(uuid, uuid, date) is
  'Computes a person''s day and month from session_days and expenses, and asks for the organization''s day. Returns done, or '
  'gone when there is no such person. Run by the worker under row level security (queue analytics).';

grant execute on function private.compute_employee_day(uuid, uuid, date) to fieldtrack_worker;

-- After a change of the organization's currency a day's amounts are made anew, of all its people or of none.
create function private.request_days_in_another_currency(in_organization_id uuid, in_day date) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_requested bigint;
begin
  if not exists (
    select from public.org_daily_metrics as m
    join public.organizations as o on o.id = m.organization_id
    where m.organization_id = in_organization_id
      and m.day = in_day and m.currency <> o.currency and (in_day < o.locked_until) is not true
  ) then
    return false;
  end if;
  select count(private.request_employee_day(s.organization_id, s.employee_id, s.day)::text) into v_requested
  from (
    select m.organization_id, m.employee_id, m.day
    from public.employee_daily_metrics as m
    join public.organizations as o on o.id = m.organization_id
    where m.organization_id = in_organization_id
      and m.day = in_day and m.currency <> o.currency
      and m.expenses_pending + m.expenses_approved + m.expenses_rejected > 0
    order by m.employee_id
  ) as s;
  return v_requested > 0;
end;
$$;

comment on function private.request_days_in_another_currency(uuid, date) is
  'If the organization''s day is in another currency than the organization, asks for the days of its people that are too; says '
  'whether there were any. Takes its locks before the organization''s day.';

grant execute on function private.request_days_in_another_currency(uuid, date) to fieldtrack_worker;

create function private.compute_organization_day(in_organization_id uuid, in_day date) returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_organization_id uuid := in_organization_id;
  v_day date := in_day;
  v_currency text;
  v_time_zone text;
begin
  -- Each of them asks for this day again.
  if private.request_days_in_another_currency(v_organization_id, v_day) then
    return 'people first';
  end if;
  if not private.lock_organization_day(v_organization_id, v_day) then
    return 'gone';
  end if;
  select case when v_day < o.locked_until then m.currency else o.currency end,
    case when v_day < o.locked_until then m.time_zone else private.time_zone_of_day(v_organization_id, v_day) end
  into v_currency, v_time_zone
  from public.organizations as o
  join public.org_daily_metrics as m on m.organization_id = o.id and m.day = v_day
  where o.id = v_organization_id;

  delete from public.org_daily_expenses as x where x.organization_id = v_organization_id and x.day = v_day;
  insert into public.org_daily_expenses (
    organization_id, day, currency, category, expenses_pending, expenses_approved, expenses_rejected, pending_amount,
    approved_amount, rejected_amount
  )
  select
    v_organization_id, v_day, x.currency, x.category,
    count(*) filter (where x.status = 'PENDING'),
    count(*) filter (where x.status = 'APPROVED'),
    count(*) filter (where x.status = 'REJECTED'),
    coalesce(sum(x.amount) filter (where x.status = 'PENDING'), 0),
    coalesce(sum(x.approved_amount), 0),
    coalesce(sum(x.amount) filter (where x.status = 'REJECTED'), 0)
  from public.expenses as x
  where x.organization_id = v_organization_id and x.spent_on = v_day and x.status <> 'WITHDRAWN'
  group by x.currency, x.category;

  update public.org_daily_metrics as m
  set time_zone = v_time_zone,
    currency = v_currency,
    (
      employees, sessions, duration_s, distance_m, expenses_pending, expenses_approved, expenses_rejected,
      claimed_amount, approved_amount
    ) = (
      select
        count(*) filter (where d.sessions > 0 or d.duration_s > 0),
        coalesce(sum(d.sessions), 0),
        coalesce(sum(d.duration_s), 0),
        coalesce(sum(d.distance_m), 0),
        coalesce(sum(d.expenses_pending), 0),
        coalesce(sum(d.expenses_approved), 0),
        coalesce(sum(d.expenses_rejected), 0),
        coalesce(sum(d.claimed_amount) filter (where d.currency = v_currency), 0),
        coalesce(sum(d.approved_amount) filter (where d.currency = v_currency), 0)
      from public.employee_daily_metrics as d
      where d.organization_id = v_organization_id and d.day = v_day
    )
  where m.organization_id = v_organization_id and m.day = v_day;
  return 'done';
end;
$$;

comment on function private.compute_organization_day(uuid, date) is
  'Computes the organization''s day from those of its people. Returns done, people first when they have to be computed before '
  '(request_days_in_another_currency), or gone when there is no such organization. Run by the worker under row level security '
  '(queue analytics).';

grant execute on function private.compute_organization_day(uuid, date) to fieldtrack_worker;

create function private.tg_organizations__request_figures() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.request_organization_day(new.id, x.spent_on)
  from (
    select distinct e.spent_on from public.expenses as e
    where e.organization_id = new.id and (e.spent_on < new.locked_until) is not true
    order by e.spent_on
  ) as x;
  return null;
end;
$$;

comment on function private.tg_organizations__request_figures() is
  'After a change of the currency: asks for the figures of all days with expenses that are not locked; they are in the new one then.';

create trigger _350_request_figures_on_currency after update of currency on public.organizations
  for each row when (old.currency is distinct from new.currency)
  execute function private.tg_organizations__request_figures();

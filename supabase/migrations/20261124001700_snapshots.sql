-- Snapshots: what an administrator looks at all day, kept ready so that reading it never grows with history.
--
-- Five tables hold a row per employee (or per pending expense); the triggers of the next chapter write them in the transaction of
-- the change. The sixth, org_dashboard_snapshot (001820), is an organization's and would be a hot row; the worker's snapshot loop
-- refreshes it from the others within a second of the event, never a client's transaction.
-- ACTIVE: a session is open. RECENT: checked out under 24 hours ago. INACTIVE: neither. private.activity_status is the one
-- definition. Because it changes by time alone it is nowhere stored; counts of it carry the time until which they hold.
-- Not covered: mending drift (001830).

create function private.activity_status(in_is_open boolean, in_checked_out_at timestamptz) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when in_is_open then 'ACTIVE'
    when in_checked_out_at > now() - interval '24 hours' then 'RECENT'
    else 'INACTIVE'
  end;
end;
$$;

comment on function private.activity_status(boolean, timestamptz) is
  'ACTIVE: a session is open; RECENT: checked out under 24 hours ago; INACTIVE: neither, or never at work.';

grant execute on function private.activity_status(boolean, timestamptz)
  to authenticated, api_key, service_role, fieldtrack_worker;

-- The newest session of each person.

create table public.employee_latest_sessions (
  organization_id uuid not null,
  employee_id uuid not null,
  session_id uuid,
  is_open boolean not null default false,
  checked_in_at timestamptz,
  checked_out_at timestamptz,
  duration_s integer,
  distance_m numeric(12, 2),
  distance_status text,
  updated_at timestamptz not null default now(),
  primary key (organization_id, employee_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint session foreign key (organization_id, session_id, employee_id)
    references public.attendance_sessions (organization_id, id, employee_id) on delete set null (session_id)
) with (fillfactor = 70);

alter table public.employee_latest_sessions enable row level security;

-- Who works now, who did last: the administrator's list over all people, ACTIVE before RECENT before INACTIVE. It holds no
-- volatile column (distances are written without touching it).
create index employee_latest_sessions_by_activity on public.employee_latest_sessions
  (organization_id, is_open desc, checked_out_at desc nulls last, employee_id);

-- The session reference.
create index employee_latest_sessions_session on public.employee_latest_sessions (organization_id, session_id, employee_id);

comment on table public.employee_latest_sessions is
  'The newest session of every employee, by checked_in_at; a row of nulls before the first. Order by '
  'is_open.desc, checked_out_at.desc.nullslast for ACTIVE, RECENT, INACTIVE. Administrators read all, an employee the own row.';
comment on column public.employee_latest_sessions.is_open is 'Whether that session is open: the person is ACTIVE.';
comment on column public.employee_latest_sessions.checked_in_at is 'Of that session.';
comment on column public.employee_latest_sessions.checked_out_at is 'Of that session; null while it is open.';
comment on column public.employee_latest_sessions.duration_s is 'Whole seconds; null while it is open.';
comment on column public.employee_latest_sessions.distance_m is 'Metres, once computed; null until then.';
comment on column public.employee_latest_sessions.distance_status is 'Of that session: PENDING, DONE or FAILED.';

create policy select_member on public.employee_latest_sessions for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.employee_latest_sessions for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.employee_latest_sessions to authenticated, api_key, service_role;

-- A computed field: select=…,activity_status. Correct at the moment of reading.
create function public.activity_status(latest_session public.employee_latest_sessions) returns text
language sql stable
set search_path = ''
as $$
  select private.activity_status((latest_session).is_open, (latest_session).checked_out_at);
$$;

comment on function public.activity_status(public.employee_latest_sessions) is
  'ACTIVE: a session is open; RECENT: checked out under 24 hours ago; INACTIVE: neither. A computed field of the table.';

grant execute on function public.activity_status(public.employee_latest_sessions) to authenticated, api_key, service_role;

-- Who is at work, and when their phone was last heard.

create table public.active_users (
  organization_id uuid not null,
  employee_id uuid not null,
  session_id uuid not null,
  checked_in_at timestamptz not null,
  last_seen_at timestamptz not null default now(),
  primary key (organization_id, employee_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
) with (fillfactor = 70);

alter table public.active_users enable row level security;

comment on table public.active_users is
  'A row for each open session, none otherwise. Administrators read all of their organization''s, an employee the own one.';
comment on column public.active_users.session_id is 'The open session.';
comment on column public.active_users.checked_in_at is 'Since when.';
comment on column public.active_users.last_seen_at is
  'When the phone last reached the database (check-in or points): the heartbeat. Not recomputable, so no repair touches it.';

create policy select_member on public.active_users for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.active_users for select to api_key using (
  organization_id = (select private.key_organization_id('sessions:read'))
);

grant select on public.active_users to authenticated, api_key, service_role;

-- Where each person is, as far as known.

create table public.employee_last_state (
  organization_id uuid not null,
  employee_id uuid not null,
  is_checked_in boolean not null default false,
  session_id uuid,
  last_check_in_at timestamptz,
  last_check_out_at timestamptz,
  fix_session_id uuid,
  recorded_at timestamptz,
  latitude double precision,
  longitude double precision,
  accuracy_m real,
  speed_mps real,
  heading_deg real,
  battery_pct smallint,
  is_mock boolean,
  distance_m numeric(12, 2),
  distance_is_provisional boolean,
  updated_at timestamptz not null default now(),
  primary key (organization_id, employee_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade,
  constraint fix_is_whole check (
    (recorded_at is null) = (latitude is null) and (recorded_at is null) = (longitude is null)
    and (recorded_at is null) = (fix_session_id is null)
  )
) with (fillfactor = 70);

alter table public.employee_last_state enable row level security;

comment on table public.employee_last_state is
  'The newest position of every employee and the open session; nulls before the first. Never moves back in time. '
  'Administrators read all of their organization''s, an employee the own row.';
comment on column public.employee_last_state.is_checked_in is 'Whether a session is open.';
comment on column public.employee_last_state.session_id is 'The open session; null if none is.';
comment on column public.employee_last_state.last_check_in_at is 'Of the newest session.';
comment on column public.employee_last_state.last_check_out_at is 'Of the newest closed session.';
comment on column public.employee_last_state.fix_session_id is 'The session of the newest point.';
comment on column public.employee_last_state.recorded_at is 'When the phone took the newest point, by its clock.';
comment on column public.employee_last_state.latitude is 'WGS84 degrees.';
comment on column public.employee_last_state.longitude is 'WGS84 degrees.';
comment on column public.employee_last_state.accuracy_m is 'Reported error radius, metres.';
comment on column public.employee_last_state.speed_mps is 'Reported speed, metres per second.';
comment on column public.employee_last_state.heading_deg is 'Reported heading, degrees clockwise from north.';
comment on column public.employee_last_state.battery_pct is 'Charge of the phone''s battery, 0 to 100.';
comment on column public.employee_last_state.is_mock is 'The phone said that an app made the position up.';
comment on column public.employee_last_state.distance_m is
  'Metres so far in the open session; null if none is open or no point came.';
comment on column public.employee_last_state.distance_is_provisional is 'A late point waits to be counted in distance_m.';

create policy select_member on public.employee_last_state for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.employee_last_state for select to api_key using (
  organization_id = (select private.key_organization_id('locations:read'))
);

grant select on public.employee_last_state to authenticated, api_key, service_role;

-- What each person did in all.

create table public.employee_metrics_snapshot (
  organization_id uuid not null,
  employee_id uuid not null,
  sessions integer not null default 0,
  duration_s bigint not null default 0,
  distance_m numeric(14, 2) not null default 0,
  expenses_submitted integer not null default 0,
  expenses_approved integer not null default 0,
  expenses_rejected integer not null default 0,
  approved_amounts jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  primary key (organization_id, employee_id),
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
) with (fillfactor = 70);

alter table public.employee_metrics_snapshot enable row level security;

comment on table public.employee_metrics_snapshot is
  'Totals of every employee since the beginning. Administrators read all of their organization''s, an employee the own row.';
comment on column public.employee_metrics_snapshot.sessions is 'Closed sessions.';
comment on column public.employee_metrics_snapshot.duration_s is 'Seconds in them.';
comment on column public.employee_metrics_snapshot.distance_m is 'Metres in those whose distance is computed.';
comment on column public.employee_metrics_snapshot.expenses_submitted is 'All expenses, whatever became of them.';
comment on column public.employee_metrics_snapshot.expenses_approved is 'Those that were approved.';
comment on column public.employee_metrics_snapshot.expenses_rejected is 'Those that were rejected.';
comment on column public.employee_metrics_snapshot.approved_amounts is
  'Sum of approved_amount by currency, such as {"EUR": 12.50}: amounts of different currencies are never added.';

create policy select_member on public.employee_metrics_snapshot for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.employee_metrics_snapshot for select to api_key using (
  organization_id = (select private.key_organization_id('analytics:read'))
);

grant select on public.employee_metrics_snapshot to authenticated, api_key, service_role;

-- What waits for a decision.

create table public.pending_expenses (
  organization_id uuid not null,
  expense_id uuid not null,
  employee_id uuid not null,
  amount numeric not null,
  currency text not null,
  category text not null,
  spent_on date not null,
  submitted_at timestamptz not null,
  primary key (organization_id, expense_id),
  constraint expense foreign key (organization_id, expense_id)
    references public.expenses (organization_id, id) on delete cascade,
  constraint employee foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
);

alter table public.pending_expenses enable row level security;

-- The administrator's queue, oldest first.
create index pending_expenses_oldest on public.pending_expenses (organization_id, submitted_at, expense_id);

-- One person's; also the employee reference.
create index pending_expenses_employee on public.pending_expenses (organization_id, employee_id);

comment on table public.pending_expenses is
  'A row for each expense that nobody reviewed yet, none otherwise. Administrators read all, an employee the own ones.';
comment on column public.pending_expenses.expense_id is 'The expense (expenses.id).';
comment on column public.pending_expenses.amount is 'Claimed amount.';
comment on column public.pending_expenses.currency is 'ISO 4217 code.';
comment on column public.pending_expenses.category is 'As in expenses.';
comment on column public.pending_expenses.spent_on is 'Local date on which it was spent.';
comment on column public.pending_expenses.submitted_at is 'When the claim reached the database.';

create policy select_member on public.pending_expenses for select to authenticated using (
  organization_id = (select private.current_organization_id())
  and (
    (select private.is_admin())
    or employee_id = (select private.current_employee_id())
    or employee_id = any ((select private.managed_employee_ids())::uuid[])
  )
);

create policy select_key on public.pending_expenses for select to api_key using (
  organization_id = (select private.key_organization_id('expenses:read'))
);

grant select on public.pending_expenses to authenticated, api_key, service_role;

-- Which of them the caller may decide over. The rule is private.judge_own_expense's, asked for all rows at once.
create function private.may_review(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_user_id uuid := private.current_user_id();
  v_key public.api_keys := private.current_api_key();
  v_caller private.caller;
begin
  if v_key.id is not null then
    if v_key.organization_id <> in_organization_id or not 'expenses:review' = any (v_key.scopes) then
      return false;
    end if;
    v_caller := row(v_key.organization_id, null, v_key.id)::private.caller;
  else
    if in_organization_id is distinct from private.current_organization_id()
      or not (private.is_admin() or in_employee_id = any (private.managed_employee_ids()))
    then
      return false;
    end if;
    v_caller := row(in_organization_id, private.current_employee_id(), null)::private.caller;
  end if;
  return private.is_same_person(v_caller, in_employee_id) is not true
    or (
      v_user_id is not null and private.is_admin()
      and (select o.allows_self_review from public.organizations as o where o.id = in_organization_id)
      and not exists (
        select from public.employees as e
        where e.organization_id = in_organization_id and e.id <> (v_caller).employee_id
          and e.app_role = 'ADMIN' and e.is_active and e.user_id is not null
      )
    );
end;
$$;

comment on function private.may_review(uuid,
  uuid) is 'Whether the caller may decide over that person''s claims. For the field of that name.';

grant execute on function private.may_review(uuid, uuid) to authenticated, api_key, service_role;

create function public.may_review(pending public.pending_expenses) returns boolean
language sql stable
set search_path = ''
as $$
  select private.may_review(pending.organization_id, pending.employee_id);
$$;

comment on function public.may_review(public.pending_expenses) is
  'A field of pending_expenses, read as pending_expenses?select=*,may_review: whether the caller may decide over it, which nobody may
over the own claim.';

grant execute on function public.may_review(public.pending_expenses) to authenticated, api_key, service_role;

-- NOTE: nobody writes any table of this chapter but the triggers of the next, the snapshot loop and the reconciliation.

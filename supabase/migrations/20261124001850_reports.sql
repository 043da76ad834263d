-- Reports: what administrators, integrators and people themselves ask over days.
--
-- Every answer comes from the daily and monthly rows, found by index: its cost depends on the range that is asked for (366
-- days at most) and on nothing that happened outside of it. Ranges are local dates, both included; without one it is the last
-- 30 days. Empty is zeros and empty lists, never null and never an error.
-- Where a name of a colleague is needed, the body is a definer: a key with analytics:read has no right on employees, and an
-- employee sees colleagues in the leaderboard only.
-- Not covered: the dashboard and the map (the next chapter).

create type private.report_range as (from_day date, to_day date, today date, currency text);

comment on type private.report_range is 'The days that a report covers, the organization''s date now, and its currency.';

-- An invoker: whoever may execute it reads the own organization's date and currency by the policies, and no other's.
create function private.report_range(in_organization_id uuid, in_first_day date, in_last_day date, in_default_days integer)
returns private.report_range
language plpgsql stable
set search_path = ''
as $$
declare
  v_range private.report_range;
begin
  v_range.today := private.local_day(in_organization_id, now());
  v_range.to_day := coalesce(in_last_day, v_range.today);
  if not isfinite(v_range.to_day) or not isfinite(in_first_day) then
    perform private.fail('invalid_argument', 'from_day and to_day are days.', 'from_day, to_day',
      'Send dates such as 2026-11-24.');
  end if;
  v_range.from_day := coalesce(in_first_day, v_range.to_day - (in_default_days - 1));
  if v_range.from_day > v_range.to_day then
    perform private.fail('invalid_argument', 'from_day lies after to_day.', 'from_day, to_day', 'Both days belong to the range.');
  end if;
  if v_range.to_day - v_range.from_day >= 366 then
    perform private.fail('invalid_argument', 'A range has at most 366 days.', 'from_day, to_day', 'Ask for a year at a time.');
  end if;
  select o.currency into v_range.currency from public.organizations as o where o.id = in_organization_id;
  return v_range;
end;
$$;

comment on function private.report_range(uuid, date, date, integer) is
  'The range of a report: to_day is today where it is missing, from_day lies default_days back. Errors: invalid_argument.';

grant execute on function private.report_range(uuid, date, date, integer) to authenticated, api_key;

-- Dates are counted, not made of times: generate_series would go through midnights of the zone that the request prefers
-- (Prefer: timezone), and where one of them is missing the last day is lost.
create function private.days_of(in_range private.report_range) returns setof date
language plpgsql immutable
set search_path = ''
as $$
begin
  return query
  select (in_range).from_day + i from generate_series(0, (in_range).to_day - (in_range).from_day) as i;
end;
$$;

comment on function private.days_of(private.report_range) is 'The days of a report''s range, in order.';

grant execute on function private.days_of(private.report_range) to authenticated, api_key;

create function public.get_org_summary(from_day date default null, to_day date default null) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('analytics:read');
  v_range private.report_range := private.report_range(
    v_caller.organization_id, get_org_summary.from_day, get_org_summary.to_day, 30);
begin
  return (
    select jsonb_build_object(
      'from_day', v_range.from_day,
      'to_day', v_range.to_day,
      'sessions', coalesce(sum(m.sessions), 0),
      'duration_s', coalesce(sum(m.duration_s), 0),
      'distance_m', coalesce(sum(m.distance_m), 0),
      'person_days', coalesce(sum(m.employees), 0),
      'expenses_pending', coalesce(sum(m.expenses_pending), 0),
      'expenses_approved', coalesce(sum(m.expenses_approved), 0),
      'expenses_rejected', coalesce(sum(m.expenses_rejected), 0),
      'currency', v_range.currency,
      'claimed_amount', coalesce(sum(m.claimed_amount) filter (where m.currency = v_range.currency), 0),
      'approved_amount', coalesce(sum(m.approved_amount) filter (where m.currency = v_range.currency), 0)
    )
    from public.org_daily_metrics as m
    where m.organization_id = v_caller.organization_id and m.day between v_range.from_day and v_range.to_day
  );
end;
$$;

comment on function public.get_org_summary(date, date) is
  'The organization over a range of days (both included, 366 at most; without one the last 30): {from_day, to_day, sessions,
duration_s, distance_m, person_days, expenses_pending, expenses_approved, expenses_rejected, currency, claimed_amount,
approved_amount}. Closed sessions; a person who worked on three days is three person_days; amounts are those in the
organization''s currency (get_expense_summary has the others). Administrators, keys with analytics:read.
Errors: admin_required 403, scope_missing 403, invalid_argument 400.';

grant execute on function public.get_org_summary(date, date) to authenticated, api_key;

create function private.get_user_summary(in_employee_id uuid, in_from_day date, in_to_day date) returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_caller private.caller;
  v_self public.employees;
  v_employee public.employees;
  v_range private.report_range;
begin
  if private.jwt() ->> 'role' = 'api_key' then
    v_caller := private.require_admin('analytics:read');
  else
    v_self := private.require_employee();
    v_caller := row(v_self.organization_id, v_self.id, null)::private.caller;
  end if;
  select e.* into v_employee
  from public.employees as e
  where e.organization_id = v_caller.organization_id and e.id = coalesce(in_employee_id, v_caller.employee_id)
    and (
      v_caller.api_key_id is not null or v_self.app_role = 'ADMIN' or e.id = v_self.id
      or e.id = any (private.managed_employee_ids())
    );
  if not found then
    perform private.fail('employee_not_found', 'There is no such employee, or the figures are not yours to see.',
      in_employee_id::text);
  end if;
  v_range := private.report_range(v_caller.organization_id, in_from_day, in_to_day, 30);
  return (
    select jsonb_build_object(
      'employee_id', v_employee.id,
      'name', v_employee.name,
      'employee_code', v_employee.employee_code,
      'is_active', v_employee.is_active,
      'from_day', v_range.from_day,
      'to_day', v_range.to_day,
      'days', count(*) filter (where m.sessions > 0 or m.duration_s > 0),
      'sessions', coalesce(sum(m.sessions), 0),
      'duration_s', coalesce(sum(m.duration_s), 0),
      'distance_m', coalesce(sum(m.distance_m), 0),
      'average_session_s', coalesce(
        round(sum(m.duration_s)::numeric / nullif(sum(m.sessions), 0)), 0),
      'average_session_m', coalesce(
        round(sum(m.distance_m) / nullif(sum(m.sessions), 0), 2), 0),
      'expenses_pending', coalesce(sum(m.expenses_pending), 0),
      'expenses_approved', coalesce(sum(m.expenses_approved), 0),
      'expenses_rejected', coalesce(sum(m.expenses_rejected), 0),
      'currency', v_range.currency,
      'claimed_amount', coalesce(sum(m.claimed_amount) filter (where m.currency = v_range.currency), 0),
      'approved_amount', coalesce(sum(m.approved_amount) filter (where m.currency = v_range.currency), 0)
    )
    from public.employee_daily_metrics as m
    where m.organization_id = v_caller.organization_id and m.employee_id = v_employee.id
      and m.day between v_range.from_day and v_range.to_day
  );
end;
$$;

comment on function private.get_user_summary(uuid, date, date) is 'Body of public.get_user_summary.';

grant execute on function private.get_user_summary(uuid, date, date) to authenticated, api_key;

create function public.get_user_summary(
  employee_id uuid default null, from_day date default null, to_day date default null
) returns jsonb
language sql stable
set search_path = ''
as $$
  select private.get_user_summary(employee_id, from_day, to_day);
$$;

comment on function public.get_user_summary(uuid, date, date) is
  'A person over a range of days (both included, 366 at most; without one the last 30): {employee_id, name, employee_code,
is_active, from_day, to_day, days, sessions, duration_s, distance_m, average_session_s, average_session_m, expenses_pending,
expenses_approved, expenses_rejected, currency, claimed_amount, approved_amount}; days counts those with work. Deactivated
people keep their figures. Administrators and keys with analytics:read: anybody of the organization; employees: themselves
(employee_id may be left out). Errors: employee_not_found 404, scope_missing 403, invalid_argument 400, not_a_member 403.';

grant execute on function public.get_user_summary(uuid, date, date) to authenticated, api_key;

create function public.get_session_trend(from_day date default null, to_day date default null, employee_id uuid default null)
returns table (day date, employees integer, sessions integer, duration_s bigint, distance_m numeric)
language plpgsql stable
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('analytics:read');
  v_range private.report_range := private.report_range(
    v_caller.organization_id, get_session_trend.from_day, get_session_trend.to_day, 30);
begin
  if get_session_trend.employee_id is null then
    return query
    select d.day, coalesce(m.employees, 0), coalesce(m.sessions, 0), coalesce(m.duration_s, 0),
      coalesce(m.distance_m, 0)
    from private.days_of(v_range) as d (day)
    left join public.org_daily_metrics as m
      on m.organization_id = v_caller.organization_id and m.day = d.day
      and m.day between v_range.from_day and v_range.to_day
    order by d.day;
  else
    -- Everybody has a row there, and whoever may read reports may read it.
    if not exists (
      select from public.employee_metrics_snapshot as t
      where t.organization_id = v_caller.organization_id and t.employee_id = get_session_trend.employee_id
    ) then
      perform private.fail('employee_not_found', 'There is no such employee.', get_session_trend.employee_id::text);
    end if;
    return query
    select d.day, (coalesce(m.sessions, 0) > 0 or coalesce(m.duration_s, 0) > 0)::integer, coalesce(m.sessions, 0),
      coalesce(m.duration_s, 0)::bigint, coalesce(m.distance_m, 0)
    from private.days_of(v_range) as d (day)
    left join public.employee_daily_metrics as m
      on m.organization_id = v_caller.organization_id and m.employee_id = get_session_trend.employee_id
      and m.day = d.day and m.day between v_range.from_day and v_range.to_day
    order by d.day;
  end if;
end;
$$;

comment on function public.get_session_trend(date, date, uuid) is
  'A row for each day of the range, days without work as zeros: [{day, employees, sessions, duration_s, distance_m}], of the
organization or of one person. Both days included, 366 at most; without a range the last 30 days. Administrators, keys
with analytics:read. Errors: admin_required 403, scope_missing 403, employee_not_found 404, invalid_argument 400.';

grant execute on function public.get_session_trend(date, date, uuid) to authenticated, api_key;

-- Ranking everybody over a range reads everybody's rows, whoever asks. So a ranking is kept until one of its days changes:
-- each change of a person's day is followed by one of the organization's (the chapter before), so the days' updated_at say
-- whether it still holds. Names are not kept; they are read when it is shown.
create table private.rankings (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  metric text not null,
  first_day date not null,
  last_day date not null,
  currency text not null,
  state_of_days text not null,
  leaders jsonb not null,
  scores double precision[] not null,
  made_at timestamptz not null default now(),
  primary key (organization_id, metric, first_day, last_day)
);

alter table private.rankings enable row level security;

-- Ten thousand scores are 80 kB: not compressed, and read only for who is not among the leaders.
alter table private.rankings alter column scores set storage external;

comment on table private.rankings is 'Leaderboards that were asked for, each valid while its days are what they were then.';
comment on column private.rankings.state_of_days is 'A digest of when each of the days last changed.';
comment on column private.rankings.leaders is 'The first hundred: [{rank, employee_id, value}].';
comment on column private.rankings.scores is 'Everybody''s value, ascending: where a value stands is found in it.';

-- NOTE: nothing is granted on it.

create function private.rank_people(
  in_organization_id uuid, in_metric text, in_first_day date, in_last_day date, in_currency text
)
returns private.rankings
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_ranking private.rankings;
  -- Whole months are read as months: [v_months_from, v_months_to), empty where there are none.
  v_months_from date := (date_trunc('month', (in_first_day - 1)::timestamp) + interval '1 month')::date;
  v_months_to date := date_trunc('month', (in_last_day + 1)::timestamp)::date;
begin
  if v_months_from >= v_months_to then
    v_months_from := in_last_day + 1;
    v_months_to := in_last_day + 1;
  end if;
  with parts as (
    select m.employee_id,
      case in_metric
        when 'distance' then m.distance_m
        when 'duration' then m.duration_s
        when 'sessions' then m.sessions
        else case when m.currency = in_currency then m.approved_amount end
      end as value
    from public.employee_daily_metrics as m
    where m.organization_id = in_organization_id and m.day >= in_first_day and m.day < v_months_from
    union all
    select m.employee_id,
      case in_metric
        when 'distance' then m.distance_m
        when 'duration' then m.duration_s
        when 'sessions' then m.sessions
        else case when m.currency = in_currency then m.approved_amount end
      end
    from public.employee_monthly_metrics as m
    where m.organization_id = in_organization_id and m.month >= v_months_from and m.month < v_months_to
    union all
    select m.employee_id,
      case in_metric
        when 'distance' then m.distance_m
        when 'duration' then m.duration_s
        when 'sessions' then m.sessions
        else case when m.currency = in_currency then m.approved_amount end
      end
    from public.employee_daily_metrics as m
    where m.organization_id = in_organization_id and m.day >= v_months_to and m.day <= in_last_day
  ),
  totals as (
    select p.employee_id, sum(p.value) as value
    from parts as p
    group by p.employee_id
    having sum(p.value) > 0
  ),
  ranked as (
    -- The same figure is the same rank; the order within is by id, so that it is the same on every call.
    select t.employee_id, t.value, rank() over (order by t.value desc) as rank,
      row_number() over (order by t.value desc, t.employee_id) as place
    from totals as t
  )
  select
    coalesce(jsonb_agg(jsonb_build_object(
      'rank', r.rank, 'employee_id', r.employee_id, 'value', r.value) order by r.place) filter (where r.place <= 100), '[]'),
    coalesce(array_agg(r.value::double precision order by r.place desc), '{}')
  into v_ranking.leaders, v_ranking.scores
  from ranked as r;
  return v_ranking;
end;
$$;

comment on function private.rank_people(uuid, text, date, date, text) is
  'Everybody''s place over a range of days: leaders and scores of a ranking, computed from daily and monthly rows.';

create function private.get_leaderboard(in_metric text, in_from_day date, in_to_day date, in_top integer) returns jsonb
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_metric text := in_metric;
  v_caller private.caller;
  v_self public.employees;
  v_range private.report_range;
  v_sees_money boolean;
  v_sees_colleagues boolean;
  v_state_of_days text;
  v_ranking private.rankings;
  v_value numeric;
  v_me jsonb;
begin
  if private.jwt() ->> 'role' = 'api_key' then
    v_caller := private.require_admin('analytics:read');
  else
    v_self := private.require_employee();
    v_caller := row(v_self.organization_id, v_self.id, null)::private.caller;
  end if;
  if v_metric is null or v_metric not in ('distance', 'duration', 'sessions', 'expenses') then
    perform private.fail('invalid_argument', 'metric is distance, duration, sessions or expenses.', 'metric');
  end if;
  if in_top is null or in_top not between 1 and 100 then
    perform private.fail('invalid_argument', 'top is 1 to 100.', 'top');
  end if;
  v_range := private.report_range(v_caller.organization_id, in_from_day, in_to_day, 30);
  v_sees_money := v_metric <> 'expenses' or v_caller.api_key_id is not null or v_self.app_role = 'ADMIN';
  -- A ranking of one day is everybody's day. So colleagues show where the organization shares it, over a week at least.
  v_sees_colleagues := v_caller.api_key_id is not null or v_self.app_role = 'ADMIN' or (
    v_range.to_day - v_range.from_day >= 6
    and (select o.shares_leaderboard from public.organizations as o where o.id = v_caller.organization_id)
  );

  -- The state is read before the figures: what changes in between makes this ranking one that no longer holds.
  select md5(coalesce(string_agg(extract(epoch from m.updated_at)::text, ' ' order by m.day), ''))
  into v_state_of_days
  from public.org_daily_metrics as m
  where m.organization_id = v_caller.organization_id and m.day between v_range.from_day and v_range.to_day;
  select r.leaders into v_ranking.leaders
  from private.rankings as r
  where r.organization_id = v_caller.organization_id and r.metric = v_metric
    and r.first_day = v_range.from_day and r.last_day = v_range.to_day
    and r.currency = v_range.currency and r.state_of_days = v_state_of_days;
  if not found then
    v_ranking := private.rank_people(v_caller.organization_id, v_metric, v_range.from_day, v_range.to_day, v_range.currency);
    -- A GET runs read-only: it gets its answer and keeps none.
    if not current_setting('transaction_read_only')::boolean then
      delete from private.rankings as r
      where r.organization_id = v_caller.organization_id and r.made_at < now() - interval '1 day';
      insert into private.rankings (
        organization_id, metric, first_day, last_day, currency, state_of_days, leaders, scores
      ) values (
        v_caller.organization_id, v_metric, v_range.from_day, v_range.to_day, v_range.currency, v_state_of_days,
        v_ranking.leaders, v_ranking.scores
      )
      on conflict on constraint rankings_pkey do update
      set currency = excluded.currency,
        state_of_days = excluded.state_of_days,
        leaders = excluded.leaders,
        scores = excluded.scores,
        made_at = excluded.made_at;
    end if;
  end if;

  if v_self.id is not null then
    select jsonb_build_object('rank', l.entry -> 'rank', 'value', l.entry -> 'value') into v_me
    from jsonb_array_elements(v_ranking.leaders) as l (entry)
    where l.entry ->> 'employee_id' = v_self.id::text;
    if v_me is null then
      select sum(
        case v_metric
          when 'distance' then m.distance_m
          when 'duration' then m.duration_s
          when 'sessions' then m.sessions
          else case when m.currency = v_range.currency then m.approved_amount end
        end)
      into v_value
      from public.employee_daily_metrics as m
      where m.organization_id = v_caller.organization_id and m.employee_id = v_self.id
        and m.day between v_range.from_day and v_range.to_day;
      if v_value > 0 then
        if v_ranking.scores is null then
          select r.scores into v_ranking.scores
          from private.rankings as r
          where r.organization_id = v_caller.organization_id and r.metric = v_metric
            and r.first_day = v_range.from_day and r.last_day = v_range.to_day;
        end if;
        v_me := jsonb_build_object(
          'rank', 1 + cardinality(v_ranking.scores)
            - width_bucket(v_value::double precision, v_ranking.scores),
          'value', v_value);
      end if;
    end if;
  end if;

  return jsonb_build_object(
    'metric', v_metric,
    'unit', case v_metric when 'distance' then 'm' when 'duration' then 's' when 'expenses' then v_range.currency end,
    'from_day', v_range.from_day,
    'to_day', v_range.to_day,
    'entries', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'rank', l.entry -> 'rank',
        'employee_id', e.id,
        'name', e.name,
        'value', case when v_sees_money or e.id = v_self.id then l.entry -> 'value' end
      ) order by l.place), '[]')
      from jsonb_array_elements(v_ranking.leaders) with ordinality as l (entry, place)
      -- One look by key for each row that is shown: joined plainly, the plan would read everybody.
      cross join lateral (
        select p.id, p.name
        from public.employees as p
        where p.organization_id = v_caller.organization_id and p.id = (l.entry ->> 'employee_id')::uuid
        limit 1
      ) as e
      where l.place <= in_top and (v_sees_colleagues or e.id = v_self.id)
    ),
    'me', v_me
  );
end;
$$;

comment on function private.get_leaderboard(text, date, date, integer) is 'Body of public.get_leaderboard.';

grant execute on function private.get_leaderboard(text, date, date, integer) to authenticated, api_key;

create function public.get_leaderboard(
  metric text default 'distance', from_day date default null, to_day date default null, top integer default 10
) returns jsonb
language sql volatile
set search_path = ''
as $$
  select private.get_leaderboard(metric, from_day, to_day, top);
$$;

comment on function public.get_leaderboard(text, date, date, integer) is
  'Who leads by distance, duration, sessions or expenses (approved amount in the organization''s currency) over a range of
days (both included, 366 at most; without one the last 30): {metric, unit, from_day, to_day, entries: [{rank, employee_id, name,
value}], me: {rank, value} or null}. Equal figures share a rank, the next one is skipped; people with nothing are left out;
top is 1 to 100. Administrators, keys with analytics:read, and any member: who sees colleagues where the organization shares that
(shares_leaderboard) and the range has seven days or more, else only themselves; by expenses ranks and the own value.
Errors: invalid_argument 400, scope_missing 403, not_a_member 403.';

grant execute on function public.get_leaderboard(text, date, date, integer) to authenticated, api_key;

-- The approver's first question. Past row level security, as the ranking is: a key with analytics:read is told names here.
create function private.waiting_expenses(in_organization_id uuid) returns jsonb
language sql stable security definer
set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(w) order by w.oldest_submitted_at, w.employee_id, w.currency), '[]')
  from (
    select p.employee_id, e.name, e.employee_code, p.currency, count(*) as pending, sum(p.amount) as pending_amount,
      min(p.submitted_at) as oldest_submitted_at, max(p.spent_on) as latest_spent_on
    from public.pending_expenses as p
    join public.employees as e on e.organization_id = p.organization_id and e.id = p.employee_id
    where p.organization_id = in_organization_id
      -- It is granted to whoever may call the summary, and answers them for their own organization only.
      and p.organization_id = (private.require_admin('analytics:read')).organization_id
    group by p.employee_id, e.name, e.employee_code, p.currency
    order by min(p.submitted_at)
    limit 1000
  ) as w;
$$;

comment on function private.waiting_expenses(uuid) is
  'Whose claims wait, how many and how much by currency, the longest first. For get_expense_summary, of the caller''s organization.';

grant execute on function private.waiting_expenses(uuid) to authenticated, api_key;

create function public.get_expense_summary(from_day date default null, to_day date default null) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_caller private.caller := private.require_admin('analytics:read');
  v_range private.report_range := private.report_range(
    v_caller.organization_id, get_expense_summary.from_day, get_expense_summary.to_day, 30);
begin
  return (
    with lines as (
      select x.currency, x.category,
        sum(x.expenses_pending) as pending,
        sum(x.expenses_approved) as approved,
        sum(x.expenses_rejected) as rejected,
        sum(x.pending_amount) as pending_amount,
        sum(x.approved_amount) as approved_amount,
        sum(x.rejected_amount) as rejected_amount
      from public.org_daily_expenses as x
      where x.organization_id = v_caller.organization_id and x.day between v_range.from_day and v_range.to_day
      group by grouping sets ((), (x.currency), (x.currency, x.category))
    )
    select jsonb_build_object(
      'from_day', v_range.from_day,
      'to_day', v_range.to_day,
      'pending', coalesce(sum(l.pending) filter (where l.currency is null), 0),
      'approved', coalesce(sum(l.approved) filter (where l.currency is null), 0),
      'rejected', coalesce(sum(l.rejected) filter (where l.currency is null), 0),
      'currencies', coalesce(jsonb_agg(
        to_jsonb(l) - 'category' order by l.currency)
        filter (where l.currency is not null and l.category is null), '[]'),
      'categories', coalesce(jsonb_agg(to_jsonb(l) order by l.currency, l.category)
        filter (where l.category is not null), '[]'),
      'waiting', private.waiting_expenses(v_caller.organization_id)
    )
    from lines as l
  );
end;
$$;

comment on function public.get_expense_summary(date, date) is
  'Expenses that were spent in a range of days (both included, 366 at most; without one the last 30): {from_day, to_day, pending,
approved, rejected, currencies: [{currency, pending, approved, rejected, pending_amount, approved_amount, rejected_amount}],
categories: [the same with category], waiting: [{employee_id, name, employee_code, currency, pending, pending_amount,
oldest_submitted_at, latest_spent_on}]}. waiting is who has how much undecided, of any day, the longest first,
  1,000 lines at most.
Counts by the state they are in now; amounts of different currencies are never added.
Administrators, keys with analytics:read. Errors: admin_required 403, scope_missing 403, invalid_argument 400.';

grant execute on function public.get_expense_summary(date, date) to authenticated, api_key;

create function public.get_my_summary(from_day date default null, to_day date default null) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  v_employee public.employees := private.require_employee();
  v_range private.report_range := private.report_range(
    v_employee.organization_id, get_my_summary.from_day, get_my_summary.to_day, 30);
begin
  if get_my_summary.from_day is null and get_my_summary.to_day is null then
    v_range.from_day := date_trunc('week', v_range.today::timestamp)::date;
    v_range.to_day := v_range.from_day + 6;
  end if;
  return (
    select jsonb_build_object(
      'from_day', v_range.from_day,
      'to_day', v_range.to_day,
      'sessions', coalesce(sum(m.sessions), 0),
      'distance_m', coalesce(sum(m.distance_m), 0),
      'duration_s', coalesce(sum(m.duration_s), 0),
      'expenses_pending', coalesce(sum(m.expenses_pending), 0),
      'expenses_approved', coalesce(sum(m.expenses_approved), 0),
      'expenses_rejected', coalesce(sum(m.expenses_rejected), 0)
    )
    from public.employee_daily_metrics as m
    where m.organization_id = v_employee.organization_id and m.employee_id = v_employee.id
      and m.day between v_range.from_day and v_range.to_day
  );
end;
$$;

comment on function public.get_my_summary(date, date) is
  'The caller''s week (Monday to Sunday of the organization''s calendar), or a range of days (both included, 366 at most):
{from_day, to_day, sessions, distance_m, duration_s, expenses_pending, expenses_approved, expenses_rejected}. Closed
sessions, each counted on the day it began; up to date within seconds. Errors: not_a_member 403, invalid_argument 400.';

grant execute on function public.get_my_summary(date, date) to authenticated;

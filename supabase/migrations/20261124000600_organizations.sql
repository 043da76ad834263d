-- Organizations: the tenants. Every other tenant table starts with organization_id and references this one.
--
-- A change of time zone counts from the next local midnight, so a day that has begun is never re-cut; the zones of the
-- past are kept in organization_time_zones and every local day is computed by private.local_days().
-- Settings are columns with named checks, not a bag of json: a wrong value cannot be stored.

create function private.is_time_zone(in_name text) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  -- POSIX strings such as FOO5 are accepted by AT TIME ZONE, so the name is looked up among the IANA zones.
  return in_name ~ '^([A-Za-z_]+(/[A-Za-z0-9_+-]+)+|UTC)$'
    and in_name !~ '^(posix|right)/'
    and exists (select from pg_catalog.pg_timezone_names as z where z.name = in_name);
end;
$$;

comment on function private.is_time_zone(text) is 'Whether the text names an IANA time zone, such as Europe/Ljubljana.';

-- ISO 4217: the codes in use and how many digits stand behind the point. Funds and metals that nobody pays with are left out.
create function private.currency_digits(in_code text) returns integer
language sql immutable
set search_path = ''
as $$
  select case
    when in_code = any (string_to_array(
      'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF', ' ')) then 0
    when in_code = any (string_to_array('BHD IQD JOD KWD LYD OMR TND', ' ')) then 3
    when in_code = any (string_to_array('CLF UYW', ' ')) then 4
    when in_code = any (string_to_array(
      'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP '
      || 'COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR '
      || 'JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN '
      || 'NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL '
      || 'THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG', ' ')) then 2
  end;
$$;

comment on function private.currency_digits(text) is
  'Digits of the minor unit of an ISO 4217 currency (JPY 0, EUR 2, KWD 3); null for what is none.';

create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  slug text not null unique,
  time_zone text not null,
  currency text not null,
  locked_until date,
  max_accuracy_m integer not null default 100,
  max_speed_mps double precision not null default 70,
  gap_s integer not null default 120,
  stop_s integer not null default 180,
  max_session_hours integer not null default 16,
  late_upload_grace_hours integer not null default 72,
  location_retention_days integer not null default 365,
  deletion_due_at timestamptz,
  device_checks_in boolean not null default false,
  allows_self_review boolean not null default false,
  shares_leaderboard boolean not null default false,
  key_notice_hours integer not null default 168,
  expense_categories text[] not null
    default '{TRAVEL,MILEAGE,MEALS,LODGING,FUEL,SUPPLIES,COMMUNICATION,OTHER}',
  own_hours_by_hand boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint name_is_readable check (private.is_readable(name)),
  constraint slug_is_valid check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$'),
  constraint currency_is_iso_4217 check (private.currency_digits(currency) is not null),
  constraint key_notice_hours_is_0_to_2160 check (key_notice_hours between 0 and 2160),
  constraint expense_categories_are_1_to_50_codes check (
    array_to_string(expense_categories, ',', '?') ~ '^[A-Z][A-Z0-9_]{0,39}(,[A-Z][A-Z0-9_]{0,39}){0,49}$'
  ),
  -- Infinity would lock every day to come, or stand for none.
  constraint locked_until_is_a_day check (locked_until between '1900-01-01' and '9999-12-31'),
  constraint max_accuracy_m_is_1_to_10000 check (max_accuracy_m between 1 and 10000),
  constraint max_speed_mps_is_1_to_350 check (max_speed_mps between 1 and 350),
  constraint gap_s_is_10_to_3600 check (gap_s between 10 and 3600),
  constraint stop_s_is_30_to_86400 check (stop_s between 30 and 86400),
  constraint max_session_hours_is_1_to_168 check (max_session_hours between 1 and 168),
  -- With 0 every check-in would be too late by the time it takes to come.
  constraint late_upload_grace_hours_is_1_to_720 check (late_upload_grace_hours between 1 and 720),
  constraint retention_is_longer_than_grace_and_session check (
    location_retention_days <= 3650
    and location_retention_days * 24 > late_upload_grace_hours + max_session_hours
  )
);

alter table public.organizations enable row level security;

-- Which organizations are due to go? Few ever are.
create index organizations_deletion_due on public.organizations (deletion_due_at) where deletion_due_at is not null;

create trigger _100_set_updated_at before update on public.organizations
  for each row execute function private.tg_any__set_updated_at();

comment on table public.organizations is 'The tenants. A member reads the own organization; changes go through RPCs.';
comment on column public.organizations.slug is 'Short name for URLs, unique over the installation.';
comment on column public.organizations.time_zone is 'IANA name; a change counts from the next local midnight.';
comment on column public.organizations.currency is 'ISO 4217 code, the default for expenses.';
comment on column public.organizations.locked_until is
  'Nothing that counts for a local day before this date changes any more; null: nothing is locked. It moves forward over '
  'sessions that are closed and have their figures only.';
comment on column public.organizations.max_accuracy_m is
  'Points that report a larger error radius (metres) are flagged low_accuracy and do not count for distance.';
comment on column public.organizations.max_speed_mps is
  'Legs that imply a higher speed (metres per second) are flagged impossible_speed and do not count.';
comment on column public.organizations.gap_s is
  'Seconds without a point after which nothing is known of the way: the straight leg counts once and is marked as a gap.';
comment on column public.organizations.stop_s is 'The shortest stay, in seconds, that a route shows as a stop.';
comment on column public.organizations.max_session_hours is
  'A session still open after this many hours is closed at the time of its last point.';
comment on column public.organizations.late_upload_grace_hours is
  'How far back a phone may report: times of check-in, check-out and points, and points after check-out.';
comment on column public.organizations.device_checks_in is
  'The first point of a local day that a phone with a device token sends checks its person in.';
comment on column public.organizations.shares_leaderboard is
  'Whether employees see colleagues in the ranking, over a week or more; without it they see their own place.';
comment on column public.organizations.key_notice_hours is
  'How long API keys go on after who made them is deactivated or no administrator any more; of an erased person they end at once.';
comment on column public.organizations.expense_categories is
  'What an expense may be for: codes of capital letters, digits and underscores. Claims keep the category that they were made with.';
comment on column public.organizations.allows_self_review is
  'Whether an administrator decides over the own expenses while there is no other administrator; such a claim is marked '
  '(is_self_reviewed).';
comment on column public.organizations.own_hours_by_hand is
  'Whether an administrator or manager may correct, create, void and review the own hours; false: another one has to.';
comment on column public.organizations.location_retention_days is
  'Points of sessions that ended longer ago are deleted (with their month where no organization keeps them longer); '
  'sessions keep their figures.';
comment on column public.organizations.deletion_due_at is
  'When everything of the organization will be deleted (delete_organization); null: it stays.';

create table public.organization_time_zones (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  valid_from timestamptz not null,
  time_zone text not null,
  primary key (organization_id, valid_from)
);

alter table public.organization_time_zones enable row level security;

comment on table public.organization_time_zones is
  'Which time zone counted from when. The first row is valid from -infinity; later ones begin at a local midnight.';
comment on column public.organization_time_zones.valid_from is 'From this instant on (a midnight of the zone before).';
comment on column public.organization_time_zones.time_zone is 'IANA name.';

-- Where the clock goes back over midnight (the Azores, Havana) a date has two of them and AT TIME ZONE answers the later one; the
-- hour before it is the new date's already. The offset that counted before midnight tells the first.
create function private.day_starts_at(in_day date, in_time_zone text) returns timestamptz
language plpgsql immutable
set search_path = ''
as $$
declare
  v_midnight timestamptz := in_day::timestamp at time zone in_time_zone;
  v_noon_before timestamptz := v_midnight - interval '12 hours';
  v_first timestamptz := v_noon_before + (in_day::timestamp - (v_noon_before at time zone in_time_zone));
begin
  return case when v_first at time zone in_time_zone = in_day::timestamp then least(v_first, v_midnight) else v_midnight end;
end;
$$;

comment on function private.day_starts_at(date, text) is 'The first instant of a date in a time zone.';

grant execute on function private.day_starts_at(date, text) to authenticated, api_key, service_role, fieldtrack_worker;

-- Keeps the history in step with the column. What has begun stays: the new zone counts from the old zone's next midnight.
create function private.tg_organizations__keep_time_zones() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_current text;
  v_today date;
begin
  if not private.is_time_zone(new.time_zone) then
    perform private.fail('invalid_argument', format('%L is not an IANA time zone.', new.time_zone),
      'time_zone', 'Use a name such as Europe/Ljubljana or Asia/Kolkata.');
  end if;
  if tg_op = 'INSERT' then
    insert into public.organization_time_zones (organization_id, valid_from, time_zone)
    values (new.id, '-infinity', new.time_zone);
  else
    -- A second change on the same day replaces the one that still waits for midnight.
    delete from public.organization_time_zones as z
    where z.organization_id = new.id and z.valid_from > now();
    -- A name that this host's data has no more (after a restore elsewhere, or an update of the data) computes nothing: the
    -- new name
    -- stands for it, from the beginning on. Otherwise nobody could ever change it: all that follows would raise.
    update public.organization_time_zones as z
    set time_zone = new.time_zone
    where z.organization_id = new.id and not private.is_time_zone(z.time_zone);
    select z.time_zone into strict v_current
    from public.organization_time_zones as z
    where z.organization_id = new.id
    order by z.valid_from desc
    limit 1;
    if v_current <> new.time_zone then
      v_today := (now() at time zone v_current)::date;
      -- A date that comes twice in a row is one day. From Kiritimati to Samoa yesterday would come again, and then today.
      if (private.day_starts_at(v_today + 1, v_current) at time zone new.time_zone)::date < v_today then
        perform private.fail('invalid_argument',
          format('%s lags more than a day behind %s.', new.time_zone, v_current), 'time_zone',
          'Change to UTC first and to this one tomorrow.');
      end if;
      insert into public.organization_time_zones (organization_id, valid_from, time_zone)
      values (
        new.id,
        private.day_starts_at(v_today + 1, v_current),
        new.time_zone
      );
    end if;
  end if;
  return null;
end;
$$;

comment on function private.tg_organizations__keep_time_zones() is
  'After insert or a change of time_zone: checks the name and writes organization_time_zones.';

create trigger _200_keep_time_zones_on_insert after insert on public.organizations
  for each row execute function private.tg_organizations__keep_time_zones();

create trigger _200_keep_time_zones_on_update after update of time_zone on public.organizations
  for each row when (old.time_zone is distinct from new.time_zone)
  execute function private.tg_organizations__keep_time_zones();

-- Cuts a range of time into the organization's local days. Days of 23 and 25 hours come out right because midnight is
-- computed in the zone each time, never by adding 24 hours. Planned once a connection: planning took four times the run.
create function private.local_days(in_organization_id uuid, in_starts_at timestamptz, in_ends_at timestamptz)
returns table (day date, time_zone text, day_starts_at timestamptz, day_ends_at timestamptz)
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
  with zones as (
    select
      z.time_zone,
      z.valid_from,
      lead(z.valid_from, 1, 'infinity') over (order by z.valid_from) as valid_to
    from public.organization_time_zones as z
    where z.organization_id = in_organization_id
  ),
  spans as (
    select
      z.time_zone,
      greatest(z.valid_from, in_starts_at) as span_starts_at,
      least(z.valid_to, in_ends_at) as span_ends_at
    from zones as z
    where z.valid_from <= in_ends_at and z.valid_to > in_starts_at
  ),
  parts as (
    select
      d.day::date as day,
      s.time_zone,
      greatest(s.span_starts_at, private.day_starts_at(d.day::date, s.time_zone)) as part_starts_at,
      least(s.span_ends_at, private.day_starts_at(d.day::date + 1, s.time_zone)) as part_ends_at
    from spans as s
    cross join lateral generate_series(
      date_trunc('day', s.span_starts_at at time zone s.time_zone),
      date_trunc('day', s.span_ends_at at time zone s.time_zone),
      interval '1 day'
    ) as d (day)
  )
  -- After a change of zone a date can come twice (the new zone lags behind): it is one day, and the later zone names it.
  select
    p.day,
    (array_agg(p.time_zone order by p.part_starts_at desc))[1],
    min(p.part_starts_at),
    max(p.part_ends_at)
  from parts as p
  where p.part_ends_at > p.part_starts_at
    or (p.part_ends_at = p.part_starts_at and in_starts_at = in_ends_at)
  group by p.day
  order by p.day;
end;
$$;

comment on function private.local_days(uuid, timestamptz, timestamptz) is
  'The organization''s local days that [starts_at, ends_at) touches, each with its time zone and its part of the range.';

grant execute on function private.local_days(uuid, timestamptz, timestamptz)
  to authenticated, api_key, service_role, fieldtrack_worker;

-- The local date of an instant; the same rule as local_days, for one instant.
create function private.local_day(in_organization_id uuid, in_at timestamptz) returns date
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select (in_at at time zone z.time_zone)::date
    from public.organization_time_zones as z
    where z.organization_id = in_organization_id and z.valid_from <= in_at
    order by z.valid_from desc
    limit 1
  );
end;
$$;

comment on function private.local_day(uuid, timestamptz) is 'The organization''s local date at an instant.';

grant execute on function private.local_day(uuid, timestamptz) to authenticated, api_key, service_role, fieldtrack_worker;

-- Policies need to know who calls, so they stand after the chapters of employees and keys.

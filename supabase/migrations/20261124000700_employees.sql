-- Employees: who belongs to an organization and in which role.
--
-- A user has one active organization at a time; the user's other employments stay as inactive rows.
-- Not covered: policies and grants, which stand two chapters on, with the questions that they ask.

create table public.employees (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete set null (user_id),
  name text not null,
  phone text,
  employee_code text not null,
  app_role text not null default 'EMPLOYEE',
  is_active boolean not null default true,
  erased_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, employee_code),
  constraint name_has_1_to_200_characters check (char_length(name) between 1 and 200 and name = btrim(name)),
  constraint name_is_readable check (private.is_readable(name)),
  constraint phone_has_1_to_40_characters check (char_length(phone) between 1 and 40),
  constraint employee_code_has_1_to_40_characters check (employee_code ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$'),
  constraint app_role_is_valid check (app_role in ('ADMIN', 'EMPLOYEE')),
  constraint erased_is_nobody check (erased_at is null or (user_id is null and phone is null and not is_active))
);

alter table public.employees enable row level security;

-- Who is this user, now? At most one active row: the answer to every policy's question, and a global unique rule.
create unique index employees_one_active_organization on public.employees (user_id) where is_active;

-- The reference to auth.users: on delete of a user, all the user's rows are found by it.
create index employees_user_id on public.employees (user_id);

-- The administrator's list, by name.
create index employees_by_name on public.employees (organization_id, name, id);

create trigger _200_set_updated_at before update on public.employees
  for each row execute function private.tg_any__set_updated_at();

comment on table public.employees is
  'People of an organization. Administrators read all of their organization''s, an employee reads the own row.';
comment on column public.employees.user_id is 'auth.users.id; null until the invitation is accepted.';
comment on column public.employees.employee_code is 'Unique in the organization; made as EMP0001, EMP0002, … when absent.';
comment on column public.employees.app_role is 'ADMIN or EMPLOYEE.';
comment on column public.employees.is_active is 'False: the person may do nothing more; the history stays.';
comment on column public.employees.erased_at is
  'When the person was erased: identity, positions and receipts are gone or going, the figures stay. Null: not erased.';

-- A counter per organization, so that codes of one tenant do not tell how many people another one has.
create table private.employee_code_counters (
  organization_id uuid primary key constraint organization references public.organizations (id) on delete cascade,
  last_number integer not null
);

alter table private.employee_code_counters enable row level security;

comment on table private.employee_code_counters is 'The last number given out for an employee_code, per organization.';

create function private.tg_employees__make_code() returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  v_number integer;
begin
  -- A code that an administrator chose by hand may be the next of the row, hence the loop.
  loop
    insert into private.employee_code_counters as c (organization_id, last_number)
    values (new.organization_id, 1)
    on conflict (organization_id) do update set last_number = c.last_number + 1
    returning c.last_number into v_number;
    new.employee_code := 'EMP' || lpad(v_number::text, greatest(4, length(v_number::text)), '0');
    exit when not exists (
      select from public.employees as e
      where e.organization_id = new.organization_id and e.employee_code = new.employee_code
    );
  end loop;
  return new;
end;
$$;

comment on function private.tg_employees__make_code() is 'Before insert without a code: EMP and the organization''s next number.';

create trigger _100_make_code before insert on public.employees
  for each row when (new.employee_code is null) execute function private.tg_employees__make_code();

-- Order of locks: the lock date (private.hold_locked_until), the person, then invitations, expenses and sessions (several in the
-- order of their ids), then days, then snapshots. A row that refers to the person locks it in passing; who would do so with a
-- session or an expense in hand does it before, by this. A deactivation and an erasure hold the person `for update` and find
-- nobody half-way.
create function private.hold_employee(in_organization_id uuid, in_employee_id uuid) returns boolean
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  perform from public.employees as e
  where e.organization_id = in_organization_id and e.id = in_employee_id
  for key share;
  return found;
end;
$$;

comment on function private.hold_employee(uuid, uuid) is
  'Holds a person against deactivation and erasure until the transaction ends, before it locks anything of theirs; false when '
  'there is no such person.';

grant execute on function private.hold_employee(uuid, uuid) to fieldtrack_worker;

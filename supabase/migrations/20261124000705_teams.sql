-- Teams: which people belong together, and who leads them.
--
-- To manage is a relation and not a third role: a person manages the teams that team_managers names, and is an employee like
-- any other
-- beside that. A person belongs to one team at most; a team may have several managers, and somebody may manage several teams.
-- Not covered: policies and what a manager may see (000720_callers), and how teams are changed (000770_team_management).

create table public.teams (
  organization_id uuid not null constraint organization references public.organizations (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, name),
  constraint name_has_1_to_100_characters check (char_length(name) between 1 and 100 and name = btrim(name))
);

alter table public.teams enable row level security;

create trigger _100_set_updated_at before update on public.teams
  for each row execute function private.tg_any__set_updated_at();

comment on table public.teams is
  'Teams of an organization, which all of its members read. Who belongs to them and who manages them is not for everybody.';
comment on column public.teams.name is 'Unique in the organization; 1 to 100 characters.';

-- When a team is deleted, its people stay and belong to none.
alter table public.employees
  add column team_id uuid,
  -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
  add constraint team foreign key (organization_id, team_id)
    references public.teams (organization_id, id) on delete set null (team_id);

-- The people of a team, for its managers; also the team reference.
create index employees_team on public.employees (organization_id, team_id);

comment on column public.employees.team_id is 'The team the person belongs to (teams.id), or null. Its managers see and decide.';

create table public.team_managers (
  organization_id uuid not null,
  team_id uuid not null,
  employee_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (organization_id, team_id, employee_id),
  constraint team foreign key (organization_id, team_id)
    references public.teams (organization_id, id) on delete cascade,
  constraint manager foreign key (organization_id, employee_id)
    references public.employees (organization_id, id) on delete cascade
);

alter table public.team_managers enable row level security;

-- The teams that a person manages, which is asked at every statement of theirs; also the manager reference.
create index team_managers_employee on public.team_managers (organization_id, employee_id);

comment on table public.team_managers is
  'Who manages which team. A manager reads and decides for the people of the team, and for nobody else.';
comment on column public.team_managers.team_id is 'The team (teams.id).';
comment on column public.team_managers.employee_id is 'The manager (employees.id), who need not belong to the team.';
comment on column public.team_managers.created_at is 'Since when.';

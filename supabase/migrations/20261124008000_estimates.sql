-- Estimates: a way around row level security that is closed here for every table at once.
--
-- PostgREST answers `Prefer: count=planned` (and count=estimated beyond max_rows) with the number of rows that EXPLAIN expects
-- of the caller's filter. The planner takes it from statistics of the whole table, all tenants' rows: ranges of a name, asked
-- for again and again, spell out names of another organization, and its id answers how many people it has. So nobody explains
-- what a policy guards; counting (count=exact) reads rows and is held by the policies.

-- Immutable is said on purpose, though it looks at the statement: the planner calls such a function once, when it plans, and puts
-- the answer in its place. So EXPLAIN, which runs nothing, comes past here, and a plan that runs pays nothing and reads
-- the same. A header could be looked at instead (db-pre-request); of two of the same name PostgREST shows only one.
create function private.refuse_estimates() returns boolean
language plpgsql immutable
set search_path = ''
as $$
begin
  if current_query() ~* '^\s*explain' and current_setting('request.method', true) <> '' then
    perform private.fail('invalid_argument', 'Rows are counted, not estimated.', 'Prefer', 'Send Prefer: count=exact.');
  end if;
  return true;
end;
$$;

comment on function private.refuse_estimates() is
  'True; while a request''s EXPLAIN is planned it raises invalid_argument 400 instead. For policies.';

grant execute on function private.refuse_estimates() to authenticated, api_key;

-- A table that comes later needs the same policy; a test looks for it.
do $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    order by c.relname
  loop
    execute format(
      'create policy refuse_estimates on %s as restrictive for select to authenticated, api_key '
      'using (private.refuse_estimates())', v_table);
  end loop;
end
$$;

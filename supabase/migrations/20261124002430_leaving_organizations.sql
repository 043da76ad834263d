-- An organization that leaves: thirty days' notice, then its rows go in bounded steps.

create function private.delete_organization(in_slug text, in_reason text) returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_organization public.organizations;
begin
  update public.organizations as o
  set deletion_due_at = coalesce(o.deletion_due_at, now() + interval '30 days')
  where o.id = v_admin.organization_id and o.slug = in_slug
  returning o.* into v_organization;
  if not found then
    perform private.fail('invalid_argument', 'This is not the slug of your organization.', 'slug',
      'To delete it, name it: everything goes, for everybody.');
  end if;
  perform private.audit(v_organization.id, 'organization.deletion_requested', 'organization', v_organization.id, null,
    jsonb_build_object('deletion_due_at', v_organization.deletion_due_at), in_reason);
  return v_organization;
end;
$$;

comment on function private.delete_organization(text, text) is 'Body of public.delete_organization.';

grant execute on function private.delete_organization(text, text) to authenticated;

create function public.delete_organization(slug text, reason text default null) returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.delete_organization(slug, reason);
$$;

comment on function public.delete_organization(text, text) is
  'Gives notice: in 30 days (deletion_due_at) everything of the caller''s organization is deleted, unless keep_organization is
called before. Until then all works as always. Again: the first date stays. Receipts are files: until then administrators may
remove them with Storage''s remove(). Administrators; audited.
Errors: admin_required 403, invalid_argument 400 (slug is not the organization''s).';

grant execute on function public.delete_organization(text, text) to authenticated;

create function private.keep_organization() returns public.organizations
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_admin private.caller := private.require_admin();
  v_organization public.organizations;
begin
  update public.organizations as o
  set deletion_due_at = null
  where o.id = v_admin.organization_id and o.deletion_due_at is not null
  returning o.* into v_organization;
  if found then
    perform private.audit(v_organization.id, 'organization.deletion_withdrawn', 'organization', v_organization.id, null, null);
    return v_organization;
  end if;
  select o.* into strict v_organization from public.organizations as o where o.id = v_admin.organization_id;
  return v_organization;
end;
$$;

comment on function private.keep_organization() is 'Body of public.keep_organization.';

grant execute on function private.keep_organization() to authenticated;

create function public.keep_organization() returns public.organizations
language sql volatile
set search_path = ''
as $$
  select private.keep_organization();
$$;

comment on function public.keep_organization() is
  'Takes delete_organization back, while its 30 days run. Without a notice nothing happens. Administrators; audited.
Errors: admin_required 403.';

grant execute on function public.keep_organization() to authenticated;

-- Rows of one organization, at most so many, from whatever tables the catalog says have any: the ones that others refer to come
-- last, so that no statement cascades into a large table. The organization's own row goes when nothing else is left.
create function private.delete_organization_piece(in_organization_id uuid, in_max_rows integer default 5000) returns bigint
language plpgsql volatile
set search_path = ''
as $$
declare
  v_organization_id uuid;
  v_table record;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  select o.id into v_organization_id
  from public.organizations as o
  where o.id = in_organization_id and o.deletion_due_at <= now()
  for update skip locked;
  if not found then
    return 0;
  end if;
  -- Nobody writes into it any more: its people are locked out first, whatever is still left.
  update public.employees as e set is_active = false
  where e.organization_id = v_organization_id and e.is_active;
  perform set_config('fieldtrack.erasure', 'on', true);
  for v_table in
    with recursive depths as (
      select c.oid, 0 as depth
      from pg_catalog.pg_class as c
      join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
      where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace)
      union all
      -- One level above whatever refers to it.
      select k.confrelid, d.depth + 1
      from depths as d
      join pg_catalog.pg_constraint as k on k.conrelid = d.oid and k.contype = 'f' and k.confrelid <> k.conrelid
      where d.depth < 20
    )
    select d.oid::regclass as name, max(d.depth) as depth
    from depths as d
    where d.oid <> 'public.organizations'::regclass and d.oid in (
      select a.attrelid from pg_catalog.pg_attribute as a where a.attname = 'organization_id' and not a.attisdropped
    )
    group by d.oid
    order by 2, 1
  loop
    execute format($sql$
      delete from %1$s where ctid = any (array(
        select t.ctid from %1$s as t where t.organization_id = $1 limit $2
      ))
    $sql$, v_table.name) using v_organization_id, in_max_rows - v_deleted;
    get diagnostics v_rows = row_count;
    v_deleted := v_deleted + v_rows;
    exit when v_deleted >= in_max_rows;
  end loop;
  if v_deleted < in_max_rows then
    delete from public.organizations as o where o.id = v_organization_id;
    v_deleted := v_deleted + 1;
  end if;
  -- The next turn, in this transaction, is another organization's.
  perform set_config('fieldtrack.erasure', '', true);
  return v_deleted;
end;
$$;

comment on function private.delete_organization_piece(uuid, integer) is
  'One organization''s turn, when its notice has run out: deletes up to so many of its rows, and at last the organization. Answers '
  'how many.';

insert into private.tenant_loops (name, schedule_name, due, turn) values (
  'organization-deletion', 'organization-deletion',
  'select o.id, o.deletion_due_at from public.organizations as o where o.deletion_due_at <= now()',
  'delete_organization_piece'
);

create function private.delete_due_organizations() returns bigint
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  return private.take_turns('organization-deletion');
end;
$$;

comment on function private.delete_due_organizations() is
  'Deletes organizations whose notice has run out, in turns. Run by schedule; answers how many rows.';

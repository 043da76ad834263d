-- Two permissive policies on one command are OR-ed, which is slow and hard to read; a grant without a
-- policy is a right that can never be used, and mostly a policy that was forgotten.
begin;
select plan(5);

create temporary view policy_of_role as
select p.oid, p.polrelid, p.polrelid::regclass as table_name, p.polname, p.polpermissive, p.polcmd, p.polqual,
  p.polwithcheck, r.role_id
from pg_catalog.pg_policy as p
join pg_catalog.pg_class as c on c.oid = p.polrelid
cross join lateral unnest(p.polroles) as r (role_id)
where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'gps'::regnamespace);

select is_empty(
  $$
    select table_name, polcmd, role_id::regrole, array_agg(polname)
    from policy_of_role
    where polpermissive
    group by 1, 2, 3
    having count(*) > 1
  $$,
  'no table has two policies for one command and role'
);

select is_empty(
  $$select table_name, polname from policy_of_role where polcmd = '*'$$,
  'no policy is for all commands'
);

select is_empty(
  $$select table_name, polname from policy_of_role where role_id = 0$$,
  'every policy names its roles'
);

select is_empty(
  $$select table_name, polname from policy_of_role where polcmd = 'w' and (polqual is null or polwithcheck is null)$$,
  'every update policy says which rows and what they may become'
);

select is_empty(
  $$
    select distinct c.oid::regclass, a.privilege_type, a.grantee::regrole
    from pg_catalog.pg_class as c
    cross join lateral (
      select * from pg_catalog.aclexplode(c.relacl)
      union all
      select e.*
      from pg_catalog.pg_attribute as t
      cross join lateral pg_catalog.aclexplode(t.attacl) as e
      where t.attrelid = c.oid
    ) as a
    join pg_catalog.pg_roles as r on r.oid = a.grantee and not r.rolbypassrls and not r.rolsuper
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and c.relkind in ('r', 'p')
      and a.grantee <> c.relowner
      and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
      and not exists (
        select from policy_of_role as p
        where p.polrelid = c.oid
          and p.role_id = a.grantee
          and p.polcmd = case a.privilege_type when 'SELECT' then 'r' when 'INSERT' then 'a' when 'UPDATE' then 'w' else 'd' end
      )
  $$,
  'every granted command has its policy'
);

select * from finish();
rollback;

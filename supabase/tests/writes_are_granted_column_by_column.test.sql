-- The narrowest permission is a grant (style.md 11): an insert or update grant on a whole table also grants every column
-- that a later migration adds.
begin;
select plan(1);

select is_empty(
  $$
    select c.oid::regclass, a.grantee::regrole, a.privilege_type
    from pg_catalog.pg_class as c
    cross join lateral pg_catalog.aclexplode(c.relacl) as a
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
      and c.relkind in ('r', 'p', 'v')
      and a.grantee <> c.relowner
      and a.privilege_type in ('INSERT', 'UPDATE', 'TRUNCATE', 'REFERENCES', 'TRIGGER')
  $$,
  'no role but the owner may insert into or update all columns of a table'
);

select * from finish();
rollback;

-- A partition in an exposed schema answered anon although its parent refused (tried): hence schema gps, without grants.
begin;
select plan(3);

select isnt_empty(
  $$select from pg_catalog.pg_class as c where c.relnamespace = 'gps'::regnamespace and c.relispartition$$,
  'there are partitions to look at'
);

select is_empty(
  $$
    select c.oid::regclass, a.grantee::regrole, a.privilege_type
    from pg_catalog.pg_class as c
    cross join lateral pg_catalog.aclexplode(c.relacl) as a
    where c.relnamespace = 'gps'::regnamespace and a.grantee <> c.relowner
  $$,
  'nothing in gps is granted to anyone but its owner'
);

select is_empty(
  $$
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relispartition and c.relkind in ('r', 'p')
      and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
  $$,
  'no partition lies in another schema'
);

select * from finish();
rollback;

-- One block a schema: who may enter it, and what it is for.
select
  pg_catalog.concat_ws(E'\n',
    pg_catalog.format('create schema %I;', n.nspname),
    pg_catalog.format('comment on schema %I is ', n.nspname)
      || pg_catalog.quote_literal(pg_catalog.obj_description(n.oid, 'pg_namespace')) || ';',
    (
      select pg_catalog.string_agg(
        pg_catalog.format('grant %s on schema %I to %s;', g.privileges, n.nspname, g.grantee), E'\n' order by g.grantee)
      from (
        select
          case a.grantee when 0 then 'public' else a.grantee::pg_catalog.regrole::text end as grantee,
          pg_catalog.lower(pg_catalog.string_agg(a.privilege_type, ', ' order by a.privilege_type)) as privileges
        from pg_catalog.aclexplode(n.nspacl) as a
        where a.grantee <> n.nspowner
        group by 1
      ) as g
    )
  ) as ddl
from pg_catalog.pg_namespace as n
where n.nspname in ('public', 'private', 'gps')
order by n.nspname;

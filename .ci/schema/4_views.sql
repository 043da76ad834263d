-- One block a view, with its options (security_invoker), comments and grants.
select
  pg_catalog.concat_ws(E'\n',
    pg_catalog.format(E'create %sview %I.%I%s as\n%s',
      case c.relkind when 'm' then 'materialized ' end, n.nspname, c.relname,
      ' with (' || pg_catalog.array_to_string(c.reloptions, ', ') || ')',
      pg_catalog.pg_get_viewdef(c.oid)),
    (
      select pg_catalog.string_agg(
        pg_catalog.format('comment on %s is %L;',
          case d.objsubid
            when 0 then pg_catalog.format('view %I.%I', n.nspname, c.relname)
            else pg_catalog.format('column %I.%I.%I', n.nspname, c.relname, a.attname) end,
          d.description),
        E'\n' order by d.objsubid)
      from pg_catalog.pg_description as d
      left join pg_catalog.pg_attribute as a on a.attrelid = d.objoid and a.attnum = d.objsubid
      where d.objoid = c.oid and d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
    ),
    (
      select pg_catalog.string_agg(
        pg_catalog.format('grant %s on %I.%I to %s;', g.privileges, n.nspname, c.relname, g.grantee),
        E'\n' order by g.grantee)
      from (
        select
          case a.grantee when 0 then 'public' else a.grantee::pg_catalog.regrole::text end as grantee,
          pg_catalog.lower(pg_catalog.string_agg(a.privilege_type, ', ' order by a.privilege_type)) as privileges
        from pg_catalog.aclexplode(c.relacl) as a
        where a.grantee <> c.relowner
        group by 1
      ) as g
    )
  ) as ddl
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'private') and c.relkind in ('v', 'm')
order by n.nspname desc, c.relname;

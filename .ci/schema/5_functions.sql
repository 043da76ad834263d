-- One block a function, with its comment and who may call it. Functions of extensions are not listed.
select
  pg_catalog.concat_ws(E'\n',
    pg_catalog.rtrim(pg_catalog.pg_get_functiondef(p.oid), E'\n') || ';',
    pg_catalog.format('comment on function %s is ', p.oid::pg_catalog.regprocedure)
      || pg_catalog.quote_literal(pg_catalog.obj_description(p.oid, 'pg_proc')) || ';',
    (
      select pg_catalog.format('grant execute on function %s to %s;',
        p.oid::pg_catalog.regprocedure, pg_catalog.string_agg(g.grantee, ', ' order by g.grantee))
      from (
        select case a.grantee when 0 then 'public' else a.grantee::pg_catalog.regrole::text end as grantee
        from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) as a
        where a.grantee <> p.proowner
      ) as g
      having pg_catalog.count(*) > 0
    )
  ) as ddl
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('public', 'private')
  and p.prokind in ('f', 'p')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.objid = p.oid and e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and e.deptype = 'e'
  )
order by n.nspname desc, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid);

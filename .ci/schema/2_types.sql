-- One block a domain, enum or composite type. Types that an extension or a table brings along are not listed.
select
  pg_catalog.concat_ws(E'\n',
    case t.typtype
      when 'd' then pg_catalog.format(
        'create domain %I.%I as %s%s%s;',
        n.nspname, t.typname, pg_catalog.format_type(t.typbasetype, t.typtypmod),
        case when t.typnotnull then ' not null' end,
        (
          select pg_catalog.string_agg(
            pg_catalog.format(E'\n  constraint %I %s', c.conname, pg_catalog.pg_get_constraintdef(c.oid)),
            '' order by c.conname)
          from pg_catalog.pg_constraint as c
          where c.contypid = t.oid and c.contype = 'c'
        ))
      when 'e' then pg_catalog.format(
        'create type %I.%I as enum (%s);',
        n.nspname, t.typname,
        (
          select pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
          from pg_catalog.pg_enum as e
          where e.enumtypid = t.oid
        ))
      else pg_catalog.format(
        'create type %I.%I as (%s);',
        n.nspname, t.typname,
        (
          select pg_catalog.string_agg(
            pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)),
            ', ' order by a.attnum)
          from pg_catalog.pg_attribute as a
          where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        ))
    end,
    'comment on ' || case t.typtype when 'd' then 'domain' else 'type' end
      || pg_catalog.format(' %I.%I is ', n.nspname, t.typname) || pg_catalog.quote_literal(d.description) || ';'
  ) as ddl
from pg_catalog.pg_type as t
join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
left join pg_catalog.pg_class as r on r.oid = t.typrelid
left join pg_catalog.pg_description as d
  on d.objoid = t.oid and d.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.objsubid = 0
where n.nspname in ('public', 'private')
  and (t.typtype in ('d', 'e') or r.relkind = 'c')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.objid = t.oid and e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and e.deptype = 'e'
  )
order by n.nspname desc, t.typname;

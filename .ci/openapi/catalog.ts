// What the migrated database says of its API: tables and views with their columns, functions with their arguments.
import pg from 'pg';

export type Column = {
  name: string;
  type: string;
  isNullable: boolean;
  comment: string | null;
  values: string[] | null;
};

export type Relation = {
  name: string;
  comment: string | null;
  isView: boolean;
  columns: Column[];
  mayDelete: boolean;
  /** Whether a key with the right scope may read it. */
  isForKeys: boolean;
};

export type Argument = { name: string; type: string; isOptional: boolean; defaultSql: string | null };

export type RpcFunction = {
  name: string;
  comment: string;
  arguments: Argument[];
  /** The name of what it answers: a type, or a table when it answers its rows. */
  returns: string;
  returnsTable: string | null;
  returnsSet: boolean;
  /** The columns of `returns table (…)`. */
  columns: Column[];
  /** May be called with GET too: it changes nothing. */
  isRead: boolean;
  isForPeople: boolean;
  isForKeys: boolean;
};

export type Catalog = { relations: Relation[]; functions: RpcFunction[] };

/** A domain is what it was made of. */
function baseOf(type: string): string {
  return `(select format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) from pg_catalog.pg_type as t where t.oid = ${type})`;
}

// A column's values, where a check lists them: "status = any (array['ACTIVE', 'CLOSED'])".
const columnsSql = `
  select a.attname as name, ${baseOf('a.atttypid')} as type,
    not a.attnotnull as "isNullable", col_description(c.oid, a.attnum) as comment,
    (select array_agg(v.text[1] order by v.place)
     from pg_catalog.pg_constraint as k
     cross join lateral regexp_matches(pg_get_constraintdef(k.oid), '''([A-Z_]+)''::text', 'g') with ordinality as v (text, place)
     where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum]
       and pg_get_constraintdef(k.oid) ~ '^CHECK \\(\\(\\w+ = ANY \\(ARRAY\\[(''[A-Z_]+''::text(, )?)+\\]\\)\\)\\)$') as values
  from pg_catalog.pg_class as c join pg_catalog.pg_attribute as a on a.attrelid = c.oid
  where c.oid = $1::regclass and a.attnum > 0 and not a.attisdropped
    and (has_column_privilege('authenticated', c.oid, a.attnum, 'select')
      or has_column_privilege('service_role', c.oid, a.attnum, 'select'))
  order by a.attnum`;

const relationsSql = `
  select c.relname as name, obj_description(c.oid, 'pg_class') as comment, c.relkind = 'v' as "isView",
    has_table_privilege('authenticated', c.oid, 'delete') as "mayDelete",
    has_any_column_privilege('api_key', c.oid, 'select') as "isForKeys"
  from pg_catalog.pg_class as c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm', 'v') and not c.relispartition
    and has_any_column_privilege('authenticated', c.oid, 'select')
  order by c.relname`;

const functionsSql = `
  select p.oid::integer as oid, p.proname as name, obj_description(p.oid, 'pg_proc') as comment,
    format_type(p.prorettype, null) as returns, p.proretset as "returnsSet", p.provolatile <> 'v' as "isRead",
    (select c.relname from pg_catalog.pg_class as c
     where c.reltype = p.prorettype and c.relnamespace = 'public'::regnamespace) as "returnsTable",
    has_function_privilege('authenticated', p.oid, 'execute') as "isForPeople",
    has_function_privilege('api_key', p.oid, 'execute') as "isForKeys"
  from pg_catalog.pg_proc as p
  where p.pronamespace = 'public'::regnamespace
    -- Computed fields take a row; they are read with their table.
    and not exists (select from pg_catalog.pg_type as t where t.oid = any (p.proargtypes) and t.typtype = 'c')
  order by p.proname`;

const argumentsSql = `
  select a.name, ${baseOf('coalesce(p.proallargtypes[a.place], p.proargtypes[a.place - 1])')} as type,
    coalesce(p.proargmodes[a.place], 'i') as mode, pg_get_function_arg_default(p.oid, a.place::integer) as "defaultSql"
  from pg_catalog.pg_proc as p cross join lateral unnest(p.proargnames) with ordinality as a (name, place)
  where p.oid = $1
  order by a.place`;

export async function readCatalog(databaseUrl: string): Promise<Catalog> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const relations: Relation[] = [];
    for (const relation of (await client.query<Omit<Relation, 'columns'>>(relationsSql)).rows) {
      const { rows } = await client.query<Column>(columnsSql, [`public.${relation.name}`]);
      relations.push({ ...relation, columns: rows });
    }
    const functions: RpcFunction[] = [];
    const found = await client.query<Omit<RpcFunction, 'arguments' | 'columns'> & { oid: number }>(functionsSql);
    for (const { oid, ...rpc } of found.rows) {
      const { rows } = await client.query<{ name: string; type: string; mode: string; defaultSql: string | null }>(
        argumentsSql,
        [oid],
      );
      functions.push({
        ...rpc,
        arguments: rows
          .filter(({ mode }) => mode === 'i')
          .map(({ name, type, defaultSql }) => ({ name, type, defaultSql, isOptional: defaultSql !== null })),
        columns: rows
          .filter(({ mode }) => mode === 't')
          .map(({ name, type }) => ({ name, type, isNullable: true, comment: null, values: null })),
      });
    }
    return { relations, functions };
  } finally {
    await client.end();
  }
}

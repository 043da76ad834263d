// From PostgreSQL's types and from zod to JSON Schema, as OpenAPI 3.1 has it.
import { z } from 'zod';
import type { Argument, Column } from './catalog.ts';

export type Schema = { [key: string]: unknown };

const scalars: Record<string, Schema> = {
  uuid: { type: 'string', format: 'uuid' },
  text: { type: 'string' },
  'character varying': { type: 'string' },
  'timestamp with time zone': { type: 'string', format: 'date-time' },
  date: { type: 'string', format: 'date' },
  boolean: { type: 'boolean' },
  smallint: { type: 'integer' },
  integer: { type: 'integer' },
  bigint: { type: 'integer', format: 'int64' },
  numeric: { type: 'number' },
  real: { type: 'number' },
  'double precision': { type: 'number' },
  // Any JSON.
  json: {},
  jsonb: {},
};

/** Types of which nothing more is known, such as an interval, are text in JSON. */
export function schemaOfType(type: string): Schema {
  if (type.endsWith('[]')) return { type: 'array', items: schemaOfType(type.slice(0, -2)) };
  return { ...(scalars[type] ?? { type: 'string' }) };
}

export function orNull(schema: Schema): Schema {
  const { type, enum: values } = schema;
  if (typeof type !== 'string') return schema;
  return { ...schema, type: [type, 'null'], ...(Array.isArray(values) ? { enum: [...values, null] } : {}) };
}

export function schemaOfColumn({ type, isNullable, comment, values }: Column): Schema {
  const schema = { ...schemaOfType(type), ...(values ? { enum: values } : {}) };
  return { ...(isNullable ? orNull(schema) : schema), ...(comment ? { description: comment } : {}) };
}

export function objectOf(columns: readonly Column[]): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(columns.map((column) => [column.name, schemaOfColumn(column)])),
    required: columns.map(({ name }) => name),
  };
}

export function schemaOfArgument({ type, defaultSql }: Argument): Schema {
  const schema = schemaOfType(type);
  if (defaultSql === null) return schema;
  // What may be left out because its default is null may be null as well.
  if (/^NULL\b/.test(defaultSql)) return orNull(schema);
  const value = constant(defaultSql);
  return value === undefined ? { ...schema, description: `Default: ${defaultSql}.` } : { ...schema, default: value };
}

/** What a default's SQL is as JSON, where it is a constant. */
function constant(sql: string): unknown {
  if (sql === 'true' || sql === 'false') return sql === 'true';
  if (/^-?\d+(\.\d+)?$/.test(sql)) return Number(sql);
  const [, text, type] = /^'((?:[^']|'')*)'::([\w ]+(?:\[\])?)$/.exec(sql) ?? [];
  if (text === undefined || type === undefined) return undefined;
  if (type === 'text') return text.replaceAll("''", "'");
  if (type.endsWith('[]')) return text === '{}' ? [] : text.slice(1, -1).split(',');
  if (type === 'jsonb') return JSON.parse(text);
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** Fields may be added to an answer, so a reader must not be told that there are no others. */
export function schemaOfZod(type: z.ZodType): Schema {
  const { $schema: _, ...schema } = z.toJSONSchema(type, {
    target: 'draft-2020-12',
    override({ jsonSchema }) {
      // The format says it; the pattern of a time has 400 characters.
      if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  return schema;
}

/**
 * `defineSchema`: names every table and rejects everything that could not be stored or indexed, with all problems at
 * once. A schema that this function has returned needs no further checks.
 */

import { unstorableText } from '../values/index.js';
import { describeGiven, isPlainObject } from '../values/kind.js';
import { fieldKind, fieldNames, isSystemField, MAX_FIELD_DEPTH, objectsIn } from './fields.js';
import { SchemaError, type SchemaProblem } from './problems.js';
import { isTableName } from './refs.js';
import { inspectStorable } from './storable.js';
import {
  defineTable,
  isSuperseded,
  isTableDefinition,
  type NoIndexes,
  type TableDefinition,
  type TableIndexes,
  type TableInput,
  type TableSchemaOf,
} from './table.js';
import { defOf, isZodType, type ZodType } from './zod.js';

/** Table name → table. */
export type SchemaTables = Readonly<Record<string, TableDefinition<ZodType, TableIndexes>>>;

/** The tables of an application. */
export interface SchemaDefinition<Tables extends SchemaTables = SchemaTables> {
  /** Table name → table. */
  readonly tables: Tables;
}

/** Postgres truncates longer names. */
const MAX_NAME_BYTES = 63;

const SYSTEM_INDEXES: readonly string[] = ['by_id', 'by_creation_time'];

/** The input of `defineSchema`: tables made by `defineTable`, or inputs of `defineTable`. */
export type GivenTables = Readonly<Record<string, TableDefinition<ZodType, TableIndexes> | TableInput>>;

/** The tables of the input. */
export type TablesOf<Given> = {
  readonly [Name in keyof Given]: Given[Name] extends TableDefinition<ZodType, TableIndexes>
    ? Given[Name]
    : TableDefinition<TableSchemaOf<Given[Name]>, NoIndexes>;
};

/**
 * Defines the schema of an application. A table without indexes may be given as its shape. Throws a `SchemaError` that
 * lists every problem.
 */
export function defineSchema<Given extends GivenTables>(given: Given): SchemaDefinition<TablesOf<Given>>;
export function defineSchema(given: unknown, ...rest: readonly unknown[]): SchemaDefinition {
  const entries = Object.entries(checkedGiven(given, rest)).map(([key, table]) => [key, toTable(table)]);
  const tables = Object.fromEntries(entries) as SchemaTables;
  const problems: SchemaProblem[] = [];
  const owners = new Map<string, string>();
  const all = new Set(Object.values(tables));
  for (const [key, table] of Object.entries(tables)) {
    if (!isTableDefinition(table)) {
      problems.push({ path: key, message: 'is not a table; write defineTable({ … })' });
      continue;
    }
    if (isSuperseded(table, all)) {
      const message =
        'has another index or access rules, or is unmanaged, only in a table that is not in the schema: index(…), access(…) and unmanaged() return a new table; use that one';
      problems.push({ path: key, message });
    }
    problems.push(
      ...nameProblems(key, table, owners),
      ...documentProblems(key, table, tables),
      ...indexProblems(key, table),
    );
  }
  if (problems.length > 0) throw new SchemaError(problems);
  for (const [key, table] of Object.entries(tables)) table.name ??= key;
  return { tables };
}

function checkedGiven(given: unknown, rest: readonly unknown[]): Readonly<Record<string, unknown>> {
  const example = 'defineSchema({ notes: defineTable({ text: z.string() }) })';
  if (!isPlainObject(given)) {
    const kind = isTableDefinition(given) ? 'a table' : describeGiven(given);
    throw new TypeError(`defineSchema takes an object of tables by name; ${kind} was given. Write ${example}.`);
  }
  if (rest.some((each) => each !== undefined)) {
    throw new TypeError(`defineSchema takes the tables only; it has no options. Write ${example}.`);
  }
  return given;
}

/** Whether `defineSchema` made it: of any copy of this package, because its tables have names. */
export function isSchemaDefinition(value: unknown): value is SchemaDefinition {
  if (typeof value !== 'object' || value === null || !('tables' in value) || !isPlainObject(value.tables)) return false;
  return Object.values(value.tables).every((table) => isTableDefinition(table) && typeof table.name === 'string');
}

/**
 * Converts a shape or an object schema to a table. Any other value stays as it is, and is rejected with its key later.
 */
function toTable(given: unknown): unknown {
  if (isTableDefinition(given)) return given;
  if (isZodType(given)) return defineTable(given as unknown as TableInput);
  return isPlainObject(given) && Object.values(given).every(isZodType) ? defineTable(given as TableInput) : given;
}

function nameProblems(key: string, table: TableDefinition, owners: Map<string, string>): SchemaProblem[] {
  const problems: SchemaProblem[] = [];
  const physical = table.name ?? key;
  if (!isTableName(key)) {
    problems.push({ path: key, message: 'a table name has letters, digits and _, and does not begin with a digit' });
  } else if (key.length > MAX_NAME_BYTES && physical !== key) {
    problems.push({ path: key, message: `a table name has at most ${MAX_NAME_BYTES} characters` });
  }
  if (physical.length === 0 || new TextEncoder().encode(physical).length > MAX_NAME_BYTES) {
    problems.push({ path: key, message: `the table's name in Postgres must have 1 to ${MAX_NAME_BYTES} bytes` });
  }
  // A table of another program may have such a name, and may not be renamed.
  if (table.managed && physical.startsWith('pg_')) {
    const message =
      "the table's name in Postgres begins with pg_, and Postgres finds its own tables of that name first; use another name";
    problems.push({ path: key, message });
  }
  const unstorable = unstorableText(physical);
  if (unstorable !== null) problems.push({ path: key, message: `the table's name in Postgres ${unstorable}` });
  const owner = owners.get(physical);
  if (owner !== undefined) {
    problems.push({ path: key, message: `and ${owner} are the same table "${physical}"; keep one of them` });
  }
  owners.set(physical, key);
  return problems;
}

function documentProblems(key: string, table: TableDefinition, tables: SchemaTables): SchemaProblem[] {
  if (isZodType(table.schema) && !isDocument(table.schema)) {
    return [{ path: key, message: 'a document is an object; give a shape, z.object(…) or a union of objects' }];
  }
  const { problems, refs } = inspectStorable(table.schema, key);
  for (const object of objectsIn(table.schema)) {
    const def = defOf(object);
    for (const name of def.type === 'object' ? Object.keys(def.shape).filter(isSystemField) : []) {
      problems.push({
        path: `${key}.${name}`,
        message: 'every document has this field already; give yours another name',
      });
    }
  }
  for (const ref of refs) {
    if (!Object.hasOwn(tables, ref.table)) {
      problems.push({ path: ref.path, message: `defineRef('${ref.table}') names no table of this schema` });
    }
  }
  return problems;
}

/**
 * Whether documents are objects or unions of objects. A wrapper such as `optional` around a document has no meaning.
 */
function isDocument(schema: ZodType): boolean {
  const def = defOf(schema);
  if (def.type === 'object') return true;
  return def.type === 'union' && def.options.length > 0 && def.options.every(isDocument);
}

function indexProblems(key: string, table: TableDefinition): SchemaProblem[] {
  if (!isZodType(table.schema) || !isDocument(table.schema)) return [];
  const problems: SchemaProblem[] = [];
  for (const [name, fields] of Object.entries(table.indexes)) {
    const path = `${key}.${name}`;
    if (SYSTEM_INDEXES.includes(name)) {
      problems.push({ path, message: 'every table has this index already; give yours another name' });
    } else if (!isTableName(name)) {
      problems.push({ path, message: 'an index name has letters, digits and _, and does not begin with a digit' });
    } else if (name.length > MAX_NAME_BYTES) {
      problems.push({ path, message: `an index name has at most ${MAX_NAME_BYTES} characters` });
    }
    if (fields.length === 0) problems.push({ path, message: 'an index names at least one field' });
    if (new Set(fields).size < fields.length) problems.push({ path, message: 'names a field twice' });
    for (const field of fields) {
      const message = fieldProblem(table.schema, field);
      if (message !== null) problems.push({ path, message });
    }
  }
  return problems;
}

function fieldProblem(schema: ZodType, field: string): string | null {
  if (field.split('.').length > MAX_FIELD_DEPTH) {
    return `'${field}' is nested too deeply; an index reaches ${MAX_FIELD_DEPTH} names deep`;
  }
  if (fieldKind(schema, field) !== null) {
    return field.split('.').includes('') ? `'${field}' has an empty name in it and cannot be indexed` : null;
  }
  const fields = fieldNames(schema);
  if (field.includes('.') && fields.includes(field)) return `'${field}' has a dot in its name and cannot be indexed`;
  return `there is no field '${field}'; the fields are ${fields.join(', ')}`;
}

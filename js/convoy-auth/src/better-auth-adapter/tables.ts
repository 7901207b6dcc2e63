/** `betterAuthTables`: the tables of Better Auth, and of its plugins, for `defineSchema`. */

import { defineTable, type TableDefinition } from '@avvos/convoy';
import type { BetterAuthOptions } from 'better-auth';
import { getAuthTables } from 'better-auth/db';
import { z } from 'zod';
import { checkLibraryOptions } from '../better-auth-schemes.js';
import {
  type FieldLayout,
  GIVEN_ID,
  type Layout,
  layoutOf,
  SEALED_TOKEN,
  type StoredType,
  type TableLayout,
} from './layout.js';
import type { BetterAuthTables } from './table-types.js';

/**
 * The tables that Better Auth needs with these options: users, sessions, accounts, verifications and those of its plugins.
 * Dates are stored in milliseconds since 1970.
 *
 * @example
 * export default defineSchema({ ...betterAuthTables(authOptions), messages: defineTable({ … }) });
 */
export function betterAuthTables<const Options extends BetterAuthOptions>(options: Options): BetterAuthTables<Options> {
  checkLibraryOptions('betterAuthTables', options);
  return tablesOf(layoutOf(getAuthTables(options))) as BetterAuthTables<Options>;
}

/** The definitions of the tables of a layout. */
export function tablesOf(layout: Layout): Record<string, TableDefinition> {
  return Object.fromEntries([...layout.values()].map((table) => [table.table, tableOf(table)]));
}

function tableOf(layout: TableLayout): TableDefinition {
  return layout.indexes.reduce<TableDefinition>(
    // The fields are known only at run time.
    (table, { name, fields, unique }) => table.index(name, fields as never, { unique }) as TableDefinition,
    defineTable(documentSchema(layout)),
  );
}

const schemas = new WeakMap<TableLayout, z.ZodObject>();

/** The Zod schema of the documents of a table. */
export function documentSchema(layout: TableLayout): z.ZodObject {
  let schema = schemas.get(layout);
  if (schema === undefined) {
    const fields = layout.fields.map((field): [string, z.ZodType] => [field.name, fieldSchema(field)]);
    const sealed = layout.tokenField === null ? {} : { [SEALED_TOKEN]: z.string().optional() };
    schema = z.object({ ...Object.fromEntries(fields), ...sealed, [GIVEN_ID]: z.string().optional() });
    schemas.set(layout, schema);
  }
  return schema;
}

const SCHEMAS: Readonly<Record<StoredType, () => z.ZodType>> = {
  string: () => z.string(),
  number: () => z.number(),
  boolean: () => z.boolean(),
  date: () => z.number(),
  json: () => z.json(),
  'string[]': () => z.array(z.string()),
  'number[]': () => z.array(z.number()),
};

function fieldSchema({ type, required, values }: FieldLayout): z.ZodType {
  const schema = values === null ? SCHEMAS[type]() : z.enum(values as [string, ...string[]]);
  return required ? schema : schema.nullish();
}

/**
 * `defineRef('channels')`: the Zod type of an id of another table. It is a string format, so it counts as text for
 * indexes and JSON Schema, contains no transform, and is preserved by Zod's wrappers and clones.
 */

import * as z from 'zod';
import type { Id, IdInput } from '../values/ids.js';
import { defOf, type ZodType } from './zod.js';

const FORMAT_PREFIX = 'convoy_id:';
const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * The Zod type that `defineRef` returns: its input is a string with the prefix `Table:`, its output the branded `Id`.
 */
export type RefType<Table extends string> = z.ZodType<Id<Table>, IdInput<Table>>;

/** The Zod type of an `Id<Table>`. Refuses ids of other tables. */
export function defineRef<const Table extends string>(table: Table): RefType<Table> {
  if (!isTableName(table)) {
    throw new TypeError(`defineRef(${JSON.stringify(table)}): give the name of a table, as in defineRef('channels').`);
  }
  // Lower case only: ids are compared as text, and both Postgres and Convoy write them in lower case.
  const pattern = new RegExp(`^${table}:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`);
  const schema = z.stringFormat(`${FORMAT_PREFIX}${table}`, pattern, {
    error: `Invalid id: expected the id of a document in "${table}"`,
  });
  return schema as unknown as RefType<Table>;
}

/** The table a schema made by `defineRef` points to, or `null` for any other schema. */
export function refTarget(schema: ZodType): string | null {
  const def = defOf(schema);
  if (def.type !== 'string') return null;
  const format = (def as { readonly format?: unknown }).format;
  return typeof format === 'string' && format.startsWith(FORMAT_PREFIX) ? format.slice(FORMAT_PREFIX.length) : null;
}

/** True for a name a table may have: letters, digits and `_`, not beginning with a digit. */
export function isTableName(value: unknown): value is string {
  return typeof value === 'string' && TABLE_NAME.test(value);
}

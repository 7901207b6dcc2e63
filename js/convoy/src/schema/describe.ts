/** Describes a schema as plain data for the engine and the code generator. */

import { type FieldKind, fieldKind } from './fields.js';
import type { SchemaDefinition } from './schema.js';
import type { TableDefinition } from './table.js';

/** A schema as plain JSON. */
export interface SchemaDescription {
  readonly tables: readonly TableDescription[];
}

/** A table as plain JSON. */
export interface TableDescription {
  /** The key in the schema: the table of an `Id`. */
  readonly name: string;
  /** The name in Postgres. */
  readonly physicalName: string;
  readonly managed: boolean;
  readonly indexes: readonly IndexDescription[];
}

/** An index as plain JSON; fields in order. */
export interface IndexDescription {
  readonly name: string;
  readonly unique: boolean;
  readonly fields: readonly { readonly path: string; readonly kind: FieldKind }[];
}

/** Describes a schema made by `defineSchema`. */
export function describeSchema(schema: SchemaDefinition): SchemaDescription {
  return { tables: Object.entries(schema.tables).map(([name, table]) => describeTable(name, table)) };
}

function describeTable(name: string, table: TableDefinition): TableDescription {
  return {
    name,
    physicalName: table.name ?? name,
    managed: table.managed,
    indexes: Object.entries(table.indexes).map(([index, fields]) => ({
      name: index,
      unique: table.isUnique(index),
      // `defineSchema` has checked that the schema has every indexed field.
      fields: fields.map((path) => ({ path, kind: fieldKind(table.schema, path) ?? 'json' })),
    })),
  };
}

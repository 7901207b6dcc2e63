/** What the engine and the code generator need to know of a schema, as plain data. */

import { type FieldKind, fieldKind } from './fields.js';
import type { SchemaDefinition } from './schema.js';
import type { TableDefinition } from './table.js';

/** A schema as plain JSON. */
export interface SchemaDescription {
  readonly tables: readonly TableDescription[];
}

/** A table as plain JSON. */
export interface TableDescription {
  /** Its key in the schema: the table of an `Id`. */
  readonly name: string;
  /** Its name in Postgres. */
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
      // A checked schema has every field its indexes name.
      fields: fields.map((path) => ({ path, kind: fieldKind(table.schema, path) ?? 'json' })),
    })),
  };
}

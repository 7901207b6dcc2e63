/**
 * The data model, from which the types of `ctx.db` are derived. One flat record per table, so that generated code can
 * declare it as interfaces and the compiler need not compute it from Zod repeatedly. Types only.
 */

import type { SchemaDefinition } from './schema.js';
import type { InferTableInput, InferTableRow, SystemIndexes, TypedTable } from './table.js';

/** The types of one table. */
export interface TableTypes {
  /** The type of a document that is read. */
  document: object;
  /** The input of `insert`. */
  input: object;
  /** Index name → fields, the built-in ones included. */
  indexes: object;
}

/** The fields of one index, as a union. */
export type FieldsOf<Index> = Index extends readonly (infer Field extends string)[] ? Field : never;

/** The data model of a schema: table name → types. */
export type DataModelOf<Schema> =
  Schema extends SchemaDefinition<infer Tables>
    ? { [Name in keyof Tables & string]: TableTypesOf<Tables[Name], Name> }
    : never;

/** The types of the table `Table`, called `Name`. */
export interface TableTypesOf<Table, Name extends string> {
  document: InferTableRow<Table, Name>;
  input: InferTableInput<Table>;
  indexes: IndexesOf<Table>;
}

/** The indexes of a table, the built-in ones included. */
export type IndexesOf<Table> = Table extends TypedTable ? Table['indexes'] & SystemIndexes : never;

/**
 * `defineTable`: one table's documents as a Zod schema, with its indexes. Whether the schema can be stored is checked
 * when `defineSchema` gives the table its name, so that every refusal can say where it is.
 */

import * as z from 'zod';
import type { Id } from '../values/ids.js';
import { callersFault, parseOrRefuse } from './parse.js';
import type { FieldPath } from './paths.js';
import { type InputOf, isZodType, type OutputOf, type ZodType } from './zod.js';

/** What `defineTable` takes: a shape, an object schema, or a (discriminated) union of object schemas. */
export type TableInput = z.core.$ZodShape | z.core.$ZodObject | z.core.$ZodUnion | z.core.$ZodDiscriminatedUnion;

/** The Zod schema a table input stands for. */
export type TableSchemaOf<Input> = Input extends ZodType
  ? Input
  : Input extends z.core.$ZodShape
    ? z.ZodObject<{ -readonly [K in keyof Input]: Input[K] }>
    : never;

/** Index name → fields, in order. */
export type TableIndexes = Readonly<Record<string, readonly string[]>>;

/** Indexes every table has. */
export interface SystemIndexes {
  readonly by_id: readonly ['id'];
  readonly by_creation_time: readonly ['_creationTime'];
}

/** What an index may be told beside its fields. */
export interface IndexOptions {
  /** No two documents may have equal values in all the fields. */
  readonly unique?: boolean;
}

/** Fields every document has beside its own. */
export interface SystemFields<Table extends string = string> {
  readonly id: Id<Table>;
  /** Milliseconds since 1970, from `created_at`; may have a fraction. */
  readonly _creationTime: number;
}

/** The document of a table as it is read: its schema's output, `id` and `_creationTime`. */
export type InferTableRow<Table, Name extends string = string> =
  Table extends TableDefinition<infer Schema, TableIndexes> ? Row<OutputOf<Schema>, Name> : never;

/** What `insert` takes: the schema's input. */
export type InferTableInput<Table> =
  Table extends TableDefinition<infer Schema, TableIndexes> ? InputOf<Schema> : never;

type Row<Output, Name extends string> = Output extends unknown
  ? { [K in keyof (Output & SystemFields<Name>)]: (Output & SystemFields<Name>)[K] }
  : never;

// biome-ignore lint/complexity/noBannedTypes: an object with no keys yet; Record<string, …> would accept every name.
export type NoIndexes = {};

const BRAND: unique symbol = Symbol.for('convoy.table');

/** A table: the schema of its documents and its indexes. */
export class TableDefinition<Schema extends ZodType = ZodType, Indexes extends TableIndexes = TableIndexes> {
  /** Says that this is a table, also to another copy of this package. */
  readonly [BRAND] = true;
  /** The table's name in Postgres. `defineSchema` gives it its key in the schema, unless it was set before. */
  name: string | undefined;
  readonly schema: Schema;
  /** Index name → fields. */
  readonly indexes: Indexes;
  readonly #unique = new Set<string>();
  #managed = true;

  constructor(schema: Schema, indexes: Indexes) {
    this.schema = schema;
    this.indexes = indexes;
  }

  /** False for a table of the user's own, which is never created, altered or given triggers. */
  get managed(): boolean {
    return this.#managed;
  }

  /** Adds an index. Fields may be nested to depth 3 (`'address.city'`); `id` and `_creationTime` are fields too. */
  index<const Name extends string, const Fields extends readonly FieldPath<OutputOf<Schema>>[]>(
    name: Name,
    fields: Fields,
    options: IndexOptions = {},
  ): TableDefinition<Schema, Indexes & { readonly [K in Name]: Fields }> {
    if (Object.hasOwn(this.indexes, name)) {
      throw new TypeError(`index(${JSON.stringify(name)}): the table has an index of this name already.`);
    }
    (this.indexes as Record<string, readonly string[]>)[name] = Object.freeze([...fields]);
    if (options.unique === true) this.#unique.add(name);
    // The same table, now known to have one index more.
    return this as unknown as TableDefinition<Schema, Indexes & { readonly [K in Name]: Fields }>;
  }

  /** True when the index `name` was declared with `{ unique: true }`. */
  isUnique(name: string): boolean {
    return this.#unique.has(name);
  }

  /** Marks the table as the user's own: Convoy reads and writes documents in it and otherwise leaves it alone. */
  unmanaged(): this {
    this.#managed = false;
    return this;
  }

  /** The document as it would be stored, or a thrown `ConvoyError` (`INVALID_ARGS`) with the issues. */
  validate(value: unknown): OutputOf<Schema> {
    const table = this.name ?? 'this table';
    const details = this.name === undefined ? {} : { table };
    return parseOrRefuse(this.schema, value, callersFault(`The document does not fit ${table}`, details));
  }

  /** Whether `value` could be stored. */
  isValid(value: unknown): value is InputOf<Schema> {
    return z.safeParse(this.schema, value).success;
  }
}

/** True for a table of any copy of this package. */
export function isTableDefinition(value: unknown): value is TableDefinition {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/** Defines a table from a shape, an object schema or a union of object schemas. */
export function defineTable<Input extends TableInput>(input: Input): TableDefinition<TableSchemaOf<Input>, NoIndexes> {
  const schema: ZodType = isZodType(input) ? input : z.object({ ...(input as z.core.$ZodShape) });
  // No prototype: an index may be called anything.
  return new TableDefinition(schema, Object.create(null)) as TableDefinition<TableSchemaOf<Input>, NoIndexes>;
}

/**
 * `defineTable`: the Zod schema of a table's documents, with its indexes. `defineSchema` checks whether the schema can
 * be stored, since only it has the table's name for the error.
 */

import * as z from 'zod';
import type { Id } from '../values/ids.js';
import { describeGiven, isPlainObject } from '../values/kind.js';
import { checkMembers } from '../values/options.js';
import { type AccessRules, type AnyAccessRules, checkedRules } from './access.js';
import { callerInput, parseOrThrow } from './parse.js';
import type { FieldPath } from './paths.js';
import type { SchemaShape, TypedSchema } from './shape-types.js';
import { type InputOf, isZodType, type OutputOf, type ZodType } from './zod.js';

/** The input of `defineTable`: a shape, an object schema, or a (discriminated) union of object schemas. */
export type TableInput = SchemaShape | DocumentSchema;

/** An object schema, or a union. Not Zod's types of them, because to compare a schema with those is slow. */
export interface DocumentSchema extends TypedSchema {
  readonly _zod: TypedSchema['_zod'] & { readonly def: { readonly type: 'object' | 'union' } };
}

/** The Zod schema of a table input. */
export type TableSchemaOf<Input> = Input extends ZodType
  ? Input
  : Input extends z.core.$ZodShape
    ? z.ZodObject<{ -readonly [K in keyof Input]: Input[K] }>
    : never;

/** Index name → fields, in order. */
export type TableIndexes = Readonly<Record<string, readonly string[]>>;

/** The indexes that every table has. */
export interface SystemIndexes {
  readonly by_id: readonly ['id'];
  readonly by_creation_time: readonly ['_creationTime'];
}

/** The options of an index. */
export interface IndexOptions {
  /** No two documents may have equal values in all the fields. */
  readonly unique?: boolean;
}

/** The fields that every document has in addition to its own. */
export interface SystemFields<Table extends string = string> {
  /** The document's id, `<table>:<uuid>`. */
  readonly id: Id<Table>;
  /** Milliseconds since 1970, from `created_at`; may have a fraction. */
  readonly _creationTime: number;
}

/** The part of a table from which types are read; to compare a table with the whole class is slow. */
export interface TypedTable {
  readonly schema: TypedSchema;
  readonly indexes: object;
}

/** The type of a document that is read: the schema's output, `id` and `_creationTime`. */
export type InferTableRow<Table, Name extends string = string> = Table extends TypedTable
  ? Row<OutputOf<Table['schema']>, Name>
  : never;

/** The type that `insert` takes: the schema's input. */
export type InferTableInput<Table> = Table extends TypedTable ? InputOf<Table['schema']> : never;

type Row<Output, Name extends string> = Output extends unknown
  ? { [K in keyof (Output & SystemFields<Name>)]: (Output & SystemFields<Name>)[K] }
  : never;

// biome-ignore lint/complexity/noBannedTypes: an object with no keys yet; Record<string, …> would accept every name.
export type NoIndexes = {};

const BRAND: unique symbol = Symbol.for('convoy.table');

/** What the constructor of a table takes besides the schema and the indexes. */
interface TableTraits {
  readonly name: string | undefined;
  readonly unique: ReadonlySet<string>;
  readonly managed: boolean;
  readonly rules: AnyAccessRules | null;
}

/** The tables that `index`, `access` and `unmanaged` have returned, by the table before. */
const derived = new WeakMap<object, object[]>();

/** Whether another table was made from `table`, and neither it nor one made from it is in `tables`. */
export function isSuperseded(table: object, tables: ReadonlySet<object>): boolean {
  const later = derived.get(table) ?? [];
  return (
    later.length > 0 && later.every((each) => !tables.has(each) && (!derived.has(each) || isSuperseded(each, tables)))
  );
}

function derive<Table extends object>(from: object, table: Table): Table {
  derived.set(from, [...(derived.get(from) ?? []), table]);
  return table;
}

const NEW_TABLE: TableTraits = { name: undefined, unique: new Set(), managed: true, rules: null };

/**
 * A table: the schema of its documents and its indexes. Its methods return a new table and leave this one as it is, so
 * that a table has the indexes of its type.
 */
export class TableDefinition<Schema extends ZodType = ZodType, Indexes extends TableIndexes = TableIndexes> {
  /** Identifies a table, also across copies of this package. */
  readonly [BRAND] = true;
  /** The table's name in Postgres. `defineSchema` sets it to the key in the schema, unless it is set already. */
  name: string | undefined;
  /** The Zod schema of the documents; an object or a union of objects. */
  readonly schema: Schema;
  /** Index name → fields. */
  readonly indexes: Indexes;
  /** False for a user-managed table, which Convoy never creates, alters or adds triggers to. */
  readonly managed: boolean;
  /** The access rules; `null` for a table without. They are functions, so only processes that run functions use them. */
  readonly rules: AnyAccessRules | null;
  readonly #unique: ReadonlySet<string>;

  constructor(schema: Schema, indexes: Indexes, { name, unique, managed, rules }: TableTraits = NEW_TABLE) {
    this.schema = schema;
    this.indexes = indexes;
    this.name = name;
    this.managed = managed;
    this.rules = rules;
    this.#unique = unique;
  }

  /** The table with another index. Fields may be nested to depth 3 (`'address.city'`); `id` and `_creationTime` are fields too. */
  index<const Name extends string, const Fields extends readonly FieldPath<OutputOf<Schema>>[]>(
    name: Name,
    fields: Fields,
    options: IndexOptions = {},
  ): TableDefinition<Schema, Indexes & { readonly [K in Name]: Fields }> {
    checkIndex(name, fields, options);
    if (Object.hasOwn(this.indexes, name)) {
      throw new TypeError(`index(${JSON.stringify(name)}): the table has an index of this name already.`);
    }
    // No prototype: an index may have any name.
    const indexes = Object.assign(Object.create(null), this.indexes, { [name]: Object.freeze([...fields]) });
    const unique = options.unique === true ? new Set([...this.#unique, name]) : this.#unique;
    return derive(this, new TableDefinition(this.schema, indexes, { ...this.#traits(), unique }));
  }

  /** True when the index `name` was declared with `{ unique: true }`. */
  isUnique(name: string): boolean {
    return this.#unique.has(name);
  }

  /** The table as a user-managed one: Convoy reads and writes its documents and otherwise leaves it alone. */
  unmanaged(): TableDefinition<Schema, Indexes> {
    return derive(this, new TableDefinition(this.schema, this.indexes, { ...this.#traits(), managed: false }));
  }

  /**
   * The table with access rules, which hold for every call of a client: what no rule allows is denied. Trusted calls
   * without a context and `ctx.db.system` are not subject to them.
   */
  // Generic over the table, so that two types of tables are compared without comparing their rules.
  access<Self extends TypedTable>(this: Self, rules: AccessRules<InferTableRow<Self>>): Self;
  access(rules: unknown): unknown {
    if (this.rules !== null) throw new TypeError('access(): the table has access rules already.');
    const traits = { ...this.#traits(), rules: checkedRules(rules) };
    return derive(this, new TableDefinition(this.schema, this.indexes, traits));
  }

  #traits(): TableTraits {
    return { name: this.name, unique: this.#unique, managed: this.managed, rules: this.rules };
  }

  /** Returns the document as it would be stored; throws a `ConvoyError` (`INVALID_ARGS`) with the issues. */
  validate(value: unknown): OutputOf<Schema> {
    const table = this.name ?? 'this table';
    const details = this.name === undefined ? {} : { table };
    return parseOrThrow(this.schema, value, callerInput(`The document does not fit ${table}`, details));
  }

  /** Whether `value` could be stored. */
  isValid(value: unknown): value is InputOf<Schema> {
    return z.safeParse(this.schema, value).success;
  }
}

function checkIndex(name: unknown, fields: unknown, options: IndexOptions): void {
  if (typeof name !== 'string' || !Array.isArray(fields) || !fields.every((field) => typeof field === 'string')) {
    const given = [name, fields].map((value) =>
      Array.isArray(value) ? `[${value.map(describeGiven).join(', ')}]` : describeGiven(value),
    );
    throw new TypeError(
      `index(${given.join(', ')}): an index has a name and a list of fields; write index('by_field', ['field']).`,
    );
  }
  const subject = `index(${JSON.stringify(name)}, …)`;
  checkMembers(subject, options, ['unique'] satisfies (keyof IndexOptions)[]);
  const { unique } = options;
  if (unique !== undefined && typeof unique !== 'boolean') {
    throw new TypeError(`${subject}: \`unique\` is true or false; ${describeGiven(unique)} was given.`);
  }
}

/** True for a table of any copy of this package. */
export function isTableDefinition(value: unknown): value is TableDefinition {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/** Defines a table from a shape, an object schema or a union of object schemas. */
export function defineTable<Input extends TableInput>(input: Input): TableDefinition<TableSchemaOf<Input>, NoIndexes>;
export function defineTable(input: unknown, ...rest: readonly unknown[]): TableDefinition<ZodType, NoIndexes> {
  // `map` passes the index and the array.
  if (rest.some((each) => each !== undefined && typeof each !== 'number' && !Array.isArray(each))) {
    throw new TypeError(
      "defineTable takes the documents only. Indexes follow it: defineTable({ … }).index('by_field', ['field']).",
    );
  }
  // No prototype: an index may have any name.
  return new TableDefinition(schemaOf(input), Object.create(null) as NoIndexes);
}

function schemaOf(input: unknown): ZodType {
  if (isZodType(input)) return input;
  if (isPlainObject(input) && !isTableDefinition(input)) return z.object({ ...(input as z.core.$ZodShape) });
  const given = isTableDefinition(input) ? 'a table' : describeGiven(input);
  const hint = input === undefined ? ' (a module that is imported in a cycle may not have set it yet)' : '';
  throw new TypeError(
    `defineTable takes an object of Zod schemas, z.object(…) or a union of objects; ${given} was given${hint}.`,
  );
}

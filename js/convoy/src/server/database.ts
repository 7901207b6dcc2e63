/**
 * The types of `ctx.db`: every table, index and field name and every value is checked against the data model.
 * Types only; `call-database.ts` is what runs.
 */

import type { DataModelOf, FieldPath, FieldValue, TableTypes } from '../schema/index.js';
import type { RawQuery } from '../sql/index.js';
import type { Id } from '../values/ids.js';
import type { TableQuery } from './table-query.js';

export type {
  Comparable,
  Condition,
  Direction,
  FieldReference,
  FilterBuilder,
  Page,
  PageOptions,
  RangeBuilder,
  TableQuery,
} from './table-query.js';

/** Table name → types, as an interface of the generated code or as `DataModelOf<typeof schema>`. */
export type DataModel = { readonly [Table in string]: TableTypes };

/** `ctx.db` for a schema: `DbFromSchema<typeof schema>`. */
export type DbFromSchema<Schema> = Database<DataModelOf<Schema>>;

/** Names of the tables of a model. */
export type TableNameIn<Model> = keyof Model & string;

/** The document of a table. */
export type DocumentIn<Model, Table extends keyof Model> = Model[Table] extends { document: infer Document }
  ? Document
  : never;

/** What `insert` and `replace` take. */
export type InputIn<Model, Table extends keyof Model> = Model[Table] extends { input: infer Input } ? Input : never;

/** What may be patched: some of the fields. A key set to `undefined` is removed. */
export type PatchOf<Input> = Input extends unknown ? { [Key in keyof Input]?: Input[Key] | undefined } : never;

/** What may replace a document: a new one, or the old one changed, whose id and time stay what they are. */
export type ReplacementOf<Input> = Input extends unknown
  ? Input & { readonly id?: unknown; readonly _creationTime?: unknown }
  : never;

/** The fields of a document that hold numbers, also those inside objects; they can be incremented. */
export type NumberFieldOf<Document> = Exclude<
  { [Path in FieldPath<Document>]: HoldsNumber<FieldValue<Document, Path>, Path> }[FieldPath<Document>],
  '_creationTime'
>;

type HoldsNumber<Value, Path> = [NonNullable<Value>] extends [never]
  ? never
  : [NonNullable<Value>] extends [number]
    ? Path
    : never;

/** What `raw` may be told beside its statement. */
export interface RawOptions {
  /**
   * The tables the statement reads, by their names in code or in Postgres. A live query runs again when one of them
   * changes; without this, when anything does.
   */
  readonly tables?: readonly string[] | undefined;
}

/**
 * Reads of `ctx.db`; a query has these only. Operations issued in the same microtask travel together, and neighbours of
 * one kind on one table are one statement where they can be.
 */
export interface DatabaseReader<Model> {
  /** The document, or `null` where there is none. An id of another table than the one named is `INVALID_ARGS`. */
  get<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<DocumentIn<Model, Table> | null>;
  get<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<DocumentIn<Model, Table> | null>;

  /** The documents in the order of their ids, `null` where there is none; one statement for each table among them. */
  getMany<Table extends TableNameIn<Model>>(ids: readonly Id<Table>[]): Promise<(DocumentIn<Model, Table> | null)[]>;

  /** Begins a query over a table; nothing is sent before it is executed. */
  query<Table extends TableNameIn<Model>>(table: Table): TableQuery<TypesIn<Model, Table>>;

  /**
   * Runs a statement of your own: `` raw<{ n: string }>(sql`select count(*) as n from messages`) ``. 64-bit integers,
   * `numeric` and times come as strings, JSON parsed, uuids bare. In a query it runs read-only.
   */
  raw<Row = Record<string, unknown>>(query: RawQuery, options?: RawOptions): Promise<Row[]>;

  /**
   * Runs `fn` as a part that is kept or undone as a whole: where it throws, nothing of it remains, and the error is
   * thrown on. In a mutation this is a savepoint. In an action, or a mutation without a transaction, it is a
   * SERIALIZABLE transaction; `fn` may then run more than once, where it lost to another write (at most five times,
   * then `CONFLICT`). In a query it just runs. `ctx.db` inside of `fn` means the same as `tx`; what is issued outside
   * meanwhile waits.
   */
  transaction<Result>(fn: (tx: this) => Result | PromiseLike<Result>): Promise<Result>;
}

/** All of `ctx.db`. */
export interface Database<Model> extends DatabaseReader<Model> {
  /** Stores the parsed document under a new id. */
  insert<Table extends TableNameIn<Model>>(table: Table, document: InputIn<Model, Table>): Promise<Id<Table>>;

  /**
   * Stores the parsed documents in one statement, all or none, and gives their ids in the same order. In a call without
   * a transaction this is one of its own.
   */
  insertMany<Table extends TableNameIn<Model>>(
    table: Table,
    documents: readonly InputIn<Model, Table>[],
  ): Promise<Id<Table>[]>;

  /** Writes the named keys only and gives the new document, or `null` where it is gone. `undefined` removes a key. */
  patch<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    changes: PatchOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;
  patch<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    changes: PatchOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;

  /** Stores the parsed document in place of the old one and gives it, or `null` where that is gone. */
  replace<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    document: ReplacementOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;
  replace<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    document: ReplacementOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;

  /**
   * Adds `by`, which may be negative, to a number and gives the new document, or `null` where it is gone. One statement,
   * which others cannot come between. What is missing counts as its constant default, or 0. A result that does not fit
   * the schema is `INVALID_ARGS`, and the transaction cannot be committed any more.
   */
  increment<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    field: NumberFieldOf<DocumentIn<Model, Table>>,
    by: number,
  ): Promise<DocumentIn<Model, Table> | null>;
  increment<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    field: NumberFieldOf<DocumentIn<Model, Table>>,
    by: number,
  ): Promise<DocumentIn<Model, Table> | null>;

  /** Whether there was a document to delete. */
  delete<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<boolean>;
  delete<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<boolean>;

  /**
   * Deletes the documents in one statement and gives how many there were. In a call without a transaction this is one of
   * its own.
   */
  deleteMany<Table extends TableNameIn<Model>>(table: Table, ids: readonly Id<NoInfer<Table>>[]): Promise<number>;
}

/** The names a query must not call. */
export type WriteMethod = Exclude<keyof Database<DataModel>, keyof DatabaseReader<DataModel>>;

/** A table's types, for `TableQuery`. */
export type TypesIn<Model, Table extends keyof Model> = Model[Table] extends TableTypes ? Model[Table] : never;

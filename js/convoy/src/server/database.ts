/**
 * The types of `ctx.db`: every table, index and field name and every value is checked against the data model.
 * Types only; `call-database.ts` is the implementation.
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

/** The document type that `insert` and `replace` take. */
export type InputIn<Model, Table extends keyof Model> = Model[Table] extends { input: infer Input } ? Input : never;

/** The type of a patch: any of the fields. A key set to `undefined` is removed. */
export type PatchOf<Input> = Input extends unknown ? { [Key in keyof Input]?: Input[Key] | undefined } : never;

/** The type of a replacement: a new document, or the old one with changes, whose `id` and `_creationTime` must not change. */
export type ReplacementOf<Input> = Input extends unknown
  ? Input & { readonly id?: unknown; readonly _creationTime?: unknown }
  : never;

/** The number fields of a document, including those inside objects; they can be incremented. */
export type NumberFieldOf<Document> = Exclude<
  { [Path in FieldPath<Document>]: HoldsNumber<FieldValue<Document, Path>, Path> }[FieldPath<Document>],
  '_creationTime'
>;

type HoldsNumber<Value, Path> = [NonNullable<Value>] extends [never]
  ? never
  : [NonNullable<Value>] extends [number]
    ? Path
    : never;

/** Options of `raw`. */
export interface RawOptions {
  /**
   * The tables the statement reads, by their names in code or in Postgres. A live query runs again when one of them
   * changes; without this option, when any table changes.
   */
  readonly tables?: readonly string[] | undefined;
}

/**
 * The reading methods of `ctx.db`, the only ones in a query. Operations issued in the same microtask are sent together,
 * and adjacent operations of one kind on one table are combined into one statement if possible.
 */
export interface DatabaseReader<Model> {
  /** The document, or `null` if it does not exist. An id of another table than the named one is `INVALID_ARGS`. */
  get<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<DocumentIn<Model, Table> | null>;
  /** As above, with the name of the table; the id may then be a bare uuid. */
  get<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<DocumentIn<Model, Table> | null>;

  /** The documents in the order of `ids`, `null` for each that does not exist; one statement per table. */
  getMany<Table extends TableNameIn<Model>>(ids: readonly Id<Table>[]): Promise<(DocumentIn<Model, Table> | null)[]>;

  /** Creates a query over a table; it is not sent before it is executed. */
  query<Table extends TableNameIn<Model>>(table: Table): TableQuery<TypesIn<Model, Table>>;

  /**
   * Runs an SQL statement: `` raw<{ n: string }>(sql`select count(*) as n from messages`) ``. 64-bit integers, `numeric`
   * and times are returned as strings, JSON is parsed, uuids are bare. In a query it runs read-only.
   */
  raw<Row = Record<string, unknown>>(query: RawQuery, options?: RawOptions): Promise<Row[]>;

  /**
   * Runs the operations of `fn` atomically: if `fn` throws, they are rolled back and the error is rethrown. In a mutation
   * this is a savepoint. In an action, or a mutation without a transaction, it is a SERIALIZABLE transaction, retried on
   * conflict (at most five runs of `fn`, then `CONFLICT`). In a query `fn` just runs. Inside `fn`, `ctx.db` is the same
   * as `tx`; operations issued outside meanwhile wait.
   */
  transaction<Result>(fn: (tx: this) => Result | PromiseLike<Result>): Promise<Result>;

  /** The same methods without the access rules of tables, and under the role of the connection. */
  readonly system: DatabaseReader<Model>;
}

/** All of `ctx.db`. */
export interface Database<Model> extends DatabaseReader<Model> {
  /** The same methods without the access rules of tables, and under the role of the connection. */
  readonly system: Database<Model>;

  /** Stores the parsed document under a new id. */
  insert<Table extends TableNameIn<Model>>(table: Table, document: InputIn<Model, Table>): Promise<Id<Table>>;

  /**
   * Stores the parsed documents in one statement, all or none, and returns their ids in the same order. In a call without
   * a transaction, it runs in one.
   */
  insertMany<Table extends TableNameIn<Model>>(
    table: Table,
    documents: readonly InputIn<Model, Table>[],
  ): Promise<Id<Table>[]>;

  /** Writes only the named keys; returns the new document, or `null` if it does not exist. `undefined` removes a key. */
  patch<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    changes: PatchOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;
  /** As above, with the name of the table; the id may then be a bare uuid. */
  patch<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    changes: PatchOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;

  /** Replaces the document by the parsed one and returns it, or `null` if it does not exist. */
  replace<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    document: ReplacementOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;
  /** As above, with the name of the table; the id may then be a bare uuid. */
  replace<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    document: ReplacementOf<InputIn<Model, Table>>,
  ): Promise<DocumentIn<Model, Table> | null>;

  /**
   * Adds `by`, which may be negative, to a number field atomically, in one statement; returns the new document, or `null`
   * if it does not exist. A missing field starts from its constant default, or 0. If the new value violates the schema,
   * this fails with `INVALID_ARGS` and the transaction is rolled back.
   */
  increment<Table extends TableNameIn<Model>>(
    id: Id<Table>,
    field: NumberFieldOf<DocumentIn<Model, Table>>,
    by: number,
  ): Promise<DocumentIn<Model, Table> | null>;
  /** As above, with the name of the table; the id may then be a bare uuid. */
  increment<Table extends TableNameIn<Model>>(
    table: Table,
    id: Id<NoInfer<Table>>,
    field: NumberFieldOf<DocumentIn<Model, Table>>,
    by: number,
  ): Promise<DocumentIn<Model, Table> | null>;

  /** Deletes the document; returns whether it existed. */
  delete<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<boolean>;
  /** As above, with the name of the table; the id may then be a bare uuid. */
  delete<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<boolean>;

  /**
   * Deletes the documents in one statement and returns how many existed. In a call without a transaction, it runs in one.
   */
  deleteMany<Table extends TableNameIn<Model>>(table: Table, ids: readonly Id<NoInfer<Table>>[]): Promise<number>;
}

/** The names of the methods that write, which a query must not call. */
export type WriteMethod = Exclude<keyof Database<DataModel>, keyof DatabaseReader<DataModel>>;

/** A table's types, for `TableQuery`. */
export type TypesIn<Model, Table extends keyof Model> = Model[Table] extends TableTypes ? Model[Table] : never;

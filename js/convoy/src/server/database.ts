/**
 * The types of `ctx.db`: every table, index and field name and every value is checked against the data model.
 * Types only; `call-database.ts` is what runs.
 */

import type { DataModelOf, FieldsOf, FieldValue, TableTypes } from '../schema/index.js';
import type { Id } from '../values/ids.js';

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

/** What may be patched: some of the fields. A key set to `undefined` is removed. */
export type PatchOf<Input> = Input extends unknown ? { [Key in keyof Input]?: Input[Key] | undefined } : never;

type InputIn<Model, Table extends keyof Model> = Model[Table] extends { input: infer Input } ? Input : never;

/** Reads of `ctx.db`; a query has these only. */
export interface DatabaseReader<Model> {
  /** The document, or `null` where there is none. An id of another table than the one named is `INVALID_ARGS`. */
  get<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<DocumentIn<Model, Table> | null>;
  get<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<DocumentIn<Model, Table> | null>;

  /** The documents in the order of their ids, `null` where there is none; one statement for each table among them. */
  getMany<Table extends TableNameIn<Model>>(ids: readonly Id<Table>[]): Promise<(DocumentIn<Model, Table> | null)[]>;

  /** Begins a query over a table; nothing is sent before `collect`, `take` or `first`. */
  query<Table extends TableNameIn<Model>>(table: Table): TableQuery<TypesIn<Model, Table>>;
}

/** All of `ctx.db`. Operations issued in the same microtask travel together. */
export interface Database<Model> extends DatabaseReader<Model> {
  /** Stores the parsed document under a new id. */
  insert<Table extends TableNameIn<Model>>(table: Table, document: InputIn<Model, Table>): Promise<Id<Table>>;

  /** Stores the parsed documents, all or none, in one statement; gives their ids in the same order. */
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

  /** Whether there was a document to delete. */
  delete<Table extends TableNameIn<Model>>(id: Id<Table>): Promise<boolean>;
  delete<Table extends TableNameIn<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<boolean>;
}

/** The names a query must not call. */
export type WriteMethod = Exclude<keyof Database<DataModel>, keyof DatabaseReader<DataModel>>;

/** A table's types, for `TableQuery`. */
export type TypesIn<Model, Table extends keyof Model> = Model[Table] extends TableTypes ? Model[Table] : never;

/** `'asc'` is the smallest first. */
export type Direction = 'asc' | 'desc';

/** A query being put together. Each step gives a new one of the same type, so `q = q.limit(10)` compiles. */
export interface TableQuery<Types extends TableTypes> {
  /** Reads by an index: in its order, and only the range the callback names. */
  withIndex<Index extends keyof Types['indexes'] & string>(
    index: Index,
    range?: (q: RangeBuilder<Types['document'], FieldsOf<Types['indexes'][Index]>>) => unknown,
  ): TableQuery<Types>;
  /** By the index's fields, else by creation; ties by creation time, then id. `'asc'` unless said. */
  order(direction: Direction): TableQuery<Types>;
  /** At most `count` documents; 0 is none. */
  limit(count: number): TableQuery<Types>;
  /** The first `count` documents. */
  take(count: number): Promise<Types['document'][]>;
  /** All documents of the range, within the limit. */
  collect(): Promise<Types['document'][]>;
  /** The first document, or `null`. */
  first(): Promise<Types['document'] | null>;
}

/** A value a field of an index may be compared with. */
export type Comparable<Document, Field extends string> = Document extends unknown
  ? Exclude<FieldValue<Document, Field>, undefined>
  : never;

/**
 * Names the range of an index: equality on its first fields, then bounds on the next one. Records on itself and
 * returns itself, so a callback may chain or use statements.
 */
export interface RangeBuilder<Document, Field extends string> {
  eq<F extends Field>(field: F, value: Comparable<Document, F>): this;
  gt<F extends Field>(field: F, value: Comparable<Document, F>): this;
  gte<F extends Field>(field: F, value: Comparable<Document, F>): this;
  lt<F extends Field>(field: F, value: Comparable<Document, F>): this;
  lte<F extends Field>(field: F, value: Comparable<Document, F>): this;
}

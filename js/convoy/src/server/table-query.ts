/**
 * The types of `ctx.db.query(table)`: the indexes, fields and values a query may use. Types only; `scan.ts` is the
 * implementation.
 *
 * Comparison is by value and type, never by text: 9 comes before 10, and `true` is not `'true'`. `null` also matches a
 * missing field, and greater and less only match values of the bound's type.
 */

import type { Comparable, Condition, FieldPath, FieldsOf, FilterBuilder, TableTypes } from '../schema/index.js';

export type { Comparable, Condition, FieldReference, FilterBuilder } from '../schema/index.js';

/** `'asc'`: smallest first. */
export type Direction = 'asc' | 'desc';

/**
 * A query builder. Each step returns a new builder of the same type, so `q = q.limit(10)` compiles, and a step whose
 * result is discarded has no effect. `for await` reads all documents in batches.
 */
export interface TableQuery<Types extends TableTypes> extends AsyncIterable<Types['document']> {
  /**
   * Reads by an index, in its order, within the range defined by the callback. An equality on a field after one without
   * equality is applied as a filter.
   */
  withIndex<Index extends keyof Types['indexes'] & string>(
    index: Index,
    range?: (q: RangeBuilder<Types['document'], FieldsOf<Types['indexes'][Index]>>) => unknown,
  ): TableQuery<Types>;
  /** Only documents that match the condition, evaluated in the database. Several filters are combined with `and`. */
  filter(condition: (q: FilterBuilder<Types['document']>) => Condition): TableQuery<Types>;
  /**
   * Orders by `field`; by default by the index's fields, else by creation. The default direction is `'asc'`. Ties are
   * ordered by creation time, then id.
   */
  order(direction: Direction, field?: FieldPath<Types['document']>): TableQuery<Types>;
  /** At most `count` documents, which may be 0. */
  limit(count: number): TableQuery<Types>;
  /** Skips the first `count` documents. They are still read, so use `paginate` for pages. */
  offset(count: number): TableQuery<Types>;

  /** The first document, or `null`. */
  first(): Promise<Types['document'] | null>;
  /** The only document, or `null`; `CONFLICT` if there are several. */
  unique(): Promise<Types['document'] | null>;
  /** The number of documents, within limit and offset. */
  count(): Promise<number>;
  /** The first `count` documents. */
  take(count: number): Promise<Types['document'][]>;
  /** All documents, within limit and offset. */
  collect(): Promise<Types['document'][]>;
  /** One page of documents. Concurrent writes never make pages skip or repeat documents. */
  paginate(options: PageOptions): Promise<Page<Types['document']>>;
}

/** Selects a page. */
export interface PageOptions {
  /** `null` for the first page, then the `continueCursor` of the previous one. Only valid for the same query. */
  readonly cursor: string | null;
  /** The maximum number of documents, 1 to 32,000. */
  readonly numItems: number;
  /** Ends the page at this cursor instead, with any number of documents, so that a live page keeps its range. */
  readonly endCursor?: string | null | undefined;
}

/** A page of documents. */
export interface Page<Document> {
  /** The documents, in the order of the query. */
  readonly page: Document[];
  /** True if this is the last page. */
  readonly isDone: boolean;
  /** The end of this page, where the next one starts. */
  readonly continueCursor: string;
  /** The middle of a page that `endCursor` ends and that has more than twice `numItems` documents: where to split it. */
  readonly splitCursor?: string;
}

/**
 * Defines a range of an index: equality on its first fields, then bounds on the next one. It is mutable and returns
 * itself, so a callback may chain calls or use statements.
 */
export interface RangeBuilder<Document, Field extends string> {
  /** The field equals the value; `null` also matches a missing field. Only on the first fields of the index. */
  eq<F extends Field>(field: F, value: Comparable<Document, F>): this;
  /** The field is greater than the value and of its type. One lower bound, on the field after those with `eq`. */
  gt<F extends Field>(field: F, value: Comparable<Document, F>): this;
  /** The field is greater than the value or equal to it, and of its type. */
  gte<F extends Field>(field: F, value: Comparable<Document, F>): this;
  /** The field is less than the value and of its type. One upper bound, on the field after those with `eq`. */
  lt<F extends Field>(field: F, value: Comparable<Document, F>): this;
  /** The field is less than the value or equal to it, and of its type. */
  lte<F extends Field>(field: F, value: Comparable<Document, F>): this;
}

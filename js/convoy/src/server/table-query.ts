/**
 * The types of `ctx.db.query(table)`: what may be said of which index and field, and with which values. Types only;
 * `scan.ts` is what runs.
 *
 * Comparison is by value and type, never by text: 9 comes before 10, and `true` is not `'true'`. `null` also means that
 * the field is missing, and greater and less compare with values of the bound's own type only.
 */

import type { FieldPath, FieldsOf, FieldValue, TableTypes } from '../schema/index.js';

/** `'asc'` is the smallest first. */
export type Direction = 'asc' | 'desc';

/**
 * A query being put together. Each step gives a new one of the same type, so `q = q.limit(10)` compiles, and a step whose
 * result is thrown away does nothing. `for await` reads all documents of it in portions.
 */
export interface TableQuery<Types extends TableTypes> extends AsyncIterable<Types['document']> {
  /**
   * Reads by an index: in its order, and only the range the callback names. An equality behind a field that has none is
   * no range but a filter.
   */
  withIndex<Index extends keyof Types['indexes'] & string>(
    index: Index,
    range?: (q: RangeBuilder<Types['document'], FieldsOf<Types['indexes'][Index]>>) => unknown,
  ): TableQuery<Types>;
  /** Only documents for which the condition holds; it is looked at in the database. Several filters all must hold. */
  filter(condition: (q: FilterBuilder<Types['document']>) => Condition): TableQuery<Types>;
  /**
   * By `field`; without one by the index's fields, else by creation. `'asc'` unless said. What is equal comes in order of
   * creation time, then id.
   */
  order(direction: Direction, field?: FieldPath<Types['document']>): TableQuery<Types>;
  /** At most `count` documents; 0 is none. */
  limit(count: number): TableQuery<Types>;
  /** Without the first `count` documents. They are read all the same: for pages use `paginate`. */
  offset(count: number): TableQuery<Types>;

  /** The first document, or `null`. */
  first(): Promise<Types['document'] | null>;
  /** The only document, or `null` where there is none; `CONFLICT` where there are more. */
  unique(): Promise<Types['document'] | null>;
  /** How many documents there are, within limit and offset. */
  count(): Promise<number>;
  /** The first `count` documents. */
  take(count: number): Promise<Types['document'][]>;
  /** All documents, within limit and offset. */
  collect(): Promise<Types['document'][]>;
  /** One page of the documents. Neither skips nor repeats any while others are written. */
  paginate(options: PageOptions): Promise<Page<Types['document']>>;
}

/** Which page. */
export interface PageOptions {
  /** `null` for the first page, then the `continueCursor` of the one before. It belongs to this very query. */
  readonly cursor: string | null;
  /** How many documents at most, 1 to 32,000. */
  readonly numItems: number;
  /** Ends the page with this cursor instead, however many documents that are: a live page then keeps its range. */
  readonly endCursor?: string | null | undefined;
}

/** A page of documents. */
export interface Page<Document> {
  readonly page: Document[];
  /** True when nothing comes after this page. */
  readonly isDone: boolean;
  /** Where the next page begins; empty, which is the beginning, where there was nothing. */
  readonly continueCursor: string;
}

/** A value a field may be compared with. */
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

/** A field of a document, for a condition. */
export interface FieldReference<Value> {
  /** In types only. */
  readonly '~value': Value;
}

/** Something that holds for a document or does not. */
export interface Condition {
  /** In types only. */
  readonly '~condition': true;
}

/** A value there is greater and less than. */
type Ordered<Value> = unknown extends Value ? string | number | boolean : Extract<Value, string | number | boolean>;

/**
 * Puts a condition together: `q.and(q.eq(q.field('done'), false), q.lt(q.field('due'), now))`. The field comes first, and
 * is compared with a value; it sees what is stored, which of a default added later is nothing.
 */
export interface FilterBuilder<Document> {
  /** A field, also one inside an object: `q.field('address.city')`. */
  field<Path extends FieldPath<Document>>(path: Path): FieldReference<Comparable<Document, Path>>;
  /** Has this value; `null` is also what is missing. */
  eq<Value>(field: FieldReference<Value>, value: NoInfer<Value> | null): Condition;
  /** Has another value. */
  neq<Value>(field: FieldReference<Value>, value: NoInfer<Value> | null): Condition;
  gt<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  gte<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  lt<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  lte<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  /** Has one of these values; of none, it holds for no document. */
  in<Value>(field: FieldReference<Value>, values: readonly (NoInfer<Value> | null)[]): Condition;
  /** All of them; of none, it holds for every document. */
  and(...conditions: readonly Condition[]): Condition;
  /** At least one of them; of none, it holds for no document. */
  or(...conditions: readonly Condition[]): Condition;
  not(condition: Condition): Condition;
}

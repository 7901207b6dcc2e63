/** The types of conditions on documents, for the filters of queries and the ranges of access rules. Types only. */

import type { FieldPath, FieldValue } from './paths.js';

/** The type of values that a field may be compared with. */
export type Comparable<Document, Field extends string> = Document extends unknown
  ? Exclude<FieldValue<Document, Field>, undefined>
  : never;

/** A field of a document, for a condition. */
export interface FieldReference<Value> {
  /** Exists only in the type. */
  readonly '~value': Value;
}

/** A condition on a document. */
export interface Condition {
  /** Exists only in the type. */
  readonly '~condition': true;
}

/** The values that can be compared with greater and less. */
type Ordered<Value> = unknown extends Value ? string | number | boolean : Extract<Value, string | number | boolean>;

/**
 * Builds a condition: `q.and(q.eq(q.field('done'), false), q.lt(q.field('due'), now))`. The first argument is a field, the
 * second a value. Conditions compare stored values, so a default added later does not count.
 */
export interface FilterBuilder<Document> {
  /** A field, possibly inside an object: `q.field('address.city')`. */
  field<Path extends FieldPath<Document>>(path: Path): FieldReference<Comparable<Document, Path>>;
  /** The field equals the value; `null` also matches a missing field. */
  eq<Value>(field: FieldReference<Value>, value: NoInfer<Value> | null): Condition;
  /** The negation of `eq`. */
  neq<Value>(field: FieldReference<Value>, value: NoInfer<Value> | null): Condition;
  /** The field is greater than the value and of its type. */
  gt<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  /** The field is greater than the value or equal to it, and of its type. */
  gte<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  /** The field is less than the value and of its type. */
  lt<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  /** The field is less than the value or equal to it, and of its type. */
  lte<Value>(field: FieldReference<Value>, value: Ordered<NoInfer<Value>>): Condition;
  /** The field equals one of the values; an empty list matches no document. */
  in<Value>(field: FieldReference<Value>, values: readonly (NoInfer<Value> | null)[]): Condition;
  /** All conditions match; without any, every document does. */
  and(...conditions: readonly Condition[]): Condition;
  /** At least one condition matches; without any, no document does. */
  or(...conditions: readonly Condition[]): Condition;
  /** The exact negation of the condition. */
  not(condition: Condition): Condition;
}

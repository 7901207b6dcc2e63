/**
 * The field paths that an index may name (`'address.city'`), and the types of the values at these paths. Types only.
 */

/** Types without document fields, although they have properties in TypeScript. */
type Leaf = string | number | boolean | bigint | symbol | null | undefined | readonly unknown[];

type KeyOf<T> = T extends Leaf ? never : T extends object ? keyof T & string : never;

type At<T, K> = T extends Leaf ? never : K extends keyof T ? T[K] : never;

/** Paths to depth 3 through objects; a union of objects offers the fields of all of them. */
type OwnFieldPath<T> = {
  [K in KeyOf<T>]: K | `${K}.${Nested<At<T, K>>}`;
}[KeyOf<T>];

type Nested<T> = {
  [K in KeyOf<T>]: K | `${K}.${KeyOf<At<T, K>>}`;
}[KeyOf<T>];

/** Every field that an index of the document may name, including `id` and `_creationTime`. */
export type FieldPath<Document> = OwnFieldPath<Document> | 'id' | '_creationTime';

/** The type of the value at `Path`, `undefined` where it may be missing. */
export type FieldValue<Document, Path extends string> = Path extends `${infer Key}.${infer Rest}`
  ? FieldValue<At<Document, Key>, Rest>
  : At<Document, Path>;

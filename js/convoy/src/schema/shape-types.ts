/**
 * The types of values that fit a shape, which is an object of Zod schemas.
 *
 * They are those of `z.object(shape)`, read from the shape itself. A project has a shape for each function, and the
 * compiler takes several times as long to make the type of an object schema of each, or to compare each schema with
 * the whole type of Zod's schemas. Types only.
 */

/** The part of a Zod schema from which types are read. */
export interface TypedSchema {
  /** Zod's own part of a schema. */
  readonly _zod: { readonly input: unknown; readonly output: unknown };
}

/** Field name → schema. */
export type SchemaShape = Readonly<Record<string, TypedSchema>>;

/** The input of an object with these fields. */
export type ShapeInput<Shape extends SchemaShape> = string extends keyof Shape
  ? Record<string, Shape[string]['_zod']['input']>
  : [keyof Shape] extends [never]
    ? Record<string, never>
    : [OptionalInputs<Shape>] extends [never]
      ? { -readonly [Key in keyof Shape]: Shape[Key]['_zod']['input'] }
      : Flat<
          { -readonly [Key in Exclude<keyof Shape, OptionalInputs<Shape>>]: Shape[Key]['_zod']['input'] } & {
            -readonly [Key in OptionalInputs<Shape>]?: Shape[Key]['_zod']['input'];
          }
        >;

/** The output of an object with these fields. */
export type ShapeOutput<Shape extends SchemaShape> = string extends keyof Shape
  ? Record<string, Shape[string]['_zod']['output']>
  : [keyof Shape] extends [never]
    ? Record<string, never>
    : [OptionalOutputs<Shape>] extends [never]
      ? { -readonly [Key in keyof Shape]: Shape[Key]['_zod']['output'] }
      : Flat<
          { -readonly [Key in Exclude<keyof Shape, OptionalOutputs<Shape>>]: Shape[Key]['_zod']['output'] } & {
            -readonly [Key in OptionalOutputs<Shape>]?: Shape[Key]['_zod']['output'];
          }
        >;

/** The fields that may be missing before parsing. */
type OptionalInputs<Shape> = {
  [Key in keyof Shape]: Shape[Key] extends { readonly _zod: { readonly optin: 'optional' | 'defaulted' } }
    ? Key
    : never;
}[keyof Shape];

/** The fields that may be missing after parsing. */
type OptionalOutputs<Shape> = {
  [Key in keyof Shape]: Shape[Key] extends { readonly _zod: { readonly optout: 'optional' } } ? Key : never;
}[keyof Shape];

type Flat<T> = { [Key in keyof T]: T[Key] } & {};

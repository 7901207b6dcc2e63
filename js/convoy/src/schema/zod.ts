/**
 * How this package reads a Zod schema: by `_zod.def`, the structure Zod documents for library authors. Works for
 * `zod` and `zod/mini` alike, and knows a Zod 3 schema when it sees one.
 */

import type * as z from 'zod';

/** Any Zod 4 schema, of whichever flavour. */
export type ZodType = z.core.$ZodType;

/** The definition of a schema, a union to switch over by `type`. */
export type ZodDef = z.core.$ZodTypes['_zod']['def'];

/** What parsing takes. */
export type InputOf<Schema extends ZodType> = Schema['_zod']['input'];

/** What parsing gives. */
export type OutputOf<Schema extends ZodType> = Schema['_zod']['output'];

/** The definition behind a schema. */
export function defOf(schema: ZodType): ZodDef {
  return schema._zod.def as ZodDef;
}

/** True for a Zod 4 schema. */
export function isZodType(value: unknown): value is ZodType {
  return isObject(value) && isObject(value._zod) && isObject((value._zod as Record<string, unknown>).def);
}

/** The class name of a Zod 3 schema (`'ZodString'`), or `null` for anything else. */
export function zod3TypeName(value: unknown): string | null {
  if (!isObject(value) || isZodType(value) || !isObject(value._def)) return null;
  const name = (value._def as Record<string, unknown>).typeName;
  return typeof name === 'string' ? name : null;
}

/** The inner schema of a `z.lazy`. Zod keeps the one it made, so a recursive schema stays one object. */
export function lazyTarget(schema: ZodType): ZodType {
  return (schema as z.core.$ZodLazy)._zod.innerType as ZodType;
}

/** The schema inside wrappers that change whether a value may be missing, but not what kind of value it is. */
export function unwrap(schema: ZodType): ZodType {
  let current = schema;
  for (let depth = 0; depth < MAX_WRAPPERS; depth++) {
    const def = defOf(current);
    const inner = def.type === 'pipe' ? def.in : wrappedIn(current);
    if (inner === null) return current;
    current = inner;
  }
  return current;
}

/** What a wrapper wraps, or a lazy schema makes; `null` for every other schema. */
export function wrappedIn(schema: ZodType): ZodType | null {
  const def = defOf(schema);
  switch (def.type) {
    case 'optional':
    case 'nullable':
    case 'nonoptional':
    case 'readonly':
    case 'default':
    case 'prefault':
    case 'catch':
      return def.innerType;
    case 'lazy':
      return lazyTarget(schema);
    default:
      return null;
  }
}

/** A lazy schema may wrap itself; nobody wraps a value this often on purpose. */
const MAX_WRAPPERS = 64;

function isObject(value: unknown): value is Record<string, unknown> {
  // Zod 4 schemas are objects; `zod/mini` and later versions may make them callable.
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

/**
 * Reads Zod schemas by `_zod.def`, the structure that Zod documents for library authors. Supports `zod` and `zod/mini`,
 * and recognises Zod 3 schemas.
 */

import type * as z from 'zod';
import type { TypedSchema } from './shape-types.js';

/** Any Zod 4 schema, from `zod` or `zod/mini`. */
export type ZodType = z.core.$ZodType;

/** The definition of a schema, a union to switch over by `type`. */
export type ZodDef = z.core.$ZodTypes['_zod']['def'];

/** The input type of a schema. */
export type InputOf<Schema extends TypedSchema> = Schema['_zod']['input'];

/** The output type of a schema. */
export type OutputOf<Schema extends TypedSchema> = Schema['_zod']['output'];

/** The definition of a schema. */
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

/** The inner schema of a `z.lazy`. Zod caches it, so a recursive schema stays one object. */
export function lazyTarget(schema: ZodType): ZodType {
  return (schema as z.core.$ZodLazy)._zod.innerType as ZodType;
}

/** The schema inside wrappers that change whether a value may be missing, but not what kind of value it is. */
export function unwrap(schema: ZodType): ZodType {
  let current = schema;
  for (let depth = 0; depth < MAX_WRAPPERS; depth++) {
    const def = defOf(current);
    const inner = def.type === 'pipe' ? def.in : innerOf(current);
    if (inner === null) return current;
    current = inner;
  }
  return current;
}

/** The inner schema of a wrapper or a lazy schema; `null` for any other schema. */
export function innerOf(schema: ZodType): ZodType | null {
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

/** A limit, since a lazy schema may wrap itself. */
const MAX_WRAPPERS = 64;

function isObject(value: unknown): value is Record<string, unknown> {
  // Zod 4 schemas are objects; `zod/mini` and later versions may make them callable.
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

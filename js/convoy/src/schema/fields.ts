/**
 * Resolves the field path of an index, such as `address.city`, to the schemas at that path and the kind of their
 * values. Postgres sorts values by kind, so a field of several kinds is compared as JSON.
 */

import { defOf, unwrap, type ZodDef, type ZodType } from './zod.js';

/** How the values of an indexed field compare. */
export type FieldKind = 'text' | 'number' | 'boolean' | 'json';

/** The two fields that every document has in addition to its own. */
export const SYSTEM_FIELDS: Readonly<Record<'id' | '_creationTime', FieldKind>> = {
  id: 'text',
  _creationTime: 'number',
};

/** The maximum number of names in a field path. */
export const MAX_FIELD_DEPTH = 3;

/** True for `id` and `_creationTime`. */
export function isSystemField(name: string): name is keyof typeof SYSTEM_FIELDS {
  return Object.hasOwn(SYSTEM_FIELDS, name);
}

/** The kind of the field at `path`, or `null` where the schema has no such field. */
export function fieldKind(schema: ZodType, path: string): FieldKind | null {
  if (isSystemField(path)) return SYSTEM_FIELDS[path];
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  const reached = objectsAt(schema, keys).flatMap((object) => propertyOf(object, last));
  const kinds = new Set(reached.flatMap((found) => [...kindsOf(found, 0)]));
  if (reached.length === 0) return null;
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined ? kind : 'json';
}

/** The names of a document's own fields, including those of every option of a union. */
export function fieldNames(schema: ZodType): string[] {
  const shapes = objectsIn(schema).map((object) => (defOf(object) as { readonly shape: object }).shape);
  return [...new Set(shapes.flatMap((shape) => Object.keys(shape)))];
}

/** The object schemas at a path; `[]` is the document itself. */
export function objectsAt(schema: ZodType, keys: readonly string[]): ZodType[] {
  let reached = objectsIn(schema);
  for (const key of keys)
    reached = reached.flatMap((object) => propertyOf(object, key)).flatMap((each) => objectsIn(each));
  return reached;
}

/** The object schemas that may parse a value of `schema`: itself, or the options of a union. */
export function objectsIn(schema: ZodType, depth = 0): ZodType[] {
  if (depth > MAX_UNION_DEPTH) return [];
  const inner = unwrap(schema);
  const def = defOf(inner);
  switch (def.type) {
    case 'object':
      return [inner];
    case 'union':
      return def.options.flatMap((option) => objectsIn(option, depth + 1));
    case 'intersection':
      return [...objectsIn(def.left, depth + 1), ...objectsIn(def.right, depth + 1)];
    default:
      return [];
  }
}

/** How many unions and intersections may be in one another, since a lazy schema may be in itself. */
export const MAX_UNION_DEPTH = 16;

function propertyOf(object: ZodType, key: string): ZodType[] {
  const def = defOf(object);
  const property = def.type === 'object' && Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
  return property === undefined ? [] : [property];
}

function kindsOf(schema: ZodType, depth: number): ReadonlySet<FieldKind> {
  const inner = unwrap(schema);
  const def = defOf(inner);
  if (def.type === 'union' && depth < MAX_UNION_DEPTH) {
    return new Set(def.options.flatMap((option) => [...kindsOf(option, depth + 1)]));
  }
  return scalarKinds(def);
}

/** The kinds of a scalar; none for `null` and `undefined`, which do not change how other values compare. */
function scalarKinds(def: ZodDef): ReadonlySet<FieldKind> {
  switch (def.type) {
    case 'string':
    case 'template_literal':
      return new Set(['text']);
    case 'number':
      return new Set(['number']);
    case 'boolean':
      return new Set(['boolean']);
    case 'null':
    case 'undefined':
    case 'void':
      return new Set();
    case 'enum':
      return new Set(Object.values(def.entries).map(kindOfValue));
    case 'literal':
      return new Set(def.values.filter((value) => value !== null && value !== undefined).map(kindOfValue));
    default:
      return new Set(['json']);
  }
}

function kindOfValue(value: unknown): FieldKind {
  switch (typeof value) {
    case 'string':
      return 'text';
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
    default:
      return 'json';
  }
}

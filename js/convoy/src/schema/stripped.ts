/** Finds the keys of a value that a schema silently strips: those that a plain `z.object` does not define. */

import { formatPath } from '../values/json.js';
import { defOf, unwrap, type ZodType } from './zod.js';

/** The paths of the stripped keys, without list indexes and duplicates. Skips unions: any option may define a key. */
export function strippedKeys(schema: ZodType, value: unknown): string[] {
  const found = new Set<string>();
  visit(schema, value, [], found);
  return [...found];
}

function visit(schema: ZodType, value: unknown, path: readonly string[], found: Set<string>): void {
  if (typeof value !== 'object' || value === null) return;
  const def = defOf(unwrap(schema));
  if (def.type === 'array' && Array.isArray(value)) {
    for (const item of value) visit(def.element, item, path, found);
  }
  if (def.type !== 'object' || Array.isArray(value)) return;
  for (const [key, inner] of Object.entries(value)) {
    const property = Object.hasOwn(def.shape, key) ? def.shape[key] : undefined;
    if (property !== undefined) visit(property, inner, [...path, key], found);
    else if (def.catchall === undefined && inner !== undefined) found.add(formatPath([...path, key]));
  }
}

/** Checks field names of handlers against the schema: only fields of the table are passed to SQL. */

import { type FieldKind, fieldKind, fieldNames, isSystemField, MAX_FIELD_DEPTH, objectsAt } from '../schema/index.js';
import { describeValue, invalid, quoteName } from './argument-errors.js';
import type { Table } from './program.js';

/** The kind of the field at `path`. Throws if there is no such field; `place` begins the message. */
export function knownField(table: Table, path: unknown, place: string): FieldKind {
  const { schema } = table.definition;
  if (typeof path !== 'string')
    throw invalid(`${place} takes the name of a field of ${table.name}, not ${describeValue(path)}`);
  if (path.split('.').length > MAX_FIELD_DEPTH) {
    throw invalid(`${place}: ${quoteName(path)} is nested too deeply; a path reaches ${MAX_FIELD_DEPTH} names deep`);
  }
  const kind = fieldKind(schema, path);
  if (kind !== null) return kind;
  const names = fieldNames(schema);
  if (path.includes('.') && names.includes(path)) {
    throw invalid(
      `${place}: '${path}' has a dot in its name, which reads as a path; such a field cannot be named here`,
    );
  }
  const known = [...names, 'id', '_creationTime'].join(', ');
  throw invalid(`${place}: ${table.name} has no field ${quoteName(path)}; its fields are ${known}`);
}

/** Throws if the field at `path` cannot be incremented. */
export function assertNumberField(table: Table, path: unknown): asserts path is string {
  const kind = knownField(table, path, 'increment()');
  if (kind === 'number' && !isSystemField(path as string)) return;
  const numbers = fieldNames(table.definition.schema).filter(
    (name) => fieldKind(table.definition.schema, name) === 'number',
  );
  const instead = numbers.length === 0 ? '' : `; numbers of ${table.name} are ${numbers.join(', ')}`;
  throw invalid(`increment(): '${String(path)}' is not a number field that can be written${instead}`);
}

/**
 * The value of a missing field at `path`: its constant default, or 0. `null` if it depends on the document, because a
 * part of the path may have several shapes.
 */
export function incrementBase(table: Table, path: string): number | null {
  const keys = path.split('.');
  const varies = keys.some((_, depth) => objectsAt(table.definition.schema, keys.slice(0, depth)).length > 1);
  if (table.fill !== null && varies) return null;
  // Filling defaults into an empty document, level by level, gives the value that each part of the path is read as.
  const document: Record<string, unknown> = {};
  for (let depth = 1; depth < keys.length; depth++) {
    table.fill?.(document);
    const holder = valueAt(document, keys.slice(0, depth - 1)) as Record<string, unknown>;
    const key = keys[depth - 1] as string;
    if (!isObject(holder[key])) holder[key] = {};
  }
  table.fill?.(document);
  return numberAt(document, path);
}

/** The number at `path` of a document; 0 if there is none. */
export function numberAt(document: object, path: string): number {
  const value = valueAt(document, path.split('.'));
  return typeof value === 'number' ? value : 0;
}

function valueAt(document: object, keys: readonly string[]): unknown {
  let value: unknown = document;
  for (const key of keys) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

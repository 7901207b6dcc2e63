/**
 * Validates documents and patches before they are written: parses them by the table's schema and removes system fields.
 * Pure; every error is an `INVALID_ARGS` with the table and the issues.
 */

import { isZodAsyncError, parseOrThrow, refuseDroppedKeys } from '../schema/index.js';
import { assertStorable } from '../values/storable-json.js';
import { invalid } from './argument-errors.js';
import type { Document } from './documents.js';
import type { LossyValues } from './lossy-values.js';
import type { Table } from './program.js';

/** The keys that a patch sets and removes. */
export interface Changes {
  readonly set: Document;
  readonly unset: string[];
}

/** The document being written, as far as it is known: all of it, its id, or `null` for a new one. */
export type Identity = { readonly id?: unknown; readonly _creationTime?: unknown } | null;

/** The document to store for `input`. `id` and `_creationTime` may be written back, but not changed. */
export function storedDocument(
  table: Table,
  input: unknown,
  identity: Identity,
  lossy: LossyValues | null = null,
): object {
  const own = withoutSystemFields(input, identity);
  const doc = parseDocument(table, own);
  lossy?.adopt(input);
  lossy?.carry(input, doc);
  lossy?.adoptAs(identity?.id, doc);
  assertStorable(doc, { table: table.name }, lossy);
  refuseDroppedKeys(own, doc, table.subject);
  return doc;
}

/** Throws if a patch removes a key that no document can have. */
export function assertRemovable(table: Table, changes: object): void {
  const removed = Object.entries(changes).filter(([, value]) => value === undefined);
  assertStorable(Object.fromEntries(removed.map(([key]) => [key, null])), { table: table.name });
}

/** Validates the document that `changes` make of `current`, and returns the named keys with their parsed values. */
export function storedChanges(
  table: Table,
  current: Document,
  changes: object,
  lossy: LossyValues | null = null,
): Changes {
  const named = withoutSystemFields(changes, current) as Document;
  const merged = ownFields(table, current);
  for (const [key, value] of Object.entries(named)) {
    if (value === undefined) delete merged[key];
    else define(merged, key, value);
  }
  const result = parseDocument(table, merged) as Document;
  const set: Document = {};
  const unset: string[] = [];
  for (const [key, value] of Object.entries(named)) {
    if (value === undefined) unset.push(key);
    else if (Object.hasOwn(result, key) && result[key] !== undefined) define(set, key, result[key]);
  }
  lossy?.adopt(changes);
  lossy?.carry(changes, set);
  lossy?.adoptAs(current.id, set);
  assertStorable(set, { table: table.name }, lossy);
  refuseDroppedKeys(named, set, table.subject);
  return { set, unset };
}

/** Throws if a document, as read, does not match the schema of its table. */
export function assertFits(table: Table, document: Document): void {
  parseDocument(table, ownFields(table, document));
}

/** The document without `id` and `_creationTime`, and without keys that a strict schema does not have. */
function ownFields(table: Table, document: Document): Document {
  const own: Document = {};
  for (const [key, value] of Object.entries(document)) {
    if (key === 'id' || key === '_creationTime') continue;
    if (table.strictKeys === null || table.strictKeys.has(key)) define(own, key, value);
  }
  return own;
}

function withoutSystemFields(input: unknown, identity: Identity): unknown {
  if (typeof input !== 'object' || input === null || !('id' in input || '_creationTime' in input)) return input;
  const { id, _creationTime, ...rest } = input as Document;
  for (const [name, value] of Object.entries({ id, _creationTime })) {
    if (value === undefined || value === identity?.[name as 'id' | '_creationTime']) continue;
    throw invalid(`'${name}' is set when a document is created and cannot be written; leave it out`);
  }
  return rest;
}

function parseDocument(table: Table, document: unknown): object {
  try {
    return parseOrThrow(table.definition.schema, document, table.subject) as object;
  } catch (error) {
    if (!isZodAsyncError(error)) throw error;
    throw new Error(`The schema of ${table.name} has an async check; move it to the mutation, before the write.`);
  }
}

/** Sets an own property of any name; `target['__proto__'] = …` would set the prototype. */
function define(target: Document, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true });
  else target[key] = value;
}

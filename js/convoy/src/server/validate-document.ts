/**
 * What is stored of what a handler writes: parsed by the table's schema, without the fields every document is given.
 * Pure; every refusal is an `INVALID_ARGS` with the table and the issues.
 */

import { isZodAsyncError, parseOrThrow, refuseDroppedKeys } from '../schema/index.js';
import { assertStorable } from '../values/json.js';
import { invalid } from './argument-errors.js';
import type { Document } from './documents.js';
import type { LossyValues } from './lossy-values.js';
import type { Table } from './program.js';

/** What a patch writes. */
export interface Changes {
  readonly set: Document;
  readonly unset: string[];
}

/** What is known of the document being written: all of it, its id, or nothing, where it is yet to be made. */
export type Identity = { readonly id?: unknown; readonly _creationTime?: unknown } | null;

/** The new document as it is stored. `id` and `_creationTime` may be written back, but not changed. */
export function storedDocument(
  table: Table,
  input: unknown,
  identity: Identity,
  lossy: LossyValues | null = null,
): object {
  const given = withoutSystemFields(input, identity);
  const doc = parsed(table, given);
  lossy?.adopt(input);
  lossy?.carry(input, doc);
  lossy?.adoptAs(identity?.id, doc);
  assertStorable(doc, { table: table.name }, lossy);
  refuseDroppedKeys(given, doc, table.subject);
  return doc;
}

/** Refuses a patch that removes a key no document can have. */
export function assertRemovable(table: Table, changes: object): void {
  const removed = Object.entries(changes).filter(([, value]) => value === undefined);
  assertStorable(Object.fromEntries(removed.map(([key]) => [key, null])), { table: table.name });
}

/** Checks the document the changes would make of `current`, and gives the named keys with their parsed values. */
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
  const result = parsed(table, merged) as Document;
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

/** Refuses a document, as it was read, that does not fit its table. */
export function assertFits(table: Table, document: Document): void {
  parsed(table, ownFields(table, document));
}

/** The document without `id` and `_creationTime`, and without keys a strict schema no longer knows. */
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
    throw invalid(`'${name}' is given to a document when it is made, and cannot be written; leave it out`);
  }
  return rest;
}

function parsed(table: Table, document: unknown): object {
  try {
    return parseOrThrow(table.definition.schema, document, table.subject) as object;
  } catch (error) {
    if (!isZodAsyncError(error)) throw error;
    throw new Error(`The schema of ${table.name} has an async check; check it in the mutation, before writing.`);
  }
}

/** Sets an own property whatever its name is; `target['__proto__'] = …` would not. */
function define(target: Document, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true });
  else target[key] = value;
}

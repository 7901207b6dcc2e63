/**
 * Converts values to Postgres' text form. The type is not declared: Postgres infers it from the position of the
 * parameter, or from a cast such as `$1::int`.
 */

import { formatPath, type JsonProblem } from '../values/json.js';
import { resultProblem } from '../values/server-json.js';
import { storageProblem } from '../values/storable-json.js';

/** Thrown for a value without a text form; the message is the reason. */
export class NoTextForm extends Error {}

/** The maximum number of dimensions of a Postgres array. */
export const MAX_DIMENSIONS = 6;

/**
 * The text form of `value`, or `null` for SQL NULL. Dates become ISO 8601, bytes `\x…`, arrays Postgres arrays (for a
 * JSON array, pass `JSON.stringify(…)`), and other plain objects JSON. Throws `NoTextForm`.
 */
export function textForm(value: unknown): string | null {
  if (value === null) return null;
  if (Array.isArray(value)) return arrayText(value, 1);
  return scalarText(value);
}

function scalarText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return checkedText(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'number':
      if (Number.isFinite(value)) return String(value);
      throw new NoTextForm(
        `is ${value}, which is probably a mistake; pass the string 'NaN' or 'Infinity' if it is intended`,
      );
    case 'object':
      return objectText(value as object);
    case 'undefined':
      throw new NoTextForm('is undefined; pass null for SQL NULL');
    default:
      throw new NoTextForm(`is a ${typeof value}`);
  }
}

function objectText(value: object): string {
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new NoTextForm('is an invalid Date');
    return value.toISOString();
  }
  if (value instanceof Uint8Array) return bytesText(value);
  if (!isPlain(value))
    throw new NoTextForm(`is a ${className(value)}; pass a string, a number, a Date or a plain object`);
  const unsendable = resultProblem(value);
  if (unsendable !== null) throw noJson(unsendable);
  const text = checkedText(JSON.stringify(value));
  // Text that is valid in JSON and invalid in Postgres always contains an escape.
  const unstorable = text.includes('\\u') ? storageProblem(JSON.parse(text)) : null;
  if (unstorable !== null) throw noJson(unstorable);
  return text;
}

function noJson({ path, reason }: JsonProblem): NoTextForm {
  return new NoTextForm(`cannot be JSON: ${formatPath(path)} ${reason}`);
}

/** A Postgres array literal, `{1,NULL,"a \"b\""}`; elements are quoted unless they are numbers or booleans. */
function arrayText(values: readonly unknown[], depth: number): string {
  if (depth > MAX_DIMENSIONS) {
    throw new NoTextForm(`is an array with more than the ${MAX_DIMENSIONS} dimensions Postgres has`);
  }
  // Not `map`, which skips holes.
  const elements = Array.from(values, (value) => {
    if (value === null) return 'NULL';
    if (Array.isArray(value)) return arrayText(value, depth + 1);
    const text = scalarText(value);
    return typeof value === 'string' || typeof value === 'object' ? quoted(text) : text;
  });
  return `{${elements.join(',')}}`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function bytesText(bytes: Uint8Array): string {
  let text = '\\x';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

function checkedText(text: string): string {
  const problem = storageProblem(text);
  if (problem !== null) throw new NoTextForm(problem.reason);
  return text;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

function className(value: object): string {
  const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'class instance';
}

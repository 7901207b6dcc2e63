/**
 * Checks whether a value can be serialized as JSON and stored in Postgres without loss, and finds the first place where
 * not.
 *
 * Two rules: a *stored* value must be read back equal (so no `Date`, no `toJSON`, no text that Postgres rejects); a
 * *sent* value may be converted (a `Date` becomes a string), but is never silently emptied or nulled. Pure; a problem
 * is a path and a reason, and the caller decides which error to throw.
 */

import { ConvoyError } from './errors.js';

/** The maximum nesting depth of objects and arrays, counted from the value itself. */
export const MAX_DEPTH = 64;

/** One part of a value that JSON cannot represent. */
export interface JsonProblem {
  readonly path: readonly (string | number)[];
  /** The rest of a sentence that begins with the path: "is a Map, which …". */
  readonly reason: string;
}

/** Tracks values read from Postgres that JavaScript cannot represent exactly. */
export interface LossyText {
  /** The exact text of the number at `key` of `holder`, unless the number was changed. */
  textAt(holder: object, key: string | number): string | undefined;
  /** Whether `value` was read in a stored document that exceeds `MAX_DEPTH`. */
  isStored(value: object): boolean;
}

/** The purpose and context of a check. */
interface Check {
  readonly use: 'store' | 'send';
  readonly lossy: LossyText | null;
}

/** The first part of `value` that cannot be stored in a document, or `null`. Keys with `undefined` count as absent. */
export function storageProblem(value: unknown, lossy: LossyText | null = null): JsonProblem | null {
  return problemIn(value, lossy === null ? STORE : { use: 'store', lossy }, 0);
}

/** The first part of `value` that cannot be sent as JSON, or `null`. `Date` and other `toJSON` values are allowed. */
export function sendingProblem(value: unknown, lossy: LossyText | null = null): JsonProblem | null {
  return problemIn(value, lossy === null ? SEND : { use: 'send', lossy }, 0);
}

/** The JSON of `value`; `undefined` where its `toJSON` returns `undefined`. */
export function jsonText(value: unknown): string | undefined {
  return JSON.stringify(value);
}

/**
 * Throws `INVALID_ARGS` with the path if a document cannot contain `value`. `details` is added to the error's details.
 */
export function assertStorable(
  value: unknown,
  details: { readonly table?: string } = {},
  lossy: LossyText | null = null,
): void {
  const problem = storageProblem(value, lossy);
  if (problem === null) return;
  const where = formatPath(problem.path);
  const place =
    details.table === undefined ? where || 'The value' : `${details.table}${where === '' ? '' : `: ${where}`}`;
  throw new ConvoyError('INVALID_ARGS', `${place} ${problem.reason}.`, {
    details: { ...details, issues: [{ path: problem.path, message: problem.reason }] },
  });
}

/** Formats a path as `items[2].name`. The empty path is the empty string. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? String(step) : `.${String(step)}`;
  }
  return text;
}

const STORE: Check = { use: 'store', lossy: null };
const SEND: Check = { use: 'send', lossy: null };

function problemIn(value: unknown, check: Check, depth: number): JsonProblem | null {
  switch (typeof value) {
    case 'string':
      return check.use === 'store' ? textProblem(value) : null;
    case 'boolean':
      return null;
    case 'number':
      return Number.isFinite(value) ? null : problemHere(`is ${value}, and JSON has no such number`);
    case 'object':
      return value === null ? null : structureProblem(value, check, depth);
    case 'undefined':
      return problemHere('is undefined, which JSON cannot represent; use null, or leave the key out');
    case 'bigint':
      return problemHere('is a bigint, which JSON cannot represent; use a string');
    case 'function':
      return problemHere('is a function, which JSON cannot represent');
    default:
      return problemHere('is a symbol, which JSON cannot represent');
  }
}

function structureProblem(value: object, check: Check, depth: number): JsonProblem | null {
  const { use, lossy } = check;
  if (depth >= MAX_DEPTH && lossy?.isStored(value) !== true)
    return problemHere(`is nested deeper than ${MAX_DEPTH} levels, or contains itself`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const problem = problemIn(value[index], check, depth + 1);
      if (problem !== null && lossy?.textAt(value, index) === undefined) return withStep(index, problem);
    }
    return null;
  }
  if (!isPlain(value)) return instanceProblem(value, check, depth);
  if (use === 'send' && typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    return instanceProblem(value, check, depth);
  }
  for (const key of Object.keys(value)) {
    const inner = (value as Record<string, unknown>)[key];
    if (inner === undefined) continue;
    const problem = (use === 'store' ? textProblem(key) : null) ?? problemIn(inner, check, depth + 1);
    if (problem !== null && lossy?.textAt(value, key) === undefined) return withStep(key, problem);
  }
  return null;
}

/** Checks objects that are neither arrays nor plain. Sending calls their `toJSON`; storing never does. */
function instanceProblem(value: object, check: Check, depth: number): JsonProblem | null {
  const { use } = check;
  const name = value.constructor?.name ?? 'object without a class';
  const toJSON = use === 'send' ? (value as { toJSON?: unknown }).toJSON : undefined;
  if (typeof toJSON === 'function') {
    if (value instanceof Date && Number.isNaN(value.getTime())) return problemHere('is an invalid Date');
    const json: unknown = toJSON.call(value);
    return json === undefined ? null : problemIn(json, check, depth + 1);
  }
  return problemHere(`is a ${name}, which JSON cannot represent; ${REPLACEMENT[name] ?? 'use a plain object'}`);
}

const REPLACEMENT: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  Date: 'store a number (date.getTime()) or a string (date.toISOString())',
  Map: 'use a plain object',
  Set: 'use an array',
  Promise: 'await it first',
  TableScan: 'end the query with collect(), take(n) or first()',
});

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // The Object.prototype of another realm is recognised by its null prototype.
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null;
}

function textProblem(text: string): JsonProblem | null {
  if (text.includes('\u0000')) return problemHere('contains the character \\u0000, which Postgres cannot store');
  if (!isWellFormed(text)) return problemHere('contains an unpaired surrogate, which is not valid Unicode');
  return null;
}

/**
 * ES2024's `isWellFormed`, available in every supported runtime but not yet in the library types of this compiler
 * target.
 */
function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

function problemHere(reason: string): JsonProblem {
  return { path: [], reason };
}

function withStep(step: string | number, problem: JsonProblem): JsonProblem {
  return { path: [step, ...problem.path], reason: problem.reason };
}

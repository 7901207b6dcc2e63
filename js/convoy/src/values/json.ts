/**
 * Checks whether a value can be sent as JSON, and finds the first place where not: a value may be converted (a `Date`
 * becomes a string), but is never silently emptied or nulled. Pure; a problem is a path and a reason, and the caller
 * decides which error to throw. `storable-json.ts` has the stricter rules of values that are stored.
 */

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
export interface JsonCheck {
  /** Values that have a `toJSON` are replaced by what it returns. */
  readonly callsToJSON: boolean;
  readonly lossy: LossyText | null;
  /** What to use instead of an object of a class, by its name. Without a prototype. */
  readonly replacements: Readonly<Record<string, string>>;
  /** Checks texts and keys. */
  readonly textProblem?: (text: string) => JsonProblem | null;
}

/** The first part of `value` that cannot be sent as JSON, or `null`. `Date` and other `toJSON` values are allowed. */
export function sendingProblem(value: unknown): JsonProblem | null {
  return problemIn(value, { callsToJSON: true, lossy: null, replacements: REPLACEMENTS });
}

/** The JSON of `value`; `undefined` where its `toJSON` returns `undefined`. */
export function jsonText(value: unknown): string | undefined {
  return JSON.stringify(value);
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

/** The first part of `value` that does not pass the check, or `null`. */
export function problemIn(value: unknown, check: JsonCheck, depth = 0): JsonProblem | null {
  switch (typeof value) {
    case 'string':
      return check.textProblem?.(value) ?? null;
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
    default:
      return problemHere(`is a ${typeof value}, which JSON cannot represent`);
  }
}

function structureProblem(value: object, check: JsonCheck, depth: number): JsonProblem | null {
  const { callsToJSON, lossy, textProblem, replacements } = check;
  if (depth >= MAX_DEPTH && lossy?.isStored(value) !== true)
    return problemHere(`is nested deeper than ${MAX_DEPTH} levels, or contains itself`);
  const isList = Array.isArray(value);
  if (!isList && callsToJSON && 'toJSON' in value && typeof value.toJSON === 'function') {
    if (value instanceof Date && Number.isNaN(value.getTime())) return problemHere('is an invalid Date');
    const json: unknown = value.toJSON();
    return json === undefined ? null : problemIn(json, check, depth + 1);
  }
  if (!isList && !isPlain(value)) {
    const name = value.constructor?.name ?? 'object without a class';
    return problemHere(`is a ${name}, which JSON cannot represent; ${replacements[name] ?? 'use a plain object'}`);
  }
  // The keys of a list include its holes.
  for (const key of isList ? value.keys() : Object.keys(value)) {
    const inner = (value as Record<string | number, unknown>)[key];
    if (!isList && inner === undefined) continue;
    const problem = (typeof key === 'string' && textProblem?.(key)) || problemIn(inner, check, depth + 1);
    if (problem !== null && lossy?.textAt(value, key) === undefined)
      return { path: [key, ...problem.path], reason: problem.reason };
  }
  return null;
}

/** What to use instead of objects that a client may have, too. */
export const REPLACEMENTS: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  Map: 'use a plain object',
  Set: 'use an array',
  Promise: 'await it first',
});

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // The Object.prototype of another realm is recognised by its null prototype.
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null;
}

export function problemHere(reason: string): JsonProblem {
  return { path: [], reason };
}

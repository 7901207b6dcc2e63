/**
 * Turns a call's arguments into the one text that names them: keys sorted, `undefined` keys left out. Two arguments
 * share a live query exactly when their texts are equal, whatever objects they were.
 *
 * What JSON would change silently (`NaN`, a `Map`, `undefined` in an array) is refused with its path instead.
 */
import { ConvoyError } from '../values/errors.js';
import { formatPath, sendingProblem } from '../values/json.js';

/** Canonical JSON of `args`; no arguments are `{}`. Throws `INVALID_ARGS` with the path of what JSON cannot say. */
export function canonicalArgs(args: unknown): string {
  if (args === undefined) return '{}';
  const problem = sendingProblem(args);
  if (problem !== null) {
    const { path, reason } = problem;
    throw new ConvoyError('INVALID_ARGS', `${formatPath(path) || 'The argument'} ${reason}`, {
      details: { issues: [{ path, message: reason }] },
    });
  }
  return JSON.stringify(args, withSortedKeys);
}

function withSortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

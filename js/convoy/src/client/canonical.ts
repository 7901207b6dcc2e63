/**
 * Canonical JSON of a call's arguments: keys sorted, `undefined` keys left out. Two subscriptions share a live query
 * exactly when the canonical JSON of their arguments is equal.
 *
 * A value that JSON would silently change (`NaN`, a `Map`, `undefined` in an array) is refused with its path.
 */
import { ConvoyError } from '../values/errors.js';
import { formatPath, sendingProblem } from '../values/json.js';

/**
 * Canonical JSON of `args`; `{}` without arguments. Throws `INVALID_ARGS` with the path of a value JSON cannot carry.
 */
export function canonicalArgs(args: unknown): string {
  if (args === undefined) return '{}';
  const problem = sendingProblem(args);
  if (problem !== null) {
    const { path, reason } = problem;
    throw new ConvoyError('INVALID_ARGS', `${formatPath(path) || 'The argument'} ${reason}.`, {
      details: { issues: [{ path, message: reason }] },
    });
  }
  return JSON.stringify(args, withSortedKeys);
}

function withSortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

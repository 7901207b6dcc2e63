/** Errors for wrong arguments to `ctx.db`: always `INVALID_ARGS`, with a message that names the expected form. */

import { ConvoyError } from '../values/errors.js';

/** An `INVALID_ARGS` error; adds the full stop to `message`. */
export function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}

/** A short text for any value, for use in a message that stays on the server. */
export function inspectValue(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** The same for a message that reaches the client: of a string only its type, because it may come from a row. */
export function describeValue(value: unknown): string {
  return typeof value === 'string' ? 'a string' : inspectValue(value);
}

/** The quoted name of a table, an index or a field, which code has chosen; for a value that is not a name, its short text. */
export function quoteName(value: unknown): string {
  return typeof value === 'string' && value.length <= 80 ? `'${value}'` : inspectValue(value);
}

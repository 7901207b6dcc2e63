/** Errors for wrong arguments to `ctx.db`: always `INVALID_ARGS`, with a message that names the expected form. */

import { ConvoyError } from '../values/errors.js';

/** An `INVALID_ARGS` error; adds the full stop to `message`. */
export function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}

/** A short text for any value, for use in a message. */
export function inspectValue(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** The quoted name of an index or a field for a message; for a value that is not a name, its short text. */
export function quoteName(value: unknown): string {
  return typeof value === 'string' && value.length <= 80 ? `'${value}'` : inspectValue(value);
}

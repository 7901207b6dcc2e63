/** Refusals of what a handler asks of `ctx.db`: always `INVALID_ARGS`, with a sentence that says what would be right. */

import { ConvoyError } from '../values/errors.js';

/** The refusal that says `message`, which needs no full stop. */
export function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}

/** A value as a message names it; short, and whatever it is. */
export function say(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** A name of an index or a field as a message gives it, or what was given instead. */
export function sayName(value: unknown): string {
  return typeof value === 'string' && value.length <= 80 ? `'${value}'` : say(value);
}

/** What `createContext` made, checked before anything is done with it. */

import { ConvoyError } from '../values/errors.js';

/** Before 1973 in milliseconds; in seconds, which tokens count in, any time until the year 5138. */
const SURELY_SECONDS = 100_000_000_000;

/** The context, if it can be one. */
export function contextIn(made: unknown): object {
  if (typeof made === 'object' && made !== null) return made;
  throw new TypeError('createContext must return an object: return { ...base, … }.');
}

/** `context` with `base` in place of the one it was made of. No getter is asked. */
export function withBase(context: object, base: object): object {
  return Object.defineProperties(
    {},
    { ...Object.getOwnPropertyDescriptors(context), ...Object.getOwnPropertyDescriptors(base) },
  );
}

/**
 * When what a context says of its caller ceases to hold, in milliseconds since 1970; `null` where it says no time.
 * Throws where that is over.
 */
export function expiryOf(context: object): number | null {
  const { expiresAt } = context as { readonly expiresAt?: unknown };
  if (expiresAt === undefined || expiresAt === null || expiresAt === Number.POSITIVE_INFINITY) return null;
  if (typeof expiresAt !== 'number' || Number.isNaN(expiresAt) || (expiresAt > 0 && expiresAt < SURELY_SECONDS)) {
    throw new TypeError(
      'createContext: expiresAt is a number of milliseconds since 1970, such as `payload.exp * 1000` of a token that ' +
        `counts in seconds; ${String(expiresAt)} was given.`,
    );
  }
  if (expiresAt <= Date.now()) throw new ConvoyError('UNAUTHORIZED', 'What says who you are has expired.');
  return expiresAt;
}
